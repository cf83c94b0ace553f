// tracker.cpp: adds executions up by fingerprint, and lists slow ones.
#include "sqlite/tracker.h"

#include <time.h>

#include <algorithm>

#include "base/log.h"
#include "sqlite/fingerprint.h"

namespace mcp::sqlite {
namespace {

// Seconds since 1970, for display only.
double wall_clock() noexcept { return to_seconds(mcp::detail::read_clock(CLOCK_REALTIME_COARSE)); }

void fill_times(FigureTotals& out, const metrics::Histogram& times) {
  out.step_s = times.sum_ns() / kSecond;
  out.total_s = out.queue_s + out.step_s + out.convert_s;
  out.min_s = to_seconds(times.min_ns());
  out.mean_s = times.mean_ns() / kSecond;
  out.stddev_s = times.stddev_ns() / kSecond;
  out.p95_s = to_seconds(times.percentile_ns(95));
  out.p99_s = to_seconds(times.percentile_ns(99));
  out.max_s = to_seconds(times.max_ns());
}

}  // namespace

Figures::Figures(std::string text, std::uint64_t number, std::string example)
    : fingerprint(std::move(text)), hash(number), sample(std::move(example)) {}

void Figures::record(const Execution& execution) {
  std::shared_ptr<Figures> rest;
  {
    const MutexLock lock(mutex_);
    if (rest_ == nullptr) return count(execution);
    rest = rest_;
  }
  rest->record(execution);
}

void Figures::count(const Execution& execution) {
  const double now = wall_clock();
  if (totals_.calls == 0) totals_.first_seen = now;
  totals_.last_seen = now;
  ++totals_.calls;
  totals_.errors += execution.failed ? 1 : 0;
  totals_.queue_s += to_seconds(execution.queue_ns);
  totals_.convert_s += to_seconds(execution.convert_ns);
  totals_.rows += execution.rows;
  totals_.rows_scanned += execution.rows_scanned;
  totals_.full_scans += execution.rows_scanned > 0 ? 1 : 0;
  totals_.sorts += execution.sorts;
  totals_.auto_indexes += execution.auto_indexes;
  histogram_.record(execution.step_ns);
}

std::uint64_t Figures::uses() const {
  const MutexLock lock(mutex_);
  return totals_.calls + hits_.load(std::memory_order_relaxed);
}

void Figures::fold_into(std::shared_ptr<Figures> rest) {
  const MutexLock lock(mutex_);
  rest_ = std::move(rest);
  // What is recorded meanwhile waits for the lock, or goes to the rest by itself.
  counts_in_.store(rest_.get(), std::memory_order_release);
  const MutexLock other(rest_->mutex_);
  FigureTotals& sums = rest_->totals_;
  if (totals_.calls > 0) {
    sums.first_seen =
        sums.calls == 0 ? totals_.first_seen : std::min(sums.first_seen, totals_.first_seen);
    sums.last_seen = std::max(sums.last_seen, totals_.last_seen);
  }
  sums.calls += totals_.calls;
  sums.errors += totals_.errors;
  sums.queue_s += totals_.queue_s;
  sums.convert_s += totals_.convert_s;
  sums.rows += totals_.rows;
  sums.rows_scanned += totals_.rows_scanned;
  sums.full_scans += totals_.full_scans;
  sums.sorts += totals_.sorts;
  sums.auto_indexes += totals_.auto_indexes;
  rest_->histogram_.merge(histogram_);
  rest_->converted_ns_ += converted_ns_.exchange(0);
  rest_->hits_ += hits_.exchange(0);
  rest_->misses_ += misses_.exchange(0);
  totals_ = {};
  histogram_.reset();
}

FigureTotals Figures::totals() const {
  const MutexLock lock(mutex_);
  FigureTotals out = totals_;
  out.fingerprint = fingerprint;
  out.sample = sample;
  out.hash = hash;
  out.convert_s += to_seconds(converted_ns_.load(std::memory_order_relaxed));
  fill_times(out, histogram_);
  out.cache_hits = hits_.load(std::memory_order_relaxed);
  out.cache_misses = misses_.load(std::memory_order_relaxed);
  return out;
}

void Figures::add_to(FigureTotals& sums, metrics::Histogram& times) const {
  const MutexLock lock(mutex_);
  if (totals_.calls > 0) {
    sums.first_seen =
        sums.calls == 0 ? totals_.first_seen : std::min(sums.first_seen, totals_.first_seen);
    sums.last_seen = std::max(sums.last_seen, totals_.last_seen);
  }
  sums.calls += totals_.calls;
  sums.errors += totals_.errors;
  sums.queue_s += totals_.queue_s;
  sums.convert_s += totals_.convert_s + to_seconds(converted_ns_.load(std::memory_order_relaxed));
  sums.rows += totals_.rows;
  sums.rows_scanned += totals_.rows_scanned;
  sums.full_scans += totals_.full_scans;
  sums.sorts += totals_.sorts;
  sums.auto_indexes += totals_.auto_indexes;
  sums.cache_hits += hits_.load(std::memory_order_relaxed);
  sums.cache_misses += misses_.load(std::memory_order_relaxed);
  times.merge(histogram_);
}

std::shared_ptr<Figures> Tracker::figures_of(std::string_view sql) {
  std::string text = fingerprint(sql);
  const std::uint64_t hash = fingerprint_hash(text);
  const MutexLock lock(mutex_);
  const auto found = by_hash_.find(hash);
  if (found != by_hash_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
    return *found->second;
  }
  recent_.push_front(std::make_shared<Figures>(std::move(text), hash, redacted_sample(sql)));
  by_hash_.emplace(hash, recent_.begin());
  if (recent_.size() >= kCapacity) fold_least_used();  // one place is kept for the rest
  return recent_.front();
}

// The one that was just added has no calls yet, and stays.
void Tracker::fold_least_used() {
  auto victim = recent_.end();
  std::uint64_t fewest = 0;
  for (auto at = std::next(recent_.begin()); at != recent_.end(); ++at) {
    const std::uint64_t uses = (*at)->uses();
    if (victim != recent_.end() && uses > fewest) continue;
    victim = at;
    fewest = uses;
  }
  if (rest_ == nullptr) {
    rest_ =
        std::make_shared<Figures>(std::string(kRest), fingerprint_hash(kRest), std::string(kRest));
  }
  (*victim)->fold_into(rest_);
  by_hash_.erase((*victim)->hash);
  recent_.erase(victim);
}

void Tracker::record(Figures& figures, const Execution& execution) {
  figures.record(execution);
  if (execution.queue_ns + execution.step_ns <= slow_ns_) return;
  logger("sqlite").info("slow statement: {:.1f} ms, and {:.1f} ms in the queue: {}",
                        to_seconds(execution.step_ns) * 1000, to_seconds(execution.queue_ns) * 1000,
                        figures.sample);
  const MutexLock lock(mutex_);
  slow_.push_back({figures.fingerprint, figures.sample, figures.hash, wall_clock(), execution});
  if (slow_.size() > kSlowCapacity) slow_.pop_front();
}

std::vector<std::shared_ptr<Figures>> Tracker::remembered() const {
  const MutexLock lock(mutex_);
  std::vector<std::shared_ptr<Figures>> all(recent_.begin(), recent_.end());
  if (rest_ != nullptr) all.push_back(rest_);
  return all;
}

std::vector<FigureTotals> Tracker::totals() const {
  std::vector<FigureTotals> out;
  for (const auto& one : remembered()) {
    FigureTotals totals = one->totals();
    if (totals.calls + totals.cache_hits > 0) out.push_back(std::move(totals));
  }
  return out;
}

FigureTotals Tracker::overall(std::size_t& count) const {
  FigureTotals out;
  metrics::Histogram times{2};
  const std::vector<std::shared_ptr<Figures>> figures = remembered();
  for (const auto& one : figures) one->add_to(out, times);
  fill_times(out, times);
  count = figures.size();
  return out;
}

std::vector<SlowStatement> Tracker::slow() const {
  const MutexLock lock(mutex_);
  return {slow_.begin(), slow_.end()};
}

void Tracker::reset() {
  const MutexLock lock(mutex_);
  recent_.clear();
  by_hash_.clear();
  rest_.reset();
  slow_.clear();
}

}  // namespace mcp::sqlite

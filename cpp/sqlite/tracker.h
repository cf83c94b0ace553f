// tracker.h: what every statement cost, by fingerprint, and the statements that were slow.
//
// Safe from any thread: one short lock a fingerprint. Bounded: kCapacity fingerprints, of which
// those with the fewest calls are folded first into one, kRest (of several the least recently
// seen), and kSlowCapacity slow statements. No call is lost: what is folded goes on counting there.
// Never holds a literal or a binding; texts are fingerprints.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "metrics/histogram.h"

namespace mcp::sqlite {

// One execution. Waiting, stepping and conversion are apart: a slow consumer is not a slow query.
struct Execution {
  Duration queue_ns = 0;
  Duration step_ns = 0;
  Duration convert_ns = 0;
  std::uint64_t rows = 0;
  std::uint64_t rows_scanned = 0;  // steps of full scans (SQLITE_STMTSTATUS_FULLSCAN_STEP)
  std::uint64_t sorts = 0;
  std::uint64_t auto_indexes = 0;  // rows put into automatic indexes
  bool failed = false;
};

struct FigureTotals {
  std::string fingerprint;
  std::string sample;
  std::uint64_t hash = 0;
  std::uint64_t calls = 0;
  std::uint64_t errors = 0;
  double total_s = 0, min_s = 0, mean_s = 0, stddev_s = 0, p95_s = 0, p99_s = 0, max_s = 0;
  double queue_s = 0, step_s = 0, convert_s = 0;
  std::uint64_t rows = 0, rows_scanned = 0, full_scans = 0, sorts = 0, auto_indexes = 0;
  std::uint64_t cache_hits = 0, cache_misses = 0;
  double first_seen = 0, last_seen = 0;  // seconds since 1970
};

// Calls visit(name, value) for each figure, under the name that Python and the reports have for it.
template <class Visit>
void visit_fields(const FigureTotals& totals, Visit&& visit) {
  visit("calls", totals.calls);
  visit("errors", totals.errors);
  visit("total_seconds", totals.total_s);
  visit("min_seconds", totals.min_s);
  visit("mean_seconds", totals.mean_s);
  visit("stddev_seconds", totals.stddev_s);
  visit("p95_seconds", totals.p95_s);
  visit("p99_seconds", totals.p99_s);
  visit("max_seconds", totals.max_s);
  visit("queue_seconds", totals.queue_s);
  visit("step_seconds", totals.step_s);
  visit("convert_seconds", totals.convert_s);
  visit("rows", totals.rows);
  visit("rows_scanned", totals.rows_scanned);
  visit("full_scans", totals.full_scans);
  visit("sorts", totals.sorts);
  visit("auto_indexes", totals.auto_indexes);
  visit("cache_hits", totals.cache_hits);
  visit("cache_misses", totals.cache_misses);
  visit("first_seen", totals.first_seen);
  visit("last_seen", totals.last_seen);
}

// The figures of one fingerprint.
class Figures {
 public:
  Figures(std::string fingerprint, std::uint64_t hash, std::string sample);

  void record(const Execution& execution) EXCLUDES(mutex_);
  void add_conversion(Duration convert_ns) noexcept {
    counted()->converted_ns_.fetch_add(convert_ns, std::memory_order_relaxed);
  }
  void count_hit() noexcept { counted()->hits_.fetch_add(1, std::memory_order_relaxed); }
  void count_miss() noexcept { counted()->misses_.fetch_add(1, std::memory_order_relaxed); }
  // Adds all of it to `rest`, and all that comes. Once; `rest` itself is never folded.
  void fold_into(std::shared_ptr<Figures> rest) EXCLUDES(mutex_);
  [[nodiscard]] std::uint64_t uses() const EXCLUDES(mutex_);
  [[nodiscard]] FigureTotals totals() const EXCLUDES(mutex_);
  // Adds what was counted to `sums`, and the step times to `times`.
  void add_to(FigureTotals& sums, metrics::Histogram& times) const EXCLUDES(mutex_);

  const std::string fingerprint;
  const std::uint64_t hash;
  const std::string sample;  // a statement of this shape, without its values

 private:
  void count(const Execution& execution) REQUIRES(mutex_);
  [[nodiscard]] Figures* counted() noexcept {
    Figures* rest = counts_in_.load(std::memory_order_acquire);
    return rest == nullptr ? this : rest;
  }

  mutable Mutex mutex_;  // of one that is folded before that of the rest
  std::shared_ptr<Figures> rest_ GUARDED_BY(mutex_);
  std::atomic<Figures*> counts_in_{nullptr};            // rest_
  metrics::Histogram histogram_ GUARDED_BY(mutex_){2};  // step time
  FigureTotals totals_ GUARDED_BY(mutex_);              // sums; the rest is filled by totals()
  std::atomic<Duration> converted_ns_{0};
  std::atomic<std::uint64_t> hits_{0};
  std::atomic<std::uint64_t> misses_{0};
};

struct SlowStatement {
  std::string fingerprint;
  std::string sample;
  std::uint64_t hash = 0;
  double at = 0;  // seconds since 1970
  Execution execution;
};

class Tracker {
 public:
  static constexpr std::size_t kCapacity = 512;
  static constexpr std::size_t kSlowCapacity = 256;
  static constexpr std::string_view kRest = "_OTHER";

  // Statements whose step and queue time add up to more than `slow_ns` are logged.
  explicit Tracker(Duration slow_ns) : slow_ns_(slow_ns) {}

  [[nodiscard]] std::shared_ptr<Figures> figures_of(std::string_view sql);
  // Also keeps the statement when it was slow.
  void record(Figures& figures, const Execution& execution);

  [[nodiscard]] std::vector<FigureTotals> totals() const;
  // All remembered statements as if they were one; `count` is set to how many there are.
  [[nodiscard]] FigureTotals overall(std::size_t& count) const;
  [[nodiscard]] std::vector<SlowStatement> slow() const;  // oldest first
  void reset();

 private:
  [[nodiscard]] std::vector<std::shared_ptr<Figures>> remembered() const EXCLUDES(mutex_);
  void fold_least_used() REQUIRES(mutex_);

  const Duration slow_ns_;
  mutable Mutex mutex_;
  std::list<std::shared_ptr<Figures>> recent_ GUARDED_BY(mutex_);
  std::unordered_map<std::uint64_t, std::list<std::shared_ptr<Figures>>::iterator> by_hash_
      GUARDED_BY(mutex_);
  std::shared_ptr<Figures> rest_ GUARDED_BY(mutex_);  // once there is one
  std::deque<SlowStatement> slow_ GUARDED_BY(mutex_);
};

}  // namespace mcp::sqlite

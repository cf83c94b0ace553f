// recorder.cpp: samples into slices of a second, and slices into totals.
#include "loadtest/recorder.h"

#include <algorithm>
#include <utility>

namespace mcp::loadtest {
namespace {

// Kinds of errors beyond this are counted together: messages of a target cannot fill the memory.
constexpr std::size_t kMostErrorKinds = 100;
constexpr std::string_view kOtherErrors = "other errors";

void add_error(ErrorCounts& errors, std::string_view kind, std::uint64_t times) {
  auto found = errors.find(kind);
  if (found == errors.end()) {
    const std::string_view name = errors.size() < kMostErrorKinds ? kind : kOtherErrors;
    found = errors.try_emplace(std::string(name), 0).first;
  }
  found->second += times;
}

// Times without a completion that a thread keeps, the longest.
constexpr std::size_t kMostQuiets = 4096;
// A user that thinks for less is taken to be waiting on.
constexpr Duration kShortestRest = 50 * kMillisecond;

void drop_the_shorter_half(std::vector<Quiet>& quiets) {
  const auto middle = quiets.begin() + static_cast<std::ptrdiff_t>(quiets.size() / 2);
  std::nth_element(quiets.begin(), middle, quiets.end(),
                   [](const Quiet& a, const Quiet& b) { return a.to - a.from > b.to - b.from; });
  quiets.erase(middle, quiets.end());
  std::sort(quiets.begin(), quiets.end(),
            [](const Quiet& a, const Quiet& b) { return a.from < b.from; });
}

std::uint64_t caught_by(const Quiet& quiet, Instant to) noexcept {
  return quiet.waiting_from < to ? quiet.caught : 0;
}

// Both in order. What is quiet in both, and waits in either.
std::vector<Quiet> common(const std::vector<Quiet>& one, const std::vector<Quiet>& other) {
  std::vector<Quiet> both;
  for (std::size_t i = 0, j = 0; i < one.size() && j < other.size();) {
    const Quiet& a = one[i];
    const Quiet& b = other[j];
    const Instant from = std::max(a.from, b.from);
    const Instant to = std::min(a.to, b.to);
    if (to - from >= kShortestGap) {
      both.push_back({from, to, std::min(a.waiting_from, b.waiting_from),
                      caught_by(a, to) + caught_by(b, to)});
    }
    if (a.to < b.to) {
      ++i;
    } else {
      ++j;
    }
  }
  return both;
}

std::vector<Gap> gaps_of(const std::vector<Quiet>& quiets, Instant measure_from,
                         Instant closed_at) {
  std::vector<Gap> gaps;
  for (const Quiet& quiet : quiets) {
    const Instant from = std::max(quiet.from, quiet.waiting_from);
    const Instant to = std::min(quiet.to, closed_at);
    if (to - from >= kShortestGap) gaps.push_back({from - measure_from, to - from, quiet.caught});
  }
  return gaps;
}

void add_kinds(Report& report, const std::vector<KindReport>& kinds, const ErrorCounts& errors) {
  for (const auto& [kind, times] : errors) add_error(report.errors, kind, times);
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    KindReport& to = report.kinds[i];
    to.successful += kinds[i].successful;
    to.failed += kinds[i].failed;
    to.bytes += kinds[i].bytes;
    to.response.merge(kinds[i].response);
  }
}

SecondPoint point_of(const Slice& slice) {
  return {slice.successful,
          slice.failed,
          slice.bytes,
          slice.response.percentile_ns(50),
          slice.response.percentile_ns(95),
          slice.response.percentile_ns(99),
          slice.response.max_ns()};
}

Report empty_report(const RecorderOptions& options) {
  Report report(options.highest_ns);
  for (const std::string& name : options.kinds) {
    report.kinds.push_back({name, 0, 0, 0, metrics::Histogram(3, options.highest_ns)});
  }
  return report;
}

}  // namespace

Totals::Totals(RecorderOptions options, int threads)
    : options_(std::move(options)),
      report_(empty_report(options_)),
      next_second_(static_cast<std::size_t>(threads), 0),
      shown_(static_cast<std::size_t>(threads)) {}

void Totals::close_complete_seconds() {
  const std::int64_t open = *std::min_element(next_second_.begin(), next_second_.end());
  while (!pending_.empty() && static_cast<std::int64_t>(report_.seconds.size()) < open) {
    report_.seconds.push_back(point_of(pending_.front()));
    if (options_.relays) relayed_.push_back(std::move(pending_.front()));
    pending_.pop_front();
  }
}

void Totals::pour(int thread, std::int64_t second, const Slice& slice, const Report* of_thread) {
  const MutexLock lock(mutex_);
  if (of_thread != nullptr) {
    shown_[static_cast<std::size_t>(thread)] = {of_thread->kinds, of_thread->errors};
  }
  report_.response.merge(slice.response);
  report_.successful += slice.successful;
  report_.failed += slice.failed;
  report_.bytes_received += slice.bytes;
  const auto index = static_cast<std::size_t>(second) - report_.seconds.size();
  while (pending_.size() <= index) pending_.emplace_back(options_.highest_ns);
  Slice& pending = pending_[index];
  pending.response.merge(slice.response);
  pending.successful += slice.successful;
  pending.failed += slice.failed;
  pending.bytes += slice.bytes;
  next_second_[static_cast<std::size_t>(thread)] = second + 1;
  close_complete_seconds();
}

void Totals::finish(int thread, const Report& of_thread, std::vector<Quiet> quiets,
                    Instant measure_from, Instant closed_at) {
  const MutexLock lock(mutex_);
  silence_.quiets = finished_ == 0 ? std::move(quiets) : common(silence_.quiets, quiets);
  silence_.measure_from = std::min(silence_.measure_from, measure_from);
  const bool later = options_.apart && finished_ > 0;
  silence_.closed_at =
      later ? std::max(silence_.closed_at, closed_at) : std::min(silence_.closed_at, closed_at);
  if (++finished_ == shown_.size()) {
    report_.gaps = gaps_of(silence_.quiets, silence_.measure_from, silence_.closed_at);
  }
  next_second_[static_cast<std::size_t>(thread)] = INT64_MAX;
  close_complete_seconds();
  report_.in_time += of_thread.in_time;
  report_.not_sent += of_thread.not_sent;
  report_.abandoned += of_thread.abandoned;
  report_.warmup += of_thread.warmup;
  report_.waited_for_user += of_thread.waited_for_user;
  report_.last_due_ns = std::max(report_.last_due_ns, of_thread.last_due_ns);
  report_.last_sent_ns = std::max(report_.last_sent_ns, of_thread.last_sent_ns);
  report_.reconnects += of_thread.reconnects;
  report_.parked_users += of_thread.parked_users;
  report_.bytes_sent += of_thread.bytes_sent;
  report_.elapsed_ns = std::max(report_.elapsed_ns, of_thread.elapsed_ns);
  report_.busy_ns += of_thread.busy_ns;
  report_.think_ns += of_thread.think_ns;
  report_.generator_cpu_ns = std::max(report_.generator_cpu_ns, of_thread.generator_cpu_ns);
  report_.service.merge(of_thread.service);
  report_.send_lag.merge(of_thread.send_lag);
  report_.late.merge(of_thread.late);
  report_.first_byte.merge(of_thread.first_byte);
  report_.connect.merge(of_thread.connect);
  if (report_.generator_limit.empty()) report_.generator_limit = of_thread.generator_limit;
  add_kinds(report_, of_thread.kinds, of_thread.errors);
  report_.examples.insert(of_thread.examples.begin(), of_thread.examples.end());
  shown_[static_cast<std::size_t>(thread)] = {};
}

Report Totals::report() const {
  const MutexLock lock(mutex_);
  Report report = report_;
  for (const Slice& slice : pending_) report.seconds.push_back(point_of(slice));
  for (const Shown& shown : shown_) add_kinds(report, shown.kinds, shown.errors);
  return report;
}

Relayed Totals::take() {
  const MutexLock lock(mutex_);
  Relayed taken{std::move(relayed_), report_.errors};
  relayed_.clear();
  for (const Shown& shown : shown_) {
    for (const auto& [kind, times] : shown.errors) add_error(taken.errors, kind, times);
  }
  return taken;
}

Silence Totals::silence() const {
  const MutexLock lock(mutex_);
  return silence_;
}

Recorder::Recorder(std::shared_ptr<Totals> totals, int thread, Instant measure_from,
                   Instant planned_end)
    : totals_(std::move(totals)),
      thread_(thread),
      measure_from_(measure_from),
      planned_end_(planned_end),
      open_model_(totals_->options().open_model),
      keep_first_byte_(totals_->options().first_byte),
      second_end_(measure_from + kSecond),
      last_done_(measure_from),
      quiet_from_(measure_from),
      closed_at_(planned_end),
      slice_(totals_->options().highest_ns),
      own_(empty_report(totals_->options())) {
  quiets_.reserve(kMostQuiets);
}

void Recorder::time(const Sample& sample) noexcept {
  const Duration response = sample.done - sample.intended;
  slice_.response.record(response);
  own_.kinds[sample.kind].response.record(response);
  if (open_model_) own_.service.record(sample.done - sample.sent);
  if (keep_first_byte_ && sample.first_byte_ns >= 0) own_.first_byte.record(sample.first_byte_ns);
}

void Recorder::started(Instant now) noexcept {
  if (in_flight_++ > 0) return;
  if (idle_from_ != kNever && now - idle_from_ >= kShortestRest) {
    keep_quiet(idle_from_);
    quiet_from_ = idle_from_;
    waiting_from_ = kNever;
    timed_out_ = 0;
    paused_ns_ = 0;
  }
  idle_from_ = kNever;
  if (waiting_from_ == kNever) waiting_from_ = now;
}

void Recorder::keep_quiet(Instant to) noexcept {
  const Instant from = std::max(quiet_from_, measure_from_);
  if (to - from < kShortestGap || paused_ns_ > (to - from) / 2) return;
  if (quiets_.size() == kMostQuiets) drop_the_shorter_half(quiets_);
  quiets_.push_back({from, to, waiting_from_, in_flight_ + timed_out_});
}

void Recorder::ended(Instant done, bool answered) noexcept {
  if (answered) {
    if (done - quiet_from_ >= kShortestGap) keep_quiet(done);
    quiet_from_ = done;
    timed_out_ = 0;
    paused_ns_ = 0;
  } else {
    ++timed_out_;
  }
  if (in_flight_ > 0) --in_flight_;
  if (answered) {
    waiting_from_ = in_flight_ > 0 ? done : kNever;
  } else if (in_flight_ == 0) {
    idle_from_ = done;
  }
}

void Recorder::success(const Sample& sample) noexcept {
  ended(sample.done, true);
  if (sample.sent < measure_from_) {
    ++own_.warmup;
    return;
  }
  time(sample);
  ++slice_.successful;
  slice_.bytes += sample.bytes;
  KindReport& kind = own_.kinds[sample.kind];
  ++kind.successful;
  kind.bytes += sample.bytes;
  if (sample.done <= planned_end_) ++own_.in_time;
  own_.busy_ns += sample.done - sample.sent;
  last_done_ = sample.done;
}

void Recorder::failure(const Sample& sample, std::string_view error, bool timed_out,
                       std::string_view example) {
  ended(sample.done, !timed_out);
  if (sample.sent < measure_from_) {
    ++own_.warmup;
    return;
  }
  if (timed_out) time(sample);
  ++slice_.failed;
  slice_.bytes += sample.bytes;
  KindReport& kind = own_.kinds[sample.kind];
  ++kind.failed;
  kind.bytes += sample.bytes;
  add_error(own_.errors, error, 1);
  if (!example.empty() && own_.errors.contains(error))
    own_.examples.try_emplace(std::string(error), example);
  own_.busy_ns += sample.done - sample.sent;
  last_done_ = sample.done;
}

void Recorder::pour_slice() {
  totals_->pour(thread_, second_, slice_, totals_->options().live_kinds ? &own_ : nullptr);
  slice_.response.reset();
  slice_.successful = slice_.failed = slice_.bytes = 0;
  ++second_;
  second_end_ += kSecond;
}

void Recorder::roll(Instant now) {
  while (now >= second_end_ && second_end_ < planned_end_) pour_slice();
}

void Recorder::finish(Instant now) {
  Instant end = own_.abandoned > 0 ? std::max(now, last_done_) : last_done_;
  if (now >= planned_end_) end = std::max(end, planned_end_);
  roll(end);
  pour_slice();
  own_.elapsed_ns = end - measure_from_;
  // The last quiet time, with who still waits; afterwards this thread is no obstacle to a gap.
  const Instant waited_until = in_flight_ > 0 ? now : std::min(now, idle_from_);
  const Instant watched = std::max(std::min(waited_until, closed_at_), quiet_from_);
  const bool waits = in_flight_ > 0 || idle_from_ != kNever;
  if (waits) keep_quiet(watched);
  const Instant silent_from = std::max(waits ? watched : quiet_from_, measure_from_);
  quiets_.push_back({silent_from, kNever, kNever, 0});
  totals_->finish(thread_, own_, std::move(quiets_), measure_from_, closed_at_);
}

}  // namespace mcp::loadtest

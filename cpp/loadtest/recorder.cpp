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
    pending_.pop_front();
  }
}

void Totals::pour(int thread, std::int64_t second, const Slice& slice) {
  const MutexLock lock(mutex_);
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

void Totals::finish(int thread, const Report& of_thread) {
  const MutexLock lock(mutex_);
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
  report_.first_byte.merge(of_thread.first_byte);
  report_.connect.merge(of_thread.connect);
  if (report_.generator_limit.empty()) report_.generator_limit = of_thread.generator_limit;
  add_kinds(report_, of_thread.kinds, of_thread.errors);
  shown_[static_cast<std::size_t>(thread)] = {};
}

void Totals::show(int thread, const Report& of_thread) {
  const MutexLock lock(mutex_);
  shown_[static_cast<std::size_t>(thread)] = {of_thread.kinds, of_thread.errors};
}

Report Totals::report() const {
  const MutexLock lock(mutex_);
  Report report = report_;
  for (const Slice& slice : pending_) report.seconds.push_back(point_of(slice));
  for (const Shown& shown : shown_) add_kinds(report, shown.kinds, shown.errors);
  return report;
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
      slice_(totals_->options().highest_ns),
      own_(empty_report(totals_->options())) {}

void Recorder::time(const Sample& sample) noexcept {
  const Duration response = sample.done - sample.intended;
  slice_.response.record(response);
  own_.kinds[sample.kind].response.record(response);
  if (open_model_) own_.service.record(sample.done - sample.sent);
  if (keep_first_byte_ && sample.first_byte_ns >= 0) own_.first_byte.record(sample.first_byte_ns);
}

void Recorder::success(const Sample& sample) noexcept {
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

void Recorder::failure(const Sample& sample, std::string_view error, bool timed_out) {
  if (sample.sent < measure_from_) {
    ++own_.warmup;
    return;
  }
  if (timed_out) time(sample);
  ++slice_.failed;
  slice_.bytes += sample.bytes;
  ++own_.kinds[sample.kind].failed;
  add_error(own_.errors, error, 1);
  own_.busy_ns += sample.done - sample.sent;
  last_done_ = sample.done;
}

void Recorder::pour_slice() {
  totals_->pour(thread_, second_, slice_);
  if (totals_->options().live_kinds) totals_->show(thread_, own_);
  slice_.response.reset();
  slice_.successful = slice_.failed = slice_.bytes = 0;
  ++second_;
  second_end_ += kSecond;
}

void Recorder::roll(Instant now) {
  while (now >= second_end_) pour_slice();
}

void Recorder::finish(Instant now) {
  const Instant end = own_.abandoned > 0 ? std::max(now, last_done_) : last_done_;
  roll(end);
  pour_slice();
  own_.elapsed_ns = end - measure_from_;
  totals_->finish(thread_, own_);
}

}  // namespace mcp::loadtest

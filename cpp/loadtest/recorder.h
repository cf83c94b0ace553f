// recorder.h: from requests to figures, in bounded memory for any number of requests. Each
// generator thread has a Recorder of its own, which nothing else touches; once a second it pours
// that second into the Totals that all share. A percentile of a second or of the run is therefore
// that of all threads together. So is a gap: each recorder keeps its own times without a
// completion, and the Totals what they have in common while users wait.
//
// A run of several processes is the same once more: each has Totals that relay, and what they have
// taken in goes on into the Totals of the whole run, to which a process is what a thread is here.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "loadtest/report.h"

namespace mcp::loadtest {

// One answered (or timed out) request.
struct Sample {
  std::uint32_t kind;  // of the scenario
  Instant intended;    // when it was due; `sent` in a closed model
  Instant sent;
  Instant done;
  Duration first_byte_ns;  // from `sent`; negative: not known
  std::uint64_t bytes;
};

struct RecorderOptions {
  std::vector<std::string> kinds;  // names of the scenario's requests
  Duration highest_ns = metrics::Histogram::kDefaultHighest;
  bool open_model = false;  // response and service time are kept apart
  bool first_byte = false;
  bool live_kinds = false;  // report() has the kinds and errors of complete seconds meanwhile
  bool relays = false;      // complete seconds wait for take()
  bool apart = false;       // each recorder has a budget of its own, and ends when that is spent
};

// A time in which one thread saw no request end, but for timeouts.
struct Quiet {
  Instant from;
  Instant to;
  Instant waiting_from;  // since when a request was in flight; kNever: none was
  std::uint64_t caught;  // requests that were in flight at its end, or timed out in it
};

// The error of what had no answer when the run was over.
inline constexpr std::string_view kUnanswered = "no answer by the end of the run";

// Shorter ones are not looked at.
inline constexpr Duration kShortestGap = 100 * kMillisecond;

// What the threads of one second have recorded.
struct Slice {
  explicit Slice(Duration highest_ns) : response(3, highest_ns) {}
  metrics::Histogram response;
  std::uint64_t successful = 0;
  std::uint64_t failed = 0;
  std::uint64_t bytes = 0;
};

// What is to go on into the Totals of the whole run.
struct Relayed {
  std::vector<Slice> slices;  // complete seconds, from the one after the last that were taken
  ErrorCounts errors;         // so far, if live_kinds
};

// What the recorders had in common, once all have finished.
struct Silence {
  std::vector<Quiet> quiets;
  Instant measure_from = kNever;
  Instant closed_at = kNever;
};

// Shared by the recorders of a run. Safe from any thread. Its mutex is a leaf.
class Totals {
 public:
  // `threads` recorders, numbered from 0, pour every second of theirs in order and then finish.
  Totals(RecorderOptions options, int threads);

  // `of_thread`: the thread's figures so far, for report() until it has finished; null: none.
  void pour(int thread, std::int64_t second, const Slice& slice, const Report* of_thread = nullptr)
      EXCLUDES(mutex_);
  // `quiets` in order; nobody was to send anything from `closed_at` on.
  void finish(int thread, const Report& of_thread, std::vector<Quiet> quiets, Instant measure_from,
              Instant closed_at) EXCLUDES(mutex_);
  // The run so far: complete seconds while it goes on, everything after each recorder has finished.
  [[nodiscard]] Report report() const EXCLUDES(mutex_);
  // The complete seconds that nobody has taken yet.
  [[nodiscard]] Relayed take() EXCLUDES(mutex_);
  [[nodiscard]] Silence silence() const EXCLUDES(mutex_);

  [[nodiscard]] const RecorderOptions& options() const noexcept { return options_; }

  // Requests that have ended, right now.
  std::atomic<std::uint64_t> completed{0};
  std::atomic<std::uint64_t> failures{0};

 private:
  void close_complete_seconds() REQUIRES(mutex_);

  const RecorderOptions options_;
  mutable Mutex mutex_;
  Report report_ GUARDED_BY(mutex_);
  // Seconds from report_.seconds.size() on, which some thread has not poured yet.
  std::deque<Slice> pending_ GUARDED_BY(mutex_);
  // The second that each thread pours next; INT64_MAX once it has finished.
  std::vector<std::int64_t> next_second_ GUARDED_BY(mutex_);
  struct Shown {
    std::vector<KindReport> kinds;
    ErrorCounts errors;
  };
  std::vector<Shown> shown_ GUARDED_BY(mutex_);  // by thread; empty once it has finished
  std::vector<Slice> relayed_ GUARDED_BY(mutex_);
  // Of the threads that have finished.
  Silence silence_ GUARDED_BY(mutex_);
  std::size_t finished_ GUARDED_BY(mutex_) = 0;
};

// Thread-compatible. Takes the mutex of Totals once a second.
class Recorder {
 public:
  Recorder(std::shared_ptr<Totals> totals, int thread, Instant measure_from, Instant planned_end);

  // A request is under way. Ends as a success, as a failure, or withdrawn: it never went out.
  void started(Instant now) noexcept;
  void withdrawn() noexcept { --in_flight_; }
  // From here on a user that is free has nothing more to send.
  void retired(Instant now) noexcept { closed_at_ = std::min(closed_at_, now); }
  // The generator itself did not run for a while: a gap that is this for the most part is none.
  void paused(Duration took_ns) noexcept { paused_ns_ += took_ns; }
  // How late something planned was looked at.
  void looked_late(Duration late_ns) noexcept { own_.late.record(late_ns); }

  // Samples and failures that started before `measure_from` are warm-up.
  void success(const Sample& sample) noexcept;
  // An end without a usable answer. `timed_out` samples count in the histograms, at their time.
  // `example`: what it looked like, kept of the first of its kind.
  void failure(const Sample& sample, std::string_view error, bool timed_out,
               std::string_view example = {});
  void connected(Duration took_ns) noexcept { own_.connect.record(took_ns); }
  void sent_late(Duration lag_ns) noexcept { own_.send_lag.record(lag_ns); }

  // Pours the seconds that have ended by `now`. The last one of a planned run takes whatever ends
  // after it.
  void roll(Instant now);
  [[nodiscard]] Instant next_roll() const noexcept {
    return second_end_ < planned_end_ ? second_end_ : kNever;
  }
  // Pours what is left. The run lasted until its planned end, if it came so far, or its last
  // completion, or until `now` if requests were abandoned. The recorder is of no use afterwards.
  void finish(Instant now);

  // Counters that the generator adds to directly.
  [[nodiscard]] Report& own() noexcept { return own_; }

 private:
  void time(const Sample& sample) noexcept;
  void ended(Instant done, bool answered) noexcept;
  void keep_quiet(Instant to) noexcept;
  void pour_slice();

  std::shared_ptr<Totals> totals_;
  const int thread_;
  const Instant measure_from_;
  const Instant planned_end_;
  const bool open_model_;
  const bool keep_first_byte_;
  Instant second_end_;
  Instant last_done_;
  std::int64_t second_ = 0;
  std::uint64_t in_flight_ = 0;
  Instant quiet_from_;             // the last completion
  Instant waiting_from_ = kNever;  // since when, in this quiet time, a request was in flight
  Instant idle_from_ = kNever;     // the timeout that left nothing in flight
  std::uint64_t timed_out_ = 0;    // in this quiet time
  Duration paused_ns_ = 0;         // likewise
  Instant closed_at_;
  std::vector<Quiet> quiets_;
  Slice slice_;
  Report own_;
};

}  // namespace mcp::loadtest

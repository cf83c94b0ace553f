// recorder.h: from requests to figures, in bounded memory for any number of requests. Each
// generator thread has a Recorder of its own, which nothing else touches; once a second it pours
// that second into the Totals that all share. A percentile of a second or of the run is therefore
// that of all threads together.
#pragma once

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
};

// What the threads of one second have recorded.
struct Slice {
  explicit Slice(Duration highest_ns) : response(3, highest_ns) {}
  metrics::Histogram response;
  std::uint64_t successful = 0;
  std::uint64_t failed = 0;
  std::uint64_t bytes = 0;
};

// Shared by the recorders of a run. Safe from any thread. Its mutex is a leaf.
class Totals {
 public:
  // `threads` recorders, numbered from 0, pour every second of theirs in order and then finish.
  Totals(RecorderOptions options, int threads);

  void pour(int thread, std::int64_t second, const Slice& slice) EXCLUDES(mutex_);
  void finish(int thread, const Report& of_thread) EXCLUDES(mutex_);
  // What report() says of a thread's kinds and errors until it has finished.
  void show(int thread, const Report& of_thread) EXCLUDES(mutex_);
  // The run so far: complete seconds while it goes on, everything after each recorder has finished.
  [[nodiscard]] Report report() const EXCLUDES(mutex_);

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
};

// Thread-compatible. Takes the mutex of Totals once a second.
class Recorder {
 public:
  Recorder(std::shared_ptr<Totals> totals, int thread, Instant measure_from, Instant planned_end);

  // Samples and failures that started before `measure_from` are warm-up.
  void success(const Sample& sample) noexcept;
  // An end without a usable answer. `timed_out` samples count in the histograms, at their time.
  void failure(const Sample& sample, std::string_view error, bool timed_out);
  void connected(Duration took_ns) noexcept { own_.connect.record(took_ns); }
  void sent_late(Duration lag_ns) noexcept { own_.send_lag.record(lag_ns); }

  // Pours the seconds that have ended by `now`.
  void roll(Instant now);
  [[nodiscard]] Instant next_roll() const noexcept { return second_end_; }
  // Pours what is left. The run lasted until its last completion, or until `now` if requests were
  // abandoned. The recorder is of no use afterwards.
  void finish(Instant now);

  // Counters that the generator adds to directly.
  [[nodiscard]] Report& own() noexcept { return own_; }

 private:
  void time(const Sample& sample) noexcept;
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
  Slice slice_;
  Report own_;
};

}  // namespace mcp::loadtest

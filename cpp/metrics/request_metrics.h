// request_metrics.h: response times by method, route and status, times of other operations by name,
// and how late the event loop was, in bounded memory; of this process, or of all workers of a
// service.
//
// Safe from any thread; one leaf mutex, held for a few dozen nanoseconds. Looks take no lock that a
// request waits for. A forked child takes a slot of its own in the segment that its parent had
// joined. Invariants: at most kMaxSeries series of requests, kMaxStatements of statements and
// kMaxOperations of other operations, whatever is asked for; the sum over the series is the number
// of requests. active() is the number of begin() without their end().
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/fork_mutex.h"
#include "base/mutex.h"
#include "metrics/histogram.h"
#include "metrics/segment.h"
#include "metrics/slot.h"
#include "metrics/slot_writer.h"

namespace mcp::metrics {

using RequestLabels = SeriesLabels;

// A row that was published, in the slot that was written then.
struct RowHandle {
  std::uint64_t slot = 0;
  std::size_t row = SlotWriter::kNoRow;

  [[nodiscard]] bool exists() const noexcept { return row != SlotWriter::kNoRow; }
  bool operator==(const RowHandle&) const = default;
};

class RequestMetrics {
 public:
  static constexpr std::size_t kMaxSeries = Slot::kDeclared + Slot::kStray;
  static constexpr std::size_t kMaxOperations = Slot::kOperations;
  static constexpr std::size_t kMaxStatements = Slot::kStatements;
  static constexpr std::string_view kOther = kOtherLabel;
  static constexpr std::string_view kUnmatched = kUnmatchedLabel;
  // The last minute, kept in slices that are dropped one by one.
  static constexpr std::size_t kSlices = Slot::kSlices;
  static constexpr Duration kSliceLength = SlotWriter::kSliceLength;

  using Series = SeriesFigures;

  struct Snapshot {
    std::vector<Series> series;
    std::vector<Series> operations;
    Histogram total{kDigits};  // all requests since the start
    Histogram last_minute{kDigits};
    std::uint64_t errors = 0;  // requests that failed, see SeriesLabels::failed()
    std::uint64_t last_minute_errors = 0;
    Duration last_minute_length_ns = 0;  // how much of the last minute has been watched
    std::int64_t active = 0;
    std::uint64_t folded = 0;  // series that made room for others
    Histogram lag{kDigits};    // of the event loop, the last minute
  };

  explicit RequestMetrics(Instant start);
  ~RequestMetrics();
  RequestMetrics(const RequestMetrics&) = delete;
  RequestMetrics& operator=(const RequestMetrics&) = delete;

  void begin() noexcept {
    if (has_forked()) rejoin();
    slot_.load(std::memory_order_acquire)->active.fetch_add(1, std::memory_order_relaxed);
  }
  // Takes a begin() back: the request is none of those that count.
  void discard() noexcept {
    if (has_forked()) rejoin();
    slot_.load(std::memory_order_acquire)->active.fetch_sub(1, std::memory_order_relaxed);
  }
  // For labels of the kind kOperation there is no begin().
  void end(const SeriesLabels& labels, const RequestTimes& times, Instant now) EXCLUDES(mutex_);
  // How long after its time a timer of the event loop ran.
  void record_lag(Duration lag_ns, Instant now) EXCLUDES(mutex_);
  // Figures of something else, for all workers to see.
  RowHandle publish(const RowFigures& row) EXCLUDES(mutex_);
  // Sets some values of a row; false if another slot is written by now.
  bool update(const RowHandle& handle, std::span<const std::uint8_t> places,
              std::span<const double> values) EXCLUDES(mutex_);

  // Counts in the segment from now on, together with what was counted before. Throws Error, and
  // then goes on as before.
  void join(const std::filesystem::path& path, Instant now) EXCLUDES(mutex_);
  // The number of the slot in the segment; -1 without one.
  [[nodiscard]] int worker() const EXCLUDES(mutex_);

  // What this process, or each worker of its segment, has counted.
  [[nodiscard]] std::vector<WorkerFigures> read() EXCLUDES(mutex_);
  // The sum of what read() gave.
  [[nodiscard]] static Snapshot sum(const std::vector<WorkerFigures>& workers, Instant now);
  [[nodiscard]] Snapshot snapshot(Instant now) { return sum(read(), now); }
  [[nodiscard]] std::int64_t active() const noexcept {
    return slot_.load(std::memory_order_acquire)->active.load(std::memory_order_relaxed);
  }

 private:
  struct Free {
    void operator()(Slot* slot) const noexcept { std::free(slot); }
  };

  [[nodiscard]] bool has_forked() const noexcept;
  void rejoin() noexcept NO_THREAD_SAFETY_ANALYSIS;
  void count_in(Slot& slot) REQUIRES(mutex_);

  std::atomic<std::uint32_t> joined_;  // the process generation; kAlone without a segment
  std::unique_ptr<Slot, Free> own_;    // of zeros, and used until a segment is joined
  mutable ForkMutex mutex_;            // a leaf
  std::shared_ptr<Segment> segment_ GUARDED_BY(mutex_);
  std::unique_ptr<SlotWriter> writer_ GUARDED_BY(mutex_);
  std::atomic<Slot*> slot_;                     // what writer_ writes
  std::uint64_t slots_ GUARDED_BY(mutex_) = 0;  // how many were written, this one too
};

}  // namespace mcp::metrics

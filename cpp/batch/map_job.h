// map_job.h: one function over many items, by as many threads as the function deserves.
//
// The job knows items by their number only: what they are, and what becomes of them, is the
// MapWork's. It hands out chunks, watches what they cost, tells computing from waiting, and brings
// in threads accordingly: the blocking pool's one after the other while the work waits, TBB's when
// it computes, none beyond the first when the rest is done in no time. Where the threads only take
// turns at a lock, one does the work alone. A scout, one more thread of the pool, looks on while
// this is not clear, or one works alone, and joins when the others are stuck.
//
// Safe from any thread. Lock order: MapJob before BlockingPool. MapWork runs and is told of events
// with no lock held.
// Invariants: every item is run at most once; the end is final, and then no thread is inside run().
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "batch/blocking_pool.h"
#include "batch/chunk_sizer.h"
#include "batch/cpu_runner.h"
#include "batch/turn_probe.h"
#include "batch/work_kind.h"

namespace mcp::batch {

class MapJob;

// Measures one chunk. Used by one thread.
class RunMeter {
 public:
  // `alone`: threads would only take turns at a lock, so that this one does the work by itself.
  // `slice`: items after which it should let go of that lock for a moment.
  RunMeter(MapJob& job, bool first, bool alone, std::size_t slice);
  [[nodiscard]] bool alone() const noexcept { return alone_; }
  [[nodiscard]] std::size_t slice() const noexcept { return slice_; }
  // The work itself begins: what came before (waiting for a lock) is not its cost.
  void begin();
  // It ended, after this many items.
  void end(std::size_t items);

 private:
  friend class MapJob;
  MapJob& job_;
  bool first_;
  bool alone_;
  std::size_t slice_;
  Duration delay_before_ns_;
  Instant created_at_;
  std::uint64_t sleeps_ = 0;
  Instant began_at_ = 0;
  Duration cpu_began_ns_ = 0;
  Duration wall_ns_ = 0;
  Duration cpu_ns_ = 0;
  Duration wait_ns_ = 0;
  std::size_t items_ = 0;
};

class MapWork {
 public:
  virtual ~MapWork() = default;
  // Runs items [begin, end) in this order, fewer when `stopped` turns true or it has taken long
  // already. Calls meter.begin() and meter.end() once each. What was not run is handed out again.
  virtual void run(std::size_t begin, std::size_t end, const std::atomic<bool>& stopped,
                   RunMeter& meter) = 0;
  // The job has reached the mark of notify_at(), or ended.
  virtual void on_event() noexcept = 0;
};

struct MapOptions {
  WorkKind kind = WorkKind::kMeasured;
  unsigned concurrency = 1;    // threads inside run() at most
  std::size_t chunk_size = 0;  // 0: by measurement
};

struct MapStats {
  std::size_t finished = 0;   // items
  std::size_t runs = 0;       // chunks
  unsigned most_workers = 0;  // at a time
  WorkKind kind = WorkKind::kMeasured;
  Duration work_ns = 0;  // inside the work, over all threads
  Duration cpu_ns = 0;   // of that, on a processor
  Duration wait_ns = 0;  // before the work could begin, though a processor was free
};

class MapJob : public std::enable_shared_from_this<MapJob> {
 public:
  // `cpu` may be null: functions that compute then run on the pool too.
  MapJob(MapOptions options, std::shared_ptr<BlockingPool> pool, std::shared_ptr<CpuRunner> cpu,
         std::shared_ptr<MapWork> work);

  // `count` more items may be run. Throws std::system_error when there is no thread to run them.
  void add(std::size_t count);
  // No more will follow.
  void close_input();
  // Nothing more is started; what runs is let finish. Idempotent.
  void stop();
  // One on_event() when this many items are finished, or the job has ended; at once if so already.
  void notify_at(std::size_t finished);

  [[nodiscard]] bool ended() const;
  [[nodiscard]] MapStats stats() const;

 private:
  friend class RunMeter;
  struct Range {
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  void work_on_pool();
  bool work_on_cpu_runner();
  void scout();
  bool look_on() REQUIRES(mutex_);
  bool resubmit(void (MapJob::*task)());
  bool run_one(bool on_cpu_runner);
  bool take(bool on_cpu_runner, Range& range) REQUIRES(mutex_);
  void finish(Range range, const RunMeter& meter);
  void record_turn(const RunMeter& meter, bool beside_others) REQUIRES(mutex_);
  void bring_in_threads() REQUIRES(mutex_);
  void start_on_pool() REQUIRES(mutex_);
  void start_on_cpu_runner() REQUIRES(mutex_);
  void start_scout() REQUIRES(mutex_);
  void observe_first_chunk() REQUIRES(mutex_);
  [[nodiscard]] bool cpu_runner_wanted() const REQUIRES(mutex_);
  [[nodiscard]] unsigned most_threads() const REQUIRES(mutex_);
  [[nodiscard]] bool worth_another() const REQUIRES(mutex_);
  [[nodiscard]] std::size_t remaining() const REQUIRES(mutex_);
  [[nodiscard]] bool is_over() const REQUIRES(mutex_);
  [[nodiscard]] bool take_event() REQUIRES(mutex_);

  const MapOptions options_;
  const std::shared_ptr<BlockingPool> pool_;
  const std::shared_ptr<CpuRunner> cpu_;
  const std::shared_ptr<MapWork> work_;
  std::atomic<bool> stopped_{false};

  mutable Mutex mutex_;
  CondVar evidence_;  // a scout waits here for the first chunk
  ChunkSizer sizer_ GUARDED_BY(mutex_);
  KindProbe probe_ GUARDED_BY(mutex_);
  TurnProbe turns_ GUARDED_BY(mutex_);
  Instant alone_since_ GUARDED_BY(mutex_) = 0;
  Instant finished_at_ GUARDED_BY(mutex_) = 0;  // the latest chunk
  std::size_t added_ GUARDED_BY(mutex_) = 0;
  std::size_t next_ GUARDED_BY(mutex_) = 0;         // the first item not handed out yet
  std::vector<Range> returned_ GUARDED_BY(mutex_);  // handed out, and given back
  std::size_t finished_ GUARDED_BY(mutex_) = 0;
  unsigned running_ GUARDED_BY(mutex_) = 0;        // chunks
  unsigned on_pool_ GUARDED_BY(mutex_) = 0;        // threads of the pool, running or queued
  unsigned on_cpu_runner_ GUARDED_BY(mutex_) = 0;  // chains of the runner
  bool scouting_ GUARDED_BY(mutex_) = false;
  bool input_closed_ GUARDED_BY(mutex_) = false;
  bool end_told_ GUARDED_BY(mutex_) = false;
  std::size_t notify_at_ GUARDED_BY(mutex_) = 0;  // 0: nobody asked
  // The chunk that runs while the kind is not known. One at a time does.
  bool first_running_ GUARDED_BY(mutex_) = false;
  pthread_t first_thread_ GUARDED_BY(mutex_){};
  pid_t first_id_ GUARDED_BY(mutex_) = 0;
  Instant first_began_at_ GUARDED_BY(mutex_) = 0;
  Duration first_cpu_began_ns_ GUARDED_BY(mutex_) = 0;
  MapStats stats_ GUARDED_BY(mutex_);
};

}  // namespace mcp::batch

// map_job.cpp: deals the chunks of a map out to threads, and watches what they gain.
#include "batch/map_job.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "batch/run_delay.h"

namespace mcp::batch {
namespace {

// A rest that one thread is through in this time is not worth waking another.
constexpr Duration kWorthAnother_ns = 500 * kMicrosecond;
constexpr Duration kScoutWait_ns = KindProbe::kEvidence_ns;
constexpr Duration kLongestScoutWait_ns = kMillisecond;
// What a thread that works alone takes at once, and after what it lets others have the lock.
constexpr Duration kAloneTarget_ns = 8 * kMillisecond;
constexpr Duration kSlice_ns = 2 * kMillisecond;
// A scout gives its thread to others this often.
constexpr Duration kLook_ns = 5 * kMillisecond;
// A thread that works alone, and finishes nothing for this long, is stuck.
constexpr Duration kStuck_ns = 50 * kMillisecond;
// Whether threads still take turns is tried again this often.
constexpr Duration kAloneAtMost_ns = 250 * kMillisecond;
// A chain of the runner is not moved for so long while it works alone.
constexpr Duration kStay_ns = 50 * kMillisecond;

// How often the calling thread gave the processor away of its own accord.
std::uint64_t thread_sleeps() noexcept {
  rusage use{};
  getrusage(RUSAGE_THREAD, &use);
  return static_cast<std::uint64_t>(use.ru_nvcsw);
}

// Whether the thread waits for something else than a processor; so it is taken when in doubt.
bool is_asleep(pid_t thread) noexcept {
  char text[256];
  std::snprintf(text, sizeof text, "/proc/self/task/%d/stat", static_cast<int>(thread));
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(text, "re"), &std::fclose);
  if (file == nullptr || std::fgets(text, sizeof text, file.get()) == nullptr) return true;
  const char* after_name = std::strrchr(text, ')');
  return after_name == nullptr || after_name[1] == '\0' || after_name[2] != 'R';
}

}  // namespace

RunMeter::RunMeter(MapJob& job, bool first, bool alone, std::size_t slice)
    : job_(job),
      first_(first),
      alone_(alone),
      slice_(slice),
      delay_before_ns_(thread_run_delay()),
      created_at_(now_precise()) {}

void RunMeter::begin() {
  began_at_ = now_precise();
  // On a busy machine a thread gets a lock long before it gets a processor.
  const Duration delayed_ns = thread_run_delay() - delay_before_ns_;
  wait_ns_ = std::max<Duration>(0, began_at_ - created_at_ - delayed_ns);
  sleeps_ = thread_sleeps();
  cpu_began_ns_ = thread_cpu_time();
  if (!first_) return;
  const MutexLock lock(job_.mutex_);
  job_.first_running_ = true;
  job_.first_thread_ = pthread_self();
  job_.first_id_ = gettid();
  job_.first_began_at_ = began_at_;
  job_.first_cpu_began_ns_ = cpu_began_ns_;
}

void RunMeter::end(std::size_t items) {
  items_ = items;
  wall_ns_ = now_precise() - began_at_;
  cpu_ns_ = thread_cpu_time() - cpu_began_ns_;
  sleeps_ = thread_sleeps() - sleeps_;
}

MapJob::MapJob(MapOptions options, std::shared_ptr<BlockingPool> pool,
               std::shared_ptr<CpuRunner> cpu, std::shared_ptr<MapWork> work)
    : options_(options),
      pool_(std::move(pool)),
      cpu_(std::move(cpu)),
      work_(std::move(work)),
      sizer_(options.chunk_size),
      probe_(options.kind) {}

void MapJob::add(std::size_t count) {
  const MutexLock lock(mutex_);
  if (count == 0 || stopped_) return;
  added_ += count;
  bring_in_threads();
}

void MapJob::close_input() {
  bool event = false;
  {
    const MutexLock lock(mutex_);
    input_closed_ = true;
    event = take_event();
  }
  if (event) work_->on_event();
}

void MapJob::stop() {
  bool event = false;
  {
    const MutexLock lock(mutex_);
    stopped_.store(true);
    event = take_event();
    evidence_.notify_all();
  }
  if (event) work_->on_event();
}

void MapJob::notify_at(std::size_t finished) {
  bool event = false;
  {
    const MutexLock lock(mutex_);
    notify_at_ = std::max<std::size_t>(finished, 1);
    event = is_over() || take_event();
  }
  if (event) work_->on_event();
}

bool MapJob::ended() const {
  const MutexLock lock(mutex_);
  return is_over();
}

MapStats MapJob::stats() const {
  const MutexLock lock(mutex_);
  MapStats stats = stats_;
  stats.finished = finished_;
  stats.kind = probe_.kind();
  return stats;
}

std::size_t MapJob::remaining() const {
  std::size_t count = added_ - next_;
  for (const Range& range : returned_) count += range.end - range.begin;
  return count;
}

bool MapJob::is_over() const {
  return running_ == 0 && (stopped_ || (input_closed_ && finished_ == added_));
}

bool MapJob::take_event() {
  if (is_over() && !end_told_) {
    end_told_ = true;
    return true;
  }
  if (notify_at_ == 0 || finished_ < notify_at_) return false;
  notify_at_ = 0;
  return true;
}

bool MapJob::cpu_runner_wanted() const {
  return probe_.kind() == WorkKind::kCpu && options_.concurrency > 1 && cpu_ != nullptr &&
         cpu_->usable();
}

unsigned MapJob::most_threads() const {
  if (turns_.alone()) return 1;
  return cpu_runner_wanted() ? std::min(options_.concurrency, cpu_->concurrency())
                             : options_.concurrency;
}

// Whether the rest is long enough for one more thread, as far as can be told.
bool MapJob::worth_another() const {
  if (!sizer_.measured()) return probe_.kind() != WorkKind::kMeasured;
  if (probe_.kind() == WorkKind::kBlocking) return true;
  return sizer_.mean_ns() * static_cast<double>(remaining()) > kWorthAnother_ns;
}

void MapJob::bring_in_threads() {
  if (stopped_ || remaining() == 0) return;
  const bool nobody = on_pool_ + on_cpu_runner_ == 0;
  if (nobody) {
    cpu_runner_wanted() ? start_on_cpu_runner() : start_on_pool();
    return;
  }
  if (turns_.alone()) {
    if (options_.concurrency > 1) start_scout();
    return;
  }
  if (on_pool_ + on_cpu_runner_ >= most_threads()) return;
  try {
    if (probe_.kind() == WorkKind::kMeasured || !worth_another()) {
      start_scout();
    } else if (cpu_runner_wanted()) {
      start_on_cpu_runner();
    } else {
      start_on_pool();
    }
  } catch (const std::system_error&) {  // fewer threads do
  } catch (const Error&) {
  }
}

// Without one nobody works alone: it is the way out when that one is stuck.
void MapJob::start_scout() {
  if (scouting_) return;
  try {
    pool_->submit([job = shared_from_this()] { job->scout(); });
    scouting_ = true;
  } catch (const std::system_error&) {
    turns_.share();
  } catch (const Error&) {
    turns_.share();
  }
}

void MapJob::start_on_pool() {
  pool_->submit([job = shared_from_this()] { job->work_on_pool(); });
  ++on_pool_;
}

void MapJob::start_on_cpu_runner() {
  if (on_cpu_runner_ >= most_threads()) return;
  const unsigned more = most_threads() - on_cpu_runner_;
  try {
    cpu_->launch(more, [job = shared_from_this()] { return job->work_on_cpu_runner(); });
    on_cpu_runner_ += more;
  } catch (const std::system_error&) {
    if (on_pool_ + on_cpu_runner_ == 0) start_on_pool();
  }
}

void MapJob::work_on_pool() {
  while (run_one(false)) {
    if (pool_->has_waiting() && resubmit(&MapJob::work_on_pool)) return;
  }
}

// A stretch of a chain. Between two, the runner may move the chain to another thread.
bool MapJob::work_on_cpu_runner() {
  const Instant until = now_precise() + kStay_ns;
  for (;;) {
    if (!run_one(true)) return false;
    {
      const MutexLock lock(mutex_);
      if (!turns_.alone()) return true;
    }
    if (now_precise() >= until) return true;
  }
}

// Goes on later, behind those who wait for a thread. False when the pool is closing.
bool MapJob::resubmit(void (MapJob::*task)()) {
  try {
    pool_->submit([job = shared_from_this(), task] { (job.get()->*task)(); });
    return true;
  } catch (const Error&) {
    return false;
  }
}

void MapJob::scout() {
  {
    const MutexLock lock(mutex_);
    Duration wait_ns = kScoutWait_ns;
    bool stalled = false;
    while (!stopped_ && remaining() > 0 && !stalled) {
      if (turns_.alone() && look_on()) {
        if (resubmit(&MapJob::scout)) return;
        break;
      }
      if (probe_.kind() != WorkKind::kMeasured && worth_another()) break;
      const std::size_t finished = finished_;
      evidence_.wait_for(mutex_, wait_ns);
      observe_first_chunk();
      stalled = probe_.kind() != WorkKind::kMeasured && finished == finished_;
      wait_ns = std::min(2 * wait_ns, kLongestScoutWait_ns);
      if (!stalled && pool_->has_waiting()) {  // this job's own worker, maybe
        if (resubmit(&MapJob::scout)) return;
        break;
      }
    }
    scouting_ = false;
    if (stopped_ || remaining() == 0) return;
    if (cpu_runner_wanted()) {
      start_on_cpu_runner();
      return;
    }
    if (on_pool_ + on_cpu_runner_ >= most_threads()) return;
    ++on_pool_;
  }
  work_on_pool();
}

// Beside a thread that works alone: until the others may join again. True when somebody else waits
// for this thread of the pool.
bool MapJob::look_on() {
  while (!stopped_ && remaining() > 0 && turns_.alone()) {
    evidence_.wait_for(mutex_, kLook_ns);
    const Instant now = now_precise();
    const bool stuck = now - std::max(finished_at_, alone_since_) >= kStuck_ns;
    if (stuck || now - alone_since_ >= kAloneAtMost_ns) turns_.share();
    if (pool_->has_waiting()) return true;
  }
  return false;
}

void MapJob::observe_first_chunk() {
  if (!first_running_) return;
  clockid_t clock;
  if (pthread_getcpuclockid(first_thread_, &clock) != 0) return;
  const Duration cpu_ns = detail::read_clock(clock) - first_cpu_began_ns_;
  probe_.observe(now_precise() - first_began_at_, cpu_ns, is_asleep(first_id_));
}

// Runs one chunk. False when this thread, or chain, has nothing more to do for the job.
bool MapJob::run_one(bool on_cpu_runner) {
  Range range;
  bool first = false;
  bool alone = false;
  std::size_t slice = 0;
  {
    const MutexLock lock(mutex_);
    if (!take(on_cpu_runner, range)) {
      --(on_cpu_runner ? on_cpu_runner_ : on_pool_);
      return false;
    }
    first = probe_.kind() == WorkKind::kMeasured && running_ == 1;
    alone = turns_.alone();
    slice = sizer_.fitting(kSlice_ns);
  }
  RunMeter meter(*this, first, alone, slice);
  work_->run(range.begin, range.end, stopped_, meter);
  finish(range, meter);
  return true;
}

bool MapJob::take(bool on_cpu_runner, Range& range) {
  if (stopped_ || remaining() == 0) return false;
  if (turns_.alone() && running_ > 0) return false;
  if (!on_cpu_runner && cpu_runner_wanted() && on_cpu_runner_ > 0) return false;  // its turn now
  if (!returned_.empty()) {
    range = returned_.back();
    returned_.pop_back();
  } else {
    range = {next_, added_};
    next_ = added_;
  }
  const unsigned workers = std::max(1U, on_pool_ + on_cpu_runner_);
  const Duration target_ns = turns_.alone() ? kAloneTarget_ns : ChunkSizer::kTarget_ns;
  const std::size_t size = sizer_.next(range.end - range.begin, workers, target_ns);
  if (range.begin + size < range.end) {
    if (range.end == added_ && next_ == added_) {
      next_ = range.begin + size;
    } else {
      returned_.push_back({range.begin + size, range.end});
    }
    range.end = range.begin + size;
  }
  ++running_;
  stats_.most_workers = std::max(stats_.most_workers, running_);
  bring_in_threads();
  return true;
}

void MapJob::record_turn(const RunMeter& meter, bool beside_others) {
  if (meter.alone_) {
    stats_.wait_ns += meter.wall_ns_;  // another thread would have waited for so long
    const bool unwatched = options_.concurrency == 1;
    if (unwatched && finished_at_ - alone_since_ >= kAloneAtMost_ns) turns_.share();
  } else if (beside_others && !turns_.alone()) {
    turns_.record(meter.cpu_ns_, meter.wait_ns_, meter.sleeps_);
    if (turns_.alone()) alone_since_ = now_precise();
  }
}

void MapJob::finish(Range range, const RunMeter& meter) {
  bool event = false;
  {
    const MutexLock lock(mutex_);
    const bool beside_others = running_ > 1 || options_.concurrency == 1;  // of another job then
    --running_;
    if (meter.first_) first_running_ = false;
    finished_ += meter.items_;
    finished_at_ = meter.began_at_ + meter.wall_ns_;
    if (range.begin + meter.items_ < range.end) {
      returned_.push_back({range.begin + meter.items_, range.end});
      if (meter.items_ == 0) stopped_.store(true);  // the work refuses
    }
    sizer_.record(meter.items_, meter.wall_ns_);
    const WorkKind before = probe_.kind();
    probe_.record(meter.wall_ns_, meter.cpu_ns_, meter.sleeps_);
    record_turn(meter, beside_others);
    if (probe_.kind() != before || remaining() == 0) evidence_.notify_all();
    ++stats_.runs;
    stats_.work_ns += meter.wall_ns_;
    stats_.cpu_ns += meter.cpu_ns_;
    stats_.wait_ns += meter.wait_ns_;
    event = take_event();
  }
  if (event) work_->on_event();
}

}  // namespace mcp::batch

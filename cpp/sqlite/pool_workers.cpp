// pool_workers.cpp: the threads of a pool: workers, which run jobs, and the keeper of deadlines.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "sqlite/pool.h"
#include "sqlite/pool_errors.h"

namespace mcp::sqlite {
namespace {

// Of the worker that this thread is, if it is one: whether it counts in Pool::looking_.
thread_local bool* this_worker_looks = nullptr;

// So many pages of the WAL that a reader keeps from the database are worth a warning: 16 MiB
// mostly.
constexpr int kStarvedPages = 4096;

}  // namespace

void Pool::work() {
  Assignment assignment;
  bool looks = true;  // counted in looking_
  this_worker_looks = &looks;
  mutex_.lock();
  while (!stopping_) {
    if (pick(assignment)) {
      if (assignment.job->expects_long()) {
        looks = false;
        --looking_;
        wake_worker();
      }
      mutex_.unlock();
      run(assignment);
      mutex_.lock();
      if (!looks) ++looking_;
      looks = true;
      continue;
    }
    --looking_;
    ++sleeping_;
    while (wake_tokens_ == 0 && !stopping_) work_ready_.wait(mutex_);
    --sleeping_;
    if (wake_tokens_ > 0)
      --wake_tokens_;  // whoever woke this worker counted it as looking
    else
      ++looking_;
  }
  mutex_.unlock();
}

// Of the exception that is being handled, as the caller is told of it.
std::exception_ptr Pool::current_failure() {
  try {
    throw;
  } catch (const Stopped& stopped) {
    if (stopped.why != Stop::kDeadline) return std::current_exception();
    timeouts_.fetch_add(1);
    return std::make_exception_ptr(not_finished());
  } catch (...) {
    return std::current_exception();
  }
}

void Pool::run(Assignment& assignment) {
  Slot& slot = *assignment.slot;
  std::unique_ptr<Job> job = std::move(assignment.job);
  if (!assignment.of_lease && job->may_share_commit()) {
    if (std::unique_ptr<Job> second = take_sharer(slot)) {
      run_sharing(slot, std::move(job), std::move(second));
      return;
    }
  }
  auto after = assignment.of_lease ? Job::After::kLease : Job::After::kRelease;
  std::exception_ptr failure;
  try {
    after = attempt(slot, *job);
  } catch (const NeedsWriter&) {
    if (!assignment.of_lease && job->may_wait_for_writer()) {
      tidy(slot);
      job->access_ = Access::kWrite;
      {
        const MutexLock lock(mutex_);
        release(slot);
      }
      submit(std::move(job));
      return;
    }
    failure = job->may_wait_for_writer() ? std::current_exception()
                                         : std::make_exception_ptr(waits_for_itself());
  } catch (...) {
    failure = current_failure();
  }
  if (after == Job::After::kLease) {
    if (assignment.of_lease) {
      give_back_leased(slot);
    } else {
      lease(slot);
    }
    job->finish(std::move(failure));
    return;
  }
  Member only{std::move(job), std::move(failure), 0};
  leave(slot, {&only, 1});
}

Job::After Pool::attempt(Slot& slot, Job& job) {
  worker_runs_.fetch_add(1, std::memory_order_relaxed);
  if (job.operation().cancelled()) throw Stopped{Stop::kCancelled};
  if (slot.borrower == Borrower::kNone) connect(slot, job.operation());
  return job.run(slot);
}

// Gives the connection back and tells the callers, who need not wait for a checkpoint.
void Pool::leave(Slot& slot, std::span<Member> members) {
  const auto tell = [members] {
    for (Member& member : members) member.job->finish(std::move(member.failure));
  };
  tidy(slot);
  const bool checkpoints = checkpoint_due(slot);
  if (checkpoints) {
    tell();
    checkpoint(*slot.connection);
  }
  {
    const MutexLock lock(mutex_);
    release(slot);
  }
  if (!checkpoints) tell();
}

void Pool::checkpoint(Connection& connection) noexcept {
  const int starved = connection.checkpoint();
  wal_bytes_.store(static_cast<std::uint64_t>(connection.wal_frames()) *
                   static_cast<std::uint64_t>(connection.page_bytes()));
  if (starved <= kStarvedPages) return;
  starved_checkpoints_.fetch_add(1);
  logger("sqlite").warn("{} pages of the write-ahead log wait for an old reader to end", starved);
}

void Pool::on_slow(void* pool) {
  // A job that was expected to be short is not: whatever waits needs another worker.
  if (this_worker_looks == nullptr || !*this_worker_looks) return;
  auto& self = *static_cast<Pool*>(pool);
  const MutexLock lock(self.mutex_);
  *this_worker_looks = false;
  --self.looking_;
  self.wake_worker();
}

void Pool::keep_deadlines() {
  mutex_.lock();
  while (!stopping_) {
    const Instant now = now_precise();
    Failed late;
    Instant next = kNever;
    for (auto* queue : {&writes_, &reads_}) {
      for (auto at = queue->begin(); at != queue->end();) {
        if (at->job != nullptr && at->deadline <= now) {
          late.emplace_back(std::move(at->job), std::make_exception_ptr(no_connection()));
          at = queue->erase(at);
        } else {
          if (at->job != nullptr) next = std::min(next, at->deadline);
          ++at;
        }
      }
    }
    keeper_wakes_at_ = next;
    if (!late.empty()) {
      timeouts_.fetch_add(late.size());
      wake_worker();
      drain_if_closing();
      mutex_.unlock();
      finish_all(late);
      mutex_.lock();
      continue;
    }
    if (next == kNever)
      deadlines_changed_.wait(mutex_);
    else
      deadlines_changed_.wait_for(mutex_, next - now);
  }
  mutex_.unlock();
}

}  // namespace mcp::sqlite

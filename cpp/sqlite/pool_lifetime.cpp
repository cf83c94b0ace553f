// pool_lifetime.cpp: a pool that forks, drains, ends.
#include <algorithm>
#include <utility>

#include "base/thread.h"
#include "sqlite/pool.h"
#include "sqlite/pool_errors.h"

namespace mcp::sqlite {

bool Pool::pause_for_fork(Instant deadline) {
  // Closed without the lock: what init= has put on a connection may be anything.
  std::vector<std::unique_ptr<Connection>> unused;
  const bool all_unused = pause(deadline, unused);
  if (options_.database.memory) return true;  // in no file, and a copy in the child
  for (std::unique_ptr<Connection>& connection : unused) {
    connection = nullptr;
    open_count_.fetch_sub(1);
  }
  if (all_unused && opened_.exchange(false)) {
    freshness_.detach();
    file_.end();
  }
  return all_unused;
}

bool Pool::pause(Instant deadline, std::vector<std::unique_ptr<Connection>>& unused) {
  const MutexLock lock(mutex_);
  paused_ = true;
  const auto busy = [this]() REQUIRES(mutex_) {
    return std::any_of(slots_.begin(), slots_.end(), [](const auto& slot) {
      return slot->held_ && (!slot->leased_ || slot->running_);
    });
  };
  for (Instant now = now_precise(); busy() && now < deadline; now = now_precise()) {
    changed_.wait_for(mutex_, deadline - now);
  }
  if (options_.database.memory) return true;
  bool all_unused = true;
  for (const auto& slot : slots_) {
    if (slot->connection == nullptr) continue;
    if (slot->held_) {
      all_unused = false;
    } else {
      unused.push_back(std::move(slot->connection));
    }
  }
  return all_unused;
}

void Pool::resume_after_fork() {
  const MutexLock lock(mutex_);
  paused_ = false;
  wake_worker();
  changed_.notify_all();
}

void Pool::drain_if_closing() {
  changed_.notify_all();
  if (!closing_ || stopping_ || shut_ || held_ > 0 || !reads_.empty() || !writes_.empty()) return;
  shut_ = true;
  // On a thread of its own: the last connection to close may checkpoint, and the caller may be the
  // event loop.
  workers_.push_back(start_thread("mcp-sqlite-end", [this] {
    shut_connections();
    std::vector<std::function<void()>> callbacks;
    {
      const MutexLock lock(mutex_);
      stopping_ = true;
      work_ready_.notify_all();
      deadlines_changed_.notify_all();
      callbacks.swap(on_closed_);
    }
    for (auto& callback : callbacks) callback();
  }));
}

void Pool::shut_connections() {
  for (auto slot = slots_.rbegin(); slot != slots_.rend(); ++slot) (*slot)->connection = nullptr;
  open_count_.store(0);
  freshness_.detach();
}

void Pool::close(std::function<void()> done) {
  {
    const MutexLock lock(mutex_);
    if (!stopping_) {
      closing_ = true;
      closed_.store(true);
      on_closed_.push_back(std::move(done));
      drain_if_closing();
      return;
    }
  }
  done();
}

bool Pool::close_and_wait(const Operation& operation) {
  struct Closed {
    Mutex mutex;
    CondVar changed;
    bool done GUARDED_BY(mutex) = false;
  };
  const auto closed = std::make_shared<Closed>();  // it may be told after this has returned
  close([closed] {
    const MutexLock lock(closed->mutex);
    closed->done = true;
    closed->changed.notify_all();
  });
  const MutexLock lock(closed->mutex);
  while (!closed->done) {
    const Duration left = operation.deadline() - now_precise();
    if (left <= 0 || operation.cancelled()) return false;
    closed->changed.wait_for(closed->mutex, std::min(kPollInterval_ns, left));
    if (closed->done || !operation.has_poll()) continue;
    closed->mutex.unlock();  // polling may take the interpreter lock
    const bool interrupted = operation.polled();
    closed->mutex.lock();
    if (interrupted) return closed->done;
  }
  return true;
}

void Pool::terminate() {
  Failed dropped;
  std::vector<std::thread> threads;
  std::vector<std::function<void()>> callbacks;
  {
    const MutexLock lock(mutex_);
    closing_ = stopping_ = true;
    closed_.store(true);
    for (auto* queue : {&writes_, &reads_}) {
      for (Waiting& one : *queue) {
        if (one.job != nullptr) {
          dropped.emplace_back(std::move(one.job), std::make_exception_ptr(pool_closed()));
        } else {
          one.waiter->failed = true;
          one.waiter->ready.notify_one();
        }
      }
      queue->clear();
    }
    for (const auto& slot : slots_) {
      if (slot->operation_ != nullptr) const_cast<Operation*>(slot->operation_)->cancel();
      for (auto& job : slot->lease_jobs_) {
        dropped.emplace_back(std::move(job), std::make_exception_ptr(pool_closed()));
      }
      slot->lease_jobs_.clear();
      if (slot->ending_ && !slot->running_) release(*slot);
    }
    ready_leases_.clear();
    work_ready_.notify_all();
    deadlines_changed_.notify_all();
    threads.swap(workers_);
    if (keeper_.joinable()) threads.push_back(std::move(keeper_));
    callbacks.swap(on_closed_);
  }
  finish_all(dropped);
  for (std::thread& thread : threads) {
    if (thread.get_id() != std::this_thread::get_id())
      thread.join();
    else
      thread.detach();
  }
  mutex_.lock();
  const bool shut = std::exchange(shut_, true);
  // Callers' own threads give their connections back themselves; leases never run by themselves.
  const auto in_use = [this]() REQUIRES(mutex_) {
    return std::any_of(slots_.begin(), slots_.end(), [](const auto& slot) {
      return slot->held_ && (!slot->leased_ || slot->running_);
    });
  };
  while (in_use()) changed_.wait(mutex_);
  mutex_.unlock();
  if (!shut) shut_connections();
  for (auto& callback : callbacks) callback();
}

}  // namespace mcp::sqlite

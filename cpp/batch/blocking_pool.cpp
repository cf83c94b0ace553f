// blocking_pool.cpp: starts threads while tasks wait, and ends those that idle.
#include "batch/blocking_pool.h"

#include <atomic>
#include <deque>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/fork.h"
#include "base/mutex.h"
#include "base/thread.h"

namespace mcp::batch {

// Owned by the pool and by each of its threads, so that neither outlives what it waits on.
struct BlockingPool::State {
  explicit State(unsigned limit) : max_threads(limit) {}

  const unsigned max_threads;
  const std::uint32_t generation = process_generation();
  std::atomic<std::size_t> waiting{0};  // queue.size(), for those who only glance

  Mutex mutex;
  CondVar task_or_close;
  std::deque<Task> queue GUARDED_BY(mutex);
  std::size_t idle GUARDED_BY(mutex) = 0;
  bool closed GUARDED_BY(mutex) = false;
  std::vector<std::thread> threads GUARDED_BY(mutex);
};

namespace {

template <class State>
void run_thread(const std::shared_ptr<State>& state) {
  for (;;) {
    BlockingPool::Task task;
    {
      const MutexLock lock(state->mutex);
      ++state->idle;
      while (state->queue.empty() && !state->closed) state->task_or_close.wait(state->mutex);
      --state->idle;
      if (state->queue.empty()) return;
      task = std::move(state->queue.front());
      state->queue.pop_front();
      state->waiting.store(state->queue.size(), std::memory_order_relaxed);
    }
    task();
  }
}

}  // namespace

BlockingPool::BlockingPool(unsigned max_threads) : state_(std::make_shared<State>(max_threads)) {}

BlockingPool::~BlockingPool() {
  if (state_->generation != process_generation()) {
    leave_to_parent(state_);
    return;
  }
  const MutexLock lock(state_->mutex);
  state_->closed = true;
  for (std::thread& thread : state_->threads) thread.detach();
  state_->threads.clear();
  state_->task_or_close.notify_all();
}

void BlockingPool::submit(Task task) {
  const MutexLock lock(state_->mutex);
  if (state_->closed) throw Error(ErrorKind::kBatch, "the pool of threads is closed");
  state_->queue.push_back(std::move(task));
  if (state_->queue.size() > state_->idle && state_->threads.size() < state_->max_threads) {
    try {
      state_->threads.push_back(start_thread("mcp-batch", [state = state_] { run_thread(state); }));
    } catch (const std::system_error&) {
      if (state_->threads.empty()) {
        state_->queue.pop_back();
        throw;
      }  // else the threads that exist come to it
    }
  }
  state_->waiting.store(state_->queue.size(), std::memory_order_relaxed);
  state_->task_or_close.notify_one();
}

void BlockingPool::close() {
  std::vector<std::thread> threads;
  {
    const MutexLock lock(state_->mutex);
    state_->closed = true;
    threads.swap(state_->threads);
    state_->task_or_close.notify_all();
  }
  for (std::thread& thread : threads) thread.join();
}

bool BlockingPool::has_waiting() const noexcept {
  return state_->waiting.load(std::memory_order_relaxed) > 0;
}

unsigned BlockingPool::max_threads() const noexcept { return state_->max_threads; }

std::size_t BlockingPool::threads() const {
  const MutexLock lock(state_->mutex);
  return state_->threads.size();
}

}  // namespace mcp::batch

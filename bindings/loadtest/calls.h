// calls.h: a load test of something that runs in this process. A CallRun holds the
// schedule and the recorder; lanes (see lane.cpp) call the target, as awaitables inside
// asyncio tasks or on threads.
//
// Everything here is called with the interpreter lock held, which is what guards it; wait_until()
// alone gives the lock up while it waits.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "bindings/base/gil.h"
#include "loadtest/call_schedule.h"
#include "loadtest/recorder.h"

namespace mcp::python {

struct LaneObject;

class CallRun {
 public:
  // Throws Error.
  CallRun(const loadtest::CallOptions& options, std::vector<std::string> kinds, bool first_byte,
          bool threaded, bool relays);
  ~CallRun();
  CallRun(const CallRun&) = delete;
  CallRun& operator=(const CallRun&) = delete;

  loadtest::CallSchedule::Decision next(std::uint32_t lane, Instant now) {
    return schedule_.next(lane, now, recorder_);
  }
  void succeeded(std::uint32_t lane, const loadtest::Sample& sample);
  void failed(std::uint32_t lane, const loadtest::Sample& sample, std::string_view error,
              bool timed_out);
  void stop();
  // Ends the recording; requests under way count as abandoned.
  void finish();
  // The end at the latest: requests under way have failed for want of an answer.
  void cut_off();
  // The run's own cancels come from now on. Before, one of a lane's task is its target's doing.
  void cancel_calls() noexcept { cancels_calls_ = true; }
  [[nodiscard]] bool cancels_calls() const noexcept { return cancels_calls_; }
  // What calls are still awaiting is closed when their tasks are next told to cancel.
  void close_calls() noexcept { closes_calls_ = true; }
  [[nodiscard]] bool closes_calls() const noexcept { return closes_calls_; }

  // Marks the requests that have run out of time and returns their lanes. `next` becomes the
  // earliest deadline of the others.
  std::vector<std::uint32_t> expire(Instant now, Instant& next);

  // For lanes in an event loop: timer_fd() becomes readable when one has to go on, and wake_due()
  // then resolves what those lanes wait for.
  [[nodiscard]] int timer_fd();
  void add_wait(Instant at, std::uint32_t lane);
  void add_blocked(std::uint32_t lane) { blocked_.push_back(lane); }
  void wake_due();
  // The other lanes of this lane's user look again at what they can do.
  void wake_user(std::uint32_t lane);

  // For lanes on threads. Gives the interpreter lock up.
  void wait_until(Instant at);

  void attach(LaneObject* lane, std::uint32_t number) { lanes_[number] = lane; }
  void detach(LaneObject* lane, std::uint32_t number) {
    if (lanes_[number] == lane) lanes_[number] = nullptr;
  }
  // For whoever drives lanes without a LaneObject: timer_fd() becomes readable at `at`. Not beside
  // add_wait().
  void wake_at(Instant at) { arm(at); }
  // Requests that such lanes had under way when the run was stopped.
  void abandon(std::uint64_t count) { recorder_.own().abandoned += count; }
  [[nodiscard]] std::uint32_t lane_count() const noexcept { return schedule_.lanes(); }
  [[nodiscard]] Duration timeout_ns() const noexcept { return timeout_ns_; }
  [[nodiscard]] Duration turn_ns() const noexcept { return turn_ns_; }
  [[nodiscard]] bool threaded() const noexcept { return threaded_; }
  [[nodiscard]] loadtest::Report report() const { return totals_->report(); }
  [[nodiscard]] loadtest::Totals& totals() noexcept { return *totals_; }
  [[nodiscard]] std::uint64_t completed() const noexcept { return totals_->completed.load(); }
  [[nodiscard]] std::uint64_t failures() const noexcept { return totals_->failures.load(); }
  [[nodiscard]] std::uint64_t suspensions() const noexcept { return suspensions_; }
  void count_suspension() noexcept { ++suspensions_; }

 private:
  void arm(Instant at);
  void ended(std::uint32_t lane, Instant now);

  const Duration timeout_ns_;
  std::shared_ptr<loadtest::Totals> totals_;
  const Instant start_;
  loadtest::CallSchedule schedule_;
  loadtest::Recorder recorder_;
  const Duration turn_ns_;  // how long a lane holds the event loop before others get a turn
  std::vector<LaneObject*> lanes_;
  using Wait = std::pair<Instant, std::uint32_t>;
  std::priority_queue<Wait, std::vector<Wait>, std::greater<>> waits_;
  std::vector<std::uint32_t> blocked_;
  int timer_fd_ = -1;
  Instant armed_for_ = kNever;
  std::uint64_t suspensions_ = 0;
  const bool threaded_;
  bool finished_ = false;
  bool cancels_calls_ = false;
  bool closes_calls_ = false;
  Mutex mutex_;  // a leaf; orders threads that wait with those that wake them
  CondVar woken_;
  std::uint64_t wakes_ GUARDED_BY(mutex_) = 0;
};

// The lane type's functions that a run needs.
void wake_lane(LaneObject* lane);  // resolves what it waits for
[[nodiscard]] bool lane_overdue(LaneObject* lane, Instant now, Instant& deadline);
[[nodiscard]] bool lane_in_request(const LaneObject* lane) noexcept;
void abandon_lane(LaneObject* lane, CallRun& run);  // records its timeout; its thread goes on alone
void leave_unanswered(LaneObject* lane, Instant now);  // records the want of an answer
[[nodiscard]] PyObject* lane_type();                   // a new reference, or null with an error set

}  // namespace mcp::python

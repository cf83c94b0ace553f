// calls.cpp: the run that lanes of a load test share, for Python.
#include "bindings/loadtest/calls.h"

#include <pybind11/stl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <system_error>

#include "bindings/base/errors.h"
#include "bindings/loadtest/report_dict.h"
#include "loadtest/scenario.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

using loadtest::CallOptions;
using loadtest::CallSchedule;
using loadtest::RecorderOptions;

constexpr Duration kShortestTurn = 20 * kMicrosecond;

RecorderOptions recorder_options(const CallOptions& options, std::vector<std::string> kinds,
                                 bool first_byte, bool relays) {
  RecorderOptions result;
  result.kinds = std::move(kinds);
  result.highest_ns = std::max(metrics::Histogram::kDefaultHighest, options.timeout_ns);
  result.open_model = options.rate.has_value();
  result.first_byte = first_byte;
  result.live_kinds = result.relays = relays;
  return result;
}

// The run starts when all lanes are there to start, as runners wait for the gun: creating the last
// one takes this long.
Duration time_to_set_up(const CallOptions& options, bool threaded) {
  const Duration each = threaded ? 100 * kMicrosecond : 10 * kMicrosecond;
  return kMillisecond + each * options.users * (options.rate ? 1 : options.batch_size);
}

}  // namespace

CallRun::CallRun(const CallOptions& options, std::vector<std::string> kinds, bool first_byte,
                 bool threaded, bool relays)
    : timeout_ns_(options.timeout_ns),
      totals_(std::make_shared<loadtest::Totals>(
          recorder_options(options, std::move(kinds), first_byte, relays), 1)),
      start_(now_precise() + time_to_set_up(options, threaded)),
      schedule_(options, start_),
      recorder_(totals_, 0, schedule_.measure_from(), schedule_.issue_until()),
      turn_ns_(std::max(kShortestTurn, kMillisecond / static_cast<Duration>(schedule_.lanes()))),
      lanes_(schedule_.lanes(), nullptr),
      threaded_(threaded) {}

CallRun::~CallRun() {
  if (timer_fd_ >= 0) ::close(timer_fd_);
}

void CallRun::ended(std::uint32_t lane, Instant now) {
  totals_->completed.fetch_add(1, std::memory_order_relaxed);
  schedule_.ended(lane, now, recorder_);
  if (schedule_.lanes_per_user() > 1) wake_user(lane);
  if (now >= recorder_.next_roll()) recorder_.roll(now);
}

void CallRun::succeeded(std::uint32_t lane, const loadtest::Sample& sample) {
  if (finished_) return;
  recorder_.success(sample);
  ended(lane, sample.done);
}

void CallRun::failed(std::uint32_t lane, const loadtest::Sample& sample, std::string_view error,
                     bool timed_out) {
  if (finished_) return;
  recorder_.failure(sample, error, timed_out);
  totals_->failures.fetch_add(1, std::memory_order_relaxed);
  ended(lane, sample.done);
}

void CallRun::stop() {
  schedule_.stop();
  for (LaneObject* const lane : lanes_) {
    if (lane != nullptr) wake_lane(lane);
  }
  const MutexLock lock(mutex_);
  ++wakes_;
  woken_.notify_all();
}

void CallRun::finish() {
  if (finished_) return;
  finished_ = true;
  for (const LaneObject* const lane : lanes_) {
    if (lane != nullptr && lane_in_request(lane)) ++recorder_.own().abandoned;
  }
  recorder_.finish(now_precise());
}

void CallRun::cut_off() {
  const Instant now = now_precise();
  for (LaneObject* const lane : lanes_) {
    if (lane != nullptr && lane_in_request(lane)) leave_unanswered(lane, now);
  }
  stop();
  finish();
}

std::vector<std::uint32_t> CallRun::expire(Instant now, Instant& next) {
  std::vector<std::uint32_t> overdue;
  next = kNever;
  for (std::uint32_t number = 0; number < lanes_.size(); ++number) {
    LaneObject* const lane = lanes_[number];
    Instant deadline = kNever;
    if (lane == nullptr || !lane_overdue(lane, now, deadline)) {
      next = std::min(next, deadline);
      continue;
    }
    overdue.push_back(number);
    if (threaded_) {
      lanes_[number] = nullptr;
      abandon_lane(lane, *this);
    }
  }
  return overdue;
}

int CallRun::timer_fd() {
  if (timer_fd_ < 0) timer_fd_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (timer_fd_ < 0) {
    throw Error(ErrorKind::kLoadTest,
                "cannot start a run: timerfd: " + std::system_category().message(errno));
  }
  return timer_fd_;
}

void CallRun::arm(Instant at) {
  armed_for_ = at;
  itimerspec spec{};
  const Instant when = at == kNever ? 0 : std::max<Instant>(at, 1);
  spec.it_value = {when / kSecond, when % kSecond};
  ::timerfd_settime(timer_fd(), TFD_TIMER_ABSTIME, &spec, nullptr);
}

void CallRun::add_wait(Instant at, std::uint32_t lane) {
  waits_.push({at, lane});
  if (at < armed_for_) arm(at);
}

void CallRun::wake_due() {
  std::uint64_t times;
  (void)!::read(timer_fd(), &times, sizeof times);
  const Instant now = now_precise();
  while (!waits_.empty() && waits_.top().first <= now) {
    LaneObject* const lane = lanes_[waits_.top().second];
    waits_.pop();
    if (lane != nullptr) wake_lane(lane);
  }
  arm(waits_.empty() ? kNever : waits_.top().first);
}

void CallRun::wake_user(std::uint32_t lane) {
  const std::uint32_t per_user = schedule_.lanes_per_user();
  if (threaded_) {
    const MutexLock lock(mutex_);
    ++wakes_;
    woken_.notify_all();
    return;
  }
  const auto mine = std::partition(blocked_.begin(), blocked_.end(), [&](std::uint32_t other) {
    return other / per_user != lane / per_user;
  });
  std::vector<std::uint32_t> woken(mine, blocked_.end());
  blocked_.erase(mine, blocked_.end());
  for (const std::uint32_t other : woken) {
    if (lanes_[other] != nullptr) wake_lane(lanes_[other]);
  }
}

void CallRun::wait_until(Instant at) {
  std::uint64_t seen;
  {
    const MutexLock lock(mutex_);
    seen = wakes_;
  }
  const GilRelease unlocked;
  const MutexLock lock(mutex_);
  while (wakes_ == seen) {
    const Duration left = at == kNever ? kSecond : at - now_precise();
    if (left <= 0) return;
    woken_.wait_for(mutex_, std::min(left, kSecond));
  }
}

namespace {

std::shared_ptr<CallRun> make_call_run(const py::kwargs& arguments) {
  return std::make_shared<CallRun>(
      call_options(arguments), arguments["kinds"].cast<std::vector<std::string>>(),
      arguments["first_byte"].cast<bool>(), arguments["threaded"].cast<bool>(),
      arguments["relays"].cast<bool>());
}

// What a user does now: "start", "wait", "blocked" or "done", until or since when (seconds of the
// monotonic clock), and whether a request that starts now counts in the budget.
py::tuple next_turn(CallRun& run, std::uint32_t lane) {
  static constexpr std::array<const char*, 4> kNames{"start", "wait", "blocked", "done"};
  const CallSchedule::Decision decision = run.next(lane, now_precise());
  const bool counts = decision.number < loadtest::kWarmupNumber;
  return py::make_tuple(kNames[static_cast<std::size_t>(decision.action)], to_seconds(decision.at),
                        counts);
}

// A request that a user has made itself. `error` None: a success.
void end_turn(CallRun& run, std::uint32_t lane, std::uint32_t kind, double intended, double sent,
              double done, double first_byte, std::uint64_t bytes,
              const std::optional<std::string>& error, bool timed_out) {
  loadtest::Sample sample{kind, from_seconds(intended), from_seconds(sent), from_seconds(done), -1,
                          bytes};
  if (first_byte >= 0) sample.first_byte_ns = from_seconds(first_byte);
  if (error) {
    run.failed(lane, sample, *error, timed_out);
  } else {
    run.succeeded(lane, sample);
  }
}

// The lanes that ran out of time, and in how many seconds the next one would (None: never).
py::tuple expire(CallRun& run) {
  Instant next = kNever;
  const Instant now = now_precise();
  py::object lanes = py::cast(run.expire(now, next));
  if (next == kNever) return py::make_tuple(lanes, py::none());
  return py::make_tuple(lanes, to_seconds(std::max<Duration>(next - now, 0)));
}

}  // namespace

void bind_call_run(py::module_& module) {
  py::class_<CallRun, std::shared_ptr<CallRun>>(module, "CallRun")
      .def(py::init(&make_call_run))
      .def("stop", &CallRun::stop)
      .def("finish", &CallRun::finish)
      .def("cut_off", &CallRun::cut_off)
      .def("cancel_calls", &CallRun::cancel_calls)
      .def("close_calls", &CallRun::close_calls)
      .def("expire", &expire, "expire() -> tuple[list[int], float | None]")
      .def("timer_fd", &CallRun::timer_fd)
      .def("wake_due", &CallRun::wake_due)
      .def("next_turn", &next_turn, py::arg("lane"),
           "next_turn(lane: int) -> tuple[str, float, bool]")
      .def("end_turn", &end_turn, py::arg("lane"), py::arg("kind"), py::arg("intended"),
           py::arg("sent"), py::arg("done"), py::arg("first_byte"), py::arg("size"),
           py::arg("error"), py::arg("timed_out"))
      .def("abandon", &CallRun::abandon, py::arg("count"))
      .def(
          "wake_at", [](CallRun& run, double at) { run.wake_at(from_seconds(at)); }, py::arg("at"))
      .def("report", [](const CallRun& self) { return report_to_dict(self.report()); })
      .def(
          "take", [](CallRun& self) { return taken_from(self.totals()); }, kTakeSignature)
      .def(
          "silence", [](CallRun& self) { return silence_of(self.totals()); }, kSilenceSignature)
      .def_property_readonly("lanes", &CallRun::lane_count)
      .def_property_readonly("suspensions", &CallRun::suspensions)
      .def_property_readonly("completed", &CallRun::completed)
      .def_property_readonly("failures", &CallRun::failures);
  PyObject* const type = lane_type();
  if (type == nullptr) throw py::error_already_set();
  module.attr("CallLane") = py::reinterpret_steal<py::object>(type);
}

}  // namespace mcp::python

// CallLane: one user's line of calls. Awaited inside an asyncio task it drives the target's
// coroutines itself, so that a call that never suspends costs no trip through the event loop, and
// yields whatever they yield, so that for the target the task is its own. run_thread() does the
// same with plain calls on the current thread.
#include <Python.h>

#include <structmember.h>

#include <cstring>
#include <string>

#include "bindings/base/coroutine.h"
#include "bindings/base/saved_error.h"
#include "bindings/loadtest/bind.h"
#include "bindings/loadtest/calls.h"
#include "loadtest/scenario.h"

namespace py = pybind11;

namespace mcp::python {

using loadtest::CallSchedule;
using loadtest::Sample;

// What a lane calls and is told, as Python gave it.
struct LaneObject {
  PyObject_HEAD std::shared_ptr<CallRun> run;
  PyObject* function;
  PyObject* examples;       // dict: the first exception of each kind
  PyObject* create_future;  // of the event loop
  PyObject* task;           // that awaits the lane
  PyObject* waiter;         // future that the lane waits for between requests
  PyObject* inner;          // iterator of the coroutine, or of `waiter`
  std::uint32_t number;
  std::uint64_t request;
  Instant sent;
  Instant intended;
  bool in_request;
  bool timed_out;    // and its task was told to cancel
  bool abandoned;    // its thread came back too late
  bool with_number;  // the target takes the request's number and returns an outcome
};

namespace {

PyObject* cancelled_error = nullptr;  // asyncio.CancelledError, imported when first needed
PyObject* name_throw = nullptr;

constexpr Duration kLongestHold = 5 * kMillisecond;

LaneObject* as_lane(PyObject* object) { return reinterpret_cast<LaneObject*>(object); }

// The iterator that drives `awaitable`, whose reference it takes over.
PyObject* await_iterator(PyObject* awaitable) {
  if (PyCoro_CheckExact(awaitable)) return awaitable;
  PyObject* iterator = nullptr;
  const PyAsyncMethods* const methods = Py_TYPE(awaitable)->tp_as_async;
  if (methods != nullptr && methods->am_await != nullptr) {
    iterator = methods->am_await(awaitable);
  } else {
    PyErr_Format(PyExc_TypeError, "the target returned %.200s, which cannot be awaited",
                 Py_TYPE(awaitable)->tp_name);
  }
  Py_DECREF(awaitable);
  return iterator;
}

PyObject* call_target(LaneObject* self) {
  if (!self->with_number) return PyObject_CallNoArgs(self->function);
  PyObject* const number = PyLong_FromUnsignedLongLong(self->request);
  if (number == nullptr) return nullptr;
  PyObject* const result = PyObject_CallOneArg(self->function, number);
  Py_DECREF(number);
  return result;
}

Sample sample_of(const LaneObject* self, Instant done) {
  return {0, self->intended, self->sent, done, -1, 0};
}

void begin_request(LaneObject* self, const CallSchedule::Decision& decision, Instant now) {
  self->request = decision.number & ~loadtest::kWarmupNumber;
  self->intended = decision.at;
  self->sent = now;
  self->in_request = true;
  self->timed_out = false;
}

// The outcome of a target that knows more than "returned": (error or None, kind, bytes, seconds to
// the first byte). False with an exception set if it is something else.
bool record_outcome(LaneObject* self, PyObject* outcome, Sample sample) {
  PyObject* error = nullptr;
  unsigned int kind = 0;
  unsigned long long bytes = 0;
  double first_byte_s = -1;
  if (!PyTuple_Check(outcome)) {
    PyErr_SetString(PyExc_TypeError, "a target's outcome is not a tuple");
    return false;
  }
  if (!PyArg_ParseTuple(outcome, "OIKd", &error, &kind, &bytes, &first_byte_s)) return false;
  sample.kind = kind;
  sample.bytes = bytes;
  if (first_byte_s >= 0) sample.first_byte_ns = from_seconds(first_byte_s);
  if (error == Py_None) {
    self->run->succeeded(self->number, sample);
    return true;
  }
  const char* const text = PyUnicode_AsUTF8(error);
  if (text == nullptr) return false;
  self->run->failed(self->number, sample, text, false);
  return true;
}

void record_timeout(LaneObject* self) {
  self->run->failed(self->number, sample_of(self, self->sent + self->run->timeout_ns()), "timeout",
                    true);
}

// The target has told its task to stop ignoring that it was cancelled.
void take_back_cancel(LaneObject* self) {
  if (self->task == nullptr) return;
  PyObject* const left = PyObject_CallMethod(self->task, "uncancel", nullptr);
  if (left == nullptr) PyErr_Clear();
  Py_XDECREF(left);
}

// The number of times that its task was told to cancel, and not taken back.
long cancels_of_task(LaneObject* self) {
  if (self->task == nullptr) return 0;
  const ErrorSetAside error;
  const Ref count = Ref::steal(PyObject_CallMethod(self->task, "cancelling", nullptr));
  const long cancels = count ? PyLong_AsLong(count.get()) : 0;
  PyErr_Clear();
  return cancels;
}

// Whether the exception that is set is a cancel that nobody but the target itself can have asked
// for, as one that cancels the task it runs in, or a scope within it that leaks. Takes them back.
bool take_cancel_of_target(LaneObject* self) {
  if (self->run->cancels_calls() || cancelled_error == nullptr ||
      PyErr_ExceptionMatches(cancelled_error) == 0) {
    return false;
  }
  const ErrorSetAside error;
  for (long left = cancels_of_task(self); left > 0; --left) take_back_cancel(self);
  return true;
}

void keep_example(LaneObject* self, const char* kind, PyObject* exception) {
  if (self->examples == nullptr || exception == nullptr) return;
  if (PyDict_GetItemString(self->examples, kind) == nullptr && PyDict_Size(self->examples) < 100) {
    if (PyDict_SetItemString(self->examples, kind, exception) != 0) PyErr_Clear();
  }
}

// What was returned instead of being run: nothing was done that could have been measured.
const char* not_run(PyObject* result) {
  if (result == Py_None) return nullptr;
  if (PyGen_CheckExact(result) || PyAsyncGen_CheckExact(result)) return "iterated over";
  const PyAsyncMethods* const methods = Py_TYPE(result)->tp_as_async;
  return methods != nullptr && methods->am_await != nullptr ? "awaited" : nullptr;
}

// The call returned what somebody else would have to run. `result` is borrowed.
void fail_as_not_run(LaneObject* self, PyObject* result, const char* what, Instant now) {
  PyErr_Format(PyExc_TypeError, "the target returned %.200s, which was not %s",
               Py_TYPE(result)->tp_name, what);
  const Ref error = take_error();
  keep_example(self, "TypeError", error.get());
  self->run->failed(self->number, sample_of(self, now), "TypeError", false);
  if (!PyCoro_CheckExact(result)) return;
  PyObject* const closed = PyObject_CallMethod(result, "close", nullptr);  // no warning of each
  if (closed == nullptr) PyErr_Clear();
  Py_XDECREF(closed);
}

// The call returned `result`, whose reference it takes over. False with an exception set when the
// lane itself is broken.
bool finish_with_result(LaneObject* self, PyObject* result, Instant now) {
  self->in_request = false;
  bool good = true;
  if (self->abandoned) {
    // Recorded when its time ran out.
  } else if (self->timed_out || now - self->sent > self->run->timeout_ns()) {
    if (self->timed_out) take_back_cancel(self);
    record_timeout(self);
  } else if (self->with_number) {
    good = record_outcome(self, result, sample_of(self, now));
  } else if (const char* const what = not_run(result); what != nullptr) {
    fail_as_not_run(self, result, what, now);
  } else {
    self->run->succeeded(self->number, sample_of(self, now));
  }
  Py_DECREF(result);
  return good;
}

// The call raised what is set now. True when that is a result (and cleared), false when it has to
// go on up: the task is being cancelled, or the process wants to end.
bool finish_with_exception(LaneObject* self, Instant now) {
  if (self->abandoned) {
    PyErr_Clear();
    return true;
  }
  const bool is_exception = PyErr_ExceptionMatches(PyExc_Exception) != 0;
  const bool is_cancel =
      !is_exception && cancelled_error != nullptr && PyErr_ExceptionMatches(cancelled_error) != 0;
  if (!is_exception && !is_cancel) return false;
  if (is_cancel && !self->timed_out && !take_cancel_of_target(self) && cancels_of_task(self) > 0) {
    return false;
  }
  const Ref error = take_error();
  if (self->timed_out) {
    take_back_cancel(self);
    self->in_request = false;
    record_timeout(self);
  } else {
    const char* const full = Py_TYPE(error.get())->tp_name;
    const char* const dot = std::strrchr(full, '.');
    const std::string kind = dot == nullptr ? full : dot + 1;
    keep_example(self, kind.c_str(), error.get());
    self->in_request = false;
    self->run->failed(self->number, sample_of(self, now), kind, false);
  }
  return true;
}

bool begin_wait(LaneObject* self, const CallSchedule::Decision& decision) {
  PyObject* const future = PyObject_CallNoArgs(self->create_future);
  if (future == nullptr) return false;
  Py_XSETREF(self->waiter, Py_NewRef(future));
  self->inner = await_iterator(future);
  if (self->inner == nullptr) return false;
  if (decision.action == CallSchedule::Action::kWait) {
    self->run->add_wait(decision.at, self->number);
  } else {
    self->run->add_blocked(self->number);
  }
  return true;
}

// Goes on until something has to be waited for. `value` is sent to what was awaited.
PySendResult drive(LaneObject* self, PyObject** result) {
  const std::shared_ptr<CallRun> run = self->run;
  Instant now = now_precise();
  const Instant turn_ends = now + run->turn_ns();
  while (true) {
    if (self->inner != nullptr) {
      PyObject* value = nullptr;
      const PySendResult sent = PyIter_Send(self->inner, Py_None, &value);
      if (sent == PYGEN_NEXT) {
        if (self->in_request) run->count_suspension();
        *result = value;
        return PYGEN_NEXT;
      }
      Py_CLEAR(self->inner);
      now = now_precise();
      if (!self->in_request) {  // the wait between two requests is over
        Py_CLEAR(self->waiter);
        Py_XDECREF(value);
        if (sent == PYGEN_ERROR) return PYGEN_ERROR;
      } else if (sent == PYGEN_RETURN ? !finish_with_result(self, value, now)
                                      : !finish_with_exception(self, now)) {
        return PYGEN_ERROR;
      }
    }
    if (now >= turn_ends) {
      *result = Py_NewRef(Py_None);
      return PYGEN_NEXT;
    }
    const CallSchedule::Decision decision = run->next(self->number, now);
    if (decision.action == CallSchedule::Action::kDone) {
      run->wake_user(self->number);
      *result = Py_NewRef(Py_None);
      return PYGEN_RETURN;
    }
    if (decision.action != CallSchedule::Action::kStart) {
      if (!begin_wait(self, decision)) return PYGEN_ERROR;
      continue;
    }
    begin_request(self, decision, now);
    PyObject* const awaitable = call_target(self);
    self->inner = awaitable == nullptr ? nullptr : await_iterator(awaitable);
    if (self->inner == nullptr) {
      now = now_precise();
      if (!finish_with_exception(self, now)) return PYGEN_ERROR;
    }
  }
}

PySendResult lane_send(PyObject* object, PyObject*, PyObject** result) {
  return drive(as_lane(object), result);
}

PyObject* lane_next(PyObject* object) {
  PyObject* value = nullptr;
  const PySendResult sent = drive(as_lane(object), &value);
  return next_or_stop(sent, value);
}

PyObject* lane_send_method(PyObject* object, PyObject*) { return lane_next(object); }

// What a coroutine that ended with StopIteration returned.
PyObject* take_stop_value() {
  const Ref stop = take_error();
  return stop ? PyObject_GetAttrString(stop.get(), "value") : nullptr;
}

PyObject* raise_thrown(PyObject* args) {
  const Ref exception = exception_of_throw(&PyTuple_GET_ITEM(args, 0), PyTuple_GET_SIZE(args));
  return exception ? raise_thrown(exception) : nullptr;
}

// A target that goes on whatever it is told must not keep its task: it is closed, and left alone.
PyObject* throw_after_end(LaneObject* self, PyObject* args) {
  PyObject* const inner = self->inner;
  self->inner = nullptr;
  PyObject* const closed = PyObject_CallMethod(inner, "close", nullptr);
  if (closed == nullptr) PyErr_Clear();
  Py_XDECREF(closed);
  Py_DECREF(inner);
  return raise_thrown(args);
}

PyObject* lane_throw(PyObject* object, PyObject* args) {
  LaneObject* const self = as_lane(object);
  if (self->inner == nullptr) return raise_thrown(args);
  if (self->run->closes_calls()) return throw_after_end(self, args);
  PyObject* const method = PyObject_GetAttr(self->inner, name_throw);
  if (method == nullptr) return nullptr;
  PyObject* const yielded = PyObject_CallObject(method, args);
  Py_DECREF(method);
  if (yielded != nullptr) return yielded;
  Py_CLEAR(self->inner);
  const Instant now = now_precise();
  if (!self->in_request) {
    Py_CLEAR(self->waiter);
    if (!take_cancel_of_target(self)) return nullptr;
    PyErr_Clear();
  } else if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
    PyObject* const value = take_stop_value();
    if (value == nullptr || !finish_with_result(self, value, now)) return nullptr;
  } else if (!finish_with_exception(self, now)) {
    return nullptr;
  }
  return lane_next(object);
}

PyObject* lane_close(PyObject* object, PyObject*) {
  LaneObject* const self = as_lane(object);
  if (self->inner != nullptr) {
    PyObject* const closed = PyObject_CallMethod(self->inner, "close", nullptr);
    Py_CLEAR(self->inner);
    if (closed == nullptr && PyErr_ExceptionMatches(PyExc_AttributeError))
      PyErr_Clear();
    else if (closed == nullptr)
      return nullptr;
    Py_XDECREF(closed);
  }
  Py_RETURN_NONE;
}

PyObject* lane_await(PyObject* object) { return Py_NewRef(object); }

// On a thread: calls until the schedule is done.
PyObject* lane_run_thread(PyObject* object, PyObject*) {
  LaneObject* const self = as_lane(object);
  const std::shared_ptr<CallRun> run = self->run;
  Instant now = now_precise();
  Instant held_since = now;
  while (!self->abandoned) {
    const CallSchedule::Decision decision = run->next(self->number, now);
    if (decision.action == CallSchedule::Action::kDone) {
      run->wake_user(self->number);
      break;
    }
    if (decision.action != CallSchedule::Action::kStart) {
      run->wait_until(decision.action == CallSchedule::Action::kWait ? decision.at : kNever);
      held_since = now = now_precise();
      continue;
    }
    begin_request(self, decision, now);
    PyObject* const result = call_target(self);
    now = now_precise();
    if (result != nullptr ? !finish_with_result(self, result, now)
                          : !finish_with_exception(self, now)) {
      self->in_request = false;
      return nullptr;
    }
    // A target written in C never lets go of the lock by itself.
    if (now - held_since > kLongestHold) {
      { const GilRelease unlocked; }
      held_since = now = now_precise();
    }
  }
  Py_RETURN_NONE;
}

PyObject* lane_new(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  static const char* names[] = {"run",           "number",      "function", "examples",
                                "create_future", "with_number", nullptr};
  PyObject *run, *function, *examples, *create_future;
  unsigned int number;
  int with_number;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "OIOOOp", const_cast<char**>(names), &run,
                                   &number, &function, &examples, &create_future, &with_number)) {
    return nullptr;
  }
  std::shared_ptr<CallRun> shared;
  try {
    shared = py::cast<std::shared_ptr<CallRun>>(py::handle(run));
  } catch (const py::cast_error&) {
    PyErr_SetString(PyExc_TypeError, "run is not a CallRun");
    return nullptr;
  }
  if (number >= shared->lane_count()) {
    PyErr_SetString(PyExc_ValueError, "number is not a lane of the run");
    return nullptr;
  }
  if (cancelled_error == nullptr) {
    PyObject* const exceptions = PyImport_ImportModule("asyncio.exceptions");
    if (exceptions == nullptr) return nullptr;
    cancelled_error = PyObject_GetAttrString(exceptions, "CancelledError");
    Py_DECREF(exceptions);
    if (cancelled_error == nullptr) return nullptr;
  }
  auto* const self = as_lane(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  new (&self->run) std::shared_ptr<CallRun>(std::move(shared));
  self->function = Py_NewRef(function);
  self->examples = Py_NewRef(examples);
  self->create_future = Py_NewRef(create_future);
  self->number = number;
  self->with_number = with_number != 0;
  self->run->attach(self, number);
  return reinterpret_cast<PyObject*>(self);
}

int lane_traverse(PyObject* object, visitproc visit, void* arg) {
  LaneObject* const self = as_lane(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->function);
  Py_VISIT(self->examples);
  Py_VISIT(self->create_future);
  Py_VISIT(self->task);
  Py_VISIT(self->waiter);
  Py_VISIT(self->inner);
  return 0;
}

int lane_clear(PyObject* object) {
  LaneObject* const self = as_lane(object);
  Py_CLEAR(self->function);
  Py_CLEAR(self->examples);
  Py_CLEAR(self->create_future);
  Py_CLEAR(self->task);
  Py_CLEAR(self->waiter);
  Py_CLEAR(self->inner);
  return 0;
}

void lane_dealloc(PyObject* object) {
  PyTypeObject* const type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  LaneObject* const self = as_lane(object);
  if (self->run) self->run->detach(self, self->number);
  lane_clear(object);
  self->run.~shared_ptr();
  type->tp_free(object);
  Py_DECREF(type);
}

PyMethodDef lane_methods[] = {
    {"send", lane_send_method, METH_O,
     "send($self, value, /)\n--\n\n"
     "send(self, value: Any, /) -> Any"},
    {"throw", lane_throw, METH_VARARGS,
     "throw($self, error, value=None, traceback=None, /)\n--\n\n"
     "throw(self, error: Any, value: Any = None, traceback: Any = None, /) -> Any"},
    {"close", lane_close, METH_NOARGS, "close($self, /)\n--\n\n-> None"},
    {"run_thread", lane_run_thread, METH_NOARGS, "run_thread($self, /)\n--\n\n-> None"},
    {nullptr, nullptr, 0, nullptr},
};

PyMemberDef lane_members[] = {
    {"task", T_OBJECT, offsetof(LaneObject, task), 0, ": Any"},
    {"in_request", T_BOOL, offsetof(LaneObject, in_request), READONLY, "-> bool"},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot lane_slots[] = {
    {Py_tp_doc, const_cast<char*>(
                    "class CallLane(Coroutine[Any, Any, None])\n"
                    "__new__(cls, run: CallRun, number: int, function: Callable[..., Any], "
                    "examples: dict[str, BaseException], create_future: Callable[[], Any] | None, "
                    "with_number: bool) -> Self\n"
                    "__await__(self) -> Generator[Any]\n\n"
                    "One user of a run of calls.")},
    {Py_tp_new, reinterpret_cast<void*>(lane_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(lane_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(lane_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(lane_clear)},
    {Py_tp_iter, reinterpret_cast<void*>(lane_await)},
    {Py_tp_iternext, reinterpret_cast<void*>(lane_next)},
    {Py_am_await, reinterpret_cast<void*>(lane_await)},
    {Py_am_send, reinterpret_cast<void*>(lane_send)},
    {Py_tp_methods, lane_methods},
    {Py_tp_members, lane_members},
    {0, nullptr},
};

PyType_Spec lane_spec = {"mcp_performance._core.CallLane", sizeof(LaneObject), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, lane_slots};

}  // namespace

void wake_lane(LaneObject* lane) {
  if (lane->waiter == nullptr) return;
  PyObject* const waiter = Py_NewRef(lane->waiter);
  PyObject* const done = PyObject_CallMethod(waiter, "done", nullptr);
  if (done == Py_False) {
    PyObject* const set = PyObject_CallMethod(waiter, "set_result", "O", Py_None);
    if (set == nullptr) PyErr_Clear();  // its loop is closed: nobody waits any more
    Py_XDECREF(set);
  }
  if (done == nullptr) PyErr_Clear();
  Py_XDECREF(done);
  Py_DECREF(waiter);
}

bool lane_overdue(LaneObject* lane, Instant now, Instant& deadline) {
  if (!lane->in_request || lane->timed_out) return false;
  const Duration timeout = lane->run->timeout_ns();
  deadline = timeout >= kNever - lane->sent ? kNever : lane->sent + timeout;
  if (deadline > now) return false;
  lane->timed_out = true;
  return true;
}

bool lane_in_request(const LaneObject* lane) noexcept { return lane->in_request; }

void leave_unanswered(LaneObject* lane, Instant now) {
  lane->in_request = false;
  if (lane->timed_out) {
    record_timeout(lane);
  } else {
    lane->run->failed(lane->number, sample_of(lane, now), loadtest::kUnanswered, true);
  }
}

void abandon_lane(LaneObject* lane, CallRun&) {
  record_timeout(lane);
  lane->abandoned = true;
  lane->in_request = false;
}

PyObject* lane_type() {
  if (name_throw == nullptr) name_throw = PyUnicode_InternFromString("throw");
  return PyType_FromSpec(&lane_spec);
}

}  // namespace mcp::python

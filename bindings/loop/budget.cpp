// budget.cpp: measures what a tick of the loop has spent on inline answers.
#include "bindings/loop/budget.h"

#include <utility>

#include "bindings/loop/running.h"

namespace mcp::python {
namespace {

// The precise clock is read at every kStride-th answer, and whenever the coarse one has moved.
constexpr unsigned kStride = 16;

struct Budget {
  unsigned answers = 0;
  PyObject* loop = nullptr;  // owned: the loop that has the callback, until it runs
  bool later = false;        // not the first look of this tick
  void (*at_end)() noexcept = nullptr;
  Instant coarse = 0;
  Instant since = 0;  // of the first answer in this tick
};

__attribute__((tls_model("initial-exec"))) thread_local Budget budget;

void end_tick() {
  budget.later = false;
  if (auto* work = std::exchange(budget.at_end, nullptr)) work();
  Py_CLEAR(budget.loop);
}

PyObject* on_tick(PyObject*, PyObject*) {
  end_tick();
  Py_RETURN_NONE;
}

PyMethodDef on_tick_method = {"_on_loop_tick", on_tick, METH_NOARGS, nullptr};

// Kept from the first use on. The interpreter lock guards them: a guarded initialisation could wait
// for it while holding the guard.
PyObject* tick_callback = nullptr;
PyObject* call_soon_name = nullptr;

bool make_callback() {
  if (tick_callback == nullptr) {
    call_soon_name = PyUnicode_InternFromString("call_soon");
    tick_callback = PyCFunction_New(&on_tick_method, nullptr);
  }
  return call_soon_name != nullptr && tick_callback != nullptr;
}

// False when no asyncio loop runs in this thread.
bool arm(Instant now) {
  Ref loop = running_loop();
  if (!loop || !make_callback()) return false;
  const Ref handle =
      Ref::steal(PyObject_CallMethodOneArg(loop.get(), call_soon_name, tick_callback));
  if (!handle) return false;
  Py_XSETREF(budget.loop, loop.release());
  budget.since = now;
  return true;
}

bool check(Instant now) noexcept {
  if (budget.loop != nullptr) {
    const Ref loop = running_loop();
    if (loop.get() == budget.loop) {
      budget.later = true;
      return now - budget.since >
             slices().tick_ns.load(
                 std::memory_order_relaxed);  // then for all, until the loop has turned
    }
    end_tick();  // a loop of the past, closed with the callback on it
  }
  if (!arm(now)) PyErr_Clear();  // a closed loop, or none: nothing can starve
  return false;
}

}  // namespace

bool loop_budget_is_spent() noexcept {
  const Instant coarse = now_coarse();
  if (++budget.answers % kStride != 0 && coarse == budget.coarse) [[likely]]
    return false;
  budget.coarse = coarse;
  return check(now_precise());
}

bool loop_budget_is_spent_by_now() noexcept { return check(now_precise()); }

bool is_later_in_tick() noexcept { return budget.loop != nullptr && budget.later; }

void at_end_of_tick(void (*work)() noexcept) noexcept { budget.at_end = work; }

}  // namespace mcp::python

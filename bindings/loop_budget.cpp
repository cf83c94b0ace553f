#include "loop_budget.h"

#include "py_ref.h"

namespace mcp::python {
namespace {

// The precise clock is read at every kStride-th answer, and whenever the coarse one has moved.
constexpr unsigned kStride = 16;

struct Budget {
  unsigned answers = 0;
  bool armed = false;  // a callback is on the loop, or has run: `ticked` says which
  bool ticked = false;
  Instant coarse = 0;
  Instant since = 0;  // when it was armed
};

thread_local Budget budget;

PyObject* on_tick(PyObject*, PyObject*) {
  budget.ticked = true;
  Py_RETURN_NONE;
}

PyMethodDef on_tick_method = {"_on_loop_tick", on_tick, METH_NOARGS, nullptr};

PyObject* get_running_loop() {
  static PyObject* const function = [] {
    const Ref module = Ref::steal(PyImport_ImportModule("asyncio.events"));
    return module ? PyObject_GetAttrString(module.get(), "_get_running_loop") : nullptr;
  }();
  return function == nullptr ? nullptr : PyObject_CallNoArgs(function);
}

// False when no asyncio loop runs in this thread.
bool arm(Instant now) {
  static PyObject* const callback = PyCFunction_New(&on_tick_method, nullptr);
  static PyObject* const call_soon = PyUnicode_InternFromString("call_soon");
  const Ref loop = Ref::steal(get_running_loop());
  if (!loop || loop.get() == Py_None || callback == nullptr || call_soon == nullptr) return false;
  const Ref handle = Ref::steal(PyObject_CallMethodOneArg(loop.get(), call_soon, callback));
  if (!handle) return false;
  budget.armed = true;
  budget.ticked = false;
  budget.since = now;
  return true;
}

bool check() noexcept {
  const Instant now = now_precise();
  if (budget.armed && !budget.ticked) {
    if (now - budget.since <= kInlineBudget) return false;
    const Ref loop = Ref::steal(get_running_loop());
    budget.armed = false;
    if (loop && loop.get() != Py_None) return true;
  } else if (arm(now)) {
    return false;
  }
  PyErr_Clear();  // a closed loop, or none: nothing can starve
  return false;
}

}  // namespace

bool loop_budget_is_spent() noexcept {
  const Instant coarse = now_coarse();
  if (++budget.answers % kStride != 0 && coarse == budget.coarse) [[likely]]
    return false;
  budget.coarse = coarse;
  return check();
}

}  // namespace mcp::python

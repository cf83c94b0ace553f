// drop_later.cpp: a callback on the loop owns the list, takes a slice of it, and puts itself on the
// loop again. A loop that is closed drops the callback, and the rest with it.
#include "bindings/loop/drop_later.h"

#include "base/slices.h"
#include "bindings/base/ref.h"
#include "bindings/base/saved_error.h"
#include "bindings/loop/running.h"

namespace mcp::python {
namespace {

constexpr Py_ssize_t kAtOnce = 1000;  // items: some tens of microseconds
constexpr Py_ssize_t kItemsALook = 128;

// A quarter of what answers get in a tick: nobody waits for this.
Instant end_of_slice() {
  return now_precise() + slices().tick_ns.load(std::memory_order_relaxed) / 4;
}

bool goes_at_once(PyObject* list) noexcept {
  return list == nullptr || !PyList_CheckExact(list) || Py_REFCNT(list) > 1 ||
         PyList_GET_SIZE(list) <= kAtOnce;
}

// Takes items off the end. True: none is left.
bool drop_slice(PyObject* list) {
  const Instant deadline = end_of_slice();
  auto* items = reinterpret_cast<PyListObject*>(list);
  for (Py_ssize_t left = PyList_GET_SIZE(list); left > 0;) {
    for (Py_ssize_t i = 0; i < kItemsALook && left > 0; ++i) {
      PyObject* item = items->ob_item[--left];
      Py_SET_SIZE(list, left);
      Py_DECREF(item);
    }
    if (now_precise() >= deadline) return left == 0;
  }
  return true;
}

PyObject* go_on(PyObject* owner, PyObject*);
PyMethodDef go_on_method = {"_drop_rows", go_on, METH_NOARGS, nullptr};

// False where there is no loop to put it on; never with an exception set.
bool schedule(PyObject* owner) {
  const Ref loop = running_loop();
  const Ref callback = Ref::steal(loop ? PyCFunction_New(&go_on_method, owner) : nullptr);
  const Ref handle = Ref::steal(
      callback ? PyObject_CallMethod(loop.get(), "call_soon", "O", callback.get()) : nullptr);
  PyErr_Clear();
  return static_cast<bool>(handle);
}

PyObject* go_on(PyObject* owner, PyObject*) {
  auto* list = static_cast<PyObject*>(PyCapsule_GetPointer(owner, nullptr));
  if (list == nullptr) return nullptr;
  if (!drop_slice(list)) schedule(owner);
  Py_RETURN_NONE;
}

void drop_rest(PyObject* owner) {
  Py_XDECREF(static_cast<PyObject*>(PyCapsule_GetPointer(owner, nullptr)));
}

// True: a loop has it now.
bool leave_to_loop(PyObject* list) {
  const ErrorSetAside aside;
  const Ref loop = running_loop();
  const Ref owner = Ref::steal(loop ? PyCapsule_New(list, nullptr, drop_rest) : nullptr);
  if (owner) schedule(owner.get());  // the owner drops it where that fails
  return static_cast<bool>(owner);
}

}  // namespace

void drop_later(PyObject* list) noexcept {
  if (goes_at_once(list) || !leave_to_loop(list)) Py_XDECREF(list);
}

void drop_in_turns(PyObject* list) {
  if (!goes_at_once(list) && leave_to_loop(list)) return;
  while (!goes_at_once(list) && !drop_slice(list)) {
    const GilRelease others;
  }
  Py_XDECREF(list);
}

}  // namespace mcp::python

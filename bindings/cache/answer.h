// answer.h: an awaitable that has its answer.
//
// It passes for a coroutine (send, throw, close, the cr_ attributes, collections.abc.Coroutine), so
// tasks and gatherings take it, and it is single-use like one. It costs no frame: awaiting it is
// one call of am_send. It yields to the loop once when the loop's budget is spent (loop/budget.h).
#pragma once

#include <Python.h>

#include <string_view>

namespace mcp::python {

// Takes over the reference to `value`; borrows `function`, whose name and code the awaitable
// answers to. nullptr with an exception set when out of memory; `value` is dropped then.
[[nodiscard]] PyObject* make_answer(PyObject* value, PyObject* function);

// The same for an exception, raised by the await.
[[nodiscard]] PyObject* make_failure(PyObject* exception, PyObject* function);

// False with an exception set.
[[nodiscard]] bool add_awaitable_type(PyObject* module);

}  // namespace mcp::python

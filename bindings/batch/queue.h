// queue.h: the items that wait on one event loop for a call of a @batched function, and the
// calls that run there.
//
// Used on that loop's thread. The queue does not keep its loop alive. REQUIRES: the interpreter
// lock, everywhere. Comparing keys and dropping items may run Python code that queues more: counts
// and lanes are right before either happens.
#pragma once

#include <Python.h>

#include <cstddef>

#include "bindings/base/ref.h"

namespace mcp::python {

struct BatchedTerms {
  PyObject* function;  // borrowed, as everything here
  PyObject* key;       // what makes two items the same; None: the item itself
  PyObject* context;   // of the calls: no caller lends its own
  PyObject* max_wait;  // seconds, a float
  std::size_t max_size;
  std::size_t max_concurrency;  // 0: no limit
};

// A new queue for items on `loop`; empty with an exception set.
Ref make_batched_queue(const BatchedTerms& terms, PyObject* loop);

// Whether `queue` is the one of `loop`.
bool is_queue_of(PyObject* queue, PyObject* loop) noexcept;

// Queues `item`, and starts a call when one is due. The future, or nullptr with an exception set.
PyObject* add_to_batched_queue(PyObject* queue, PyObject* loop, PyObject* item, PyObject* key);

bool add_batched_queue_type(PyObject* module);

}  // namespace mcp::python

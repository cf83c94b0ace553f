// future.h: what a caller of a @batched function awaits.
//
// A future as asyncio's protocol describes it (gather, wait_for, shield), and a coroutine to those
// who want one (create_task, TaskGroup), with less to it than asyncio.Future: it is its own
// iterator, and it is one entry of the queue. The results of a whole call are set at once, and all
// who wait for them are woken in one callback of the loop.
//
// Used on the loop's thread. REQUIRES: the interpreter lock, everywhere.
#pragma once

#include <Python.h>

#include <cstdint>

namespace mcp::python {

enum class FutureState : std::uint8_t { kPending, kCancelled, kFailed, kFinished };

struct BatchedFuture {
  PyObject_HEAD PyObject* loop;  // owned, as everything here
  PyObject* item;                // until the call took it
  PyObject* key;                 // until then; nullptr when not hashable
  BatchedFuture* next;           // another caller who waits for the same item
  PyObject* outcome;             // the result, the exception, or the message of the cancellation
  PyObject* traceback;           // of the exception, when it was set
  PyObject* callback;            // the first one, and where it runs
  PyObject* context;             // nullptr: in a new one
  PyObject* callbacks;           // the others: a list of (callback, context)
  PyObject* weakrefs;
  FutureState state;
  bool blocking;         // asyncio's sign that it was awaited, not yielded
  bool queued;           // the call did not take it yet
  bool never_retrieved;  // the exception
};

inline BatchedFuture* as_future(PyObject* object) {
  return reinterpret_cast<BatchedFuture*>(object);
}

// Pending, and queued. nullptr with an exception set.
BatchedFuture* make_batched_future(PyObject* loop, PyObject* item, PyObject* key);

[[nodiscard]] bool is_batched_future(PyObject* object) noexcept;

// Moves those who wait for `self`, which is done, into `wake_up`. False with an exception set.
bool move_batched_waiters(BatchedFuture* self, PyObject* wake_up);

// Whether somebody still waits for the item of `first`.
bool is_awaited(const BatchedFuture* first) noexcept;

bool add_batched_future_type(PyObject* module);

}  // namespace mcp::python

// flight.h: one caller loads a key and the others wait for it.
//
// A Flight is the meeting place of a Load, made only when somebody comes to wait: threads wait on
// its lock, coroutines on futures of their own loops. A result is a value, or an exception of which
// every waiter but the leader gets a copy. An exception that ends its thread or loop (SystemExit,
// KeyboardInterrupt, GeneratorExit) is the leader's alone; the others try again.
//
// Whoever would wait for a load that waits, through others, for the caller itself computes inline
// instead: re-entry and A->B, B->A loaders return.
//
// REQUIRES: the interpreter lock, everywhere. A waiting thread gives it up and can be interrupted.
#pragma once

#include <Python.h>

#include <pythread.h>

#include "base/clock.h"
#include "bindings/cache/load_table.h"

namespace mcp::python {

enum class Outcome : char { kPending, kValue, kError, kRetry };

struct Flight {
  PyObject_HEAD Load* load;  // nullptr once finished
  Load* own;                 // of an asynchronous leader; deleted with the flight
  PyThread_type_lock lock;   // held until the result is there; nullptr until a thread waits
  Py_ssize_t threads;        // that wait
  Outcome outcome;
  bool was_cancelled;  // the leader's task, from outside
  PyObject* result;    // value or exception
  PyObject* futures;   // list of the coroutines' futures, or nullptr
  PyObject* loop;      // of an asynchronous leader
  PyObject* task;
};

inline PyObject* as_object(Flight* flight) { return reinterpret_cast<PyObject*>(flight); }
inline Flight* as_flight(PyObject* object) { return reinterpret_cast<Flight*>(object); }

// Whether others than the leader get this exception: an Exception, or a cancellation.
[[nodiscard]] bool is_shared_error(PyObject* exception) noexcept;

// A synchronous leader's Load, in the table while it lives.
class Leading {
 public:
  // Takes over `key`. An earlier load of the key is taken out before, by fence().
  Leading(LoadTable& table, PyObject* key, std::uint64_t hash, std::uint64_t epoch, LoadTags tags);
  // Followers that have no result by now are told to try again.
  ~Leading();
  Leading(const Leading&) = delete;
  Leading& operator=(const Leading&) = delete;

  [[nodiscard]] Load& load() noexcept { return load_; }
  // The result, for those who wait; borrowed. An error is the exception set, which stays set.
  void finish(PyObject* value) noexcept;
  void finish_with_error() noexcept;

 private:
  Load load_;
  Load* outer_;  // the load of this thread that this one runs inside
};

enum class Waited { kValue, kError, kRetry, kInline, kTimeout };

// Waits for `load`, led by another thread or task, at most `limit`. kValue: `*value` is a new
// reference. kError: an exception is set. kRetry: the leader was interrupted. kInline: waiting
// would never end; compute without storing.
[[nodiscard]] Waited wait_for_load(Load& load, PyObject** value, Duration limit);

// For coroutines (see _async.py). nullptr with an exception set.
// Registers a new load of `key` (taken over) and returns its Flight.
[[nodiscard]] PyObject* begin_async_load(LoadTable& table, PyObject* key, std::uint64_t hash,
                                         std::uint64_t epoch, LoadTags tags);
// The Flight to wait for `load`, or None if the caller has to compute inline.
[[nodiscard]] PyObject* join_async(Load& load);
[[nodiscard]] bool is_flight(PyObject* object) noexcept;

// Takes the load out of its table and hands its result to everyone who waits.
void end_load(Load& load, Outcome outcome, PyObject* result) noexcept;
[[nodiscard]] Outcome outcome_of_error(PyObject* exception) noexcept;
// Takes back what current_load() noted when it began to wait.
void forget_wait(Load* waiter, Flight* flight) noexcept;
void async_load_ended() noexcept;

// Who loads: the number of a thread, or a task; None once it has ended. A new reference.
[[nodiscard]] PyObject* leader_of(const Flight* flight) noexcept;

// Sets LoadTimeout for whoever waited for `key`. `name`: a str, what loads.
void raise_load_timeout(PyObject* name, PyObject* key, Duration limit);

[[nodiscard]] PyTypeObject* flight_type() noexcept;
[[nodiscard]] bool add_flight_type(PyObject* module);  // flight_type.cpp
[[nodiscard]] bool add_flight_hooks(PyObject* module);

}  // namespace mcp::python

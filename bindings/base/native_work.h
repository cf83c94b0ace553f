// native_work.h: functions of one item whose work needs nothing of Python.
//
// A batch runs them a chunk at a time: it reads the items and makes the results with the
// interpreter lock held, and works on all of them in between without it. Called from Python they
// are functions.
#pragma once

#include <Python.h>

#include <memory>

namespace mcp::python {

class NativeWork {
 public:
  // One item on its way. Destroyed with the interpreter lock held.
  class Task {
   public:
    virtual ~Task() = default;
    virtual void run() = 0;          // without the interpreter lock, on any thread
    virtual PyObject* result() = 0;  // with it; nullptr with an exception set
  };

  virtual ~NativeWork() = default;
  // With the interpreter lock. Empty with an exception set, the item's own error.
  [[nodiscard]] virtual std::unique_ptr<Task> read(PyObject* item) const = 0;
};

// A new function of one argument that runs `work`; nullptr with an exception set. The texts
// live as long as the process.
PyObject* make_native_function(const char* name, const char* doc,
                               std::shared_ptr<const NativeWork> work);

// A room's own callables that are native work: empty when `function` is any other. Never with
// an exception set.
using NativeFinder = std::shared_ptr<const NativeWork> (*)(PyObject* function);
// REQUIRES: while the module is being made.
void add_native_finder(NativeFinder finder);

// What `function` runs; empty when it is any other callable.
std::shared_ptr<const NativeWork> native_work_of(PyObject* function) noexcept;

// One item from beginning to end, without the lock in the middle. nullptr with an exception set.
PyObject* run_natively(const NativeWork& work, PyObject* item);

bool add_native_function_type(PyObject* module);

}  // namespace mcp::python

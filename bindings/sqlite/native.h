// native.h: statements of a pool as native work, so that a batch runs a chunk of
// them without the interpreter lock.
#pragma once

#include <memory>

#include "bindings/base/native_work.h"

namespace mcp::python {

// What `function` runs when it is a method of a pool's blocking side, or a functools.partial of
// one; empty when it is any other callable. Never with an exception set.
std::shared_ptr<const NativeWork> statement_work_of(PyObject* function) noexcept;

}  // namespace mcp::python

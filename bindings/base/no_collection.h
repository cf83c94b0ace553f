// no_collection.h: making many objects that no cycle can pass through, without collections.
//
// Python's cycle collector runs by the number of objects made, and a full one takes milliseconds
// where much is alive: the rows of one large answer would set off several, in vain. What was made
// counts, so one look at the youngest follows at the end.
#pragma once

#include <Python.h>

namespace mcp::python {

// With the interpreter lock, kept throughout; no code of the user runs meanwhile.
class NoCollection {
 public:
  explicit NoCollection(bool wanted = true) noexcept
      : was_enabled_(wanted && PyGC_Disable() != 0) {}
  ~NoCollection() {
    if (was_enabled_) PyGC_Enable();
  }
  NoCollection(const NoCollection&) = delete;
  NoCollection& operator=(const NoCollection&) = delete;

 private:
  const bool was_enabled_;
};

}  // namespace mcp::python

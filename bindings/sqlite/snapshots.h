// snapshots.h: the statements that are answered inline in one tick of the loop share a
// snapshot, which is dropped when the tick is over.
//
// REQUIRES: the interpreter lock.
#pragma once

#include <memory>

#include "sqlite/pool.h"

namespace mcp::python {

// A connection of the pool holds one now. REQUIRES: is_later_in_tick().
void drop_snapshots_after_tick(const std::shared_ptr<sqlite::Pool>& pool);

}  // namespace mcp::python

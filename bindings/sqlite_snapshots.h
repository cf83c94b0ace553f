// sqlite_snapshots.h: the statements that are answered inline in one tick of the loop share a
// snapshot, which is dropped when the tick is over.
//
// REQUIRES: the interpreter lock.
#pragma once

#include <memory>

#include "sqlite/pool.h"

namespace mcp::python {

// For whoever has just asked for the loop's budget: true from the second answer of a tick on.
[[nodiscard]] bool may_share_snapshot() noexcept;
// A connection of the pool holds one now.
void drop_snapshots_after_tick(const std::shared_ptr<sqlite::Pool>& pool);

}  // namespace mcp::python

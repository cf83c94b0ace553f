// portion.h: the next rows of a stream, on the connection of its lease: by a worker, or on its
// caller's thread.
#pragma once

#include <memory>

#include "sqlite/cursor.h"
#include "sqlite/lease.h"
#include "sqlite/statement_job.h"

namespace mcp::sqlite {

// The only Reply has the portion. Throws Error when the lease has ended.
void submit_portion(Lease& lease, std::shared_ptr<Cursor> cursor, OperationPtr operation,
                    ReplyTo reply_to);

// Throws Error, Stopped.
[[nodiscard]] Answer take_portion_here(Lease& lease, const std::shared_ptr<Cursor>& cursor,
                                       const Operation& operation);

}  // namespace mcp::sqlite

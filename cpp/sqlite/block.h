// block.h: how the blocks of acquire(), transaction() and stream() begin and end on a connection.
//
// The end of a block either commits everything or leaves nothing behind: when it throws, the
// transaction was rolled back already, or is when the connection goes back (Pool::end_lease()).
// Thread-compatible; whoever calls has the slot alone.
#pragma once

#include "sqlite/pool.h"

namespace mcp::sqlite {

enum class Block {
  kConnection,        // any connection, in no transaction
  kReadTransaction,   // a reader
  kWriteTransaction,  // the writer
  kReader,            // a reader, in no transaction
};

[[nodiscard]] Access access_of(Block block) noexcept;
[[nodiscard]] bool is_transaction(Block block) noexcept;

// REQUIRES: the slot is connected. Throws Error, Stopped.
void begin_block(Pool& pool, Slot& slot, Block block, const Operation& operation);

// Commits or rolls back what is open. A commit throws Error where the transaction is not there any
// more, because an earlier failure rolled it back, and where its file is not the database's any
// more; and Stopped.
void end_block(Pool& pool, Slot& slot, bool commit, const Operation& operation);

}  // namespace mcp::sqlite

// block.cpp: BEGIN, COMMIT and ROLLBACK around what a caller does with a connection.
#include "sqlite/block.h"

#include <utility>

#include "sqlite/pool_errors.h"

namespace mcp::sqlite {

bool is_transaction(Block block) noexcept {
  return block == Block::kReadTransaction || block == Block::kWriteTransaction;
}

Access access_of(Block block) noexcept {
  switch (block) {
    case Block::kConnection:
      return Access::kAny;
    case Block::kWriteTransaction:
      return Access::kWrite;
    default:
      return Access::kRead;
  }
}

void begin_block(Pool& pool, Slot& slot, Block block, const Operation& operation) {
  const bool moves = block == Block::kConnection && slot.role == Role::kReader;
  Pool::lend(slot, moves ? Borrower::kMovable : Borrower::kLease);
  const Connection::Scope scope(*slot.connection, operation);
  if (block == Block::kWriteTransaction) begin_transaction(*slot.connection, pool.services());
  if (block == Block::kReadTransaction) slot.connection->run("BEGIN");
  slot.expects_transaction = is_transaction(block);
}

void end_block(Pool& pool, Slot& slot, bool commit, const Operation& operation) {
  const bool commits_writes = commit && slot.role == Role::kWriter;
  if (slot.connection == nullptr) {
    if (commits_writes) throw file_replaced();
    return;
  }
  Connection& connection = *slot.connection;
  const Connection::Scope scope(connection, operation);
  const bool expected = std::exchange(slot.expects_transaction, false);
  const bool lost = expected && !connection.in_transaction();
  const bool replaced = commits_writes && pool.file_moved_now();
  if (commit && !lost && !replaced) {
    commit_transaction(connection, pool.services());
    return;
  }
  if (connection.in_transaction()) rollback_transaction(connection, pool.services());
  if (replaced) throw file_replaced();
  if (commit) throw transaction_lost();
}

}  // namespace mcp::sqlite

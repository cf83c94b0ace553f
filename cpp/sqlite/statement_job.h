// statement_job.h: a statement on a worker, and on its caller's thread.
//
// Both ways follow the same routes (routing.h), also where a statement turns out to write. On a
// worker, rows leave through the caller's queue in parts as they are stepped; here they are all in
// the answer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/completion_queue.h"
#include "sqlite/execution.h"
#include "sqlite/lease.h"
#include "sqlite/pool.h"
#include "sqlite/reply.h"
#include "sqlite/routing.h"

namespace mcp::sqlite {

// Where the replies to a job go.
struct ReplyTo {
  std::shared_ptr<CompletionQueue> queue;
  std::uint64_t id = 0;
  void send(std::unique_ptr<Reply> reply, bool last) const {
    queue->push({id, std::move(reply), last});
  }
};

// Queues the statement for a worker. The last Reply has its end; where the first row only is asked
// for, it is the only one. `lease` is null without one. Throws Error when the lease has ended.
void submit_statement(Pool& pool, std::shared_ptr<Lease> lease, Route route, OperationPtr operation,
                      Request request, ReplyTo reply_to);

// Runs the statement on this thread, and waits for a connection. Throws Error, Stopped,
// NeedsWriter, std::bad_alloc.
[[nodiscard]] Answer run_statement_here(const std::shared_ptr<Pool>& pool, Lease* lease,
                                        Route route, Request& request, const Operation& operation);

// Runs it on this thread at once, if a connection is idle and for `budget` at most. Empty: let a
// worker run it. Throws Error, std::bad_alloc. REQUIRES: may_run_inline().
[[nodiscard]] std::optional<Answer> try_statement_here(Pool& pool, Lease* lease, Request& request,
                                                       Duration budget);

}  // namespace mcp::sqlite

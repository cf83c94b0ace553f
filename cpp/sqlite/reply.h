// reply.h: what a worker sends to the loop of its caller, through the loop's queue.
//
// Made and filled on the worker, used up on the loop, destroyed on either. Holds nothing of Python.
#pragma once

#include <exception>

#include "base/completion_queue.h"
#include "sqlite/execution.h"
#include "sqlite/lease.h"

namespace mcp::sqlite {

struct Reply final : CompletionPayload {
  Answer answer;
  std::exception_ptr failure;
  PendingSlot leased;  // for the caller's lease to begin with
};

}  // namespace mcp::sqlite

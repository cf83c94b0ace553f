// budget.h: how long awaits may be answered inline before the event loop gets a turn.
//
// An await that never suspends starves its loop: timers, sockets and the other tasks wait for ever.
// Everything that is answered inline, by a cache or by a short statement, asks here first, and once
// one budget of a tick (slices.h) has gone by since the first answer in it, each awaitable yields
// once. A tick is noticed by a callback that is put on the loop, at most one per tick.
//
// State is per thread, so per running loop. REQUIRES: the interpreter lock.
#pragma once

#include "base/slices.h"

namespace mcp::python {

// Whether the awaitable that is about to answer inline must yield first. Never with an exception
// set; false outside asyncio, whose bare yield other frameworks do not know.
// This one looks at the precise clock now and then only: for answers that take nanoseconds.
[[nodiscard]] bool loop_budget_is_spent() noexcept;
// For answers that may take long.
[[nodiscard]] bool loop_budget_is_spent_by_now() noexcept;

// For whoever has just asked loop_budget_is_spent_by_now(): whether something was answered before
// in this tick.
[[nodiscard]] bool is_later_in_tick() noexcept;
// Calls `work` when the tick is over. REQUIRES: is_later_in_tick(), or an earlier call in this
// tick; and the same `work` in the whole process.
void at_end_of_tick(void (*work)() noexcept) noexcept;

}  // namespace mcp::python

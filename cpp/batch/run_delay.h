// run_delay.h: how long the calling thread was ready to run and no processor was free for it.
//
// What a thread waits for a lock is told from what it waits for a processor by this: on a busy
// machine the second is the longer one. Safe from any thread; about 1 us a call.
#pragma once

#include "base/clock.h"

namespace mcp::batch {

// Since the thread began; 0 where the kernel does not say (/proc/thread-self/schedstat).
[[nodiscard]] Duration thread_run_delay() noexcept;

}  // namespace mcp::batch

// fork.h: tells a forked child from the process that made an object. A counter instead of getpid(),
// which is a system call on glibc.
#pragma once

#include <cstdint>

namespace mcp {

// Grows by one in every forked child. About 1 ns. Objects that own threads, sockets or handles keep
// the value of their birth; where it differs they belong to the parent and are abandoned.
[[nodiscard]] std::uint32_t process_generation() noexcept;

}  // namespace mcp

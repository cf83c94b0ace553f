// fork.h: tells a forked child from the process that made an object. A counter instead of getpid(),
// which is a system call on glibc.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

namespace mcp {

// Grows by one in every forked child. About 1 ns. Objects that own threads, sockets or handles keep
// the value of their birth; where it differs they belong to the parent and are abandoned.
[[nodiscard]] std::uint32_t process_generation() noexcept;

// For what belongs to the parent: never destroyed, since its locks may be held for ever and its
// threads are not here. `object` is empty then.
template <class T>
void leave_to_parent(std::shared_ptr<T>& object) {
  static_cast<void>(new std::shared_ptr<T>(std::move(object)));
}

}  // namespace mcp

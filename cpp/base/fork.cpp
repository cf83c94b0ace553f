// fork.cpp: counts the forks that lie between this process and the first one.
#include "base/fork.h"

#include <pthread.h>

#include <atomic>

namespace mcp {
namespace {

std::atomic<std::uint32_t> generation{0};

const int registered = pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1); });

}  // namespace

std::uint32_t process_generation() noexcept {
  static_cast<void>(registered);
  return generation.load(std::memory_order_relaxed);
}

}  // namespace mcp

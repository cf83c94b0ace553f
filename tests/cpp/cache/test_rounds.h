// test_rounds.h: how often a random test repeats. MCP_TEST_ROUNDS multiplies it: scripts/campaign
// sets 100. Under the thread sanitizer, which is many times slower, a tenth of it.
#pragma once

#include <algorithm>
#include <cstdlib>

namespace mcp::cache {

[[nodiscard]] inline int test_rounds(int usual) {
#if defined(__SANITIZE_THREAD__)
  usual /= 10;
#endif
  // Nobody sets the environment while the tests run.
  const char* factor = std::getenv("MCP_TEST_ROUNDS");  // NOLINT(concurrency-mt-unsafe)
  return factor == nullptr ? usual : usual * std::max(1, std::atoi(factor));
}

}  // namespace mcp::cache

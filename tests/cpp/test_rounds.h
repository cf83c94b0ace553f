// test_rounds.h: how much of a thing a test tries. MCP_TEST_ROUNDS multiplies it: scripts/campaign
// sets 100. Under a sanitizer, which makes all of it ten times slower and looks for what shows in
// any of it, a tenth.
#pragma once

#include <algorithm>
#include <cstdlib>

namespace mcp {

#if defined(MCP_SANITIZED)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

[[nodiscard]] inline int test_rounds(int usual) {
  if (kSanitized) usual = std::max(1, usual / 10);
  // Nobody sets the environment while the tests run.
  const char* factor = std::getenv("MCP_TEST_ROUNDS");  // NOLINT(concurrency-mt-unsafe)
  return factor == nullptr ? usual : usual * std::max(1, std::atoi(factor));
}

}  // namespace mcp

#include "base/fork.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mcp {
namespace {

TEST(ProcessGeneration, GrowsInTheChildAndStaysInTheParent) {
  const std::uint32_t before = process_generation();
  const pid_t child = fork();
  if (child == 0) _exit(process_generation() == before + 1 ? 0 : 1);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(process_generation(), before);
}

}  // namespace
}  // namespace mcp

#include "base/completion_queue.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <thread>

namespace mcp {
namespace {

bool readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return poll(&entry, 1, 0) == 1;
}

struct Counted final : CompletionPayload {
  explicit Counted(std::atomic<int>& alive) : alive_(alive) { ++alive_; }
  ~Counted() override { --alive_; }
  std::atomic<int>& alive_;
};

TEST(CompletionQueue, IsReadableExactlyWhileSomethingWaits) {
  CompletionQueue queue;
  EXPECT_FALSE(readable(queue.fd()));
  queue.push({1, nullptr});
  queue.push({2, nullptr});
  EXPECT_TRUE(readable(queue.fd()));
  std::vector<Completion> out;
  queue.take(out);
  EXPECT_FALSE(readable(queue.fd()));
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[0].id, 1u);
  EXPECT_EQ(out[1].id, 2u);
}

TEST(CompletionQueue, WritesTheDescriptorOnceForABurst) {
  CompletionQueue queue;
  for (std::uint64_t id = 0; id < 100; ++id) queue.push({id, nullptr});
  std::uint64_t writes = 0;
  ASSERT_EQ(read(queue.fd(), &writes, sizeof writes), static_cast<ssize_t>(sizeof writes));
  EXPECT_EQ(writes, 1u);
}

TEST(CompletionQueue, AppendsBehindWhatIsAlreadyTaken) {
  CompletionQueue queue;
  std::vector<Completion> out;
  queue.push({1, nullptr});
  queue.take(out);
  queue.push({2, nullptr, false});
  queue.take(out);
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[1].id, 2u);
  EXPECT_FALSE(out[1].last);
}

TEST(CompletionQueue, DestroysWhatIsPushedAfterClose) {
  std::atomic<int> alive{0};
  CompletionQueue queue;
  queue.push({1, std::make_unique<Counted>(alive)});
  queue.close();
  queue.push({2, std::make_unique<Counted>(alive)});
  EXPECT_EQ(alive, 0);
  std::vector<Completion> out;
  queue.take(out);
  EXPECT_TRUE(out.empty());
}

TEST(CompletionQueue, LosesNothingBetweenManyProducersAndOneConsumer) {
  constexpr int kProducers = 4;
  constexpr std::uint64_t kEach = 5000;
  CompletionQueue queue;
  std::vector<std::thread> producers;
  for (std::uint64_t p = 0; p < kProducers; ++p) {
    producers.emplace_back([&queue, p] {
      for (std::uint64_t i = 0; i < kEach; ++i) queue.push({p * kEach + i, nullptr});
    });
  }
  std::vector<std::uint64_t> next(kProducers, 0);
  std::uint64_t seen = 0;
  while (seen < kProducers * kEach) {
    pollfd entry{queue.fd(), POLLIN, 0};
    ASSERT_EQ(poll(&entry, 1, 30'000), 1);  // a lost wake-up would stop here
    std::vector<Completion> out;
    queue.take(out);
    for (const Completion& completion : out) {
      const std::uint64_t producer = completion.id / kEach;
      EXPECT_EQ(completion.id % kEach, next[producer]++);
    }
    seen += out.size();
  }
  for (std::thread& producer : producers) producer.join();
}

}  // namespace
}  // namespace mcp

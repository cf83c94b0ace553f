#include "base/turn_queue.h"

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace mcp {
namespace {

using Ids = std::vector<std::uint64_t>;

TEST(TurnQueue, KeepsAPartThatYieldsBeforeTheLaterOnesOfItsId) {
  TurnQueue<int> queue;
  queue.push(1, 10, false);
  queue.push(1, 11, false);
  queue.push(1, 12, true);
  queue.yield();
  EXPECT_EQ(queue.pop(), 10);
  queue.yield();
  EXPECT_EQ(queue.pop(), 11);
  EXPECT_EQ(queue.pop(), 12);
  EXPECT_TRUE(queue.empty());
}

TEST(TurnQueue, PassesTheTurnAfterEachStep) {
  TurnQueue<int> queue;
  for (const std::uint64_t id : {1, 2, 3}) {
    queue.push(id, 0, false);
    queue.push(id, 1, true);
  }
  Ids order;
  while (!queue.empty()) {
    order.push_back(queue.id());
    queue.pop();
  }
  EXPECT_EQ(order, (Ids{1, 2, 3, 1, 2, 3}));
}

TEST(TurnQueue, LetsAShortAnswerPassALongOneThatYields) {
  TurnQueue<int> queue;
  queue.push(1, 0, true);
  queue.yield();
  queue.push(2, 0, true);
  queue.yield();
  EXPECT_EQ(queue.id(), 2u);
}

TEST(TurnQueue, TakesAnIdAnewWhenItsLastPartHasGone) {
  TurnQueue<int> queue;
  queue.push(7, 1, false);
  EXPECT_EQ(queue.pop(), 1);
  queue.push(7, 2, true);  // drained in between
  queue.push(7, 3, false);
  EXPECT_EQ(queue.pop(), 2);
  queue.push(7, 4, true);
  EXPECT_EQ(queue.pop(), 3);
  EXPECT_EQ(queue.pop(), 4);
  EXPECT_TRUE(queue.empty());
}

TEST(TurnQueue, GivesPartsAway) {
  TurnQueue<std::shared_ptr<int>> queue;
  auto part = std::make_shared<int>(1);
  queue.push(1, part, true);
  EXPECT_EQ(queue.pop().use_count(), 2);
  EXPECT_EQ(part.use_count(), 1);
}

// The model: three answers of three parts of two rows, on their way from a worker to a loop. A
// consumer converts rows as the Collector of a fetch does: it counts rows of the part that it is
// in, and believes that it is called again with the same part. The fake clock passes the deadline
// after the first row of a part, or not.
constexpr int kAnswers = 3, kParts = 3, kRows = 2;

enum class Event : char { kArrive0, kArrive1, kArrive2, kConvert, kConvertUntilDeadline };

struct World {
  struct Part {
    int answer, number;
  };
  struct Answer {
    int arrived = 0, next = 0;  // parts; the row to convert next
    std::vector<int> rows;
    bool ended = false;
  };

  TurnQueue<Part> queue;
  std::array<Answer, kAnswers> answers;
  std::deque<int> turns;  // the answers that have parts, by whose turn it is: as the queue must

  bool may(Event event) const {
    if (event <= Event::kArrive2) return answers[static_cast<int>(event)].arrived < kParts;
    // A part is cut off once: what it is given next time it finishes.
    if (event == Event::kConvert) return !turns.empty();
    return !turns.empty() && answers[turns.front()].next == 0;
  }

  void apply(Event event) {
    if (event <= Event::kArrive2) return arrive(static_cast<int>(event));
    const int answer = turns.front();
    ASSERT_FALSE(queue.empty());
    ASSERT_EQ(queue.id(), static_cast<std::uint64_t>(answer)) << "not its turn";
    turns.pop_front();
    convert(answer, event == Event::kConvertUntilDeadline);
  }

  void arrive(int answer) {
    Answer& to = answers[answer];
    const int number = to.arrived++;
    if (parts_here(answer) == 1) turns.push_back(answer);
    queue.push(answer, {answer, number}, number == kParts - 1);
  }

  int parts_here(int answer) const {
    return answers[answer].arrived - static_cast<int>(answers[answer].rows.size()) / kRows;
  }

  void convert(int answer, bool cut_off) {
    Answer& to = answers[answer];
    const Part part = queue.front();
    ASSERT_EQ(part.answer, answer);
    while (to.next < kRows) {
      to.rows.push_back(part.number * kRows + to.next++);
      if (cut_off) {
        turns.push_back(answer);
        return queue.yield();
      }
    }
    to.next = 0;
    queue.pop();
    to.ended = part.number == kParts - 1;
    if (parts_here(answer) > 0) turns.push_back(answer);
  }

  // Two histories that lead here have the same future.
  std::string state() const {
    std::string text;
    for (const Answer& answer : answers) {
      text += static_cast<char>('a' + answer.arrived);
      text += static_cast<char>('a' + answer.rows.size());
    }
    for (const int answer : turns) text += static_cast<char>('0' + answer);
    return text;
  }

  void check() const {
    for (const Answer& answer : answers) {
      for (std::size_t i = 0; i < answer.rows.size(); ++i) {
        ASSERT_EQ(answer.rows[i], static_cast<int>(i)) << "rows out of order, missing or twice";
      }
      if (!answer.ended) continue;
      ASSERT_EQ(answer.rows.size(), std::size_t{kParts * kRows});
    }
  }
};

TEST(TurnQueueModel, EveryInterleavingOfThreeAnswersOfThreePartsIsWhole) {
  std::set<std::string> seen;
  std::deque<std::vector<Event>> histories{{}};
  std::size_t whole = 0;
  while (!histories.empty()) {
    const std::vector<Event> history = std::move(histories.front());
    histories.pop_front();
    World world;
    for (const Event event : history) {
      ASSERT_NO_FATAL_FAILURE(world.apply(event));
    }
    ASSERT_NO_FATAL_FAILURE(world.check());
    bool ended = true;
    for (const auto& answer : world.answers) ended &= answer.ended;
    if (ended) {
      EXPECT_TRUE(world.queue.empty());
      ++whole;
    }
    for (const Event event : {Event::kArrive0, Event::kArrive1, Event::kArrive2, Event::kConvert,
                              Event::kConvertUntilDeadline}) {
      if (!world.may(event)) continue;
      World next;
      for (const Event earlier : history) next.apply(earlier);
      ASSERT_NO_FATAL_FAILURE(next.apply(event));
      if (!seen.insert(next.state()).second) continue;
      histories.push_back(history);
      histories.back().push_back(event);
    }
  }
  EXPECT_EQ(whole, 1u);           // all histories end in the one state in which everything is there
  EXPECT_GT(seen.size(), 1000u);  // and they are many
}

}  // namespace
}  // namespace mcp

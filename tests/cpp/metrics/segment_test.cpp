#include "metrics/segment.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>

#include "base/error.h"
#include "metrics/request_metrics.h"
#include "test_rounds.h"

namespace mcp::metrics {
namespace {

namespace fs = std::filesystem;

class SegmentTest : public ::testing::Test {
 protected:
  SegmentTest() {
    std::string name = (fs::temp_directory_path() / "segment-XXXXXX").string();
    directory_ = mkdtemp(name.data());
    path_ = directory_ / "service";
  }
  ~SegmentTest() override { fs::remove_all(directory_); }

  fs::path directory_;
  fs::path path_;
};

using RequestMetricsOfWorkers = SegmentTest;

constexpr RequestTimes kTimes{kMillisecond, kMillisecond, kMillisecond};

void request(RequestMetrics& metrics, std::string_view route, int status = 200) {
  metrics.begin();
  metrics.end({"GET", route, "http", status, ""}, kTimes, now_precise());
}

// Runs `work` in a child, which then waits to be killed; returns when it has worked.
class Child {
 public:
  explicit Child(const std::function<void(int told)>& work) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    pid_ = fork();
    if (pid_ == 0) {
      close(ends[0]);
      work(ends[1]);
      for (;;) pause();
    }
    close(ends[1]);
    told_ = ends[0];
  }
  void wait_for_word() const {
    char word = 0;
    ASSERT_EQ(read(told_, &word, 1), 1);
  }
  std::uint64_t count_words() const {
    std::uint64_t count = 0;
    char words[4096];
    for (ssize_t got = 0; (got = read(told_, words, sizeof words)) > 0;) {
      count += static_cast<std::uint64_t>(got);
    }
    return count;
  }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  ~Child() {
    kill();
    close(told_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

 private:
  pid_t pid_ = 0;
  int told_ = -1;
};

void say(int told) { ASSERT_EQ(write(told, "x", 1), 1); }

TEST_F(RequestMetricsOfWorkers, EachSeesTheSumOfAll) {
  RequestMetrics one(now_precise());
  RequestMetrics other(now_precise());
  request(one, "/before");
  one.join(path_, now_precise());
  other.join(path_, now_precise());
  EXPECT_NE(one.worker(), other.worker());
  request(one, "/a");
  request(other, "/a", 500);
  for (RequestMetrics* metrics : {&one, &other}) {
    const auto snapshot = metrics->snapshot(now_precise());
    EXPECT_EQ(snapshot.total.count(), 3u);
    EXPECT_EQ(snapshot.errors, 1u);
    EXPECT_EQ(snapshot.last_minute.count(), 3u);
  }
  EXPECT_EQ(fs::file_size(path_), Segment::kBytes);
}

TEST_F(RequestMetricsOfWorkers, KilledOnesLoseNoCountAndLeaveTheirSlotToNewOnes) {
  RequestMetrics observer(now_precise());
  observer.join(path_, now_precise());
  const auto rounds =
      Segment::kWorkers + static_cast<std::uint64_t>(test_rounds(Segment::kWorkers));
  for (std::uint64_t round = 1; round <= rounds; ++round) {
    Child worker([&](int told) {
      RequestMetrics metrics(now_precise());
      metrics.join(path_, now_precise());
      for (int i = 0; i < 10; ++i) request(metrics, "/" + std::to_string(i));
      metrics.begin();  // never ends
      say(told);
      for (;;) pause();
    });
    worker.wait_for_word();
    EXPECT_EQ(observer.snapshot(now_precise()).active, 1);
    worker.kill();
    const auto snapshot = observer.snapshot(now_precise());
    EXPECT_EQ(snapshot.total.count(), 10 * round);
    EXPECT_EQ(snapshot.series.size(), 10u);
    EXPECT_EQ(snapshot.active, 0);
  }
}

// The series are more than there is room for, so that the worker folds all the time.
TEST_F(RequestMetricsOfWorkers, AreExactWhereverTheyAreKilled) {
  RequestMetrics observer(now_precise());
  observer.join(path_, now_precise());
  std::uint64_t sent = 0;
  for (int round = 0; round < test_rounds(20); ++round) {
    Child worker([&](int told) {
      RequestMetrics metrics(now_precise());
      metrics.join(path_, now_precise());
      for (int i = 0;; ++i) {
        request(metrics, "/" + std::to_string(i % 1'000));
        say(told);
      }
    });
    worker.wait_for_word();
    usleep(static_cast<useconds_t>(2'000 + round * 997));
    worker.kill();
    sent += 1 + worker.count_words();
    const std::uint64_t counted = observer.snapshot(now_precise()).total.count();
    // The last one may have been counted and not have been told.
    ASSERT_GE(counted, sent);
    ASSERT_LE(counted, sent + 1);
    sent = counted;
  }
}

TEST_F(RequestMetricsOfWorkers, AForkedOneTakesASlotOfItsOwn) {
  RequestMetrics metrics(now_precise());
  metrics.join(path_, now_precise());
  request(metrics, "/parent");
  Child worker([&](int told) {
    request(metrics, "/child");
    say(told);
  });
  worker.wait_for_word();
  request(metrics, "/parent");
  EXPECT_EQ(metrics.read().size(), 3u);  // those that have ended, the parent and the child
  EXPECT_EQ(metrics.snapshot(now_precise()).total.count(), 3u);
  worker.kill();
  EXPECT_EQ(metrics.snapshot(now_precise()).total.count(), 3u);
}

TEST_F(RequestMetricsOfWorkers, RowsAreAddedUpAsFarAsTheyOutliveAWorker) {
  RequestMetrics observer(now_precise());
  observer.join(path_, now_precise());
  for (int round = 0; round < 3; ++round) {
    RequestMetrics worker(now_precise());
    worker.join(path_, now_precise());
    RowFigures row{"cache", "users", "what it is", 0b001, 0b100, {5, 7, 9.0 - round}};
    worker.publish(row);
  }
  // The last one has ended, and nobody has folded it yet.
  const auto workers = observer.read();
  ASSERT_EQ(workers.size(), 3u);
  EXPECT_EQ(workers[0].figures.rows.at(0).values[0], 10);
  EXPECT_EQ(workers[0].figures.rows.at(0).values[1], 0);
  EXPECT_EQ(workers[0].figures.rows.at(0).values[2], 9);
  EXPECT_EQ(workers[0].figures.rows.at(0).text, "what it is");
  EXPECT_FALSE(workers[2].alive);
  EXPECT_EQ(workers[2].figures.rows.at(0).values[0], 5);
}

TEST_F(SegmentTest, TakesNoMoreWorkersThanItHasSlots) {
  std::vector<std::unique_ptr<Segment>> workers;
  for (std::size_t i = 0; i < Segment::kWorkers; ++i) {
    workers.push_back(std::make_unique<Segment>(path_, now_precise()));
  }
  EXPECT_THROW(Segment(path_, now_precise()), Error);
  workers.erase(workers.begin());
  EXPECT_NO_THROW(Segment(path_, now_precise()));
}

TEST_F(SegmentTest, RefusesFilesThatOthersCouldHavePutThere) {
  fs::create_symlink(directory_ / "elsewhere", path_);
  EXPECT_THROW(Segment(path_, now_precise()), Error);
  fs::remove(path_);
  std::ofstream(path_) << "text";
  fs::permissions(path_, fs::perms::owner_all | fs::perms::others_read);
  EXPECT_THROW(Segment(path_, now_precise()), Error);
}

TEST_F(SegmentTest, StartsAnewOverWhatIsNoSegment) {
  std::ofstream(path_) << "text";
  fs::permissions(path_, fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(Segment(path_, now_precise()).read().size(), 2u);
}

// Who starts a segment is the parent of its first worker.
TEST_F(SegmentTest, StartsAnewWhenItsWorkersAndWhoStartedItHaveGone) {
  for (int round = 0; round < 2; ++round) {
    Child service([&](int told) {
      if (fork() == 0) {
        RequestMetrics worker(now_precise());
        worker.join(path_, now_precise());
        request(worker, "/");
        EXPECT_EQ(worker.snapshot(now_precise()).total.count(), 1u);
        _exit(::testing::Test::HasFailure() ? 1 : 0);
      }
      int status = 1;
      wait(&status);
      if (status == 0) say(told);
      _exit(0);
    });
    service.wait_for_word();
    service.kill();
  }
  Segment::sweep(directory_, "other");
  EXPECT_TRUE(fs::exists(path_));
  {
    const Segment used(path_, now_precise());
    Segment::sweep(directory_, "service");
    EXPECT_TRUE(fs::exists(path_));
  }
  Segment::sweep(directory_, "service");  // the parent of this test is alive
  EXPECT_TRUE(fs::exists(path_));
}

TEST_F(SegmentTest, IsSweptAwayWhenNobodyIsLeft) {
  Child service([&](int told) {
    if (fork() == 0) {
      const Segment worker(path_, now_precise());
      _exit(0);
    }
    wait(nullptr);
    say(told);
    _exit(0);
  });
  service.wait_for_word();
  service.kill();
  Segment::sweep(directory_, "service");
  EXPECT_FALSE(fs::exists(path_));
}

}  // namespace
}  // namespace mcp::metrics

// ways.h: statements, blocks and portions of streams the way their callers run them: on the
// caller's thread, or on a worker with the replies in a queue. One table of cases serves both.
#pragma once

#include <poll.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fixture.h"
#include "sqlite/pool_errors.h"
#include "sqlite/pool_task.h"
#include "sqlite/portion.h"
#include "sqlite/statement_job.h"

namespace mcp::sqlite {

enum class Way { kHere, kOnWorker };

// What is told to a caller, in a word.
inline std::string told(const std::exception_ptr& failure) {
  if (failure == nullptr) return "ok";
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    const std::string what = error.what();
    if (what == given_back().what()) return "given back";
    if (what == in_use_elsewhere().what()) return "in use";
    if (what == pool_closed().what()) return "closed";
    if (what == waits_for_itself().what()) return "waits for self";
    if (what == transaction_lost().what()) return "lost";
    if (what == file_replaced().what()) return "replaced";
    return what;
  } catch (const NeedsWriter&) {
    return "reads only";
  } catch (const Stopped& stopped) {
    return stopped.why == Stop::kCancelled ? "cancelled" : "stopped";
  } catch (...) {
    return "unknown";
  }
}

// The queue of a loop, and whoever waits for it.
class Loop {
 public:
  [[nodiscard]] ReplyTo reply_to() { return {queue_, ++last_id_}; }

  // The last reply; those before it are added to `parts`.
  std::unique_ptr<Reply> wait(std::vector<std::unique_ptr<Reply>>* parts = nullptr) {
    for (;;) {
      for (; next_ < taken_.size(); ++next_) {
        std::unique_ptr<Reply> reply(static_cast<Reply*>(taken_[next_].payload.release()));
        if (taken_[next_].last) {
          ++next_;
          return reply;
        }
        if (parts != nullptr) parts->push_back(std::move(reply));
      }
      taken_.clear();
      next_ = 0;
      pollfd ready{queue_->fd(), POLLIN, 0};
      if (poll(&ready, 1, 60'000) != 1) throw std::runtime_error("no reply came");
      queue_->take(taken_);
    }
  }

  void close() { queue_->close(); }

 private:
  const std::shared_ptr<CompletionQueue> queue_ = std::make_shared<CompletionQueue>();
  std::uint64_t last_id_ = 0;
  std::vector<Completion> taken_;
  std::size_t next_ = 0;
};

class WaysTest : public PoolTest {
 protected:
  struct Outcome {
    std::string told;
    std::int64_t changes = 0;
    std::vector<std::int64_t> column;  // the first, of integers
  };

  static std::shared_ptr<Pool> make_pool(PoolOptions options) {
    auto pool = std::make_shared<Pool>(std::move(options));
    run(*pool, "CREATE TABLE IF NOT EXISTS t (x INTEGER UNIQUE)");
    return pool;
  }

  static void add_rows(const Answer& answer, Outcome& outcome) {
    for (std::size_t row = 0; row < answer.rows.rows(); ++row) {
      outcome.column.push_back(
          answer.rows.integer(row * static_cast<std::size_t>(answer.rows.columns())));
    }
  }

  static Outcome statement(Way way, const std::shared_ptr<Pool>& pool, const std::string& sql,
                           const std::shared_ptr<Lease>& lease, bool want_rows,
                           bool caller_has_writer) {
    Outcome outcome;
    try {
      Request one = request(*pool, sql);
      one.want_rows = want_rows;
      std::optional<Standing> standing;
      if (lease != nullptr) standing = lease->standing();
      const Route route = route_of(one, standing, pool->options().size, caller_has_writer);
      if (way == Way::kHere) {
        const Operation unlimited;
        const Answer answer = run_statement_here(pool, lease.get(), route, one, unlimited);
        outcome.told = "ok";
        outcome.changes = answer.changes;
        add_rows(answer, outcome);
        return outcome;
      }
      Loop loop;
      submit_statement(*pool, lease, route, operation(), std::move(one), loop.reply_to());
      std::vector<std::unique_ptr<Reply>> parts;
      const auto last = loop.wait(&parts);
      for (const auto& part : parts) add_rows(part->answer, outcome);
      add_rows(last->answer, outcome);
      outcome.told = told(last->failure);
      outcome.changes = last->answer.changes;
    } catch (...) {
      outcome.told = told(std::current_exception());
    }
    return outcome;
  }

  static std::string perform(Way way, const std::shared_ptr<Pool>& pool, const PoolTask& task,
                             const std::shared_ptr<Lease>& lease = nullptr) {
    try {
      if (way == Way::kHere) {
        const Operation unlimited;
        task.run_here(pool, unlimited);
        return "ok";
      }
      Loop loop;
      task.submit(pool, operation(), loop.reply_to());
      const auto reply = loop.wait();
      if (reply->leased && lease != nullptr) lease->begin(std::move(reply->leased));
      return told(reply->failure);
    } catch (...) {
      return told(std::current_exception());
    }
  }

  static std::shared_ptr<Lease> begin(Way way, const std::shared_ptr<Pool>& pool, Block block) {
    auto lease = std::make_shared<Lease>(pool, is_transaction(block));
    EXPECT_EQ(perform(way, pool, PoolTask::begin(lease, block), lease), "ok");
    return lease;
  }
  static std::string end(Way way, const std::shared_ptr<Lease>& lease, bool commit) {
    return perform(way, lease->pool(), PoolTask::end(lease, commit));
  }

  // Nothing is held and nobody waits, once what the workers still tidy up is done.
  static void expect_idle(Pool& pool) {
    static_cast<void>(run(pool, "SELECT 1"));
    while (pool.counts().in_use > 0) std::this_thread::yield();
    EXPECT_EQ(pool.counts().waiting, 0);
  }
};

class EitherWayTest : public WaysTest, public testing::WithParamInterface<Way> {
 protected:
  static Outcome statement(const std::shared_ptr<Pool>& pool, const std::string& sql,
                           const std::shared_ptr<Lease>& lease = nullptr, bool want_rows = true,
                           bool caller_has_writer = false) {
    return WaysTest::statement(GetParam(), pool, sql, lease, want_rows, caller_has_writer);
  }
  static std::shared_ptr<Lease> begin(const std::shared_ptr<Pool>& pool, Block block) {
    return WaysTest::begin(GetParam(), pool, block);
  }
  static std::string end(const std::shared_ptr<Lease>& lease, bool commit) {
    return WaysTest::end(GetParam(), lease, commit);
  }
};

inline std::string name_of(const testing::TestParamInfo<Way>& way) {
  return way.param == Way::kHere ? "here" : "on_a_worker";
}

}  // namespace mcp::sqlite

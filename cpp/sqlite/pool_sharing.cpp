// pool_sharing.cpp: writes of several callers in one transaction.
//
// Where every commit waits for the disk, writes that wait in the queue anyway are committed
// together, each within a savepoint of its own. Nothing tells a caller that it was not alone: what
// fails undoes its own work only, and whatever else goes wrong (the transaction was rolled back as
// a whole, a foreign key holds only with the others' help, COMMIT failed) undoes everything, and
// each write runs again alone. Callers are told after the commit.
#include <utility>

#include "sqlite/pool.h"
#include "sqlite/pool_errors.h"

namespace mcp::sqlite {
namespace {

constexpr std::size_t kMostSharers = 64;
// No more join a transaction that is this old.
constexpr Duration kSharingTime_ns = kMillisecond;

}  // namespace

// The next in the writer's queue, if it may join.
std::unique_ptr<Job> Pool::take_sharer(const Slot& slot) {
  const MutexLock lock(mutex_);
  if (stopping_ || paused_ || writes_.empty()) return nullptr;
  std::unique_ptr<Job>& next = writes_.front().job;
  if (next == nullptr || !next->may_share_commit()) return nullptr;
  count_wait(slot, writes_.front().since);
  std::unique_ptr<Job> job = std::move(next);
  writes_.pop_front();
  return job;
}

// What terminate() is to stop. False: it was called already.
bool Pool::goes_on(Slot& slot, const Job& job) {
  const MutexLock lock(mutex_);
  slot.operation_ = &job.operation();
  return !stopping_;
}

void Pool::run_sharing(Slot& slot, std::unique_ptr<Job> first, std::unique_ptr<Job> second) {
  std::vector<Member> members;
  members.reserve(kMostSharers);
  members.push_back({std::move(first), nullptr, 0});
  members.push_back({std::move(second), nullptr, 0});
  if (run_together(slot, members)) {
    leave(slot, members);
    return;
  }
  for (Member& member : members) {
    tidy(slot);
    std::exception_ptr failure;
    try {
      if (!goes_on(slot, *member.job)) throw pool_closed();
      static_cast<void>(attempt(slot, *member.job));
    } catch (...) {
      failure = current_failure();
    }
    member.job->finish(std::move(failure));  // the others may take long
  }
  leave(slot, {});
}

// False: nothing of it has happened.
bool Pool::run_together(Slot& slot, std::vector<Member>& members) {
  const Operation unlimited;
  bool open = false;
  const std::uint64_t written = writes_run_.load();  // nobody else writes meanwhile
  try {
    const Operation& first = members.front().job->operation();
    if (first.cancelled()) return false;
    Connection& connection = connect(slot, first);
    {
      const Connection::Scope scope(connection, first);
      begin_transaction(connection, services());
      open = true;
    }
    const Instant opened = now_precise();
    bool sound = true;
    for (std::size_t i = 0; sound && i < members.size(); ++i) {
      sound = run_member(slot, members[i]);
      const bool room = members.size() < kMostSharers && now_precise() - opened < kSharingTime_ns;
      if (!sound || !room || i + 1 < members.size()) continue;
      if (std::unique_ptr<Job> next = take_sharer(slot))
        members.push_back({std::move(next), nullptr, 0});
    }
    if (sound && !file_.moved()) {
      const Instant began = now_precise();
      {
        const Connection::Scope scope(connection, unlimited);
        commit_transaction(connection, services());
      }
      const Instant committed = now_precise();
      for (Member& member : members) {
        if (member.failure != nullptr) continue;
        member.job->note_commit(member.ended, began, committed);
        writer_wait_ns_.fetch_add(static_cast<std::uint64_t>(began - member.ended),
                                  std::memory_order_relaxed);
      }
      database_ns_.fetch_add(static_cast<std::uint64_t>(committed - began),
                             std::memory_order_relaxed);
      worker_runs_.fetch_add(members.size(), std::memory_order_relaxed);
      shared_commits_.fetch_add(1, std::memory_order_relaxed);
      return true;
    }
  } catch (...) {  // each will meet its own reason again
  }
  if (open) rollback_transaction(*slot.connection, services());
  writes_run_.store(written);
  return false;
}

// False: the transaction is not what it should be after it.
bool Pool::run_member(Slot& slot, Member& member) {
  const Operation unlimited;
  Connection& connection = *slot.connection;
  if (!goes_on(slot, *member.job)) return false;
  if (member.job->operation().cancelled()) {
    member.failure = std::make_exception_ptr(Stopped{Stop::kCancelled});
    return true;
  }
  {
    const Connection::Scope scope(connection, unlimited);
    connection.begin_savepoint();
  }
  try {
    member.job->run_shared(slot);
    member.ended = now_precise();
  } catch (const Stopped&) {
    return false;
  } catch (...) {
    member.failure = std::current_exception();
  }
  if (!connection.in_transaction() || connection.broken() || connection.has_deferred_violation()) {
    return false;
  }
  const Connection::Scope scope(connection, unlimited);
  if (member.failure != nullptr) connection.undo_savepoint();
  connection.end_savepoint();
  return true;
}

}  // namespace mcp::sqlite

// pool_task.cpp: one general kind of job, for what is rare enough for it.
#include "sqlite/pool_task.h"

#include <utility>

#include "sqlite/backup.h"
#include "sqlite/pool_errors.h"

namespace mcp::sqlite {

// Holds no reference to the pool, which joins its workers before it goes, nor to the lease, which
// holds one.
class PoolTask::TaskJob final : public Job {
 public:
  TaskJob(const std::shared_ptr<Pool>& pool, const PoolTask& task, OperationPtr operation,
          ReplyTo reply_to)
      : Job(task.access_, std::move(operation)),
        weak_pool_(pool),
        pool_(*pool),
        what_(task.what_),
        body_(task.body_),
        undoes_(task.what_ == What::kEnd && !task.commits_),
        reply_to_(std::move(reply_to)) {}

  After run(Slot& slot) override {
    ran_ = true;
    if (what_ == What::kEnd) {  // the connection goes back, whatever happens
      try {
        body_(pool_, slot, operation());
      } catch (...) {
        reply_->failure = std::current_exception();
      }
      return After::kRelease;
    }
    body_(pool_, slot, operation());
    if (what_ != What::kBegin) return After::kRelease;
    reply_->leased = PendingSlot(weak_pool_, slot);
    return After::kLease;
  }

  void finish(std::exception_ptr failure) noexcept override {
    const bool undone = undoes_ && !ran_;  // by the end of the pool
    if (failure != nullptr && !undone) reply_->failure = std::move(failure);
    reply_to_.send(std::move(reply_), true);
  }

 private:
  const std::weak_ptr<Pool> weak_pool_;
  Pool& pool_;
  const What what_;
  const Body body_;
  const bool undoes_;
  bool ran_ = false;
  const ReplyTo reply_to_;
  std::unique_ptr<Reply> reply_ = std::make_unique<Reply>();
};

PoolTask PoolTask::open() {
  return {What::kPassing, Access::kWrite, [](Pool&, Slot&, const Operation&) {}, nullptr, false};
}

PoolTask PoolTask::backup(std::string path) {
  auto body = [path = std::move(path)](Pool&, Slot& slot, const Operation& operation) {
    copy_database(*slot.connection, path, operation);
  };
  return {What::kPassing, Access::kRead, std::move(body), nullptr, false};
}

PoolTask PoolTask::begin(std::shared_ptr<Lease> lease, Block block) {
  auto body = [block](Pool& pool, Slot& slot, const Operation& operation) {
    begin_block(pool, slot, block, operation);
  };
  return {What::kBegin, access_of(block), std::move(body), std::move(lease), false};
}

PoolTask PoolTask::end(std::shared_ptr<Lease> lease, bool commit) {
  auto body = [commit](Pool& pool, Slot& slot, const Operation& operation) {
    end_block(pool, slot, commit, operation);
  };
  return {What::kEnd, Access::kAny, std::move(body), std::move(lease), commit};
}

void PoolTask::submit(const std::shared_ptr<Pool>& pool, OperationPtr operation,
                      ReplyTo reply_to) const {
  auto job = std::make_unique<TaskJob>(pool, *this, std::move(operation), std::move(reply_to));
  if (what_ == What::kEnd) {
    lease_->submit_end(std::move(job));
  } else {
    pool->submit(std::move(job));
  }
}

void PoolTask::end_here(const Operation& operation) const {
  Slot* slot = nullptr;
  try {
    slot = &lease_->take_for_end(operation);
  } catch (const Error& error) {
    if (!commits_ && error.kind() == ErrorKind::kPoolClosed && lease_->pool()->closed()) return;
    throw;
  }
  try {
    body_(*lease_->pool(), *slot, operation);
  } catch (...) {
    lease_->put_back_last(*slot);
    throw;
  }
  lease_->put_back_last(*slot);
}

void PoolTask::run_here(const std::shared_ptr<Pool>& pool, const Operation& operation) const {
  if (what_ == What::kEnd) {
    end_here(operation);
    return;
  }
  Slot& slot = pool->take(access_, operation);
  try {
    pool->connect(slot, operation);
    body_(*pool, slot, operation);
  } catch (...) {
    pool->give_back(slot);
    throw;
  }
  if (what_ != What::kBegin) {
    pool->give_back(slot);
    return;
  }
  pool->lease(slot);
  if (!lease_->begin(PendingSlot(pool, slot))) throw given_back();
}

}  // namespace mcp::sqlite

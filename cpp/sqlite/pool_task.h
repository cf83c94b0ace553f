// pool_task.h: what a pool is asked for rarely: to open the database, to begin and end a block, to
// copy the database. On a worker, or on its caller's thread.
//
// A value that describes the task; it may run several times. Holds nothing of Python.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "sqlite/block.h"
#include "sqlite/lease.h"
#include "sqlite/statement_job.h"

namespace mcp::sqlite {

class PoolTask {
 public:
  [[nodiscard]] static PoolTask open();
  [[nodiscard]] static PoolTask backup(std::string path);
  // The lease begins with the block, and ends with it whatever happens. Rolling back what a
  // terminated pool has rolled back already is no error.
  [[nodiscard]] static PoolTask begin(std::shared_ptr<Lease> lease, Block block);
  [[nodiscard]] static PoolTask end(std::shared_ptr<Lease> lease, bool commit);

  // False for the end of a block, which has its connection, and is short: it is not cancelled.
  [[nodiscard]] bool waits_for_connection() const noexcept { return what_ != What::kEnd; }
  [[nodiscard]] Access access() const noexcept { return access_; }

  // The only Reply has the connection that a lease is to begin with. Throws Error when the lease
  // has ended.
  void submit(const std::shared_ptr<Pool>& pool, OperationPtr operation, ReplyTo reply_to) const;
  // Throws Error, Stopped.
  void run_here(const std::shared_ptr<Pool>& pool, const Operation& operation) const;

 private:
  enum class What { kPassing, kBegin, kEnd };
  using Body = std::function<void(Pool&, Slot&, const Operation&)>;
  class TaskJob;

  PoolTask(What what, Access access, Body body, std::shared_ptr<Lease> lease, bool commits)
      : what_(what),
        access_(access),
        body_(std::move(body)),
        lease_(std::move(lease)),
        commits_(commits) {}
  void end_here(const Operation& operation) const;

  What what_;
  Access access_;
  Body body_;
  std::shared_ptr<Lease> lease_;  // of kBegin and kEnd
  bool commits_;                  // of kEnd
};

}  // namespace mcp::sqlite

// delivery.h: one statement on a worker, and its way back to the caller's loop.
//
// StatementJob runs on a worker and holds nothing of Python; it pushes payloads into the loop's
// queue. StatementConversion turns them into the result, on the loop, with the interpreter lock.
#pragma once

#include <exception>
#include <memory>
#include <string>

#include "bindings/loop/bridge.h"
#include "bindings/sqlite/endpoint.h"
#include "bindings/sqlite/result.h"
#include "sqlite/execution.h"
#include "sqlite/pool.h"

namespace mcp::python {

// What a worker sends.
struct AnswerPayload final : CompletionPayload {
  sqlite::Answer answer;
  std::exception_ptr failure;
  // A connection that the statement moved its lease to.
  sqlite::Slot* upgraded = nullptr;
  std::weak_ptr<sqlite::Pool> pool;
  ~AnswerPayload() override {
    if (upgraded == nullptr) return;
    if (const auto alive = pool.lock()) alive->end_lease(*upgraded);
  }
};

class StatementJob final : public sqlite::Job, private sqlite::RowSink {
 public:
  StatementJob(const std::shared_ptr<sqlite::Pool>& pool, sqlite::Access access,
               sqlite::OperationPtr operation, sqlite::Request request, bool upgrades,
               std::shared_ptr<CompletionQueue> queue, std::uint64_t id);

  After run(sqlite::Slot& slot) override;
  void finish(std::exception_ptr failure) noexcept override;
  [[nodiscard]] bool expects_long() const noexcept override;
  [[nodiscard]] bool may_share_commit() const noexcept override { return shares_commit_; }
  [[nodiscard]] bool may_wait_for_writer() const noexcept override { return !keeps_off_writer_; }
  void run_shared(sqlite::Slot& slot) override;
  void note_commit(Instant ended, Instant began, Instant committed) override;
  // Runs on a leased connection; if it turns out to write, the lease may move to the writer.
  void keep_lease(bool may_upgrade) noexcept {
    keeps_lease_ = true;
    may_upgrade_ = may_upgrade;
  }
  // The caller has the writer: a statement that turns out to write fails.
  void keep_off_writer() noexcept { keeps_off_writer_ = true; }

 private:
  void take(sqlite::RowBlock&& block,
            const std::shared_ptr<const sqlite::ColumnNames>& names) override;

  const sqlite::OperationPtr shared_operation_;
  const std::weak_ptr<sqlite::Pool> pool_;
  sqlite::Pool& raw_pool_;  // it joins its workers before it goes
  sqlite::Request request_;
  const bool upgrades_;
  const bool shares_commit_;
  bool keeps_lease_ = false;
  bool keeps_off_writer_ = false;
  bool may_upgrade_ = false;
  bool handed_over_ = false;  // to another job, on the writer
  const std::shared_ptr<CompletionQueue> queue_;
  const std::uint64_t id_;
  std::unique_ptr<AnswerPayload> payload_ = std::make_unique<AnswerPayload>();
};

// What a statement needs to become a result. Shared by all ways to run it.
struct Delivery {
  Kind kind;
  RowType row_type;
  std::string cache_key;  // empty: not to be kept
  bool leads = false;     // others may wait for this result
  [[nodiscard]] std::size_t most_kept(const PoolState& state) const noexcept {
    return cache_key.empty() ? 0 : state.cache.largest();
  }
};

// Puts `result` into the result cache if it may be kept.
void keep_result(PoolState& state, const Delivery& delivery, const sqlite::Answer& answer,
                 Collector& collector, PyObject* result);

class StatementConversion final : public Conversion {
 public:
  StatementConversion(Endpoint* endpoint, Delivery delivery)
      : endpoint_(endpoint),
        delivery_(std::move(delivery)),
        collector_(delivery_.kind, delivery_.row_type, endpoint->pool_state()->converters,
                   delivery_.most_kept(*endpoint->pool_state())) {
    Py_INCREF(endpoint_);
  }
  ~StatementConversion() override {
    land();
    Py_DECREF(endpoint_);
  }

  Progress resume(Completion& completion, Instant deadline, PyObject*& result) override;

 private:
  // Wakes whoever waited for this result, come or not: they look in the cache, and one of them
  // runs the statement if it is not there.
  void land();
  // The lease goes on, on the writer.
  void adopt(AnswerPayload& payload);

  Endpoint* const endpoint_;
  Delivery delivery_;
  Collector collector_;
  Duration converted_ns_ = 0;
};

// Wakes a caller that waited for another's result.
class FollowerConversion final : public Conversion {
 public:
  Progress resume(Completion&, Instant, PyObject*& result) override {
    result = Py_NewRef(Py_None);
    return Progress::kDone;
  }
};

}  // namespace mcp::python

#include "bindings/sqlite/delivery.h"

#include <new>
#include <utility>

namespace mcp::python {
namespace {

// Of a statement that the pool commits by itself.
bool fits_shared_commit(const sqlite::Pool& pool, const sqlite::Request& request) {
  if (!pool.shares_commits() || request.many || !request.profile->is_short_write()) return false;
  const auto dependencies = request.profile->dependencies();
  return request.profile->access() == sqlite::Profile::Access::kWrite && dependencies != nullptr &&
         !dependencies->outside_transaction && !dependencies->controls_transaction;
}

}  // namespace

using sqlite::Access;
using sqlite::Answer;
using sqlite::OperationPtr;
using sqlite::Pool;
using sqlite::Request;
using sqlite::RowBlock;
using sqlite::Slot;

StatementJob::StatementJob(const std::shared_ptr<Pool>& pool, sqlite::Access access,
                           OperationPtr operation, Request request, bool upgrades,
                           std::shared_ptr<CompletionQueue> queue, std::uint64_t id)
    : Job(access, operation),
      shared_operation_(std::move(operation)),
      pool_(pool),
      raw_pool_(*pool),
      request_(std::move(request)),
      upgrades_(upgrades),
      shares_commit_(!upgrades && access == Access::kWrite && fits_shared_commit(*pool, request_)),
      queue_(std::move(queue)),
      id_(id) {}

sqlite::Job::After StatementJob::run(Slot& slot) {
  request_.track_later = false;
  if (upgrades_) Pool::lend(slot, sqlite::Borrower::kLease);
  try {
    payload_->answer =
        raw_pool_.execute(slot, request_, operation(), 0, request_.first_row_only ? nullptr : this);
  } catch (const sqlite::NeedsWriter&) {
    if (!may_upgrade_ || keeps_off_writer_)
      throw;  // the pool sends it to the writer, or it is an error
    raw_pool_.submit(std::make_unique<StatementJob>(pool_.lock(), Access::kWrite, shared_operation_,
                                                    std::move(request_), true, queue_, id_));
    handed_over_ = true;
    return After::kLease;
  }
  if (!upgrades_) return keeps_lease_ ? After::kLease : After::kRelease;
  payload_->pool = pool_;
  payload_->upgraded = &slot;
  return After::kLease;
}

void StatementJob::run_shared(Slot& slot) {
  request_.track_later = true;
  payload_->answer = raw_pool_.execute(slot, request_, operation(), 0, nullptr);
}

// It waited for the others' statements, and like each of them for the disk.
void StatementJob::note_commit(Instant ended, Instant began, Instant committed) {
  Answer& answer = payload_->answer;
  answer.execution.queue_ns += began - ended;
  answer.execution.step_ns += committed - began;
  answer.ended = committed;
  if (answer.figures != nullptr) raw_pool_.tracker().record(*answer.figures, answer.execution);
}

void StatementJob::finish(std::exception_ptr failure) noexcept {
  if (handed_over_) return;
  payload_->failure = std::move(failure);
  queue_->push({id_, std::move(payload_), true});
}

bool StatementJob::expects_long() const noexcept {
  return request_.many || shares_commit_ || !request_.profile->fits_inline(kMillisecond);
}

void StatementJob::take(RowBlock&& block, const std::shared_ptr<const sqlite::ColumnNames>& names) {
  auto part = std::make_unique<AnswerPayload>();
  part->answer.rows = std::move(block);
  part->answer.names = names;
  queue_->push({id_, std::move(part), false});
}

void keep_result(PoolState& state, const Delivery& delivery, const Answer& answer,
                 Collector& collector, PyObject* result) {
  if (delivery.cache_key.empty() || !answer.cacheable) return;
  PyObject* kept = collector.kept(result);
  if (kept == nullptr) {
    PyErr_Clear();
    return;
  }
  try {
    state.cache.put(delivery.cache_key, kept, collector.bytes(), answer.seen, answer.dependencies);
  } catch (const std::bad_alloc&) {
    // Then it is not kept.
  }
  drop_later(kept);
}

Conversion::Progress StatementConversion::resume(Completion& completion, Instant deadline,
                                                 PyObject*& result) {
  auto& payload = static_cast<AnswerPayload&>(*completion.payload);
  if (payload.upgraded != nullptr) adopt(payload);
  if (payload.failure) {
    set_python_error_from(payload.failure);
    return Progress::kError;
  }
  const Instant start = now_precise();
  const auto step = collector_.add(payload.answer.rows, payload.answer.names, deadline);
  converted_ns_ += now_precise() - start;
  if (step == Collector::Step::kError) return Progress::kError;
  if (step == Collector::Step::kYield) return Progress::kYield;
  if (!completion.last) return Progress::kNext;
  result = collector_.result(payload.answer.changes);
  if (result == nullptr) return Progress::kError;
  if (payload.answer.figures != nullptr) payload.answer.figures->add_conversion(converted_ns_);
  PoolState& state = *endpoint_->pool_state();
  keep_result(state, delivery_, payload.answer, collector_, result);
  state.cache.drop_dead();
  return Progress::kDone;
}

void StatementConversion::land() {
  PoolState* state = endpoint_->pool_state();
  if (!delivery_.leads || state == nullptr) return;
  auto flight = state->flights.extract(delivery_.cache_key);
  if (flight.empty()) return;
  for (PoolState::Follower& follower : flight.mapped()) {
    follower.queue->push({follower.id, nullptr, true});
  }
}

void StatementConversion::adopt(AnswerPayload& payload) {
  Lease& lease = **endpoint_->lease;
  Slot* slot = std::exchange(payload.upgraded, nullptr);
  lease.end();
  lease.slot = slot;
}

}  // namespace mcp::python

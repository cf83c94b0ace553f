#include "bindings/sqlite/statement_run.h"

#include "base/error.h"
#include "bindings/sqlite/holders.h"
#include "sqlite/pool_errors.h"

namespace mcp::python {

using sqlite::Access;
using sqlite::Answer;
using sqlite::Pool;
using sqlite::Profile;
using sqlite::Request;
using sqlite::Slot;

bool goes_to_reader(const Request& request) noexcept {
  const Profile::Access access = request.profile->access();
  return access == Profile::Access::kRead ||
         (access == Profile::Access::kUnknown && request.want_rows);
}

bool moves_to_writer(const PoolState& state, const Lease& lease, const Request& request) noexcept {
  return !lease.transaction && lease.slot.load()->role == sqlite::Role::kReader &&
         state.options.size > 1 && !goes_to_reader(request);
}

StatementRun::StatementRun(PoolState& state, Lease* lease, Duration timeout_ns, Request& request)
    : state_(state),
      pool_((state.pool(), state.current)),
      lease_(lease),
      operation_(timeout_ns > 0 ? now_precise() + timeout_ns : kNever),
      request_(request) {
  const bool reads = goes_to_reader(request_);
  keeps_off_writer_ = would_wait_for_itself(state_, Access::kWrite, true);
  if (lease_ == nullptr || moves_to_writer(state_, *lease_, request_)) {
    check_no_self_wait(state_, reads ? Access::kRead : Access::kWrite, true);
  }
  request_.submitted = now_precise();
}

void StatementRun::answer_signals() { operation_.set_poll(check_signals); }

void StatementRun::run() noexcept {
  try {
    if (lease_ == nullptr) {
      answer_ = run_on_pool();
      return;
    }
    try {
      answer_ = run_on_lease();
    } catch (const sqlite::NeedsWriter&) {
      if (keeps_off_writer_) throw sqlite::waits_for_itself();
      answer_ = run_on_lease();  // known to write now
    }
  } catch (...) {
    failure_ = std::current_exception();
  }
}

const Answer* StatementRun::answer() const {
  if (failure_ == nullptr) return &*answer_;
  if (PyErr_Occurred() == nullptr) set_python_error_from(failure_);  // else a signal's
  return nullptr;
}

Answer StatementRun::run_on_pool() {
  bool reads = goes_to_reader(request_);
  for (;;) {
    Slot& slot = pool_->take(reads ? Access::kRead : Access::kWrite, operation_);
    try {
      pool_->connect(slot, operation_);
      Answer answer = pool_->execute(slot, request_, operation_, 0, nullptr);
      pool_->give_back(slot);
      return answer;
    } catch (const sqlite::NeedsWriter&) {
      pool_->give_back(slot);
      if (keeps_off_writer_) throw sqlite::waits_for_itself();
      reads = false;
    } catch (...) {
      pool_->give_back(slot);
      throw;
    }
  }
}

Answer StatementRun::run_on_lease() {
  if (moves_to_writer(state_, *lease_, request_)) {
    Slot& writer = pool_->take(Access::kWrite, operation_);
    try {
      pool_->connect(writer, operation_);
    } catch (...) {
      pool_->give_back(writer);
      throw;
    }
    Pool::lend(writer, sqlite::Borrower::kLease);
    pool_->lease(writer);
    lease_->end();
    lease_->slot = &writer;
  }
  Slot& slot = *lease_->slot.load();
  if (!pool_->try_take_leased(slot)) {
    throw Error(ErrorKind::kDatabase, "the connection is in use by another thread");
  }
  try {
    Answer answer = pool_->execute(slot, request_, operation_, 0, nullptr);
    pool_->give_back_leased(slot);
    return answer;
  } catch (...) {
    pool_->give_back_leased(slot);
    throw;
  }
}

}  // namespace mcp::python

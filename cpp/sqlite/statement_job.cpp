// statement_job.cpp: follows a statement's route, on a worker or on its caller's thread.
#include "sqlite/statement_job.h"

#include <exception>
#include <utility>

#include "sqlite/pool_errors.h"

namespace mcp::sqlite {
namespace {

// Where a job of the lease that writes goes: it moves the lease, or waits until that has moved.
Place place_to_write(Lease& lease) {
  return lease.begin_move() == Lease::Move::kMine ? Place::kMoved : Place::kLease;
}

// Holds no reference to the pool of its own, which joins its workers before it goes.
class StatementJob final : public Job, private RowSink {
 public:
  StatementJob(Pool& pool, std::shared_ptr<Lease> lease, Route route, OperationPtr operation,
               Request request, ReplyTo reply_to)
      : Job(route.access(), operation),
        operation_(std::move(operation)),
        pool_(pool),
        lease_(std::move(lease)),
        request_(std::move(request)),
        route_(route),
        shares_commit_(route.place == Place::kWriter && pool.shares_commits() &&
                       fits_shared_commit(request_)),
        reply_to_(std::move(reply_to)) {}

  // To where its route leads.
  static void submit(std::unique_ptr<StatementJob> job) {
    if (job->route_.place == Place::kLease) {
      Lease& lease = *job->lease_;
      lease.submit(std::move(job));
    } else {
      Pool& pool = job->pool_;
      pool.submit(std::move(job));
    }
  }

  After run(Slot& slot) override {
    request_.track_later = false;
    const bool moves = route_.place == Place::kMoved;
    if (moves) Pool::lend(slot, Borrower::kLease);
    try {
      RowSink* sink = request_.first_row_only ? nullptr : this;
      reply_->answer = pool_.execute(slot, request_, operation(), 0, sink);
    } catch (const NeedsWriter&) {
      // The pool itself sends what came without a lease to the writer.
      if (route_.place != Place::kLease || route_.if_it_writes != IfItWrites::kMoves) throw;
      hand_over();
      return After::kLease;
    }
    if (moves) moved_to_ = &slot;
    return moves || route_.place == Place::kLease ? After::kLease : After::kRelease;
  }

  void run_shared(Slot& slot) override {
    request_.track_later = true;
    reply_->answer = pool_.execute(slot, request_, operation(), 0, nullptr);
  }

  // It waited for the others' statements, and like each of them for the disk.
  void note_commit(Instant ended, Instant began, Instant committed) override {
    Answer& answer = reply_->answer;
    answer.execution.queue_ns += began - ended;
    answer.execution.step_ns += committed - began;
    answer.ended = committed;
    if (answer.figures != nullptr) pool_.tracker().record(*answer.figures, answer.execution);
  }

  void finish(std::exception_ptr failure) noexcept override {
    if (handed_over_) return;
    if (route_.place == Place::kMoved) {
      const bool moved = moved_to_ != nullptr;
      lease_->end_move(moved ? PendingSlot(lease_->pool(), *moved_to_) : PendingSlot());
    }
    reply_->failure = std::move(failure);
    reply_to_.send(std::move(reply_), true);
  }

  [[nodiscard]] bool may_share_commit() const noexcept override { return shares_commit_; }
  [[nodiscard]] bool may_wait_for_writer() const noexcept override {
    return route_.if_it_writes != IfItWrites::kWaitsForSelf;
  }
  [[nodiscard]] bool expects_long() const noexcept override {
    return request_.many || shares_commit_ || !request_.profile->fits_inline(kMillisecond);
  }

 private:
  // Another job goes on with it, on the writer.
  void hand_over() {
    const Place place = place_to_write(*lease_);
    submit(std::make_unique<StatementJob>(pool_, lease_, Route{place, IfItWrites::kMoves},
                                          operation_, std::move(request_), reply_to_));
    handed_over_ = true;
  }

  void take(RowBlock&& block, const std::shared_ptr<const ColumnNames>& names) override {
    auto part = std::make_unique<Reply>();
    part->answer.rows = std::move(block);
    part->answer.names = names;
    reply_to_.send(std::move(part), false);
  }

  const OperationPtr operation_;
  Pool& pool_;
  const std::shared_ptr<Lease> lease_;  // null without
  Request request_;
  const Route route_;
  const bool shares_commit_;
  bool handed_over_ = false;
  Slot* moved_to_ = nullptr;
  const ReplyTo reply_to_;
  std::unique_ptr<Reply> reply_ = std::make_unique<Reply>();
};

Answer run_on_pool(Pool& pool, Access access, IfItWrites if_it_writes, Request& request,
                   const Operation& operation) {
  for (;;) {
    Slot& slot = pool.take(access, operation);
    try {
      pool.connect(slot, operation);
      Answer answer = pool.execute(slot, request, operation, 0, nullptr);
      pool.give_back(slot);
      return answer;
    } catch (const NeedsWriter&) {
      pool.give_back(slot);
      if (if_it_writes == IfItWrites::kWaitsForSelf) throw waits_for_itself();
      access = Access::kWrite;
    } catch (...) {
      pool.give_back(slot);
      throw;
    }
  }
}

// By its caller's thread, unless it has the writer already.
void move_to_writer(const std::shared_ptr<Pool>& pool, Lease& lease, const Operation& operation) {
  const Lease::Move move = lease.begin_move();
  if (move == Lease::Move::kDone) return;
  if (move == Lease::Move::kUnderWay) throw in_use_elsewhere();
  PendingSlot taken;
  try {
    Slot& writer = pool->take(Access::kWrite, operation);
    try {
      pool->connect(writer, operation);
    } catch (...) {
      pool->give_back(writer);
      throw;
    }
    Pool::lend(writer, Borrower::kLease);
    pool->lease(writer);
    taken = PendingSlot(pool, writer);
  } catch (...) {
    lease.end_move({});
    throw;
  }
  if (!lease.end_move(std::move(taken))) throw given_back();
}

Answer run_on_lease(Pool& pool, Lease& lease, Request& request, const Operation& operation) {
  Slot& slot = lease.take(operation);
  try {
    Answer answer = pool.execute(slot, request, operation, 0, nullptr);
    lease.put_back(slot);
    return answer;
  } catch (...) {
    lease.put_back(slot);
    throw;
  }
}

}  // namespace

void submit_statement(Pool& pool, std::shared_ptr<Lease> lease, Route route, OperationPtr operation,
                      Request request, ReplyTo reply_to) {
  if (route.place == Place::kMoved) route.place = place_to_write(*lease);
  StatementJob::submit(std::make_unique<StatementJob>(pool, std::move(lease), route,
                                                      std::move(operation), std::move(request),
                                                      std::move(reply_to)));
}

Answer run_statement_here(const std::shared_ptr<Pool>& pool, Lease* lease, Route route,
                          Request& request, const Operation& operation) {
  if (lease == nullptr) {
    return run_on_pool(*pool, route.access(), route.if_it_writes, request, operation);
  }
  if (route.place == Place::kMoved) move_to_writer(pool, *lease, operation);
  try {
    return run_on_lease(*pool, *lease, request, operation);
  } catch (const NeedsWriter&) {
    if (route.if_it_writes == IfItWrites::kIsRefused) throw;
    if (route.if_it_writes == IfItWrites::kWaitsForSelf) throw waits_for_itself();
  }
  move_to_writer(pool, *lease, operation);
  return run_on_lease(*pool, *lease, request, operation);
}

std::optional<Answer> try_statement_here(Pool& pool, Lease* lease, Request& request,
                                         Duration budget) {
  static const Operation unlimited;
  Slot* slot = lease != nullptr ? lease->try_take() : pool.try_take_reader();
  if (slot == nullptr) return std::nullopt;
  const auto give_back = [&] {
    if (lease != nullptr)
      lease->put_back(*slot);
    else
      pool.give_back(*slot);
  };
  request.share_snapshot = request.share_snapshot && slot->role == Role::kReader;
  std::optional<Answer> answer;
  try {
    answer = pool.execute(*slot, request, unlimited, budget, nullptr);
  } catch (const Stopped&) {
  } catch (const NeedsWriter&) {
  } catch (...) {
    give_back();
    throw;
  }
  give_back();
  return answer;
}

}  // namespace mcp::sqlite

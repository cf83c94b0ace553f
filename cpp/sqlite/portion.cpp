// portion.cpp: advances a stream's cursor on its lease.
#include "sqlite/portion.h"

#include <utility>

namespace mcp::sqlite {
namespace {

// Holds no reference to the pool, which joins its workers before it goes.
class PortionJob final : public Job {
 public:
  PortionJob(Pool& pool, std::shared_ptr<Cursor> cursor, OperationPtr operation, ReplyTo reply_to)
      : Job(Access::kRead, std::move(operation)),
        pool_(pool),
        cursor_(std::move(cursor)),
        reply_to_(std::move(reply_to)) {}

  After run(Slot& slot) override {
    reply_->answer = pool_.advance(slot, cursor_, operation());
    return After::kLease;
  }
  void finish(std::exception_ptr failure) noexcept override {
    reply_->failure = std::move(failure);
    reply_to_.send(std::move(reply_), true);
  }

 private:
  Pool& pool_;
  const std::shared_ptr<Cursor> cursor_;
  const ReplyTo reply_to_;
  std::unique_ptr<Reply> reply_ = std::make_unique<Reply>();
};

}  // namespace

void submit_portion(Lease& lease, std::shared_ptr<Cursor> cursor, OperationPtr operation,
                    ReplyTo reply_to) {
  Cursor& stream = *cursor;
  lease.submit_portion(
      stream, std::make_unique<PortionJob>(*lease.pool(), std::move(cursor), std::move(operation),
                                           std::move(reply_to)));
}

Answer take_portion_here(Lease& lease, const std::shared_ptr<Cursor>& cursor,
                         const Operation& operation) {
  Lease& place = lease.place_of(*cursor);
  Slot& slot = place.take(operation);
  try {
    Answer answer = lease.pool()->advance(slot, cursor, operation);
    place.put_back(slot);
    return answer;
  } catch (...) {
    place.put_back(slot);
    throw;
  }
}

}  // namespace mcp::sqlite

// cursor.cpp: steps a statement until a portion is full.
#include "sqlite/cursor.h"

#include <sqlite3.h>

#include "base/error.h"
#include "base/slices.h"
#include "sqlite/pool_errors.h"

namespace mcp::sqlite {

void Cursor::begin(Connection& connection) {
  const Error only_reads(ErrorKind::kQuery, "stream takes statements that only read",
                         SQLITE_MISUSE);
  try {
    statement_ = connection.prepare(request_.profile);
  } catch (const NeedsWriter&) {
    throw only_reads;
  }
  if (!statement_->readonly() || statement_->dependencies()->controls_transaction) {
    throw only_reads;
  }
  request_.params.bind(statement_->handle());
}

Answer Cursor::advance(Connection& connection, Services services) {
  Answer answer;
  if (exhausted_) return answer;
  if (done_) throw stream_ended();
  const Instant start = now_precise();
  try {
    if (statement_ == nullptr) begin(connection);
    bool more = connection.step(*statement_);
    if (names_ == nullptr) names_ = statement_->column_names();
    answer.names = names_;
    answer.rows = RowBlock(statement_->columns());
    while (more) {
      answer.rows.append_row(statement_->handle());
      if (answer.rows.bytes() >= slices().portion_bytes.load(std::memory_order_relaxed)) break;
      more = connection.step(*statement_);
    }
    total_.rows += answer.rows.rows();
    total_.step_ns += now_precise() - start;
    if (!more) {
      count_work(*statement_, total_);
      track(services);
      end(connection);
      exhausted_ = true;
    }
    return answer;
  } catch (...) {
    total_.step_ns += now_precise() - start;
    total_.failed = true;
    track(services);
    end(connection);
    throw;
  }
}

void Cursor::track(Services services) const {
  if (services.tracker != nullptr) services.tracker->record(*request_.profile->figures(), total_);
}

void Cursor::end(Connection& connection) noexcept {
  done_ = true;
  if (statement_ != nullptr) connection.release(std::move(statement_));
}

}  // namespace mcp::sqlite

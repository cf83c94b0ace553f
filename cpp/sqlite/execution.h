// execution.h: one request run on one connection, from bindings to rows.
//
// Thread-compatible; whoever calls has the connection alone.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sqlite/connection.h"
#include "sqlite/freshness.h"
#include "sqlite/params.h"
#include "sqlite/row_block.h"
#include "sqlite/tracker.h"

namespace mcp::sqlite {

struct Request {
  ProfilePtr profile;
  Params params;
  ParamRows batch;  // executemany: one execution each, all in one transaction
  bool many = false;
  bool first_row_only = false;
  bool want_rows = true;
  bool want_proof = true;       // that the result may be kept; costs two looks at the freshness
  bool share_snapshot = false;  // with other statements; somebody drops it soon
  bool track_later = false;     // whoever runs it records the execution, if it comes to stay
  bool may_control_transaction = false;  // on an acquired connection BEGIN and COMMIT are allowed
  Instant submitted = 0;
};

// Takes finished blocks while the statement goes on. Called on the thread that steps.
class RowSink {
 public:
  virtual ~RowSink() = default;
  virtual void take(RowBlock&& block, const std::shared_ptr<const ColumnNames>& names) = 0;
};

struct Answer {
  RowBlock rows;  // what no sink has taken
  std::shared_ptr<const ColumnNames> names;
  std::int64_t changes = 0;
  Execution execution;
  Instant ended = 0;
  std::shared_ptr<Figures> figures;  // null when nothing is tracked
  bool left_snapshot = false;        // its connection holds one that somebody has to drop soon
  // For the result cache: valid to keep when `cacheable`.
  bool cacheable = false;
  Freshness::Observation seen;
  std::shared_ptr<const Dependencies> dependencies;
};

struct Services {
  Freshness& freshness;
  Tracker* tracker;  // null: nothing is tracked
};

// Runs `request`. With a sink, rows leave in parts (base/slices.h), in order; what is left of them
// is in the answer. On a writer outside a transaction, a statement that writes gets BEGIN IMMEDIATE
// and COMMIT around it. Throws Error, Stopped, NeedsWriter, std::bad_alloc; then a transaction that
// was begun here is rolled back. REQUIRES: a Connection::Scope is open.
[[nodiscard]] Answer run_request(Connection& connection, Request& request, Services services,
                                 RowSink* sink);

// Adds what SQLite counted for the statement since it was last asked.
void count_work(Statement& statement, Execution& execution);

// A transaction of several requests; the freshness proof is told of its beginning and end. The last
// two also end one that began without the proof's knowledge, as one that is to read only.
void begin_transaction(Connection& connection, Services services);
void commit_transaction(Connection& connection, Services services);
void rollback_transaction(Connection& connection, Services services) noexcept;

}  // namespace mcp::sqlite

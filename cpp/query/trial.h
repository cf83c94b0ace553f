// trial.h: a copy of a database on which indexes are really made and statements really run. The
// original is only read.
//
// Thread-compatible. The copy lies in memory and goes with the object.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "query/clone.h"
#include "query/handle.h"
#include "query/outline.h"
#include "query/samples.h"
#include "query/schema.h"

namespace mcp::query {

struct TrialLimits {
  std::int64_t copy_bytes = 256LL << 20;  // larger databases are sampled
  std::int64_t sample_rows = 200'000;     // of each table then
  Duration run_ns = 500 * kMillisecond;   // a run is stopped there, and its cost is at least that
};

struct Cost {
  double steps = 0;    // SQLITE_STMTSTATUS_VM_STEP, mean of the runs
  double seconds = 0;  // of CPU time, mean of the runs, each the best of a few
  bool stopped = false;
};

struct TrialQuery {
  std::string_view sql;
  Outline outline;
  std::vector<ParameterSet> parameters;
  bool readonly = true;
};

class Trial {
 public:
  // Copies with the backup API, or row by row at even distances where that would be too large.
  // Throws Error, also when `deadline` passed before the copy was whole.
  Trial(sqlite3* source, const Schema& schema, const TrialLimits& limits, Instant deadline);

  // What the statement costs now. Writes are rolled back. Throws Error.
  [[nodiscard]] Cost measure(const TrialQuery& query);
  // Makes the index, with its statistics where the original has some. Throws Error.
  void create(const CandidateIndex& index);
  void drop(const CandidateIndex& index) { drop_index(db(), index.name); }

  [[nodiscard]] sqlite3* db() const { return db_.get(); }
  [[nodiscard]] bool sampled() const { return sampled_; }

 private:
  void back_up(sqlite3* source, Instant deadline);
  void sample(sqlite3* source, const Schema& schema, Instant deadline);
  void sample_table(sqlite3* source, const Table& table, Instant deadline);
  [[nodiscard]] Cost run(const TrialQuery& query, const ParameterSet& parameters);

  TrialLimits limits_;
  Database db_;
  bool sampled_ = false;
  bool statistics_ = false;
};

}  // namespace mcp::query

// trial.h: a copy of a database on which indexes are really made and statements really run. The
// original is only read.
//
// An index that was made stays made: it is hidden from the planner and shown again by its row in
// the schema, which costs no more than reading the schema anew. So are statistics.
//
// Thread-compatible. The copy lies in memory and goes with the object.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "query/clone.h"
#include "query/handle.h"
#include "query/outline.h"
#include "query/plan.h"
#include "query/samples.h"
#include "query/schema.h"
#include "query/time_limit.h"

namespace mcp::query {

struct TrialLimits {
  std::int64_t copy_bytes = 256LL << 20;  // larger databases are sampled
  std::int64_t sample_rows = 200'000;     // of each table then
};

// Means of the runs. What is decided is decided by units(): the same each time, whatever else the
// machine does.
struct Cost {
  double steps = 0;    // SQLITE_STMTSTATUS_VM_STEP
  double pages = 0;    // of b-trees, each time that one is looked up: what a search costs
  double visited = 0;  // rows that full scans and automatic indexes went over
  double seconds = 0;  // of CPU time
  int runs = 0;
  bool stopped = false;  // at its limit: it costs at least this

  [[nodiscard]] double units() const { return steps + kPage_steps * pages; }

  static constexpr double kPage_steps = 8;
};

// One text with one set of parameters.
struct TrialRun {
  std::string_view sql;
  const Outline* outline = nullptr;
  ParameterSet parameters;
};
struct TrialQuery {
  std::vector<TrialRun> runs;
  bool readonly = true;
};

enum class Statistics { kAsTheyAre, kFresh };

class Trial {
 public:
  // Copies with the backup API, or row by row at even distances where that would be too large.
  // Throws Error, also when the limit passed before the copy was whole.
  Trial(sqlite3* source, const Schema& schema, const TrialLimits& limits, TimeLimit limit);

  // Runs the statement once with each set of parameters; each run is stopped at `most_steps` and at
  // the time limit. Writes are rolled back. Throws Error.
  [[nodiscard]] Cost measure(const TrialQuery& query, double most_steps);

  // With the values bound: a plan may depend on them. Throws Error.
  [[nodiscard]] std::vector<PlanStep> explained(const TrialRun& run) const;

  // From now on runs are stopped then.
  void stop_at(TimeLimit limit) { limit_ = limit; }

  // Makes the index and shows it; returns its bytes. Throws Error.
  std::int64_t create(const CandidateIndex& index);
  // Exactly these of the indexes that were made are there, and these of the original are not.
  void show(const std::set<std::string>& made, const std::set<std::string>& without = {});
  // Fresh: as if ANALYZE had just been run, with all indexes; shows them all. As they are: those of
  // the original, none of new indexes. REQUIRES: no index is made once they were fresh.
  void use(Statistics statistics);

  [[nodiscard]] sqlite3* db() const { return db_.get(); }
  [[nodiscard]] bool sampled() const { return sampled_; }
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }  // without the indexes made

 private:
  struct SchemaRow {
    std::int64_t rowid = 0;
    std::int64_t root = 0;
    std::string name;
    std::string table;
    std::string sql;
    bool shown = true;
  };
  struct StatisticsRow {
    std::string table;
    std::string index;  // empty: NULL
    std::string stat;
  };

  void back_up(sqlite3* source);
  void sample(sqlite3* source, const Schema& schema);
  void sample_table(sqlite3* source, const Table& table);
  void run(const TrialRun& one, bool readonly, double most_steps, Cost& cost);
  void remember_index(const std::string& name);
  void edit_schema(const std::set<std::string>& made, const std::set<std::string>& without);
  [[nodiscard]] std::int64_t size() const;
  [[nodiscard]] std::vector<StatisticsRow> read_statistics() const;
  void write_statistics(const std::vector<StatisticsRow>& rows);

  TrialLimits limits_;
  TimeLimit limit_;
  Database db_;
  bool sampled_ = false;
  std::int64_t bytes_ = 0;
  Statistics statistics_ = Statistics::kAsTheyAre;
  bool has_statistics_ = false;
  std::vector<StatisticsRow> original_;
  std::vector<StatisticsRow> fresh_;
  std::map<std::string, SchemaRow> rows_;  // indexes that were ever made or hidden, by name
  std::set<std::string> made_;
};

}  // namespace mcp::query

// planning.h: which candidates the planner would use, asked on a clone without data.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "query/advice.h"
#include "query/clone.h"
#include "query/workload.h"

namespace mcp::query {

struct Candidate {
  CandidateIndex index;
  std::set<std::size_t> users;   // queries whose plan has it
  std::set<std::size_t> hidden;  // queries whose triggers' or foreign keys' plans have it
  std::set<std::size_t> picked;  // queries whose plan has it beside all others that do not cover
};

class Planning {
 public:
  // Throws Error.
  Planning(sqlite3* source, const Schema& schema, const Workload& workload);

  // Those that the planner uses, alone or beside all the others.
  [[nodiscard]] std::vector<Candidate> candidates();
  // How many statements were compiled for them.
  [[nodiscard]] std::size_t compiled() const { return compiled_; }
  // By the planner's word alone, for these queries: what it picks when it may have them all,
  // without those whose columns another one begins with. Whether covering pays is not for it to
  // say.
  [[nodiscard]] std::vector<IndexAdvice> advice(const std::vector<Candidate>& candidates,
                                                const std::set<std::size_t>& queries);

 private:
  [[nodiscard]] bool add(const CandidateIndex& index);
  [[nodiscard]] std::set<std::string> indexes_of(std::string_view sql);
  void note_users(Candidate& candidate);
  void note_users_of_all(std::vector<Candidate>& candidates, bool keys_only);
  [[nodiscard]] std::vector<std::set<std::size_t>> picked(
      const std::vector<const Candidate*>& indexes, const std::set<std::size_t>& queries);

  sqlite3* source_;
  const Schema& schema_;
  const Workload& workload_;
  Database clone_;
  std::size_t compiled_ = 0;
};

}  // namespace mcp::query

// candidates.cpp: columns in an order that an index could have.
#include "query/candidates.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "sqlite/fingerprint.h"

namespace mcp::query {
namespace {

constexpr std::size_t kMostKeyColumns = 6;
constexpr std::size_t kMostColumns = 8;
constexpr std::size_t kMostPaired = 4;
constexpr std::size_t kLongestName = 60;

class Generator {
 public:
  Generator(const Schema& schema, const EqualityWeights& weights, bool subsets)
      : schema_(schema), weights_(weights), subsets_(subsets) {}

  void add(const LookupRequest& request) {
    const Table* table = schema_.find(request.table);
    if (table == nullptr || is_answered_by_a_key(*table, request)) return;
    std::vector<RequestedColumn> equal = request.equal;
    std::stable_sort(equal.begin(), equal.end(), [&](const auto& a, const auto& b) {
      const double weight_a = weight(*table, a.column);
      const double weight_b = weight(*table, b.column);
      return weight_a != weight_b ? weight_a > weight_b : a.column < b.column;
    });
    std::vector<RequestedColumn> order;
    for (const RequestedColumn& term : request.order) {
      if (!holds(equal, term.column)) order.push_back(term);
    }
    offer_all(*table, request, equal, order);
    // Fewer columns may do as well, and serve other statements too.
    if (!subsets_ || equal.size() < 2) return;
    for (const RequestedColumn& column : equal) offer_all(*table, request, {column}, order);
    for (std::size_t i = 0; i < equal.size() && equal.size() > 2; ++i) {
      for (std::size_t j = i + 1; j < equal.size() && i < kMostPaired; ++j) {
        offer(*table, request, {equal[i], equal[j]}, {});
      }
    }
  }

  void add_as_it_is(CandidateIndex candidate) {
    candidate.name.clear();
    if (!seen_.insert(candidate.ddl()).second) return;
    std::string name = "idx_" + candidate.table;
    for (const IndexColumn& column : candidate.columns) {
      name += '_';
      for (const char c : column.name.empty() ? column.expression : column.name) {
        const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0;
        if (plain || (!name.ends_with('_') && c != ')')) name += plain ? c : '_';
      }
    }
    if (!candidate.where.empty()) name += "_partial";
    candidate.name = free_name(std::move(name), candidate.ddl());
    candidates_.push_back(std::move(candidate));
  }

  std::vector<CandidateIndex> take() { return std::move(candidates_); }

 private:
  [[nodiscard]] double weight(const Table& table, int column) const {
    const auto found = weights_.find({table.name, column});
    return found == weights_.end() ? 0 : found->second;
  }

  static bool holds(const std::vector<RequestedColumn>& columns, int column) {
    return std::any_of(columns.begin(), columns.end(),
                       [column](const auto& other) { return other.column == column; });
  }

  // The rowid or a unique key finds at most one row.
  [[nodiscard]] static bool is_answered_by_a_key(const Table& table, const LookupRequest& request) {
    const Column* alias = table.rowid_alias();
    if (alias != nullptr && holds(request.equal, table.column_number(alias->name))) return true;
    return std::any_of(table.indexes.begin(), table.indexes.end(), [&](const Index& index) {
      return index.unique && !index.partial &&
             std::all_of(index.columns.begin(), index.columns.end(), [&](const auto& column) {
               return !column.name.empty() &&
                      holds(request.equal, table.column_number(column.name));
             });
    });
  }

  void offer_all(const Table& table, const LookupRequest& request,
                 const std::vector<RequestedColumn>& equal,
                 const std::vector<RequestedColumn>& order) {
    if (!order.empty()) offer(table, request, equal, order);
    for (const RequestedColumn& range : request.range) {
      if (!holds(equal, range.column)) offer(table, request, equal, {range});
    }
    if (!equal.empty()) offer(table, request, equal, {});
  }

  static bool is_rowid(const Table& table, const RequestedColumn& column) {
    return table.rowid_alias() == &table.columns[static_cast<std::size_t>(column.column)];
  }

  // Every index ends with the rowid, ascending, by itself.
  static void without_rowid_behind(const Table& table, std::vector<RequestedColumn>& key) {
    if (key.empty() || !is_rowid(table, key.back())) return;
    if (key.back().descending) {
      for (RequestedColumn& column : key) column.descending = !column.descending;
    }
    key.pop_back();
  }

  // The key, and the key with the columns behind it that make the index cover the query.
  void offer(const Table& table, const LookupRequest& request, std::vector<RequestedColumn> key,
             const std::vector<RequestedColumn>& tail) {
    key.insert(key.end(), tail.begin(), tail.end());
    // An index is read in both directions: only a mixture needs DESC.
    const bool mixed = std::any_of(tail.begin(), tail.end(), [&tail](const auto& term) {
      return term.descending != tail.front().descending;
    });
    if (!mixed) {
      for (RequestedColumn& column : key) column.descending = false;
    }
    without_rowid_behind(table, key);
    if (key.empty() || key.size() > kMostKeyColumns || is_rowid(table, key.front())) return;
    keep(table, key, false);
    if (!request.all_used_known) return;
    std::vector<RequestedColumn> covering = key;
    for (const int used : request.used) {
      const RequestedColumn column{used, table.columns[static_cast<std::size_t>(used)].collation,
                                   false};
      if (!holds(covering, used) && !is_rowid(table, column)) covering.push_back(column);
    }
    if (covering.size() > key.size() && covering.size() <= kMostColumns) {
      keep(table, covering, true);
    }
  }

  void keep(const Table& table, const std::vector<RequestedColumn>& columns, bool covering) {
    CandidateIndex candidate{.name = {}, .table = table.name, .columns = {}, .covering = covering};
    std::string name = "idx_" + table.name;
    for (const RequestedColumn& requested : columns) {
      const Column& column = table.columns[static_cast<std::size_t>(requested.column)];
      const bool own = same_name(column.collation, requested.collation);
      candidate.columns.push_back({.name = column.name,
                                   .collation = own ? "" : requested.collation,
                                   .descending = requested.descending});
      name += "_" + column.name;
    }
    if (is_prefix_of_an_index(table, candidate) || !seen_.insert(candidate.ddl()).second) return;
    candidate.name = free_name(std::move(name), candidate.ddl());
    candidates_.push_back(std::move(candidate));
  }

  [[nodiscard]] static bool is_prefix_of_an_index(const Table& table,
                                                  const CandidateIndex& candidate) {
    return std::any_of(table.indexes.begin(), table.indexes.end(), [&](const Index& index) {
      if (index.partial || index.columns.size() < candidate.columns.size()) return false;
      for (std::size_t i = 0; i < candidate.columns.size(); ++i) {
        const IndexColumn& wanted = candidate.columns[i];
        const IndexColumn& there = index.columns[i];
        const Column* column = table.find_column(wanted.name);
        const std::string& collation =
            wanted.collation.empty() && column != nullptr ? column->collation : wanted.collation;
        if (!same_name(wanted.name, there.name) || !same_name(collation, there.collation) ||
            wanted.descending != there.descending) {
          return false;
        }
      }
      return true;
    });
  }

  // Two candidates over the same columns differ in collation or order: the second gets a number.
  [[nodiscard]] std::string free_name(std::string name, const std::string& ddl) {
    if (name.size() > kLongestName) {
      name.resize(kLongestName - 7);
      name += "_" + std::to_string(sqlite::fingerprint_hash(ddl) % 1'000'000);
    }
    const std::string base = name;
    for (int number = 2; is_taken(name); ++number) name = base + "_" + std::to_string(number);
    names_.insert(lower(name));
    return name;
  }

  [[nodiscard]] bool is_taken(const std::string& name) const {
    if (names_.count(lower(name)) != 0) return true;
    return std::any_of(
        schema_.tables().begin(), schema_.tables().end(), [&name](const auto& entry) {
          const std::vector<Index>& indexes = entry.second.indexes;
          return std::any_of(indexes.begin(), indexes.end(),
                             [&name](const Index& index) { return same_name(index.name, name); });
        });
  }

  const Schema& schema_;
  const EqualityWeights& weights_;
  const bool subsets_;
  std::vector<CandidateIndex> candidates_;
  std::set<std::string> seen_;
  std::set<std::string> names_;
};

}  // namespace

std::vector<CandidateIndex> candidates_for(const Schema& schema,
                                           const std::vector<LookupRequest>& requests,
                                           const EqualityWeights& weights) {
  Generator generator(schema, weights, false);
  for (const LookupRequest& request : requests) generator.add(request);
  return generator.take();
}

std::vector<CandidateIndex> all_candidates_for(const Schema& schema,
                                               const std::vector<LookupRequest>& requests,
                                               const EqualityWeights& weights,
                                               const std::vector<CandidateIndex>& others) {
  Generator generator(schema, weights, true);
  for (const LookupRequest& request : requests) generator.add(request);
  for (const CandidateIndex& other : others) generator.add_as_it_is(other);
  return generator.take();
}

}  // namespace mcp::query

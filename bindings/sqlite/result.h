// result.h: from native rows to what a call returns, and to what the result cache keeps of
// it. Everything here needs the interpreter lock.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "bindings/base/gil.h"
#include "bindings/sqlite/rows.h"

namespace mcp::python {

enum class Kind : char { kFetch = 'f', kRow = 'r', kValue = 'v', kExecute = 'e', kMany = 'm' };

// Collects the result of one statement, block by block.
class Collector {
 public:
  // `most_kept`: what a result may take in memory to be kept(); 0: it will not be.
  Collector(Kind kind, RowType row_type, PyObject* converters, std::size_t most_kept = 0)
      : kind_(kind), row_type_(row_type), converters_(converters), most_kept_(most_kept) {}
  ~Collector();
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  enum class Step { kDone, kYield, kError };

  // The rows of one block, until `deadline`, one of them at least; called again, it goes on where
  // it stopped. REQUIRES: after kYield, the same block again.
  Step add(const sqlite::RowBlock& block, const std::shared_ptr<const sqlite::ColumnNames>& names,
           Instant deadline);
  // A new reference, nullptr with an exception set. Call once.
  [[nodiscard]] PyObject* result(std::int64_t changes);
  // After result(), which it returned: the form in which that is kept, a new reference; nullptr
  // where it cannot be. Rows are shared with the result, except dicts, which are the caller's to
  // change.
  [[nodiscard]] PyObject* kept(PyObject* result);
  // What the result takes in memory, about.
  [[nodiscard]] std::size_t bytes() const noexcept { return builder_ ? builder_->bytes() : 0; }

 private:
  const Kind kind_;
  const RowType row_type_;
  PyObject* const converters_;  // borrowed from the pool
  [[nodiscard]] bool keep_row(PyObject* row);

  const std::size_t most_kept_;
  std::optional<RowBuilder> builder_;
  PyObject* list_ = nullptr;
  PyObject* kept_ = nullptr;  // grows with list_, so that nothing is left to do at the end
  PyObject* single_ = nullptr;
  std::size_t next_ = 0;
};

// A result made of what was kept of one, in slices where that is long.
class KeptCopy {
 public:
  // Borrows `kept`.
  KeptCopy(Kind kind, RowType type, PyObject* kept);
  ~KeptCopy();
  KeptCopy(const KeptCopy&) = delete;
  KeptCopy& operator=(const KeptCopy&) = delete;

  // The result, a new reference; nullptr where there is more to do, or with an exception set.
  [[nodiscard]] PyObject* advance();

 private:
  const Kind kind_;
  const RowType type_;
  PyObject* const kept_;
  PyObject* list_ = nullptr;
};

}  // namespace mcp::python

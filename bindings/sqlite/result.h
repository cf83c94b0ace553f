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
  Collector(Kind kind, RowType row_type, PyObject* converters)
      : kind_(kind), row_type_(row_type), converters_(converters) {}
  ~Collector() {
    Py_XDECREF(list_);
    Py_XDECREF(single_);
  }
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  enum class Step { kDone, kYield, kError };

  // The rows of one block, until `deadline`, one of them at least; called again, it goes on where
  // it stopped. REQUIRES: after kYield, the same block again.
  Step add(const sqlite::RowBlock& block, const std::shared_ptr<const sqlite::ColumnNames>& names,
           Instant deadline);
  // A new reference, nullptr with an exception set. Call once.
  [[nodiscard]] PyObject* result(std::int64_t changes);
  // What the result takes in memory, about.
  [[nodiscard]] std::size_t bytes() const noexcept { return builder_ ? builder_->bytes() : 0; }

 private:
  const Kind kind_;
  const RowType row_type_;
  PyObject* const converters_;  // borrowed from the pool
  std::optional<RowBuilder> builder_;
  PyObject* list_ = nullptr;
  PyObject* single_ = nullptr;
  std::size_t next_ = 0;
};

// The form in which a result is kept, and the result of a kept form: new references. Rows are
// shared, except dicts, which are the caller's to change.
[[nodiscard]] PyObject* to_kept(Kind kind, RowType type, PyObject* result);
[[nodiscard]] PyObject* from_kept(Kind kind, RowType type, PyObject* kept);

}  // namespace mcp::python

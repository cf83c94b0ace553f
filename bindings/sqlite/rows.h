// rows.h: native rows as Python objects.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "bindings/base/gil.h"
#include "bindings/base/ref.h"
#include "sqlite/row_block.h"
#include "sqlite/statement.h"

namespace mcp::python {

enum class RowType : std::uint8_t { kTuple, kNamed, kDict };

// Makes rows of one result. Needs the interpreter lock; one result, one builder.
class RowBuilder {
 public:
  // `converters`: a dict from the first word of a declared type, in capitals, to a callable; or
  // null. Borrowed while the builder lives.
  RowBuilder(RowType type, std::shared_ptr<const sqlite::ColumnNames> names, PyObject* converters);
  ~RowBuilder();
  RowBuilder(const RowBuilder&) = delete;
  RowBuilder& operator=(const RowBuilder&) = delete;

  // New references; nullptr with an exception set.
  [[nodiscard]] PyObject* row(const sqlite::RowBlock& block, std::size_t row);
  [[nodiscard]] PyObject* value(const sqlite::RowBlock& block, std::size_t row, std::size_t column);
  // What the rows built so far take in memory, about.
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  // Whether a row may run Python code, and so take any time.
  [[nodiscard]] bool calls_python() const noexcept { return converters_ != nullptr; }

 private:
  [[nodiscard]] PyObject* cell(const sqlite::RowBlock& block, std::size_t cell);
  [[nodiscard]] PyObject* text(std::string_view utf8, std::size_t column);
  // Sets an error of the package that names the column; null.
  PyObject* fail(const char* error, PyObject* arguments, std::size_t column, Ref cause);
  [[nodiscard]] bool prepare_names();
  [[nodiscard]] bool find_converters();
  [[nodiscard]] PyObject* tuple_row(PyTypeObject* type, const sqlite::RowBlock& block,
                                    std::size_t row);
  [[nodiscard]] PyObject* dict_row(const sqlite::RowBlock& block, std::size_t row);

  const RowType type_;
  const std::shared_ptr<const sqlite::ColumnNames> names_;
  PyObject* row_class_ = nullptr;  // named: a subclass of tuple
  PyObject* keys_ = nullptr;       // dict: a tuple of str
  PyObject* const converters_;
  std::vector<PyObject*> by_column_;  // owned, null where a column has none
  std::size_t bytes_ = 0;
};

}  // namespace mcp::python

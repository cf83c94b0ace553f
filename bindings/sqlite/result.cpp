#include "bindings/sqlite/result.h"

#include "base/slices.h"

namespace mcp::python {
namespace {

using sqlite::RowBlock;

PyObject* copy_row(PyObject* row, RowType type) {
  if (type == RowType::kDict && PyDict_Check(row)) return PyDict_Copy(row);
  Py_INCREF(row);
  return row;
}

}  // namespace

Collector::Step Collector::add(const RowBlock& block,
                               const std::shared_ptr<const sqlite::ColumnNames>& names,
                               Instant deadline) {
  if (block.rows() == 0) return Step::kDone;
  if (!builder_) builder_.emplace(row_type_, names, converters_);
  if (kind_ == Kind::kValue || kind_ == Kind::kRow) {
    single_ = kind_ == Kind::kValue ? builder_->value(block, 0, 0) : builder_->row(block, 0);
    return single_ != nullptr ? Step::kDone : Step::kError;
  }
  if (list_ == nullptr && (list_ = PyList_New(0)) == nullptr) return Step::kError;
  const std::size_t stride = slices().look_bytes.load(std::memory_order_relaxed);
  std::size_t looked = builder_->bytes();
  while (next_ < block.rows()) {
    PyObject* row = builder_->row(block, next_);
    if (row == nullptr) return Step::kError;
    const int appended = PyList_Append(list_, row);
    Py_DECREF(row);
    if (appended != 0) return Step::kError;
    if (++next_ == block.rows()) break;
    const bool looks = builder_->calls_python() || builder_->bytes() - looked >= stride;
    if (!looks) continue;
    if (now_precise() >= deadline) return Step::kYield;
    looked = builder_->bytes();
  }
  next_ = 0;
  return Step::kDone;
}

PyObject* Collector::result(std::int64_t changes) {
  switch (kind_) {
    case Kind::kExecute:
    case Kind::kMany:
      return PyLong_FromLongLong(changes);
    case Kind::kFetch:
      if (list_ == nullptr) return PyList_New(0);
      return std::exchange(list_, nullptr);
    default:
      break;
  }
  if (single_ != nullptr) return std::exchange(single_, nullptr);
  Py_RETURN_NONE;
}

PyObject* to_kept(Kind kind, RowType type, PyObject* result) {
  if (kind == Kind::kValue) return Py_NewRef(result);
  if (kind == Kind::kRow) return copy_row(result, type);
  if (type != RowType::kDict) return PyList_AsTuple(result);
  const Py_ssize_t size = PyList_GET_SIZE(result);
  PyObject* kept = PyTuple_New(size);
  for (Py_ssize_t i = 0; kept != nullptr && i < size; ++i) {
    PyObject* row = copy_row(PyList_GET_ITEM(result, i), type);
    if (row == nullptr) {
      Py_CLEAR(kept);
      break;
    }
    PyTuple_SET_ITEM(kept, i, row);
  }
  return kept;
}

PyObject* from_kept(Kind kind, RowType type, PyObject* kept) {
  if (kind == Kind::kValue) return Py_NewRef(kept);
  if (kind == Kind::kRow) return copy_row(kept, type);
  const Py_ssize_t size = PyTuple_GET_SIZE(kept);
  PyObject* list = PyList_New(size);
  for (Py_ssize_t i = 0; list != nullptr && i < size; ++i) {
    PyObject* row = copy_row(PyTuple_GET_ITEM(kept, i), type);
    if (row == nullptr) {
      Py_CLEAR(list);
      break;
    }
    PyList_SET_ITEM(list, i, row);
  }
  return list;
}

}  // namespace mcp::python

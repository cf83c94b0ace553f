// result.cpp: collects rows into what a call returns, and copies what is kept.
#include "bindings/sqlite/result.h"

#include <algorithm>

#include "base/slices.h"
#include "bindings/base/no_collection.h"
#include "bindings/loop/drop_later.h"

namespace mcp::python {
namespace {

using sqlite::RowBlock;

PyObject* copy_row(PyObject* row, RowType type) {
  if (type == RowType::kDict && PyDict_Check(row)) return PyDict_Copy(row);
  Py_INCREF(row);
  return row;
}

constexpr Py_ssize_t kRowsALook = 128;

}  // namespace

Collector::~Collector() {
  drop_later(list_);
  drop_later(kept_);
  Py_XDECREF(single_);
}

// False with an exception set.
bool Collector::keep_row(PyObject* row) {
  if (builder_->bytes() > most_kept_) {
    if (kept_ != nullptr) drop_later(std::exchange(kept_, nullptr));
    return true;
  }
  if (kept_ == nullptr) {
    kept_ = PyList_New(0);
    if (kept_ == nullptr) return false;
    PyObject_GC_UnTrack(kept_);  // as a tuple of atoms: the collector need not look at it
  }
  PyObject* copy = copy_row(row, row_type_);
  const bool kept = copy != nullptr && PyList_Append(kept_, copy) == 0;
  Py_XDECREF(copy);
  return kept;
}

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
  const NoCollection pause(!builder_->calls_python());
  while (next_ < block.rows()) {
    PyObject* row = builder_->row(block, next_);
    if (row == nullptr) return Step::kError;
    const bool appended = PyList_Append(list_, row) == 0 && keep_row(row);
    Py_DECREF(row);
    if (!appended) return Step::kError;
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

PyObject* Collector::kept(PyObject* result) {
  if (most_kept_ == 0 || bytes() > most_kept_) return nullptr;
  if (kind_ == Kind::kValue) return Py_NewRef(result);
  if (kind_ == Kind::kRow) return copy_row(result, row_type_);
  return kept_ != nullptr ? std::exchange(kept_, nullptr) : PyList_New(0);
}

KeptCopy::KeptCopy(Kind kind, RowType type, PyObject* kept)
    : kind_(kind), type_(type), kept_(Py_NewRef(kept)) {}

KeptCopy::~KeptCopy() {
  drop_later(list_);
  drop_later(kept_);
}

namespace {

// Of a list that is not worth a look at the clock.
PyObject* copy_short(PyObject* kept, RowType type) {
  const Py_ssize_t size = PyList_GET_SIZE(kept);
  PyObject* list = PyList_New(size);
  for (Py_ssize_t i = 0; list != nullptr && i < size; ++i) {
    PyObject* row = copy_row(PyList_GET_ITEM(kept, i), type);
    if (row == nullptr) {
      Py_CLEAR(list);
      break;
    }
    PyList_SET_ITEM(list, i, row);
  }
  return list;
}

}  // namespace

PyObject* KeptCopy::advance() {
  if (kind_ == Kind::kValue) return Py_NewRef(kept_);
  if (kind_ == Kind::kRow) return copy_row(kept_, type_);
  const Py_ssize_t size = PyList_GET_SIZE(kept_);
  if (size <= kRowsALook) return copy_short(kept_, type_);
  if (list_ == nullptr && (list_ = PyList_New(0)) == nullptr) return nullptr;
  const Instant deadline = end_of_tick();
  const NoCollection pause;
  for (Py_ssize_t next = PyList_GET_SIZE(list_); next < size;) {
    const Py_ssize_t stop = std::min(size, next + kRowsALook);
    for (; next < stop; ++next) {
      PyObject* row = copy_row(PyList_GET_ITEM(kept_, next), type_);
      if (row == nullptr) return nullptr;
      const int appended = PyList_Append(list_, row);
      Py_DECREF(row);
      if (appended != 0) return nullptr;
    }
    if (next < size && now_precise() >= deadline) return nullptr;
  }
  return std::exchange(list_, nullptr);
}

}  // namespace mcp::python

// rows.cpp: makes tuples, named rows and dicts of native rows.
#include "bindings/sqlite/rows.h"

#include <cctype>
#include <cstring>
#include <utility>

#include "bindings/base/ref.h"
#include "bindings/base/saved_error.h"

namespace mcp::python {
namespace {

using sqlite::CellType;
using sqlite::RowBlock;

PyObject* ascii_text(std::string_view text) {
  PyObject* object = PyUnicode_New(static_cast<Py_ssize_t>(text.size()), 127);
  if (object != nullptr && !text.empty()) {
    std::memcpy(PyUnicode_1BYTE_DATA(object), text.data(), text.size());
  }
  return object;
}

PyObject* keys_of(const std::vector<std::string>& names) {
  PyObject* keys = PyTuple_New(static_cast<Py_ssize_t>(names.size()));
  for (std::size_t i = 0; keys != nullptr && i < names.size(); ++i) {
    PyObject* key =
        PyUnicode_DecodeUTF8(names[i].data(), static_cast<Py_ssize_t>(names[i].size()), "replace");
    if (key == nullptr) {
      Py_CLEAR(keys);
      break;
    }
    PyUnicode_InternInPlace(&key);
    PyTuple_SET_ITEM(keys, static_cast<Py_ssize_t>(i), key);
  }
  return keys;
}

}  // namespace

RowBuilder::RowBuilder(RowType type, std::shared_ptr<const sqlite::ColumnNames> names,
                       PyObject* converters)
    : type_(type), names_(std::move(names)), converters_(converters) {}

RowBuilder::~RowBuilder() {
  Py_XDECREF(row_class_);
  Py_XDECREF(keys_);
  for (PyObject* converter : by_column_) Py_XDECREF(converter);
}

// Converters are kept by the first word of a declared type, in capitals: VARCHAR(20) asks for
// VARCHAR.
bool RowBuilder::find_converters() {
  if (converters_ == nullptr || !by_column_.empty()) return true;
  for (const std::string& type : names_->types) {
    std::string word;
    for (const char c : type) {
      if (std::isalpha(static_cast<unsigned char>(c)) == 0) break;
      word.push_back(static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
    }
    PyObject* key = PyUnicode_FromStringAndSize(word.data(), static_cast<Py_ssize_t>(word.size()));
    if (key == nullptr) return false;
    PyObject* converter = PyDict_GetItemWithError(converters_, key);
    Py_DECREF(key);
    if (converter == nullptr && PyErr_Occurred() != nullptr) return false;
    by_column_.push_back(Py_XNewRef(converter));
  }
  return true;
}

PyObject* RowBuilder::value(const RowBlock& block, std::size_t row, std::size_t column) {
  if (!find_converters()) return nullptr;
  PyObject* raw = cell(block, row * static_cast<std::size_t>(block.columns()) + column);
  if (raw == nullptr || raw == Py_None || column >= by_column_.size() ||
      by_column_[column] == nullptr) {
    return raw;
  }
  PyObject* converted = PyObject_CallOneArg(by_column_[column], raw);
  Py_DECREF(raw);
  const bool tells_of_value = converted == nullptr &&
                              PyErr_ExceptionMatches(PyExc_Exception) != 0 &&
                              PyErr_ExceptionMatches(PyExc_MemoryError) == 0;
  if (!tells_of_value) return converted;
  Ref why = take_error();
  const Ref message = Ref::steal(PyObject_Str(why.get()));
  const Ref arguments = Ref::steal(message ? PyTuple_Pack(1, message.get()) : nullptr);
  return arguments ? fail("ConversionError", arguments.get(), column, std::move(why)) : nullptr;
}

PyObject* RowBuilder::fail(const char* error, PyObject* arguments, std::size_t column, Ref cause) {
  const Ref errors = Ref::steal(PyImport_ImportModule("mcp_performance.errors"));
  const Ref type = Ref::steal(errors ? PyObject_GetAttrString(errors.get(), error) : nullptr);
  Ref named = Ref::steal(type ? PyObject_CallObject(type.get(), arguments) : nullptr);
  if (!named) return nullptr;
  if (names_ != nullptr) {
    const std::string& name = names_->names[column];
    const Ref key = Ref::steal(
        PyUnicode_DecodeUTF8(name.data(), static_cast<Py_ssize_t>(name.size()), "replace"));
    if (!key || PyObject_SetAttrString(named.get(), "column", key.get()) != 0) return nullptr;
  }
  if (cause) PyException_SetCause(named.get(), cause.release());
  set_error(std::move(named));
  return nullptr;
}

bool RowBuilder::prepare_names() {
  if (keys_ != nullptr) return true;
  keys_ = keys_of(names_->names);
  if (keys_ == nullptr || type_ != RowType::kNamed) return keys_ != nullptr;
  PyObject* module = PyImport_ImportModule("mcp_performance.sqlite._rows");
  if (module == nullptr) return false;
  row_class_ = PyObject_CallMethod(module, "row_class", "(O)", keys_);
  Py_DECREF(module);
  return row_class_ != nullptr;
}

// SQLite keeps any bytes as a text.
PyObject* RowBuilder::text(std::string_view utf8, std::size_t column) {
  PyObject* text = PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), nullptr);
  if (text != nullptr || PyErr_ExceptionMatches(PyExc_UnicodeDecodeError) == 0) return text;
  const Ref error = take_error();
  const Ref arguments = Ref::steal(PyObject_GetAttrString(error.get(), "args"));
  return arguments ? fail("TextError", arguments.get(), column, {}) : nullptr;
}

PyObject* RowBuilder::cell(const RowBlock& block, std::size_t cell) {
  switch (block.type(cell)) {
    case CellType::kNull:
      Py_RETURN_NONE;
    case CellType::kInt:
      bytes_ += 32;
      return PyLong_FromLongLong(block.integer(cell));
    case CellType::kDouble:
      bytes_ += 24;
      return PyFloat_FromDouble(block.real(cell));
    case CellType::kAscii: {
      const std::string_view text = block.bytes(cell);
      bytes_ += 56 + text.size();
      return ascii_text(text);
    }
    case CellType::kText: {
      const std::string_view text = block.bytes(cell);
      bytes_ += 80 + 2 * text.size();
      return this->text(text, cell % static_cast<std::size_t>(block.columns()));
    }
    case CellType::kBlob: {
      const std::string_view blob = block.bytes(cell);
      bytes_ += 40 + blob.size();
      return PyBytes_FromStringAndSize(blob.data(), static_cast<Py_ssize_t>(blob.size()));
    }
  }
  PyErr_SetString(PyExc_SystemError, "a cell of no known type");
  return nullptr;
}

PyObject* RowBuilder::tuple_row(PyTypeObject* type, const RowBlock& block, std::size_t row) {
  const Py_ssize_t columns = block.columns();
  PyObject* tuple = type == &PyTuple_Type ? PyTuple_New(columns) : type->tp_alloc(type, columns);
  if (tuple == nullptr) return nullptr;
  bytes_ += 56 + 8 * static_cast<std::size_t>(columns);
  const std::size_t first = row * static_cast<std::size_t>(columns);
  const bool plain = converters_ == nullptr;
  for (Py_ssize_t column = 0; column < columns; ++column) {
    const auto at = static_cast<std::size_t>(column);
    PyObject* item = plain ? cell(block, first + at) : value(block, row, at);
    if (item == nullptr) {
      Py_DECREF(tuple);
      return nullptr;
    }
    PyTuple_SET_ITEM(tuple, column, item);
  }
  // Its items are atoms, so no cycle can pass through it: the collector need not look at it, and
  // 200,000 rows do not set off full collections.
  if (plain && columns > 0) PyObject_GC_UnTrack(tuple);
  return tuple;
}

PyObject* RowBuilder::dict_row(const RowBlock& block, std::size_t row) {
  PyObject* dict = PyDict_New();
  if (dict == nullptr) return nullptr;
  const auto columns = static_cast<std::size_t>(block.columns());
  bytes_ += 64 + 104 * ((columns + 4) / 5);
  for (std::size_t column = 0; column < columns; ++column) {
    PyObject* item = value(block, row, column);
    if (item == nullptr ||
        PyDict_SetItem(dict, PyTuple_GET_ITEM(keys_, static_cast<Py_ssize_t>(column)), item) != 0) {
      Py_XDECREF(item);
      Py_DECREF(dict);
      return nullptr;
    }
    Py_DECREF(item);
  }
  return dict;
}

PyObject* RowBuilder::row(const RowBlock& block, std::size_t row) {
  if (type_ == RowType::kTuple) return tuple_row(&PyTuple_Type, block, row);
  if (!prepare_names()) return nullptr;
  if (type_ == RowType::kDict) return dict_row(block, row);
  return tuple_row(reinterpret_cast<PyTypeObject*>(row_class_), block, row);
}

}  // namespace mcp::python

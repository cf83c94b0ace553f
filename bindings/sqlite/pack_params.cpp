// pack_params.cpp: sequences and mappings of parameters, in the order of the statement's numbers.
#include "bindings/sqlite/pack_params.h"

#include <sqlite3.h>

#include <string>

#include "bindings/base/errors.h"
#include "bindings/base/ref.h"
#include "bindings/sqlite/pack_value.h"

namespace mcp::python {
namespace {

using sqlite::Params;
using sqlite::Placeholders;

// The names in `params` for a message, the first few. Sets TypeError and returns false when one is
// no str.
bool list_names(PyObject* params, const std::string& place, std::string& out) {
  constexpr int kMost = 10;
  const Ref names = Ref::steal(PyObject_GetIter(params));
  int listed = 0;
  for (; names && listed <= kMost; ++listed) {
    const Ref name = Ref::steal(PyIter_Next(names.get()));
    if (!name) break;
    if (!PyUnicode_Check(name.get())) {
      PyErr_Format(PyExc_TypeError, "%s: the name of a parameter is a str, not %.200s",
                   place.c_str(), Py_TYPE(name.get())->tp_name);
      return false;
    }
    const Ref text = Ref::steal(PyObject_ASCII(name.get()));
    const char* ascii = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
    if (ascii == nullptr) break;
    out.append(listed == 0 ? "" : ", ").append(listed < kMost ? ascii : "...");
  }
  PyErr_Clear();
  if (listed == 0) out = "none";
  return true;
}

// One set of parameters on its way into a pack.
class Packer {
 public:
  Packer(PyObject* params, const Placeholders& wants, PyObject* adapters, Params& out,
         Py_ssize_t row)
      : params_(params), wants_(wants), adapters_(adapters), out_(out), place_{row} {}

  bool pack() {
    if (PyTuple_CheckExact(params_)) return pack_tuple(params_);
    if (PyDict_CheckExact(params_)) return pack_mapping(true);
    if (PyList_CheckExact(params_)) {
      // Adapters run Python code, which could change the list under way.
      const Ref values = Ref::steal(PyList_AsTuple(params_));
      return values && pack_tuple(values.get());
    }
    if (PyTuple_Check(params_) || PyList_Check(params_)) return pack_sequence();
    if (PyUnicode_Check(params_) || PyBytes_Check(params_) || PyByteArray_Check(params_) ||
        PyMemoryView_Check(params_)) {
      return refuse_container();
    }
    switch (is_mapping()) {
      case 1:
        return pack_mapping(false);
      case 0:
        return PySequence_Check(params_) != 0 ? pack_sequence() : refuse_container();
      default:
        return false;
    }
  }

 private:
  // "params" or "params[4]".
  [[nodiscard]] std::string container() const {
    return place_.row == kNoRow ? "params" : "params[" + std::to_string(place_.row) + "]";
  }

  bool refuse_container() const {
    PyErr_Format(PyExc_TypeError,
                 "%s: expected a sequence of values, or a mapping from the names of parameters, "
                 "not %.200s; one value goes into a tuple: (value,)",
                 container().c_str(), Py_TYPE(params_)->tp_name);
    return false;
  }

  // -1 with an exception set.
  int is_mapping() const {
    if (PyDict_Check(params_)) return 1;
    static PyObject* mapping = nullptr;  // kept from the first use on
    if (mapping == nullptr) {
      const Ref abc = Ref::steal(PyImport_ImportModule("collections.abc"));
      if (abc) mapping = PyObject_GetAttrString(abc.get(), "Mapping");
      if (mapping == nullptr) return -1;
    }
    return PyObject_IsInstance(params_, mapping);
  }

  bool has_count(Py_ssize_t given) const {
    if (given == wants_.count) return true;
    const Error wrong = sqlite::wrong_count(wants_.count, static_cast<std::size_t>(given));
    set_python_error(place_.row == kNoRow
                         ? wrong
                         : Error(wrong.kind(), container() + ": " + wrong.what(), wrong.code()));
    return false;
  }

  bool pack_one(PyObject* value) {
    return pack_value(value, adapters_, place_, wants_.names_file, out_);
  }

  bool pack_tuple(PyObject* values) {
    const Py_ssize_t size = PyTuple_GET_SIZE(values);
    if (!has_count(size)) return false;
    for (Py_ssize_t i = 0; i < size; ++i) {
      ++place_.number;
      if (!pack_one(PyTuple_GET_ITEM(values, i))) return false;
    }
    return true;
  }

  // By index, as sqlite3 does: what looks like a sequence and is a mapping fails.
  bool pack_sequence() {
    const Py_ssize_t size = PySequence_Size(params_);
    if (size < 0) return false;
    if (!has_count(size)) return false;
    for (Py_ssize_t i = 0; i < size; ++i) {
      ++place_.number;
      const Ref value = Ref::steal(PySequence_GetItem(params_, i));
      if (!value) {
        if (PyErr_ExceptionMatches(PyExc_LookupError) != 0) return refuse_container();
        return false;
      }
      if (!pack_one(value.get())) return false;
    }
    return true;
  }

  bool pack_mapping(bool is_dict) {
    auto next = wants_.named.begin();
    while (place_.number < wants_.count) {
      ++place_.number;
      place_.name = nullptr;
      if (next == wants_.named.end() || next->number != place_.number) return refuse_nameless();
      place_.name = &next->text;
      const Ref value = look_up(next->text.substr(1), is_dict);
      if (!value || !pack_one(value.get())) return false;
      ++next;
    }
    return true;
  }

  Ref look_up(const std::string& name, bool is_dict) const {
    const Ref key =
        Ref::steal(PyUnicode_FromStringAndSize(name.data(), static_cast<Py_ssize_t>(name.size())));
    if (!key) return {};
    Ref value = is_dict ? Ref::borrow(PyDict_GetItemWithError(params_, key.get()))
                        : Ref::steal(PyObject_GetItem(params_, key.get()));
    if (value) return value;
    if (PyErr_Occurred() != nullptr && PyErr_ExceptionMatches(PyExc_LookupError) == 0) return {};
    PyErr_Clear();
    report_missing();
    return {};
  }

  void report_missing() const {
    std::string names;
    if (!list_names(params_, container(), names)) return;
    set_python_error(Error(ErrorKind::kQuery,
                           place_.text() + " is missing among the parameters given: " + names,
                           SQLITE_RANGE));
  }

  bool refuse_nameless() const {
    std::string names;
    if (!list_names(params_, container(), names)) return false;
    set_python_error(Error(ErrorKind::kQuery,
                           place_.text() +
                               " has no name in the statement, and a mapping gives parameters by "
                               "name: expected a sequence",
                           SQLITE_RANGE));
    return false;
  }

  PyObject* const params_;
  const Placeholders& wants_;
  PyObject* const adapters_;
  Params& out_;
  ParameterPlace place_;
};

}  // namespace

bool pack_params(PyObject* params, const Placeholders& wants, PyObject* adapters, Params& out,
                 Py_ssize_t row) {
  return Packer(params, wants, adapters, out, row).pack();
}

Ref rows_of(PyObject* rows) {
  Ref iterator = Ref::steal(PyObject_GetIter(rows));
  if (!iterator && PyErr_ExceptionMatches(PyExc_TypeError) != 0) {
    PyErr_Format(PyExc_TypeError,
                 "params: expected an iterable of sequences or mappings, not %.200s",
                 Py_TYPE(rows)->tp_name);
  }
  return iterator;
}

}  // namespace mcp::python

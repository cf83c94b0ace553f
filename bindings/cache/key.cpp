// key.cpp: compares keys where that takes Python code.
#include "bindings/cache/key.h"

#include "bindings/base/ref.h"

namespace mcp::python {
namespace {

// Types whose comparison with one another is C code that calls nothing else.
bool is_plain_number(PyObject* object) noexcept {
  PyTypeObject* type = Py_TYPE(object);
  return type == &PyLong_Type || type == &PyFloat_Type || type == &PyBool_Type ||
         type == &PyComplex_Type;
}

bool is_plain_text(PyObject* object) noexcept {
  return PyUnicode_CheckExact(object) || PyBytes_CheckExact(object);
}

Match compare_plain(PyObject* a, PyObject* b) noexcept {
  const int equal = PyObject_RichCompareBool(a, b, Py_EQ);
  if (equal >= 0) return equal ? Match::kEqual : Match::kDifferent;
  PyErr_Clear();  // out of memory at most; __eq__ is asked again and reports it
  return Match::kUnsure;
}

constexpr int kMaxDepth = 8;

Match compare_tuples(PyObject* a, PyObject* b, int depth) noexcept {
  const Py_ssize_t size = PyTuple_GET_SIZE(a);
  if (size != PyTuple_GET_SIZE(b)) return Match::kDifferent;
  if (depth == kMaxDepth) return Match::kUnsure;
  Match result = Match::kEqual;
  for (Py_ssize_t i = 0; i < size; ++i) {
    PyObject* x = PyTuple_GET_ITEM(a, i);
    PyObject* y = PyTuple_GET_ITEM(b, i);
    const Match match = x == y ? Match::kEqual : compare_fast_other(x, y, depth + 1);
    if (match == Match::kDifferent) return match;
    if (match == Match::kUnsure) result = match;
  }
  return result;
}

}  // namespace

Py_hash_t hash_of_tuple(PyObject* tuple, int depth) {
  const Py_ssize_t size = PyTuple_GET_SIZE(tuple);
  TupleHash hash;
  for (Py_ssize_t i = 0; i < size; ++i) {
    const Py_hash_t lane = hash_of(PyTuple_GET_ITEM(tuple, i), depth);
    if (lane == -1) return -1;
    hash.add(lane);
  }
  return hash.finish(size);
}

bool is_same_text(PyObject* a, PyObject* b) noexcept {
  if (!PyUnicode_CheckExact(b)) return false;
  const Py_ssize_t length = PyUnicode_GET_LENGTH(a);
  const auto kind = PyUnicode_KIND(a);
  if (length != PyUnicode_GET_LENGTH(b) || kind != PyUnicode_KIND(b)) return false;
  const std::size_t bytes = static_cast<std::size_t>(length) * static_cast<std::size_t>(kind);
  return std::memcmp(PyUnicode_DATA(a), PyUnicode_DATA(b), bytes) == 0;
}

Match compare_fast_other(PyObject* a, PyObject* b, int depth) noexcept {
  if (a == b) return Match::kEqual;
  if (is_plain_number(a) && is_plain_number(b)) return compare_plain(a, b);
  const bool text_a = is_plain_text(a);
  const bool text_b = is_plain_text(b);
  if (text_a && text_b) {
    return Py_IS_TYPE(a, Py_TYPE(b)) ? compare_plain(a, b) : Match::kDifferent;
  }
  const bool known_a = text_a || a == Py_None || is_plain_number(a) || PyTuple_CheckExact(a);
  const bool known_b = text_b || b == Py_None || is_plain_number(b) || PyTuple_CheckExact(b);
  if (!known_a || !known_b) return Match::kUnsure;
  if (PyTuple_CheckExact(a) && PyTuple_CheckExact(b)) return compare_tuples(a, b, depth);
  return Match::kDifferent;
}

int matches_slow(PyObject* stored, const KeyView& view) {
  if (view.whole) {
    if (view.typed && Py_TYPE(stored) != Py_TYPE(view.items[0])) return 0;
    return PyObject_RichCompareBool(stored, view.items[0], Py_EQ);
  }
  if (!PyTuple_CheckExact(stored)) {
    const Ref key = Ref::steal(build_key(view));
    return key ? PyObject_RichCompareBool(stored, key.get(), Py_EQ) : -1;
  }
  if (PyTuple_GET_SIZE(stored) != view.size) return 0;
  for (Py_ssize_t i = 0; i < view.size; ++i) {
    PyObject* element = PyTuple_GET_ITEM(stored, i);
    if (view.typed && Py_TYPE(element) != Py_TYPE(view.items[i])) return 0;
    const int equal = PyObject_RichCompareBool(element, view.items[i], Py_EQ);
    if (equal <= 0) return equal;
  }
  return 1;
}

PyObject* build_key(const KeyView& view) {
  if (view.whole) return Py_NewRef(view.items[0]);
  PyObject* key = PyTuple_New(view.size);
  if (key == nullptr) return nullptr;
  for (Py_ssize_t i = 0; i < view.size; ++i) PyTuple_SET_ITEM(key, i, Py_NewRef(view.items[i]));
  return key;
}

bool tuple_hash_is_known() {
  const Ref empty = Ref::steal(PyTuple_New(0));
  const Ref three = Ref::steal(Py_BuildValue("(isi)", 1, "two", -1));
  if (!empty || !three) return false;
  Py_ssize_t culprit = 0;
  return PyObject_Hash(empty.get()) == TupleHash().finish(0) &&
         PyObject_Hash(three.get()) ==
             hash_of_items(&PyTuple_GET_ITEM(three.get(), 0), 3, &culprit);
}

}  // namespace mcp::python

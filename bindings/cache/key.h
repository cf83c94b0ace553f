// key.h: keys of a Python-facing cache: how they hash, and how they compare.
//
// A key is one object, or the elements of a tuple that has not been built. Both hash and compare as
// the object or the tuple would in a dict, so that a call's arguments find the entry that was
// stored under their tuple without one being made.
//
// Comparison comes in two parts. compare_fast() runs no Python code and may be called while the
// core is at work; it answers kUnsure where only __eq__ can tell, and that is asked with the core
// left alone and a reference held.
#pragma once

#include <Python.h>

#include <cstdint>
#include <cstring>

namespace mcp::python {

enum class Match { kDifferent, kEqual, kUnsure };

struct KeyView {
  PyObject* const* items;  // borrowed
  Py_ssize_t size;
  bool whole;  // one object that is itself the key; size is 1
  bool typed;  // elements of different types differ: 1 and 1.0
  Py_hash_t hash;
};

// tuple.__hash__ of the elements with these hashes, without the tuple.
class TupleHash {
 public:
  constexpr void add(Py_hash_t lane) noexcept {
    state_ += static_cast<std::uint64_t>(lane) * kPrime2;
    state_ = (state_ << 31) | (state_ >> 33);
    state_ *= kPrime1;
  }
  [[nodiscard]] constexpr Py_hash_t finish(Py_ssize_t size) const noexcept {
    const std::uint64_t mixed =
        state_ + (static_cast<std::uint64_t>(size) ^ (kPrime5 ^ 3527539ULL));
    return mixed == ~0ULL ? 1546275796 : static_cast<Py_hash_t>(mixed);
  }

 private:
  static constexpr std::uint64_t kPrime1 = 11400714785074694791ULL;
  static constexpr std::uint64_t kPrime2 = 14029467366897019727ULL;
  static constexpr std::uint64_t kPrime5 = 2870177450012600261ULL;
  std::uint64_t state_ = kPrime5;
};

// False on an interpreter whose tuples hash otherwise.
[[nodiscard]] bool tuple_hash_is_known();

[[nodiscard]] Py_hash_t hash_of_tuple(PyObject* tuple, int depth);

// hash() of an int of one digit, whatever its sign; false for a longer one.
[[nodiscard]] inline bool hash_small_int(PyObject* number, Py_hash_t& hash) noexcept {
#if PY_VERSION_HEX >= 0x030C0000
  const auto* value = reinterpret_cast<PyLongObject*>(number);
  if (!PyUnstable_Long_IsCompact(value)) return false;
  const Py_ssize_t n = PyUnstable_Long_CompactValue(value);
#else
  const Py_ssize_t size = Py_SIZE(number);
  if (size < -1 || size > 1) return false;
  const Py_ssize_t n =
      size * static_cast<Py_ssize_t>(reinterpret_cast<PyLongObject*>(number)->ob_digit[0]);
#endif
  hash = n == -1 ? -2 : n;
  return true;
}

// hash(object); -1 with an exception set if it has none. The usual types without a call.
[[nodiscard]] inline Py_hash_t hash_of(PyObject* object, int depth = 0) {
  PyTypeObject* type = Py_TYPE(object);
  if (type == &PyUnicode_Type) {
    const Py_hash_t known = reinterpret_cast<PyASCIIObject*>(object)->hash;
    if (known != -1) [[likely]]
      return known;
  } else if (type == &PyLong_Type) {
    Py_hash_t hash = 0;
    if (hash_small_int(object, hash)) [[likely]]
      return hash;
  } else if (type == &PyTuple_Type && depth < 4) {
    return hash_of_tuple(object, depth + 1);
  }
  return PyObject_Hash(object);
}

// hash() of the tuple of `items`. On failure -1 with an exception set, and `*culprit` is the
// position of the element without a hash.
[[nodiscard]] inline Py_hash_t hash_of_items(PyObject* const* items, Py_ssize_t size,
                                             Py_ssize_t* culprit) {
  TupleHash hash;
  for (Py_ssize_t i = 0; i < size; ++i) {
    const Py_hash_t lane = hash_of(items[i]);
    if (lane == -1) {
      *culprit = i;
      return -1;
    }
    hash.add(lane);
  }
  return hash.finish(size);
}

[[nodiscard]] Match compare_fast_other(PyObject* a, PyObject* b, int depth) noexcept;

// Whether two objects of which the first is a str are equal text; out of line, off the hit path of
// identical keys.
[[nodiscard]] bool is_same_text(PyObject* a, PyObject* b) noexcept;

[[nodiscard]] inline Match compare_fast(PyObject* a, PyObject* b) noexcept {
  if (a == b) return Match::kEqual;
  if (PyUnicode_CheckExact(a) && PyUnicode_CheckExact(b)) {
    return is_same_text(a, b) ? Match::kEqual : Match::kDifferent;
  }
  return compare_fast_other(a, b, 0);
}

// Whether `stored`, a key built by build_key(), is the key `view`; runs no Python code.
[[nodiscard]] inline Match matches_fast(PyObject* stored, const KeyView& view) noexcept {
  if (view.whole) {
    if (view.typed && Py_TYPE(stored) != Py_TYPE(view.items[0])) return Match::kDifferent;
    return compare_fast(stored, view.items[0]);
  }
  if (!PyTuple_CheckExact(stored)) {
    // A key of the caller's own making may equal a tuple; a function's own keys never do.
    return PyTuple_Check(stored) ? Match::kUnsure : Match::kDifferent;
  }
  if (PyTuple_GET_SIZE(stored) != view.size) return Match::kDifferent;
  Match result = Match::kEqual;
  for (Py_ssize_t i = 0; i < view.size; ++i) {
    PyObject* element = PyTuple_GET_ITEM(stored, i);
    if (view.typed && Py_TYPE(element) != Py_TYPE(view.items[i])) return Match::kDifferent;
    const Match match = compare_fast(element, view.items[i]);
    if (match == Match::kDifferent) return match;
    if (match == Match::kUnsure) result = match;
  }
  return result;
}

// The same with __eq__: 1, 0, or -1 with an exception set. REQUIRES: a reference to `stored` is
// held. Runs any Python code.
[[nodiscard]] int matches_slow(PyObject* stored, const KeyView& view);

// A new reference to the object to store for `view`.
[[nodiscard]] PyObject* build_key(const KeyView& view);

// A view of a key that is one object. `slot` must outlive the view. False with an exception set if
// it has no hash.
[[nodiscard]] inline bool view_of(PyObject* const* slot, KeyView& view) {
  view = {slot, 1, true, false, hash_of(*slot)};
  return view.hash != -1;
}

}  // namespace mcp::python

// key_plan.h: how the arguments of a call become a key.
//
// A plan is compiled once, from the function's signature. f(1), f(x=1) and f() with x=1 as its
// default give the same key. Making a key runs no Python code but the arguments' __hash__ (and
// key=, where there is one), and allocates nothing: the elements are borrowed from the call.
//
// The elements of a key, in order: the prefix, if any; one per parameter that is not ignored; the
// extra positional arguments; a mark and the extra keywords with their values, sorted by name; what
// each callable of vary= returns. A call that does not fit the signature is keyed as it was
// written, closed by the mark, and left to the function to refuse.
#pragma once

#include <Python.h>

#include <memory>
#include <vector>

#include "bindings/base/ref.h"
#include "bindings/cache/key.h"

namespace mcp::python {

// Borrowed pointers; the first few need no allocation.
class Elements {
 public:
  Elements() = default;
  Elements(const Elements&) = delete;
  Elements& operator=(const Elements&) = delete;

  // Room for `size` elements; those there are kept.
  [[nodiscard]] PyObject** reserve(std::size_t size) {
    if (size > capacity_) grow(size);
    return data_;
  }
  [[nodiscard]] PyObject** data() noexcept { return data_; }

 private:
  static constexpr std::size_t kInline = 16;
  void grow(std::size_t size);

  PyObject* inline_[kInline];
  PyObject** data_ = inline_;
  std::size_t capacity_ = kInline;
  std::unique_ptr<PyObject*[]> heap_;
};

// One call as the vectorcall protocol passes it.
struct Call {
  PyObject* const* args;
  Py_ssize_t nargs;   // positional
  PyObject* kwnames;  // nullptr when there are none; their values follow the positional ones

  [[nodiscard]] Py_ssize_t keywords() const noexcept {
    return kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
  }
};

// Storage behind the view that a plan makes.
struct KeyBuffer {
  Elements elements;
  Ref made;  // what key= returned
  PyObject* whole = nullptr;
  std::vector<Ref> varied;  // what vary= returned
};

class KeyPlan {
 public:
  enum class Shape : char {
    kNone,       // no parameter: every call is one entry
    kOne,        // one parameter: its argument is the key
    kFixed,      // a fixed list of parameters
    kVariadic,   // *args or **kwargs besides
    kFunctools,  // the arguments as written, as functools.lru_cache keys them
    kCallable,   // key(*args, **kwargs)
  };

  // `spec` is the tuple (shape, names, defaults, positional, positional_only, ignored, more,
  // keywords, function_name, prefix, key, typed, vary) that _key.py makes. Sets an exception on a
  // bad one.
  [[nodiscard]] static std::unique_ptr<KeyPlan> compile(PyObject* spec);

  // Fills `view`, which lives as long as `call` and `buffer`. False with an exception set.
  [[nodiscard]] bool make(const Call& call, KeyBuffer& buffer, KeyView& view) const {
    return make_own(call, buffer, view) && (vary_.empty() || add_varied(buffer, view));
  }

  // Whether the function takes a call of this shape.
  [[nodiscard]] bool fits(const Call& call) const;

  [[nodiscard]] Shape shape() const noexcept { return shape_; }
  [[nodiscard]] bool typed() const noexcept { return typed_; }
  // Whether keys are single objects, rather than tuples of elements.
  [[nodiscard]] bool keys_are_whole() const noexcept {
    return shape_ == Shape::kOne || (shape_ == Shape::kCallable && !prefix_ && vary_.empty());
  }
  // Whether the entry that is made for the shape applies.
  [[nodiscard]] bool has_shape_entry() const noexcept { return vary_.empty(); }
  // True when a call of exactly size() positional arguments and no keyword is its own key.
  [[nodiscard]] bool is_direct() const noexcept { return direct_; }
  // True when the key of such a call is its arguments behind a prefix.
  [[nodiscard]] bool is_prefixed() const noexcept { return prefixed_; }
  [[nodiscard]] PyObject* prefix() const noexcept { return prefix_.get(); }
  // The hash of a tuple that begins with the prefix. REQUIRES: is_prefixed()
  [[nodiscard]] TupleHash prefix_hash() const noexcept { return prefix_hash_; }
  [[nodiscard]] Py_ssize_t size() const noexcept { return static_cast<Py_ssize_t>(names_.size()); }

  [[nodiscard]] PyObject* function_name() const noexcept { return function_name_.get(); }

  int traverse(visitproc visit, void* arg) const;

  // Sets the TypeError for argument number `position` without a hash; false. Other errors stay.
  bool refuse(PyObject* argument, Py_ssize_t position) const;

 private:
  KeyPlan() = default;

  // The parts of make().
  [[nodiscard]] bool bind(const Call& call, PyObject** slots) const noexcept;
  [[nodiscard]] bool make_own(const Call& call, KeyBuffer& buffer, KeyView& view) const;
  [[nodiscard]] bool add_varied(KeyBuffer& buffer, KeyView& view) const;
  [[nodiscard]] bool make_fixed(const Call& call, KeyBuffer& buffer, KeyView& view) const;
  [[nodiscard]] bool make_variadic(const Call& call, KeyBuffer& buffer, KeyView& view) const;
  [[nodiscard]] bool make_as_written(const Call& call, KeyBuffer& buffer, KeyView& view) const;
  [[nodiscard]] bool make_functools(const Call& call, KeyBuffer& buffer, KeyView& view) const;
  [[nodiscard]] bool make_by_callable(const Call& call, KeyBuffer& buffer, KeyView& view) const;
  [[nodiscard]] bool finish(PyObject** items, std::size_t size, KeyView& view,
                            bool named = false) const;
  [[nodiscard]] Py_ssize_t find_parameter(PyObject* name) const noexcept;

  Shape shape_ = Shape::kNone;
  bool typed_ = false;
  bool direct_ = false;
  bool prefixed_ = false;
  bool accepts_more_ = false;        // *args
  bool accepts_keywords_ = false;    // **kwargs
  std::size_t positional_ = 0;       // parameters that take a positional argument
  std::size_t positional_only_ = 0;  // of those, the ones that have no keyword
  std::vector<PyObject*> names_;     // owned, interned
  std::vector<PyObject*> defaults_;  // owned; nullptr where the argument is required
  std::vector<std::size_t> kept_;    // parameters that are part of the key, in order
  std::vector<Ref> vary_;            // callables of no argument
  Ref function_name_;
  Ref prefix_;
  TupleHash prefix_hash_;
  Ref key_;

 public:
  ~KeyPlan();
};

// The object that parts extra positional arguments from extra keywords in a key. False with an
// exception set.
[[nodiscard]] bool add_keyword_mark(PyObject* module);

}  // namespace mcp::python

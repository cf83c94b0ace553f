// The ways into a cached function, one for each shape of a signature and each policy: what a hit
// takes stands here.
#include <Python.h>

#include "bindings/cache/answer.h"
#include "bindings/cache/arguments.h"
#include "bindings/cache/function.h"

namespace mcp::python {
namespace {

using Shape = KeyPlan::Shape;

// A key that was not found by identity.
template <bool kAsync>
[[gnu::noinline]] PyObject* answer(CachedFunction* self, const Call& call, const KeyView& view,
                                   bool may_be_there) {
  PyObject* value = may_be_there ? self->state->hit(view) : nullptr;
  if (value == nullptr) [[unlikely]]
    return answer_slowly(self, call, view, !may_be_there);
  Py_INCREF(value);
  if constexpr (kAsync) return make_answer(value, as_object(self));
  return value;
}

template <bool kAsync>
[[gnu::noinline]] PyObject* call_general(CachedFunction* self, const Call& call) {
  KeyBuffer buffer;
  KeyView view;
  if (!self->plan->make(call, buffer, view)) return nullptr;
  return answer<kAsync>(self, call, view, true);
}

[[gnu::noinline]] PyObject* refuse(CachedFunction* self, PyObject* argument, Py_ssize_t position) {
  self->plan->refuse(argument, position);
  return nullptr;
}

template <bool kAsync>
inline PyObject* hand_out(CachedFunction* self, PyObject* value) {
  Py_INCREF(value);
  if constexpr (kAsync) return make_answer(value, as_object(self));
  return value;
}

// Identical, or equal text. Equal keys of other kinds are left to answer().
inline bool is_same_key(PyObject* stored, PyObject* key) noexcept {
  return stored == key || (PyUnicode_CheckExact(key) && is_same_text(key, stored));
}

// Whether `stored` is the tuple of these very objects.
inline bool is_tuple_of(PyObject* stored, PyObject* const* items, Py_ssize_t size) noexcept {
  if (!PyTuple_CheckExact(stored) || PyTuple_GET_SIZE(stored) != size) return false;
  for (Py_ssize_t i = 0; i < size; ++i) {
    if (PyTuple_GET_ITEM(stored, i) != items[i]) return false;
  }
  return true;
}

// Whether `stored` is the tuple of `prefix` and `items`: of these very objects, or of equal text.
inline bool is_tuple_behind(PyObject* prefix, PyObject* stored, PyObject* const* items,
                            Py_ssize_t size) noexcept {
  if (!PyTuple_CheckExact(stored) || PyTuple_GET_SIZE(stored) != size + 1 ||
      PyTuple_GET_ITEM(stored, 0) != prefix) {
    return false;
  }
  for (Py_ssize_t i = 0; i < size; ++i) {
    if (!is_same_key(PyTuple_GET_ITEM(stored, i + 1), items[i])) return false;
  }
  return true;
}

// Of a function that shares its cache: its keys begin with its name.
template <class Core, bool kAsync>
PyObject* vectorcall_prefixed(PyObject* object, PyObject* const* args, std::size_t nargsf,
                              PyObject* kwnames) {
  CachedFunction* self = as_function(object);
  const Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
  const KeyPlan& plan = *self->plan;
  if (nargs == plan.size() && kwnames == nullptr) [[likely]] {
    TupleHash hash = plan.prefix_hash();
    for (Py_ssize_t i = 0; i < nargs; ++i) {
      const Py_hash_t lane = hash_of(args[i]);
      if (lane == -1) [[unlikely]]
        return refuse(self, args[i], i);
      hash.add(lane);
    }
    bool may_be_there = false;
    PyObject* value = self->state->hit_identical(
        *static_cast<Core*>(self->core), hash.finish(nargs + 1),
        [&](PyObject* stored) { return is_tuple_behind(plan.prefix(), stored, args, nargs); },
        may_be_there);
    if (value != nullptr) [[likely]]
      return hand_out<kAsync>(self, value);
  }
  return call_general<kAsync>(self, {args, nargs, kwnames});
}

template <Shape kShape, class Core, bool kAsync>
PyObject* vectorcall(PyObject* object, PyObject* const* args, std::size_t nargsf,
                     PyObject* kwnames) {
  CachedFunction* self = as_function(object);
  const Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
  Core& core = *static_cast<Core*>(self->core);
  bool may_be_there = false;
  if constexpr (kShape == Shape::kOne) {
    if (nargs == 1 && kwnames == nullptr) [[likely]] {
      const Py_hash_t hash = hash_of(args[0]);
      if (hash == -1) [[unlikely]]
        return refuse(self, args[0], 0);
      PyObject* value = self->state->hit_identical(
          core, hash, [&](PyObject* stored) { return is_same_key(stored, args[0]); }, may_be_there);
      if (value != nullptr) [[likely]]
        return hand_out<kAsync>(self, value);
      return answer<kAsync>(self, {args, nargs, kwnames},
                            {args, 1, true, self->plan->typed(), hash}, may_be_there);
    }
  } else if constexpr (kShape == Shape::kNone) {
    if (nargs == 0 && kwnames == nullptr) [[likely]] {
      constexpr Py_hash_t kHash = TupleHash().finish(0);
      PyObject* value = self->state->hit_identical(
          core, kHash, [](PyObject* stored) { return is_tuple_of(stored, nullptr, 0); },
          may_be_there);
      if (value != nullptr) [[likely]]
        return hand_out<kAsync>(self, value);
      return answer<kAsync>(self, {args, 0, kwnames}, {args, 0, false, false, kHash}, may_be_there);
    }
  } else if constexpr (kShape == Shape::kFixed) {
    if (self->is_direct && kwnames == nullptr && nargs == self->plan->size()) [[likely]] {
      Py_ssize_t culprit = 0;
      const Py_hash_t hash = hash_of_items(args, nargs, &culprit);
      if (hash == -1) [[unlikely]]
        return refuse(self, args[culprit], culprit);
      PyObject* value = self->state->hit_identical(
          core, hash, [&](PyObject* stored) { return is_tuple_of(stored, args, nargs); },
          may_be_there);
      if (value != nullptr) [[likely]]
        return hand_out<kAsync>(self, value);
      return answer<kAsync>(self, {args, nargs, kwnames},
                            {args, nargs, false, self->plan->typed(), hash}, may_be_there);
    }
  } else if constexpr (kShape == Shape::kFunctools) {
    if (nargs == 1 && kwnames == nullptr && self->is_direct) [[likely]] {
      if (PyUnicode_CheckExact(args[0]) || PyLong_CheckExact(args[0])) {
        const Py_hash_t hash = hash_of(args[0]);
        PyObject* value = self->state->hit_identical(
            core, hash, [&](PyObject* stored) { return is_same_key(stored, args[0]); },
            may_be_there);
        if (value != nullptr) [[likely]]
          return hand_out<kAsync>(self, value);
        return answer<kAsync>(self, {args, nargs, kwnames}, {args, 1, true, false, hash},
                              may_be_there);
      }
    }
  }
  return call_general<kAsync>(self, {args, nargs, kwnames});
}

// maxsize=0 as functools has it: the arguments are not even hashed.
PyObject* vectorcall_uncached(PyObject* object, PyObject* const* args, std::size_t nargsf,
                              PyObject* kwnames) {
  CachedFunction* self = as_function(object);
  ++self->state->figures.misses;
  return PyObject_Vectorcall(self->wrapped, args, nargsf, kwnames);
}

// With copy= nothing that is kept is handed out itself, whoever put it there.
PyObject* vectorcall_copying(PyObject* object, PyObject* const* args, std::size_t nargsf,
                             PyObject* kwnames) {
  CachedFunction* self = as_function(object);
  const Call call{args, PyVectorcall_NARGS(nargsf), kwnames};
  KeyBuffer buffer;
  KeyView view;
  if (!self->plan->make(call, buffer, view)) return nullptr;
  return answer_slowly(self, call, view, false);
}

template <class Core, bool kAsync>
vectorcallfunc entry_of(Shape shape) noexcept {
  switch (shape) {
    case Shape::kNone:
      return vectorcall<Shape::kNone, Core, kAsync>;
    case Shape::kOne:
      return vectorcall<Shape::kOne, Core, kAsync>;
    case Shape::kFixed:
      return vectorcall<Shape::kFixed, Core, kAsync>;
    case Shape::kFunctools:
      return vectorcall<Shape::kFunctools, Core, kAsync>;
    default:
      return vectorcall<Shape::kVariadic, Core, kAsync>;
  }
}

}  // namespace

vectorcallfunc entry_for(const CachedFunction* self) noexcept {
  CacheState& state = *self->state;
  if (self->is_functools && state.capacity() == 0 && !state.is_unbounded()) {
    return vectorcall_uncached;
  }
  if (self->terms->copy != nullptr) return vectorcall_copying;
  const Shape shape = self->plan->has_shape_entry() ? self->plan->shape() : Shape::kVariadic;
  return state.with_core([&]<class Core>(Core&) -> vectorcallfunc {
    if (self->plan->is_prefixed()) {
      return self->is_async ? vectorcall_prefixed<Core, true> : vectorcall_prefixed<Core, false>;
    }
    return self->is_async ? entry_of<Core, true>(shape) : entry_of<Core, false>(shape);
  });
}

}  // namespace mcp::python

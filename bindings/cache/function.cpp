#include "bindings/cache/function.h"

#include <cmath>
#include <utility>

#include "bindings/cache/answer.h"
#include "bindings/cache/arguments.h"

namespace mcp::python {
namespace {

PyObject* async_loader = nullptr;  // _cache_async.load

// Uniform in (0, 1]; xorshift64*. The interpreter lock guards the state.
double random_unit() noexcept {
  static std::uint64_t state = static_cast<std::uint64_t>(now_precise()) | 1;
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  const std::uint64_t bits = (state * 0x2545F4914F6CDD1DULL) >> 11;
  return (static_cast<double>(bits) + 1.0) * 0x1p-53;
}

// XFetch (Vattani et al., 2015): refresh when now - beta * delta * ln(random) >= expiry.
bool is_due_early(CachedFunction* self, const Lookup& lookup) {
  const double beta = self->terms->refresh_ahead;
  if (beta <= 0 || lookup.load_ns <= 0 || lookup.fresh_until == kNever) return false;
  Instant now = 0;
  if (!self->state->read_clock(now)) {
    PyErr_Clear();
    return false;
  }
  const double ahead = -beta * static_cast<double>(lookup.load_ns) * std::log(random_unit());
  return ahead >= static_cast<double>(lookup.fresh_until - now);
}

// What the caller gets for `value` (taken over).
PyObject* hand_out(CachedFunction* self, Ref value, bool is_failure) {
  if (is_failure) {
    PyException_SetTraceback(value.get(), Py_None);
    if (self->is_async) return make_failure(value.release(), reinterpret_cast<PyObject*>(self));
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(value.get())), value.get());
    return nullptr;
  }
  if (PyObject* copy = self->terms->copy; copy != nullptr) {
    value = Ref::steal(PyObject_CallOneArg(copy, value.get()));
    if (!value) return nullptr;
  }
  if (!self->is_async) return value.release();
  return make_answer(value.release(), reinterpret_cast<PyObject*>(self));
}

// The call itself, with the instance in front where there is one.
PyObject* call_wrapped(CachedFunction* self, const Call& call) {
  if (self->instance == nullptr) [[likely]] {
    return PyObject_Vectorcall(self->wrapped, call.args, static_cast<std::size_t>(call.nargs),
                               call.kwnames);
  }
  const std::size_t size = static_cast<std::size_t>(call.nargs + call.keywords());
  Elements elements;
  PyObject** args = elements.reserve(size + 1);
  args[0] = self->instance;
  std::copy(call.args, call.args + size, args + 1);
  return PyObject_Vectorcall(self->wrapped, args, static_cast<std::size_t>(call.nargs) + 1,
                             call.kwnames);
}

// The arguments of a call as objects.
struct PackedCall {
  Ref args;
  Ref kwargs;

  explicit PackedCall(const Call& call) : args(Ref::steal(PyTuple_New(call.nargs))) {
    if (!args) return;
    for (Py_ssize_t i = 0; i < call.nargs; ++i) {
      PyTuple_SET_ITEM(args.get(), i, Py_NewRef(call.args[i]));
    }
    kwargs = Ref::steal(PyDict_New());
    for (Py_ssize_t k = 0; kwargs && k < call.keywords(); ++k) {
      if (PyDict_SetItem(kwargs.get(), PyTuple_GET_ITEM(call.kwnames, k),
                         call.args[call.nargs + k]) < 0) {
        kwargs = Ref{};
      }
    }
  }
  explicit operator bool() const noexcept { return args && kwargs; }
};

enum class Storing { kFailed, kSkip, kStore };

bool add_tags(const LoadTerms& terms, PyObject* args, PyObject* kwargs, StoreTerms& store) {
  if (terms.tags_of == nullptr) return true;
  PyObject* call[] = {args, kwargs};
  const Ref tags = Ref::steal(PyObject_Vectorcall(terms.tags_of, call, 2, nullptr));
  return tags && parse_tags(tags.get(), store.tags);
}

// Fills `store` from the options for a value that took `load_ns` to make.
Storing plan_store(const LoadTerms& terms, PyObject* value, Duration load_ns, PyObject* args,
                   PyObject* kwargs, StoreTerms& store) {
  if (terms.condition != nullptr) {
    const Ref answer = Ref::steal(PyObject_CallOneArg(terms.condition, value));
    const int wanted = answer ? PyObject_IsTrue(answer.get()) : -1;
    if (wanted <= 0) return wanted < 0 ? Storing::kFailed : Storing::kSkip;
  }
  store.ttl = terms.ttl;
  if (terms.ttl_of != nullptr) {
    const Ref answer = Ref::steal(PyObject_CallOneArg(terms.ttl_of, value));
    if (!answer || !parse_nanoseconds(answer.get(), store.ttl)) return Storing::kFailed;
    if (store.ttl <= 0) return Storing::kSkip;
  }
  if (terms.jitter > 0 && store.ttl != kNever) {
    const double kept = 1.0 - terms.jitter * random_unit();
    store.ttl = std::max<Duration>(1, static_cast<Duration>(static_cast<double>(store.ttl) * kept));
  }
  store.stale = store.ttl == kNever ? 0 : terms.stale_ttl;
  store.load_ns = terms.refresh_ahead > 0 ? std::max<Duration>(load_ns, 1) : 0;
  store.must_box = terms.copy != nullptr;
  return add_tags(terms, args, kwargs, store) ? Storing::kStore : Storing::kFailed;
}

class FunctionSteps final : public LoadSteps {
 public:
  FunctionSteps(CachedFunction* self, const Call& call, const KeyView& view)
      : self_(self), call_(call), view_(view) {}

  PyObject* compute() override {
    if (self_->loader != nullptr) return compute_through_loader();
    return call_wrapped(self_, call_);
  }

  bool publish(const Leading& leading, PyObject* value, Duration load_ns,
               std::uint64_t absent_at) override {
    if (self_->loader != nullptr) return true;
    StoreTerms store;
    store.ttl = self_->terms->ttl;
    store.stamp = leading.epoch();
    store.absent_at = absent_at;
    if (!self_->terms->is_plain) {
      Storing storing;
      if (self_->terms->tags_of == nullptr) {
        storing = plan_store(*self_->terms, value, load_ns, nullptr, nullptr, store);
      } else {
        const PackedCall packed(call_);
        if (!packed) return false;
        storing = plan_store(*self_->terms, value, load_ns, packed.args.get(), packed.kwargs.get(),
                             store);
      }
      if (storing != Storing::kStore) return storing == Storing::kSkip;
    }
    return !leading.may_store() || self_->state->store(view_, leading.key(), value, store);
  }

  [[nodiscard]] bool needs_timing() const override { return self_->terms->refresh_ahead > 0; }

  void publish_failure(const Leading& leading) override {
    if (self_->terms->negative_ttl <= 0 || self_->loader != nullptr ||
        !PyErr_ExceptionMatches(PyExc_Exception)) {
      return;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    StoreTerms store;
    store.ttl = self_->terms->negative_ttl;
    store.is_failure = true;
    store.stamp = leading.epoch();
    const PackedCall packed(call_);
    const bool stored =
        packed && add_tags(*self_->terms, packed.args.get(), packed.kwargs.get(), store) &&
        (!leading.may_store() || self_->state->store(view_, leading.key(), value, store));
    if (!stored) PyErr_WriteUnraisable(self_->wrapped);
    PyErr_Restore(type, value, traceback);
  }

 private:
  PyObject* compute_through_loader() {
    const Ref key = Ref::steal(build_key(view_));
    const PackedCall packed(call_);
    if (!key || !packed) return nullptr;
    PyObject* args[] = {key.get(), packed.args.get(), packed.kwargs.get()};
    return PyObject_Vectorcall(self_->loader, args, 3, nullptr);
  }

  CachedFunction* self_;
  const Call& call_;
  const KeyView& view_;
};

// functools.lru_cache: every miss calls, whoever else is at it, and a result that came first stays.
PyObject* answer_like_functools(CachedFunction* self, const Call& call, const KeyView& view,
                                bool is_absent) {
  Lookup lookup = is_absent ? self->state->absent() : self->state->look_up(view);
  if (lookup.found == Found::kFailed) return nullptr;
  if (lookup.found == Found::kFresh) {
    ++self->state->figures.hits;
    return lookup.value.release();
  }
  ++self->state->figures.misses;
  const Ref key = Ref::steal(build_key(view));
  if (!key) return nullptr;
  Ref value = Ref::steal(call_wrapped(self, call));
  if (!value) return nullptr;
  StoreTerms store;
  store.keeps_present = true;
  store.absent_at = lookup.absent_at;
  return self->state->store(view, key.get(), value.get(), store) ? value.release() : nullptr;
}

PyObject* start_coroutine(CachedFunction* self, const Call& call, const KeyView& view,
                          bool refreshes) {
  const Ref key = Ref::steal(build_key(view));
  const PackedCall packed(call);
  if (!key || !packed) return nullptr;
  PyObject* args[] = {reinterpret_cast<PyObject*>(self), key.get(), packed.args.get(),
                      packed.kwargs.get(), refreshes ? Py_True : Py_False};
  return PyObject_Vectorcall(async_loader, args, 5, nullptr);
}

// Whether somebody loads this key now: 1, 0, or -1 with an exception set.
int is_loading(CacheState& state, const KeyView& view) {
  if (state.loads().empty()) return 0;
  bool failed = false;
  const Load* load = state.loads().find(view, static_cast<std::uint64_t>(view.hash), failed);
  return failed ? -1 : load != nullptr;
}

}  // namespace

void set_async_loader(PyObject* function) {
  const Ref old = Ref::steal(std::exchange(async_loader, Py_NewRef(function)));
}

PyObject* answer_slowly(CachedFunction* self, const Call& call, const KeyView& view,
                        bool is_absent) {
  if (self->is_functools) return answer_like_functools(self, call, view, is_absent);
  CacheState& state = *self->state;
  Lookup lookup = is_absent ? state.absent() : state.look_up(view);
  if (lookup.found == Found::kFailed) return nullptr;
  if (lookup.found != Found::kMiss) {
    const bool is_stale = lookup.found == Found::kStale;
    int serve = !is_stale && !is_due_early(self, lookup);
    if (!serve) serve = is_loading(state, view);
    if (serve < 0) return nullptr;
    if (serve) {
      ++state.figures.hits;
      if (is_stale) ++state.figures.stale_served;
      return hand_out(self, std::move(lookup.value), lookup.is_failure);
    }
  }
  state.count_miss(view, lookup);
  if (self->is_async) return start_coroutine(self, call, view, false);
  FunctionSteps steps(self, call, view);
  PyObject* value = load_value(state, view, std::move(lookup), steps);
  if (value == nullptr || self->terms->copy == nullptr) return value;
  return hand_out(self, Ref::steal(value), false);
}

PyObject* refresh(CachedFunction* self, const Call& call, const KeyView& view) {
  if (self->is_async) return start_coroutine(self, call, view, true);
  CacheState& state = *self->state;
  bool failed = false;
  Load* other = state.loads().find(view, static_cast<std::uint64_t>(view.hash), failed);
  if (failed) return nullptr;
  if (other != nullptr) state.loads().remove(*other);
  FunctionSteps steps(self, call, view);
  PyObject* value = load_value(state, view, Lookup{}, steps, false);
  return value == nullptr ? nullptr : hand_out(self, Ref::steal(value), false);
}

bool view_of_key(const CachedFunction* self, PyObject* const* key, KeyView& view) {
  const KeyPlan::Shape shape = self->plan->shape();
  const bool is_items = PyTuple_CheckExact(*key) && shape != KeyPlan::Shape::kOne &&
                        shape != KeyPlan::Shape::kCallable;
  if (!is_items) {
    view = {key, 1, true, self->plan->typed(), hash_of(*key)};
    return view.hash != -1;
  }
  Py_ssize_t culprit = 0;
  PyObject* const* items = reinterpret_cast<PyTupleObject*>(*key)->ob_item;
  const Py_ssize_t size = PyTuple_GET_SIZE(*key);
  view = {items, size, false, self->plan->typed(), hash_of_items(items, size, &culprit)};
  return view.hash != -1;
}

PyObject* async_join(CachedFunction* self, PyObject* key, bool refreshes) {
  CacheState& state = *self->state;
  KeyView view;
  if (!view_of_key(self, &key, view)) return nullptr;
  Lookup lookup;
  if (!refreshes) {
    lookup = state.look_up(view);
    if (lookup.found == Found::kFailed) return nullptr;
    if (lookup.found == Found::kFresh && !is_due_early(self, lookup)) {
      return found_step(std::move(lookup));
    }
  }
  return join_load(state, key, view, std::move(lookup), refreshes);
}

PyObject* async_publish(CachedFunction* self, PyObject* flight, PyObject* key, PyObject* value,
                        Duration load_ns, PyObject* args, PyObject* kwargs) {
  CacheState& state = *self->state;
  ++state.figures.loads;
  state.figures.load_ns += load_ns;
  if (self->loader != nullptr) Py_RETURN_NONE;
  StoreTerms store;
  const Storing storing = plan_store(*self->terms, value, load_ns, args, kwargs, store);
  if (storing == Storing::kFailed) return nullptr;
  const AsyncClaim claim = claim_of(state, flight);
  store.stamp = claim.stamp;
  KeyView view;
  if (storing == Storing::kStore && claim.may_store) {
    if (!view_of_key(self, &key, view) || !state.store(view, key, value, store)) return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* async_publish_failure(CachedFunction* self, PyObject* flight, PyObject* key,
                                PyObject* exception, Duration load_ns, PyObject* args,
                                PyObject* kwargs) {
  CacheState& state = *self->state;
  ++state.figures.load_errors;
  state.figures.load_ns += load_ns;
  if (!PyErr_GivenExceptionMatches(exception, PyExc_Exception)) {
    return Py_BuildValue("OO", Py_False, Py_None);
  }
  KeyView view;
  if (!view_of_key(self, &key, view)) return nullptr;
  Lookup lookup = state.look_up(view, false);
  if (lookup.found == Found::kFailed) return nullptr;
  if (lookup.value && !lookup.is_failure) {
    ++state.figures.stale_served;
    return Py_BuildValue("ON", Py_True, lookup.value.release());
  }
  if (self->terms->negative_ttl > 0 && self->loader == nullptr) {
    StoreTerms store;
    store.ttl = self->terms->negative_ttl;
    store.is_failure = true;
    if (!add_tags(*self->terms, args, kwargs, store)) return nullptr;
    const AsyncClaim claim = claim_of(state, flight);
    store.stamp = claim.stamp;
    if (claim.may_store && !state.store(view, key, exception, store)) return nullptr;
  }
  return Py_BuildValue("OO", Py_False, Py_None);
}

}  // namespace mcp::python

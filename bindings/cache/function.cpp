// What a call of a cached function does when it is no plain hit.
#include "bindings/cache/function.h"

#include <cmath>
#include <optional>
#include <utility>

#include "bindings/base/shared_error.h"
#include "bindings/cache/answer.h"

namespace mcp::python {
namespace {

PyObject* async_loader = nullptr;  // _async.load

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
    if (!self->is_async) {
      raise_remembered(value.get());
      return nullptr;
    }
    return make_failure(own_exception(value.get()).release(), reinterpret_cast<PyObject*>(self));
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

}  // namespace

PyObject* terms_for_backend(const StoreTerms& store) {
  const Ref tags = Ref::steal(PyTuple_New(static_cast<Py_ssize_t>(store.tags.size())));
  if (!tags) return nullptr;
  for (std::size_t i = 0; i < store.tags.size(); ++i) {
    const std::string& name = store.tags[i];
    PyObject* text =
        PyUnicode_DecodeUTF8(name.data(), static_cast<Py_ssize_t>(name.size()), "surrogatepass");
    if (text == nullptr) return nullptr;
    PyTuple_SET_ITEM(tags.get(), static_cast<Py_ssize_t>(i), text);
  }
  const double load = to_seconds(store.load_ns);
  if (store.ttl == kNever) return Py_BuildValue("OdOd", Py_None, 0.0, tags.get(), load);
  return Py_BuildValue("ddOd", to_seconds(store.ttl), to_seconds(store.stale), tags.get(), load);
}

namespace {

class FunctionSteps final : public LoadSteps {
 public:
  FunctionSteps(CachedFunction* self, const Call& call, const KeyView& view)
      : self_(self), call_(call), view_(view) {}

  PyObject* compute() override { return call_wrapped(self_, call_); }

  const CallArguments* arguments() override {
    if (!packed_) packed_.emplace(call_);
    if (!*packed_) return nullptr;
    arguments_ = {packed_->args.get(), packed_->kwargs.get()};
    return &arguments_;
  }

  [[nodiscard]] bool has_backend() const noexcept override { return self_->backend != nullptr; }

  bool look_behind(LoadCause cause, Behind& behind) override {
    if (self_->backend == nullptr) return true;
    const Ref key = Ref::steal(build_key(view_));
    const Ref found = Ref::steal(
        key ? PyObject_CallMethod(self_->backend, "look", "Ol", key.get(), static_cast<long>(cause))
            : nullptr);
    if (!found) return false;
    int is_there, is_stale;
    PyObject *value, *lease;
    if (!PyArg_ParseTuple(found.get(), "pOpO:look", &is_there, &value, &is_stale, &lease)) {
      return false;
    }
    if (is_there != 0) behind = {Ref::borrow(value), is_stale != 0};
    lease_ = Ref::borrow(lease);
    return true;
  }

  bool look_again(Ref& found) override {
    found = Ref{};
    if (self_->backend == nullptr) return true;
    const Ref key = Ref::steal(build_key(view_));
    const Ref answer =
        Ref::steal(key ? PyObject_CallMethod(self_->backend, "look_again", "OO", key.get(),
                                             lease_ ? lease_.get() : Py_None)
                       : nullptr);
    if (!answer) return false;
    int is_there;
    PyObject* value;
    if (!PyArg_ParseTuple(answer.get(), "pO:look_again", &is_there, &value)) return false;
    if (is_there != 0) found = Ref::borrow(value);
    return true;
  }

  bool store_behind(PyObject* value, const StoreTerms& store, Load& load) override {
    const Ref terms = Ref::steal(terms_for_backend(store));
    if (!terms) return false;
    load.is_storing = true;
    const Ref done =
        Ref::steal(PyObject_CallMethod(self_->backend, "store", "OOOO", load.key, value,
                                       terms.get(), lease_ ? lease_.get() : Py_None));
    load.is_storing = false;
    if (!done || load.may_store()) return static_cast<bool>(done);
    const Ref gone = Ref::steal(PyObject_CallMethod(self_->backend, "forget", "OO", load.key,
                                                    lease_ ? lease_.get() : Py_None));
    return static_cast<bool>(gone);
  }

  PyObject* name() override { return Py_NewRef(self_->plan->function_name()); }

 private:
  CachedFunction* self_;
  const Call& call_;
  const KeyView& view_;
  Ref lease_;  // what the backend gave for this load; given up when it is dropped
  std::optional<PackedCall> packed_;
  CallArguments arguments_{};
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
  const Load* load = state.loads().find_open(view, failed);
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
  PyObject* value = load_value(state, *self->terms, view, std::move(lookup), steps);
  if (value == nullptr || self->terms->copy == nullptr) return value;
  return hand_out(self, Ref::steal(value), false);
}

PyObject* refresh(CachedFunction* self, const Call& call, const KeyView& view) {
  if (self->is_async) return start_coroutine(self, call, view, true);
  FunctionSteps steps(self, call, view);
  PyObject* value = load_value(*self->state, *self->terms, view, Lookup{}, steps, true);
  return value == nullptr ? nullptr : hand_out(self, Ref::steal(value), false);
}

bool view_of_key(const CachedFunction* self, PyObject* const* key, KeyView& view) {
  if (!PyTuple_CheckExact(*key) || self->plan->keys_are_whole()) {
    view = {key, 1, true, self->plan->typed(), hash_of(*key)};
    return view.hash != -1;
  }
  Py_ssize_t culprit = 0;
  PyObject* const* items = reinterpret_cast<PyTupleObject*>(*key)->ob_item;
  const Py_ssize_t size = PyTuple_GET_SIZE(*key);
  view = {items, size, false, self->plan->typed(), hash_of_items(items, size, &culprit)};
  return view.hash != -1;
}

PyObject* async_join(CachedFunction* self, PyObject* key, const CallArguments& arguments,
                     bool refreshes) {
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
  return join_load(state, *self->terms, key, view, std::move(lookup), &arguments, refreshes);
}

}  // namespace mcp::python

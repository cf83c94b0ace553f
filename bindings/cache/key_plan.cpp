// key_plan.cpp: compiles a signature into a plan, and makes keys by it.
#include "bindings/cache/key_plan.h"

#include <algorithm>

#include "bindings/base/saved_error.h"

namespace mcp::python {
namespace {

PyObject* mark = nullptr;

bool name_less(PyObject* a, PyObject* b) noexcept { return PyUnicode_Compare(a, b) < 0; }

}  // namespace

bool add_keyword_mark(PyObject* module) {
  mark = PyObject_CallNoArgs(reinterpret_cast<PyObject*>(&PyBaseObject_Type));
  return mark != nullptr && PyModule_AddObjectRef(module, "_KEYWORDS", mark) == 0;
}

void Elements::grow(std::size_t size) {
  const std::size_t capacity = std::max(size, capacity_ * 2);
  auto next = std::make_unique<PyObject*[]>(capacity);
  std::copy(data_, data_ + capacity_, next.get());
  heap_ = std::move(next);
  data_ = heap_.get();
  capacity_ = capacity;
}

KeyPlan::~KeyPlan() {
  for (PyObject* name : names_) Py_DECREF(name);
  for (PyObject* value : defaults_) Py_XDECREF(value);
}

int KeyPlan::traverse(visitproc visit, void* arg) const {
  for (PyObject* value : defaults_) Py_VISIT(value);
  for (const Ref& callable : vary_) Py_VISIT(callable.get());
  Py_VISIT(prefix_.get());
  Py_VISIT(key_.get());
  return 0;
}

std::unique_ptr<KeyPlan> KeyPlan::compile(PyObject* spec) {
  int shape = 0;
  PyObject* names = nullptr;
  PyObject* defaults = nullptr;
  PyObject* ignored = nullptr;
  PyObject* function_name = nullptr;
  PyObject* prefix = nullptr;
  PyObject* key = nullptr;
  PyObject* vary = nullptr;
  Py_ssize_t positional = 0;
  Py_ssize_t positional_only = 0;
  int more = 0;
  int keywords = 0;
  int typed = 0;
  if (!PyArg_ParseTuple(spec, "iO!O!nnO!ppUOOpO!:key plan", &shape, &PyTuple_Type, &names,
                        &PyTuple_Type, &defaults, &positional, &positional_only, &PyTuple_Type,
                        &ignored, &more, &keywords, &function_name, &prefix, &key, &typed,
                        &PyTuple_Type, &vary)) {
    return nullptr;
  }
  auto plan = std::unique_ptr<KeyPlan>(new KeyPlan);
  plan->shape_ = static_cast<Shape>(shape);
  plan->typed_ = typed != 0;
  plan->accepts_more_ = more != 0;
  plan->accepts_keywords_ = keywords != 0;
  plan->positional_ = static_cast<std::size_t>(positional);
  plan->positional_only_ = static_cast<std::size_t>(positional_only);
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); ++i) {
    PyObject* name = Py_NewRef(PyTuple_GET_ITEM(names, i));
    PyUnicode_InternInPlace(&name);
    plan->names_.push_back(name);
    PyObject* value = PyTuple_GET_ITEM(defaults, i);
    plan->defaults_.push_back(value == mark ? nullptr : Py_NewRef(value));
    const int skip = PySequence_Contains(ignored, name);
    if (skip < 0) return nullptr;
    if (skip == 0) plan->kept_.push_back(static_cast<std::size_t>(i));
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(vary); ++i) {
    plan->vary_.push_back(Ref::borrow(PyTuple_GET_ITEM(vary, i)));
  }
  plan->function_name_ = Ref::borrow(function_name);
  if (prefix != Py_None) plan->prefix_ = Ref::borrow(prefix);
  if (key != Py_None) plan->key_ = Ref::borrow(key);
  const bool as_given = plan->shape_ == Shape::kFixed && plan->vary_.empty() &&
                        plan->kept_.size() == plan->names_.size() &&
                        plan->positional_ == plan->names_.size();
  plan->direct_ = as_given && !plan->prefix_;
  plan->prefixed_ = as_given && plan->prefix_;
  if (plan->prefixed_) {
    const Py_hash_t lane = hash_of(plan->prefix_.get());
    if (lane == -1) return nullptr;
    plan->prefix_hash_.add(lane);
  }
  return plan;
}

bool KeyPlan::refuse(PyObject* argument, Py_ssize_t position) const {
  if (!PyErr_ExceptionMatches(PyExc_TypeError)) return false;
  Ref cause = take_error();
  const auto index = static_cast<std::size_t>(position);
  if (index < names_.size()) {
    PyErr_Format(
        PyExc_TypeError,
        "argument '%U' of %U() is unhashable: '%.200s'; key= can make a key of it, ignore= "
        "leaves it out",
        names_[index], function_name_.get(), Py_TYPE(argument)->tp_name);
  } else {
    PyErr_Format(PyExc_TypeError, "argument %zd of %U() is unhashable: '%.200s'", position + 1,
                 function_name_.get(), Py_TYPE(argument)->tp_name);
  }
  Ref error = take_error();
  PyException_SetCause(error.get(), cause.release());
  set_error(std::move(error));
  return false;
}

Py_ssize_t KeyPlan::find_parameter(PyObject* name) const noexcept {
  for (std::size_t i = positional_only_; i < names_.size(); ++i) {
    if (names_[i] == name) return static_cast<Py_ssize_t>(i);
  }
  for (std::size_t i = positional_only_; i < names_.size(); ++i) {
    if (PyUnicode_Compare(names_[i], name) == 0) return static_cast<Py_ssize_t>(i);
  }
  return -1;
}

// Fills one slot per parameter; false if the call does not fit. Keywords that name no parameter
// are left to the caller where **kwargs takes them.
bool KeyPlan::bind(const Call& call, PyObject** slots) const noexcept {
  const auto given = static_cast<std::size_t>(call.nargs);
  const std::size_t size = names_.size();
  const std::size_t taken = std::min(given, positional_);
  if (given > positional_ && !accepts_more_) return false;
  std::copy(call.args, call.args + taken, slots);
  std::fill(slots + taken, slots + size, nullptr);
  const Py_ssize_t keywords = call.keywords();
  for (Py_ssize_t k = 0; k < keywords; ++k) {
    const Py_ssize_t at = find_parameter(PyTuple_GET_ITEM(call.kwnames, k));
    if (at < 0) {
      if (!accepts_keywords_) return false;
      continue;
    }
    if (slots[at] != nullptr) return false;
    slots[at] = call.args[call.nargs + k];
  }
  for (std::size_t i = taken; i < size; ++i) {
    if (slots[i] == nullptr && (slots[i] = defaults_[i]) == nullptr) return false;
  }
  return true;
}

// `named`: element i is parameter i, so that an error can say its name.
bool KeyPlan::finish(PyObject** items, std::size_t size, KeyView& view, bool named) const {
  const auto count = static_cast<Py_ssize_t>(size);
  Py_ssize_t culprit = 0;
  view = {items, count, false, typed_, hash_of_items(items, count, &culprit)};
  if (view.hash != -1) return true;
  Py_ssize_t position = culprit - (prefix_ ? 1 : 0);
  if (named) {
    const auto index = static_cast<std::size_t>(position);
    if (index < kept_.size()) {
      position = static_cast<Py_ssize_t>(kept_[index]);
    } else {
      position = static_cast<Py_ssize_t>(names_.size() + index - kept_.size());
    }
  }
  return refuse(items[culprit], position);
}

bool KeyPlan::make_fixed(const Call& call, KeyBuffer& buffer, KeyView& view) const {
  const std::size_t size = names_.size();
  // The slots lie behind the elements: filling an element never overtakes a slot to be read.
  PyObject** items = buffer.elements.reserve(size + 1);
  PyObject** slots = items + 1;
  if (!bind(call, slots)) return make_as_written(call, buffer, view);
  std::size_t count = 0;
  if (prefix_) {
    items[count++] = prefix_.get();
  } else if (kept_.size() == size) {
    return finish(slots, size, view, true);
  }
  for (const std::size_t i : kept_) items[count++] = slots[i];
  return finish(items, count, view, true);
}

bool KeyPlan::make_variadic(const Call& call, KeyBuffer& buffer, KeyView& view) const {
  const std::size_t size = names_.size();
  const auto keywords = static_cast<std::size_t>(call.keywords());
  const auto given = static_cast<std::size_t>(call.nargs);
  PyObject** items = buffer.elements.reserve(size + given + 2 * keywords + 2);
  PyObject** slots = items + 1;
  if (!bind(call, slots)) return make_as_written(call, buffer, view);
  std::size_t count = 0;
  if (prefix_) items[count++] = prefix_.get();
  for (const std::size_t i : kept_) items[count++] = slots[i];
  for (std::size_t i = positional_; i < given; ++i) items[count++] = call.args[i];
  PyObject** const extra = items + count + 1;
  std::size_t found = 0;
  for (std::size_t k = 0; k < keywords; ++k) {
    PyObject* name = PyTuple_GET_ITEM(call.kwnames, static_cast<Py_ssize_t>(k));
    if (find_parameter(name) >= 0) continue;
    // Insertion by name, as pairs: calls have few keywords.
    std::size_t at = found++;
    for (; at > 0 && name_less(name, extra[2 * (at - 1)]); --at) {
      extra[2 * at] = extra[2 * (at - 1)];
      extra[2 * at + 1] = extra[2 * (at - 1) + 1];
    }
    extra[2 * at] = name;
    extra[2 * at + 1] = call.args[given + k];
  }
  if (found > 0) {
    items[count] = mark;
    count += 1 + 2 * found;
  }
  return finish(items, count, view, true);
}

bool KeyPlan::make_as_written(const Call& call, KeyBuffer& buffer, KeyView& view) const {
  const auto given = static_cast<std::size_t>(call.nargs);
  const auto keywords = static_cast<std::size_t>(call.keywords());
  PyObject** items = buffer.elements.reserve(given + 2 * keywords + 3);
  std::size_t count = 0;
  if (prefix_) items[count++] = prefix_.get();
  for (std::size_t i = 0; i < given; ++i) items[count++] = call.args[i];
  items[count++] = mark;
  for (std::size_t k = 0; k < keywords; ++k) {
    items[count++] = PyTuple_GET_ITEM(call.kwnames, static_cast<Py_ssize_t>(k));
    items[count++] = call.args[given + k];
  }
  items[count++] = mark;
  return finish(items, count, view);
}

bool KeyPlan::make_functools(const Call& call, KeyBuffer& buffer, KeyView& view) const {
  const auto given = static_cast<std::size_t>(call.nargs);
  const auto keywords = static_cast<std::size_t>(call.keywords());
  if (keywords == 0) {
    if (given == 1 && !typed_ &&
        (PyUnicode_CheckExact(call.args[0]) || PyLong_CheckExact(call.args[0]))) {
      view = {call.args, 1, true, false, hash_of(call.args[0])};
      return true;
    }
    Py_ssize_t culprit = 0;
    view = {call.args, call.nargs, false, typed_, hash_of_items(call.args, call.nargs, &culprit)};
    return view.hash != -1;
  }
  PyObject** items = buffer.elements.reserve(given + 2 * keywords + 1);
  std::size_t count = 0;
  for (std::size_t i = 0; i < given; ++i) items[count++] = call.args[i];
  items[count++] = mark;
  for (std::size_t k = 0; k < keywords; ++k) {
    items[count++] = PyTuple_GET_ITEM(call.kwnames, static_cast<Py_ssize_t>(k));
    items[count++] = call.args[given + k];
  }
  Py_ssize_t culprit = 0;
  const auto size = static_cast<Py_ssize_t>(count);
  view = {items, size, false, typed_, hash_of_items(items, size, &culprit)};
  return view.hash != -1;
}

bool KeyPlan::make_by_callable(const Call& call, KeyBuffer& buffer, KeyView& view) const {
  buffer.made = Ref::steal(PyObject_Vectorcall(key_.get(), call.args,
                                               static_cast<std::size_t>(call.nargs), call.kwnames));
  if (!buffer.made) return false;
  buffer.whole = buffer.made.get();
  if (prefix_) {
    PyObject** items = buffer.elements.reserve(2);
    items[0] = prefix_.get();
    items[1] = buffer.whole;
    Py_ssize_t culprit = 0;
    view = {items, 2, false, typed_, hash_of_items(items, 2, &culprit)};
  } else {
    view = {&buffer.whole, 1, true, typed_, hash_of(buffer.whole)};
  }
  return view.hash != -1;
}

bool KeyPlan::fits(const Call& call) const {
  Elements slots;
  return bind(call, slots.reserve(names_.size()));
}

// The elements that are there move to the end of the buffer's room, then the new ones follow them.
bool KeyPlan::add_varied(KeyBuffer& buffer, KeyView& view) const {
  buffer.varied.reserve(vary_.size());
  for (const Ref& callable : vary_) {
    buffer.varied.push_back(Ref::steal(PyObject_CallNoArgs(callable.get())));
    if (!buffer.varied.back()) return false;
  }
  const auto size = static_cast<std::size_t>(view.size);
  const std::vector<PyObject*> own(view.items, view.items + size);
  PyObject** items = buffer.elements.reserve(size + vary_.size());
  std::copy(own.begin(), own.end(), items);
  std::transform(buffer.varied.begin(), buffer.varied.end(), items + size,
                 [](const Ref& value) { return value.get(); });
  const auto count = static_cast<Py_ssize_t>(size + vary_.size());
  Py_ssize_t culprit = 0;
  view = {items, count, false, typed_, hash_of_items(items, count, &culprit)};
  if (view.hash != -1) return true;
  if (PyErr_ExceptionMatches(PyExc_TypeError)) {
    PyErr_Format(PyExc_TypeError, "what vary= of %U() returned is unhashable: '%.200s'",
                 function_name_.get(), Py_TYPE(items[culprit])->tp_name);
  }
  return false;
}

bool KeyPlan::make_own(const Call& call, KeyBuffer& buffer, KeyView& view) const {
  switch (shape_) {
    case Shape::kNone:
      if (call.nargs != 0 || call.keywords() != 0) return make_as_written(call, buffer, view);
      return finish(buffer.elements.data(), 0, view);
    case Shape::kOne: {
      PyObject* argument = nullptr;
      if (call.nargs == 1 && call.keywords() == 0) {
        argument = call.args[0];
      } else if (!bind(call, &argument)) {
        return make_as_written(call, buffer, view);
      }
      buffer.whole = argument;
      view = {&buffer.whole, 1, true, typed_, hash_of(argument)};
      return view.hash != -1 || refuse(argument, 0);
    }
    case Shape::kFixed:
      return make_fixed(call, buffer, view);
    case Shape::kVariadic:
      return make_variadic(call, buffer, view);
    case Shape::kFunctools:
      return make_functools(call, buffer, view);
    case Shape::kCallable:
      return make_by_callable(call, buffer, view);
  }
  Py_UNREACHABLE();
}

}  // namespace mcp::python

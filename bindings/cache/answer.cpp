// answer.cpp: the type CachedAnswer: a coroutine that has its answer already.
#include "bindings/cache/answer.h"

#include <array>

#include "bindings/base/coroutine.h"
#include "bindings/base/ref.h"
#include "bindings/loop/budget.h"

namespace mcp::python {
namespace {

enum class State : char { kFresh, kYielded, kFinished };

struct CachedAnswer {
  PyObject_HEAD PyObject* value;  // nullptr once given
  PyObject* function;
  State state;
  bool fails;  // value is the exception to raise
};

PyTypeObject* answer_type = nullptr;

// Answers live for one await: their memory is kept for the next.
constexpr std::size_t kSpare = 128;
std::array<CachedAnswer*, kSpare> spare{};
std::size_t spare_count = 0;

CachedAnswer* as_answer(PyObject* object) { return reinterpret_cast<CachedAnswer*>(object); }

PyObject* make(PyObject* value, PyObject* function, bool fails) {
  CachedAnswer* self;
  if (spare_count > 0) {
    self = spare[--spare_count];
    PyObject_Init(reinterpret_cast<PyObject*>(self), answer_type);
  } else {
    self = PyObject_GC_New(CachedAnswer, answer_type);
    if (self == nullptr) {
      Py_DECREF(value);
      return nullptr;
    }
  }
  self->value = value;
  self->function = Py_NewRef(function);
  self->state = State::kFresh;
  self->fails = fails;
  PyObject_GC_Track(self);
  return reinterpret_cast<PyObject*>(self);
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  CachedAnswer* self = as_answer(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->value);
  Py_VISIT(self->function);
  return 0;
}

int clear(PyObject* object) {
  Py_CLEAR(as_answer(object)->value);
  Py_CLEAR(as_answer(object)->function);
  return 0;
}

void dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  clear(object);
  if (spare_count < kSpare) {
    spare[spare_count++] = as_answer(object);
  } else {
    PyObject_GC_Del(object);
  }
  Py_DECREF(type);
}

// The result of the await: a new reference, or nullptr with the exception set.
PyObject* finish(CachedAnswer* self) {
  self->state = State::kFinished;
  PyObject* value = std::exchange(self->value, nullptr);
  if (!self->fails) return value;
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(value)), value);
  Py_DECREF(value);
  return nullptr;
}

PySendResult am_send(PyObject* object, PyObject* argument, PyObject** result) {
  CachedAnswer* self = as_answer(object);
  *result = nullptr;
  if (self->state == State::kFinished) {
    PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    return PYGEN_ERROR;
  }
  if (self->state == State::kFresh) {
    if (!may_begin_with(argument)) return PYGEN_ERROR;
    if (loop_budget_is_spent()) {
      self->state = State::kYielded;
      *result = Py_NewRef(Py_None);
      return PYGEN_NEXT;
    }
  }
  *result = finish(self);
  return *result == nullptr ? PYGEN_ERROR : PYGEN_RETURN;
}

PyObject* send(PyObject* object, PyObject* argument) {
  PyObject* result = nullptr;
  const PySendResult sent = am_send(object, argument, &result);
  return next_or_stop(sent, result);
}

PyObject* iternext(PyObject* object) { return send(object, Py_None); }

// throw(type[, value[, traceback]]) as generators have it.
PyObject* throw_(PyObject* object, PyObject* const* args, Py_ssize_t nargs) {
  const Ref exception = exception_of_throw(args, nargs);
  if (!exception) return nullptr;
  CachedAnswer* self = as_answer(object);
  if (self->state == State::kFinished) {
    PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    return nullptr;
  }
  self->state = State::kFinished;
  Py_CLEAR(self->value);
  return raise_thrown(exception);
}

PyObject* close(PyObject* object, PyObject*) {
  as_answer(object)->state = State::kFinished;
  Py_CLEAR(as_answer(object)->value);
  Py_RETURN_NONE;
}

PyObject* get_name(PyObject* object, void* name) {
  return PyObject_GetAttrString(as_answer(object)->function, static_cast<const char*>(name));
}

PyObject* get_none(PyObject*, void*) { Py_RETURN_NONE; }
PyObject* get_false(PyObject*, void*) { Py_RETURN_FALSE; }

PyObject* get_suspended(PyObject* object, void*) {
  return PyBool_FromLong(as_answer(object)->state == State::kYielded);
}

PyObject* repr(PyObject* object) {
  const Ref name = Ref::steal(PyObject_GetAttrString(as_answer(object)->function, "__qualname__"));
  if (!name) return nullptr;
  return PyUnicode_FromFormat("<cached answer of %S at %p>", name.get(), object);
}

PyMethodDef methods[] = {
    {"send", send, METH_O,
     "send($self, value, /)\n--\n\n"
     "send(self, value: Any, /) -> Any\n\n"
     "Give the answer by raising StopIteration, as a coroutine does."},
    {"throw", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(throw_)), METH_FASTCALL,
     "throw($self, error, value=None, traceback=None, /)\n--\n\n"
     "throw(self, error: Any, value: Any = None, traceback: Any = None, /) -> Any\n\n"
     "Raise the exception here; the answer is dropped."},
    {"close", close, METH_NOARGS,
     "close($self, /)\n--\n\n-> None\n\n"
     "Drop the answer."},
    {nullptr, nullptr, 0, nullptr}};

char name_attribute[] = "__name__";
char qualname_attribute[] = "__qualname__";
char code_attribute[] = "__code__";

PyGetSetDef getset[] = {{"__name__", get_name, nullptr, ": str", name_attribute},
                        {"__qualname__", get_name, nullptr, ": str", qualname_attribute},
                        {"cr_code", get_name, nullptr, "-> Any", code_attribute},
                        {"cr_await", get_none, nullptr, "-> None", nullptr},
                        {"cr_frame", get_none, nullptr, "-> None", nullptr},
                        {"cr_origin", get_none, nullptr, "-> None", nullptr},
                        {"cr_running", get_false, nullptr, "-> bool", nullptr},
                        {"cr_suspended", get_suspended, nullptr, "-> bool", nullptr},
                        {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("class CachedAnswer(Coroutine[Any, Any, _R_co])\n"
                                  "__await__(self) -> Generator[Any, None, _R_co]\n\n"
                                  "An awaitable that has its answer. Single-use.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(clear)},
    {Py_tp_repr, reinterpret_cast<void*>(repr)},
    {Py_tp_iternext, reinterpret_cast<void*>(iternext)},
    {Py_tp_methods, methods},
    {Py_tp_getset, getset},
    {Py_am_await, reinterpret_cast<void*>(new_reference_to)},
    {Py_am_send, reinterpret_cast<void*>(am_send)},
    {0, nullptr}};

PyType_Spec spec = {"mcp_performance._core.CachedAnswer", sizeof(CachedAnswer), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                        Py_TPFLAGS_IMMUTABLETYPE,
                    slots};

}  // namespace

PyObject* make_answer(PyObject* value, PyObject* function) { return make(value, function, false); }

PyObject* make_failure(PyObject* exception, PyObject* function) {
  return make(exception, function, true);
}

bool add_awaitable_type(PyObject* module) {
  answer_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return answer_type != nullptr && PyModule_AddType(module, answer_type) == 0;
}

}  // namespace mcp::python

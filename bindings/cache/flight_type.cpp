// The heap type Flight, for the coroutines that wait for a load (_async.py).
#include <Python.h>

#include <cstddef>

#include "bindings/base/ref.h"
#include "bindings/base/shared_error.h"
#include "bindings/cache/flight.h"

namespace mcp::python {
namespace {

PyTypeObject* type = nullptr;

int flight_traverse(PyObject* object, visitproc visit, void* arg) {
  Flight* self = as_flight(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->result);
  Py_VISIT(self->futures);
  Py_VISIT(self->loop);
  Py_VISIT(self->task);
  if (self->own != nullptr) {
    Py_VISIT(self->own->key);
    Py_VISIT(as_object(self->own->parent_flight));
  }
  return 0;
}

int flight_clear(PyObject* object) {
  Flight* self = as_flight(object);
  Py_CLEAR(self->result);
  Py_CLEAR(self->futures);
  Py_CLEAR(self->loop);
  Py_CLEAR(self->task);
  return 0;
}

void flight_dealloc(PyObject* object) {
  Flight* self = as_flight(object);
  PyTypeObject* own_type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  if (Load* own = self->own; own != nullptr) {
    own->flight = nullptr;
    end_load(*own, Outcome::kRetry, nullptr);
    for (Flight* flight : own->waits) Py_DECREF(as_object(flight));
    Py_DECREF(own->key);
    Py_XDECREF(as_object(own->parent_flight));
    delete own;
    async_load_ended();
  }
  flight_clear(object);
  if (self->lock != nullptr) PyThread_free_lock(self->lock);
  PyObject_GC_Del(object);
  Py_DECREF(own_type);
}

PyObject* flight_finish(PyObject* object, PyObject* value) {
  if (Load* load = as_flight(object)->load; load != nullptr) {
    end_load(*load, Outcome::kValue, value);
  }
  Py_RETURN_NONE;
}

PyObject* flight_fail(PyObject* object, PyObject* exception) {
  if (Load* load = as_flight(object)->load; load != nullptr) {
    end_load(*load, outcome_of_error(exception), exception);
  }
  Py_RETURN_NONE;
}

// Also the callback of the load's task, for one that was cancelled before it began.
PyObject* flight_retry(PyObject* object, PyObject* was_cancelled) {
  Flight* self = as_flight(object);
  if (self->load == nullptr) Py_RETURN_NONE;
  self->was_cancelled = was_cancelled != Py_False;
  end_load(*self->load, Outcome::kRetry, nullptr);
  Py_RETURN_NONE;
}

// Nobody new joins, and the result will not be stored.
PyObject* flight_abandon(PyObject* object, PyObject*) {
  Load* load = as_flight(object)->load;
  if (load != nullptr && load->table != nullptr) load->table->remove(*load);
  Py_RETURN_NONE;
}

// False when the load has ended by now.
PyObject* flight_add_waiter(PyObject* object, PyObject* future) {
  Flight* self = as_flight(object);
  if (self->outcome != Outcome::kPending) Py_RETURN_FALSE;
  if (self->futures == nullptr && (self->futures = PyList_New(0)) == nullptr) return nullptr;
  if (PyList_Append(self->futures, future) < 0) return nullptr;
  if (Load* waiter = current_load(); waiter != nullptr && waiter->flight != self) {
    waiter->waits.push_back(self);
    Py_INCREF(object);
  }
  Py_RETURN_TRUE;
}

// Returns how many still wait.
PyObject* flight_remove_waiter(PyObject* object, PyObject* future) {
  Flight* self = as_flight(object);
  if (Load* waiter = current_load(); waiter != nullptr) forget_wait(waiter, self);
  Py_ssize_t left = self->threads;
  if (self->futures != nullptr) {
    for (Py_ssize_t i = PyList_GET_SIZE(self->futures); i-- > 0;) {
      if (PyList_GET_ITEM(self->futures, i) != future) continue;
      if (PyList_SetSlice(self->futures, i, i + 1, nullptr) < 0) return nullptr;
    }
    left += PyList_GET_SIZE(self->futures);
  }
  return PyLong_FromSsize_t(left);
}

// (True, value), (False, None) to try again, or an exception raised: the first for the leader, for
// everybody else one like it.
PyObject* flight_result(PyObject* object, PyObject* leads) {
  Flight* self = as_flight(object);
  switch (self->outcome) {
    case Outcome::kValue:
      return PyTuple_Pack(2, Py_True, self->result);
    case Outcome::kError: {
      const Ref own = leads == Py_True ? Ref::borrow(self->result) : own_exception(self->result);
      PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(own.get())), own.get());
      return nullptr;
    }
    case Outcome::kRetry:
      return PyTuple_Pack(2, Py_False, Py_None);
    case Outcome::kPending:
      break;
  }
  PyErr_SetString(PyExc_RuntimeError, "the load has not finished");
  return nullptr;
}

PyObject* get_done(PyObject* object, void*) {
  return PyBool_FromLong(as_flight(object)->outcome != Outcome::kPending);
}

PyObject* get_leader(PyObject* object, void*) { return leader_of(as_flight(object)); }

PyObject* get_cancelled(PyObject* object, void*) {
  return PyBool_FromLong(as_flight(object)->was_cancelled);
}

PyObject* get_fenced(PyObject* object, void*) {
  const Load* load = as_flight(object)->load;
  return PyBool_FromLong(load == nullptr || !load->may_store());
}

PyObject* get_storing(PyObject* object, void*) {
  const Load* load = as_flight(object)->load;
  return PyBool_FromLong(load != nullptr && load->is_storing);
}

int set_storing(PyObject* object, PyObject* value, void*) {
  if (Load* load = as_flight(object)->load; load != nullptr) load->is_storing = value == Py_True;
  return 0;
}

PyObject* get_field(PyObject* object, void* offset) {
  auto* field = reinterpret_cast<PyObject**>(reinterpret_cast<char*>(object) +
                                             reinterpret_cast<std::uintptr_t>(offset));
  return Py_NewRef(*field == nullptr ? Py_None : *field);
}

int set_field(PyObject* object, PyObject* value, void* offset) {
  auto* field = reinterpret_cast<PyObject**>(reinterpret_cast<char*>(object) +
                                             reinterpret_cast<std::uintptr_t>(offset));
  const Ref old = Ref::steal(std::exchange(*field, Py_XNewRef(value)));
  return 0;
}

PyMethodDef flight_methods[] = {{"finish", flight_finish, METH_O,
                                 "finish($self, value, /)\n--\n\n"
                                 "finish(self, value: Any, /) -> None\n\n"
                                 "Give everyone who waits this value."},
                                {"fail", flight_fail, METH_O,
                                 "fail($self, exception, /)\n--\n\n"
                                 "fail(self, exception: BaseException, /) -> None\n\n"
                                 "Give everyone who waits this exception, or let them try again."},
                                {"retry", flight_retry, METH_O,
                                 "retry($self, was_cancelled, /)\n--\n\n"
                                 "retry(self, was_cancelled: bool, /) -> None\n\n"
                                 "Let everyone who waits try again."},
                                {"abandon", flight_abandon, METH_NOARGS,
                                 "abandon($self, /)\n--\n\n-> None\n\n"
                                 "Let nobody join any more, and store nothing."},
                                {"add_waiter", flight_add_waiter, METH_O,
                                 "add_waiter($self, future, /)\n--\n\n"
                                 "add_waiter(self, future: Future[None], /) -> bool\n\n"
                                 "Complete this future when the load ends."},
                                {"remove_waiter", flight_remove_waiter, METH_O,
                                 "remove_waiter($self, future, /)\n--\n\n"
                                 "remove_waiter(self, future: Future[None], /) -> int\n\n"
                                 "Take a future back; how many are left."},
                                {"result", flight_result, METH_O,
                                 "result($self, leads, /)\n--\n\n"
                                 "result(self, leads: bool, /) -> tuple[bool, Any]\n\n"
                                 "(True, value), or (False, None): try again."},
                                {nullptr, nullptr, 0, nullptr}};

PyGetSetDef flight_getset[] = {
    {"done", get_done, nullptr,
     "-> bool\n\n"
     "Whether the load has ended.",
     nullptr},
    {"leader", get_leader, nullptr,
     "-> Task[Any] | int | None\n\n"
     "The task, or the number of the thread, that loads; None once it has ended.",
     nullptr},
    {"cancelled", get_cancelled, nullptr,
     "-> bool\n\n"
     "Whether the load's task was cancelled from outside.",
     nullptr},
    {"fenced", get_fenced, nullptr,
     "-> bool\n\n"
     "Whether something newer came: the result is not to be stored.",
     nullptr},
    {"storing", get_storing, set_storing,
     ": bool\n\n"
     "Whether the task of the load stores its result now.",
     nullptr},
    {"loop", get_field, set_field,
     ": AbstractEventLoop | None\n\n"
     "The loop that runs the load.",
     reinterpret_cast<void*>(offsetof(Flight, loop))},
    {"task", get_field, set_field,
     ": Task[Any] | None\n\n"
     "The task that runs the load.",
     reinterpret_cast<void*>(offsetof(Flight, task))},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot flight_slots[] = {
    {Py_tp_doc, const_cast<char*>("A load under way, and those who wait for it.")},
    {Py_tp_dealloc, reinterpret_cast<void*>(flight_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(flight_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(flight_clear)},
    {Py_tp_methods, flight_methods},
    {Py_tp_getset, flight_getset},
    {0, nullptr}};

PyType_Spec flight_spec = {"mcp_performance._core.Flight", sizeof(Flight), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                               Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                           flight_slots};

}  // namespace

PyTypeObject* flight_type() noexcept { return type; }

bool is_flight(PyObject* object) noexcept { return Py_IS_TYPE(object, type); }

bool add_flight_type(PyObject* module) {
  type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&flight_spec));
  return type != nullptr && PyModule_AddType(module, type) == 0 && add_flight_hooks(module);
}

}  // namespace mcp::python

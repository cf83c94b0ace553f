// What the Python half of the room gives the native half when it is imported, and the names of the
// policies.
#include <Python.h>

#include "bindings/cache/arguments.h"
#include "bindings/cache/load_table.h"
#include "bindings/cache/object.h"
#include "bindings/cache/state.h"

namespace mcp::python {
namespace {

PyObject* set_parser(PyObject*, PyObject* function) {
  set_ttl_parser(function);
  Py_RETURN_NONE;
}

PyObject* set_keeper(PyObject*, PyObject* function) {
  set_housekeeper(function);
  Py_RETURN_NONE;
}

PyObject* forget_loads(PyObject*, PyObject*) {
  forget_loads_after_fork();
  Py_RETURN_NONE;
}

PyMethodDef hook_module_methods[] = {
    {"_set_ttl_parser", set_parser, METH_O,
     "_set_ttl_parser(parse, /)\n--\n\n"
     "_set_ttl_parser(parse: Callable[[str, Any], int | None], /) -> None\n\n"
     "What reads a ttl that is no plain number."},
    {"_set_housekeeper", set_keeper, METH_O,
     "_set_housekeeper(watch, /)\n--\n\n"
     "_set_housekeeper(watch: Callable[[Any], object], /) -> None\n\n"
     "What watches caches whose entries expire."},
    {"_forget_loads_after_fork", forget_loads, METH_NOARGS,
     "_forget_loads_after_fork()\n--\n\n-> None\n\n"
     "For the child of a fork."},
    {nullptr, nullptr, 0, nullptr}};

bool add_cache_policies(PyObject* module) {
  const Ref names = Ref::steal(PyList_New(0));
  bool added = static_cast<bool>(names);
  cache::Policies::for_each([&]<class Policy>(std::type_identity<Policy>) {
    const Ref name =
        Ref::steal(PyUnicode_FromStringAndSize(Policy::kName.data(), Policy::kName.size()));
    added = added && name && PyList_Append(names.get(), name.get()) == 0;
  });
  const Ref tuple = Ref::steal(added ? PyList_AsTuple(names.get()) : nullptr);
  return tuple && PyModule_AddObjectRef(module, "CACHE_POLICIES", tuple.get()) == 0;
}

}  // namespace

bool add_cache_hooks(PyObject* module) {
  return add_cache_policies(module) && PyModule_AddFunctions(module, hook_module_methods) == 0;
}

}  // namespace mcp::python

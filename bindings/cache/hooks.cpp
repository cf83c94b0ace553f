// What the Python half of the room gives the native half when it is imported.
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

PyMethodDef module_methods[] = {
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

}  // namespace

bool add_cache_hooks(PyObject* module) {
  return PyModule_AddFunctions(module, module_methods) == 0;
}

}  // namespace mcp::python

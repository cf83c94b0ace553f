// running.cpp: asks asyncio for the loop of this thread, in the fastest way it offers.
#include "bindings/loop/running.h"

#include "base/fork.h"

namespace mcp::python {
namespace {

// Kept from the first use on. The interpreter lock guards it: a guarded initialisation could wait
// for it while holding the guard.
PyObject* get_running_loop = nullptr;

// Through asyncio, never _asyncio by itself: where that comes first, asyncio finds it half made and
// does without parts of it, asyncio.current_task() among them.
bool find_function() {
  if (get_running_loop != nullptr) return true;
  const Ref events = Ref::steal(PyImport_ImportModule("asyncio.events"));
  if (!events) return false;
  get_running_loop = PyObject_GetAttrString(events.get(), "_get_running_loop");
  return get_running_loop != nullptr;
}

Ref ask() {
  Ref loop = Ref::steal(PyObject_CallNoArgs(get_running_loop));
  return loop.get() == Py_None ? Ref() : std::move(loop);
}

#if PY_VERSION_HEX < 0x030D0000

struct KnownLoop {
  std::uint64_t version = 0;  // dictionaries begin at 1
  std::uint32_t generation = 0;
  PyObject* loop = nullptr;  // borrowed: the dictionary owns it while the version is the same
};

__attribute__((tls_model("initial-exec"))) thread_local KnownLoop known;

std::uint64_t version_of(PyObject* dictionary) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  return reinterpret_cast<PyDictObject*>(dictionary)->ma_version_tag;
#pragma GCC diagnostic pop
}

Ref look_up() {
  PyObject* dictionary = PyThreadState_GetDict();
  // A Python function keeps it elsewhere.
  if (dictionary == nullptr || PyCFunction_Check(get_running_loop) == 0) return ask();
  const std::uint64_t version = version_of(dictionary);
  const std::uint32_t generation = process_generation();
  if (version != known.version || generation != known.generation) {
    Ref loop = ask();
    if (PyErr_Occurred() != nullptr) return loop;
    known = {version_of(dictionary), generation, loop.get()};
    return loop;
  }
  return Ref::borrow(known.loop);
}

#else

Ref look_up() { return ask(); }

#endif

}  // namespace

Ref running_loop() {
  if (!find_function()) return {};
  return look_up();
}

Ref required_running_loop() {
  Ref loop = running_loop();
  if (!loop && PyErr_Occurred() == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "no running event loop");
  }
  return loop;
}

}  // namespace mcp::python

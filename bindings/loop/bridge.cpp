// bridge.cpp: the reader of a loop that takes completions to their futures.
#include "bindings/loop/bridge.h"

#include <poll.h>

#include <new>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/fork.h"
#include "base/slices.h"
#include "base/thread.h"
#include "base/turn_queue.h"
#include "bindings/base/errors.h"
#include "bindings/base/rooms.h"
#include "bindings/base/saved_error.h"
#include "bindings/loop/running.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

struct Expected {
  PyObject* future;  // owned
  std::unique_ptr<Conversion> conversion;
};

PyTypeObject* bridge_type = nullptr;
PyObject *name_done, *name_set_result, *name_set_exception, *name_call_soon;

// The bridges of this process by their loop. A bridge owns its loop, so a key never dangles.
// Leaked on purpose: bridges may be collected while the interpreter goes down.
std::unordered_map<PyObject*, BridgeObject*>& bridges() {
  static auto* map = new std::unordered_map<PyObject*, BridgeObject*>;
  return *map;
}

}  // namespace

struct BridgeObject {
  PyObject_HEAD PyObject* loop;
  PyObject* create_future;  // bound methods of the loop
  PyObject* call_soon;
  PyObject* add_reader;
  PyObject* ready;  // what the loop has to do, if it shows that; else null
  struct State {
    std::shared_ptr<CompletionQueue> queue = std::make_shared<CompletionQueue>();
    std::unordered_map<std::uint64_t, Expected> expected;
    TurnQueue<Completion> backlog;
    std::shared_ptr<WatchSet> watches;  // null before its first use
    std::unordered_map<std::uint64_t, std::weak_ptr<Looker>> lookers;
    std::uint64_t last_looker = 0;
    std::uint64_t last_id = 0;
    int selector = -1;       // readable while something is that the loop watches; -1: not known
    Instant busy_until = 0;  // the loop may wait busily
    bool busy_scheduled = false;
    bool drain_scheduled = false;  // by call_soon, because a conversion was cut off
    bool delivering = false;       // a conversion runs: code that it calls must not deliver too
    std::uint32_t generation = process_generation();
  } * state;
};

namespace {

void drop_expected(BridgeObject* self) {
  if (self->state == nullptr) return;
  // Out of the map first: dropping a future may run Python code.
  std::unordered_map<std::uint64_t, Expected> expected;
  expected.swap(self->state->expected);
  for (auto& [id, entry] : expected) Py_XDECREF(entry.future);
}

int bridge_traverse(BridgeObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(self->loop);
  Py_VISIT(self->create_future);
  Py_VISIT(self->call_soon);
  Py_VISIT(self->add_reader);
  Py_VISIT(self->ready);
  if (self->state != nullptr) {
    for (auto& [id, entry] : self->state->expected) Py_VISIT(entry.future);
  }
  return 0;
}

void forget_bridge(BridgeObject* self) {
  const auto found = bridges().find(self->loop);
  if (found != bridges().end() && found->second == self) bridges().erase(found);
}

int bridge_clear(BridgeObject* self) {
  if (self->loop != nullptr) forget_bridge(self);
  drop_expected(self);
  Py_CLEAR(self->ready);
  Py_CLEAR(self->add_reader);
  Py_CLEAR(self->call_soon);
  Py_CLEAR(self->create_future);
  Py_CLEAR(self->loop);
  return 0;
}

void bridge_dealloc(BridgeObject* self) {
  PyObject_GC_UnTrack(self);
  bridge_clear(self);
  if (self->state != nullptr) {
    if (self->state->generation == process_generation()) {
      self->state->queue->close();
      if (self->state->watches) self->state->watches->close();
      delete self->state;
    }  // else a thread of the parent may have held the queue's lock at the fork: leave it alone
  }
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

bool future_is_done(PyObject* future) {
  PyObject* done = PyObject_CallMethodNoArgs(future, name_done);
  if (done == nullptr) {
    PyErr_Clear();
    return true;
  }
  const bool answer = done == Py_True;
  Py_DECREF(done);
  return answer;
}

// Moves the exception that is set into the future.
void fail_future(PyObject* future) {
  const Ref error = take_error();
  const Ref done = Ref::steal(PyObject_CallMethodOneArg(future, name_set_exception, error.get()));
  if (!done) PyErr_WriteUnraisable(future);
}

// Takes the entry out of the map: whatever happens next, it happens once.
Expected take_expected(BridgeObject* self, std::uint64_t id) {
  auto node = self->state->expected.extract(id);
  return node.empty() ? Expected{nullptr, nullptr} : std::move(node.mapped());
}

// Ends what is expected under the id of `completion`, with `result`, or with the exception that is
// set where that is null.
void settle(BridgeObject* self, std::uint64_t id, PyObject* result) {
  Expected entry = take_expected(self, id);
  if (entry.future == nullptr) {  // the conversion ran code that closed the bridge
    Py_XDECREF(result);
    PyErr_Clear();
    return;
  }
  if (result == nullptr) {
    fail_future(entry.future);
  } else {
    PyObject* done = PyObject_CallMethodOneArg(entry.future, name_set_result, result);
    if (done == nullptr) PyErr_WriteUnraisable(entry.future);
    Py_XDECREF(done);
    Py_DECREF(result);
  }
  Py_DECREF(entry.future);
}

// One step of the answer whose turn it is. Order within an answer is the queue's promise
// (turn_queue.h): a part that yields is the first of its answer again.
void deliver_one(BridgeObject* self, Instant deadline) {
  BridgeObject::State& state = *self->state;
  const auto found = state.expected.find(state.backlog.id());
  if (found == state.expected.end()) {  // forgotten, or failed by an earlier part
    state.backlog.pop();
    return;
  }
  if (future_is_done(found->second.future)) {
    const Completion unused = state.backlog.pop();
    if (!unused.last) return;
    const Expected entry = take_expected(self, unused.id);
    Py_XDECREF(entry.future);
    return;
  }
  PyObject* result = nullptr;
  const auto progress = found->second.conversion->resume(state.backlog.front(), deadline, result);
  if (progress == Conversion::Progress::kYield) return state.backlog.yield();
  const Completion used = state.backlog.pop();
  if (progress != Conversion::Progress::kNext) settle(self, used.id, result);
}

// Moves what native threads have pushed behind the parts that are here. Throws std::bad_alloc.
void take_completions(BridgeObject::State& state) {
  std::vector<Completion> taken;
  state.queue->take(taken);
  for (Completion& completion : taken) {
    const std::uint64_t id = completion.id;
    const bool last = completion.last;
    state.backlog.push(id, std::move(completion), last);
  }
}

// Puts another drain on the loop, unless one is there. False with an exception set.
bool schedule_drain(BridgeObject* self) {
  if (self->state->drain_scheduled || self->call_soon == nullptr) return true;
  PyObject* handle = PyObject_CallFunctionObjArgs(
      self->call_soon, reinterpret_cast<PyObject*>(self), Py_True, nullptr);
  self->state->drain_scheduled = handle != nullptr;
  Py_XDECREF(handle);
  return handle != nullptr;
}

// Half of a tick is for answers, half for the tasks that they wake: the loop goes on after one
// tick.
Instant end_of_turn() noexcept {
  return now_precise() + slices().tick_ns.load(std::memory_order_relaxed) / 2;
}

// Takes what lies ready on watched descriptors: it needs no signal.
void look_and_take(BridgeObject::State& state) {
  const auto look = [&](std::uint64_t id) {
    const auto found = state.lookers.find(id);
    if (found == state.lookers.end()) return;
    if (const std::shared_ptr<Looker> looker = found->second.lock()) looker->look();
  };
  state.queue->attend();
  if (state.lookers.size() == 1) {
    look(state.lookers.begin()->first);
  } else {
    state.watches->each_ready(look);
  }
  try {
    take_completions(state);
  } catch (...) {
    state.queue->leave();
    throw;
  }
  state.queue->leave();
}

// Waits without sleeping until something is readable that the loop watches. False: nothing is, or
// the loop has other work.
bool wait_awake(BridgeObject* self) {
  BridgeObject::State& state = *self->state;
  state.busy_scheduled = false;
  if (now_precise() >= state.busy_until) return false;
  const Py_ssize_t others = PyObject_Size(self->ready);
  if (others != 0) {
    PyErr_Clear();
    return false;
  }
  const GilRelease unlocked;
  pollfd poll{state.selector, POLLIN, 0};
  while (true) {
    if (const int found = ::poll(&poll, 1, 0); found != 0) return found > 0;
    if (now_precise() >= state.busy_until) return false;
  }
}

// Called by the loop without arguments when the queue has become readable, with None when a watched
// descriptor has, with False to wait for one, and with True when a drain goes on that the last tick
// cut off: together they get one budget a tick.
PyObject* bridge_call(BridgeObject* self, PyObject* args, PyObject*) {
  if (self->state == nullptr || self->call_soon == nullptr) Py_RETURN_NONE;
  BridgeObject::State& state = *self->state;
  if (state.generation != process_generation()) Py_RETURN_NONE;  // the parent's descriptor
  PyObject* why = PyTuple_GET_SIZE(args) == 0 ? nullptr : PyTuple_GET_ITEM(args, 0);
  if (why == Py_True) state.drain_scheduled = false;
  if (why == Py_False && !wait_awake(self)) Py_RETURN_NONE;
  if (state.delivering) Py_RETURN_NONE;  // whoever it is takes all
  try {
    if (why == Py_None || why == Py_False) {
      look_and_take(state);
    } else if (!state.drain_scheduled) {
      take_completions(state);
    }
  } catch (...) {
    set_python_error_from_current_exception();
    return nullptr;
  }
  if (state.drain_scheduled) Py_RETURN_NONE;  // it delivers
  Py_INCREF(self);
  state.delivering = true;
  const Instant deadline = end_of_turn();
  while (!state.backlog.empty()) {
    deliver_one(self, deadline);
    if (now_precise() >= deadline) break;
  }
  state.delivering = false;
  const bool scheduled = state.backlog.empty() || schedule_drain(self);
  Py_DECREF(self);
  if (!scheduled) return nullptr;
  Py_RETURN_NONE;
}

// Has the loop call the bridge, with `argument` if there is one, when `fd` is readable.
bool add_reader(BridgeObject* self, int fd, PyObject* argument) {
  const Ref number = Ref::steal(PyLong_FromLong(fd));
  if (!number) return false;
  return static_cast<bool>(Ref::steal(PyObject_CallFunctionObjArgs(
      self->add_reader, number.get(), reinterpret_cast<PyObject*>(self), argument, nullptr)));
}

// Where asyncio's own loops keep what they have to do, and what they sleep on. Others are not
// waited for busily.
void find_selector(BridgeObject* self) {
  const Ref selector = Ref::steal(PyObject_GetAttrString(self->loop, "_selector"));
  const Ref number =
      selector ? Ref::steal(PyObject_CallMethod(selector.get(), "fileno", nullptr)) : Ref();
  const long fd = number ? PyLong_AsLong(number.get()) : -1;
  self->ready = fd < 0 ? nullptr : PyObject_GetAttrString(self->loop, "_ready");
  if (self->ready != nullptr) self->state->selector = static_cast<int>(fd);
  PyErr_Clear();
}

BridgeObject* make_bridge(PyObject* loop) {
  auto* self = reinterpret_cast<BridgeObject*>(bridge_type->tp_alloc(bridge_type, 0));
  if (self == nullptr) return nullptr;
  const auto fail = [self]() -> BridgeObject* {
    Py_DECREF(self);
    return nullptr;
  };
  try {
    self->state = new BridgeObject::State;
  } catch (const std::system_error& error) {
    errno = error.code().value();
    PyErr_SetFromErrno(PyExc_OSError);
    return fail();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return fail();
  }
  Py_INCREF(loop);
  self->loop = loop;
  self->create_future = PyObject_GetAttrString(loop, "create_future");
  self->call_soon = self->create_future ? PyObject_GetAttr(loop, name_call_soon) : nullptr;
  self->add_reader = self->call_soon ? PyObject_GetAttrString(loop, "add_reader") : nullptr;
  if (self->add_reader == nullptr) return fail();
  if (!add_reader(self, self->state->queue->fd(), nullptr)) return fail();
  find_selector(self);
  bridges()[loop] = self;
  Py_DECREF(self);  // the loop's reader handle keeps it from here on
  return self;
}

PyType_Slot bridge_slots[] = {
    {Py_tp_doc, const_cast<char*>("__call__(self, *args: Any, **kwargs: Any) -> None\n\nCarries "
                                  "completions of native jobs into one event loop.")},
    {Py_tp_traverse, reinterpret_cast<void*>(bridge_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(bridge_clear)},
    {Py_tp_dealloc, reinterpret_cast<void*>(bridge_dealloc)},
    {Py_tp_call, reinterpret_cast<void*>(bridge_call)},
    {0, nullptr},
};

PyType_Spec bridge_spec = {
    "mcp_performance._core.LoopBridge", sizeof(BridgeObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, bridge_slots};

}  // namespace

LoopBridge LoopBridge::of_running_loop() {
  const Ref loop = required_running_loop();
  if (!loop) return LoopBridge(nullptr);
  const auto found = bridges().find(loop.get());
  BridgeObject* object = nullptr;
  if (found != bridges().end() && found->second->state->generation == process_generation()) {
    object = found->second;
  } else {
    object = make_bridge(loop.get());
  }
  return LoopBridge(object);
}

PyObject* LoopBridge::expect(std::unique_ptr<Conversion> conversion, std::uint64_t& id) const {
  PyObject* future = PyObject_CallNoArgs(object_->create_future);
  if (future == nullptr) return nullptr;
  id = ++object_->state->last_id;
  try {
    object_->state->expected.emplace(id, Expected{future, std::move(conversion)});
  } catch (const std::bad_alloc&) {
    Py_DECREF(future);
    return PyErr_NoMemory();
  }
  Py_INCREF(future);
  return future;
}

void LoopBridge::forget(std::uint64_t id) const {
  Expected entry = take_expected(object_, id);
  Py_XDECREF(entry.future);
}

bool LoopBridge::call_soon(PyObject* callback) const {
  return static_cast<bool>(Ref::steal(PyObject_CallOneArg(object_->call_soon, callback)));
}

std::shared_ptr<CompletionQueue> LoopBridge::queue() const { return object_->state->queue; }

bool LoopBridge::wait_busily(Duration longest) const {
  BridgeObject::State& state = *object_->state;
  state.busy_until = longest == 0 ? 0 : now_precise() + longest;
  if (longest == 0 || state.selector < 0 || state.busy_scheduled) return true;
  state.busy_scheduled = static_cast<bool>(Ref::steal(PyObject_CallFunctionObjArgs(
      object_->call_soon, reinterpret_cast<PyObject*>(object_), Py_False, nullptr)));
  return state.busy_scheduled;
}

std::shared_ptr<WatchSet> LoopBridge::watches() const {
  BridgeObject::State& state = *object_->state;
  if (state.watches) return state.watches;
  try {
    auto made = std::make_shared<WatchSet>();
    if (!add_reader(object_, made->fd(), Py_None)) return nullptr;
    state.watches = std::move(made);
  } catch (...) {
    set_python_error_from_current_exception();
  }
  return state.watches;
}

std::uint64_t LoopBridge::add_looker(std::weak_ptr<Looker> looker) const {
  BridgeObject::State& state = *object_->state;
  std::erase_if(state.lookers, [](const auto& known) { return known.second.expired(); });
  state.lookers.emplace(++state.last_looker, std::move(looker));
  return state.last_looker;
}

namespace {

struct Pushed final : CompletionPayload {
  Instant at = now_precise();
};

// The seconds between the push on a native thread and the delivery on the loop.
class WakeUpTime final : public Conversion {
 public:
  Progress resume(Completion& completion, Instant, PyObject*& result) override {
    const auto& pushed = static_cast<const Pushed&>(*completion.payload);
    result = PyFloat_FromDouble(to_seconds(now_precise() - pushed.at));
    return result == nullptr ? Progress::kError : Progress::kDone;
  }
};

// wake_up_times(count): `count` futures, completed in order by one native thread.
py::list wake_up_times(std::size_t count) {
  const LoopBridge bridge = LoopBridge::of_running_loop();
  if (!bridge) throw py::error_already_set();
  py::list futures;
  std::vector<std::uint64_t> ids(count);
  for (std::uint64_t& id : ids) {
    PyObject* future = bridge.expect(std::make_unique<WakeUpTime>(), id);
    if (future == nullptr) throw py::error_already_set();
    futures.append(py::reinterpret_steal<py::object>(future));
  }
  start_thread("mcp-wake-up", [queue = bridge.queue(), ids = std::move(ids)] {
    for (const std::uint64_t id : ids) queue->push({id, std::make_unique<Pushed>()});
  }).detach();
  return futures;
}

// For tests: the pieces that long work is done in from here on. The old ones, as its own arguments.
py::dict set_slices(Duration tick_ns, std::size_t part_bytes, std::size_t portion_bytes,
                    std::size_t look_bytes) {
  py::dict before;
  before["tick_ns"] = slices().tick_ns.exchange(tick_ns);
  before["part_bytes"] = slices().part_bytes.exchange(part_bytes);
  before["portion_bytes"] = slices().portion_bytes.exchange(portion_bytes);
  before["look_bytes"] = slices().look_bytes.exchange(look_bytes);
  return before;
}

}  // namespace

void bind_loop_bridge(py::module_& module) {
  name_done = PyUnicode_InternFromString("done");
  name_set_result = PyUnicode_InternFromString("set_result");
  name_set_exception = PyUnicode_InternFromString("set_exception");
  name_call_soon = PyUnicode_InternFromString("call_soon");
  bridge_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&bridge_spec));
  if (bridge_type == nullptr) throw py::error_already_set();
  module.attr("LoopBridge") = py::handle(reinterpret_cast<PyObject*>(bridge_type));
  module.def("wake_up_times", &wake_up_times, py::arg("count"),
             "wake_up_times(count: int) -> list[Future[float]]");
  module.def("_set_slices", &set_slices, py::kw_only(), py::arg("tick_ns"), py::arg("part_bytes"),
             py::arg("portion_bytes"), py::arg("look_bytes"),
             "_set_slices(*, tick_ns: int, part_bytes: int, portion_bytes: int, look_bytes: int) "
             "-> dict[str, int]");
}

}  // namespace mcp::python

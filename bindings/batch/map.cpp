// map.cpp: Python functions over many items, on the threads of the batch room.
//
// Lock order: the interpreter lock before MapJob's. What a PyMapWork holds of Python is touched
// with the interpreter lock held, and by nobody else.
#include <algorithm>
#include <atomic>
#include <deque>
#include <exception>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/fork.h"
#include "batch/map_job.h"
#include "batch/tbb_arena.h"
#include "batch/turns.h"
#include "bindings/base/collected.h"
#include "bindings/base/errors.h"
#include "bindings/base/native_work.h"
#include "bindings/base/rooms.h"
#include "bindings/base/shared_error.h"
#include "bindings/base/user_code.h"
#include "bindings/loop/bridge.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

using batch::BlockingPool;
using batch::MapJob;
using batch::MapOptions;
using batch::RunMeter;
using batch::TbbArena;
using batch::Turns;
using batch::WorkKind;

// A chunk is left behind when its items turn out so much longer than the ones before.
constexpr Duration kLongestRun_ns = 4 * kMillisecond;
// A thread that works alone keeps its turn for so long, and lets others have the interpreter lock
// after each slice of it, for about as long as a thread takes to wake up.
constexpr Duration kTurn_ns = 8 * kMillisecond;
constexpr Duration kSlice_ns = 2 * kMillisecond;
constexpr Duration kWakeUp_ns = 50 * kMicrosecond;
// Items of native work that are read, worked on and kept at once.
constexpr std::size_t kNativeChunk = 256;

// Of all jobs of this process whose threads would only take turns. Leaked on purpose: threads may
// outlive static destruction.
Turns* turns = new Turns;

// Takes the exception that is set, with the frames of its item. Where somebody else holds it, and
// may raise it again for another item, the outcome is one of its own, and it keeps no frames of the
// item.
py::object take_exception() {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  auto error = py::reinterpret_steal<py::object>(value);
  if (Py_REFCNT(value) > 1) {
    error = py::reinterpret_steal<py::object>(copy_exception(value).release());
#if PY_VERSION_HEX >= 0x030C0000  // it has them as soon as it is raised
    PyException_SetTraceback(value, Py_None);
#endif
  }
  if (traceback != nullptr) PyException_SetTraceback(error.ptr(), traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return error;
}

void set_python_error_from_failure(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (...) {
    set_python_error_from_current_exception();
  }
}

// The future's result is None: something has happened.
class Happened final : public Conversion {
 public:
  Progress resume(Completion&, Instant, PyObject*& result) override {
    result = Py_NewRef(Py_None);
    return Progress::kDone;
  }
};

class PyMapWork final : public batch::MapWork {
 public:
  // With a `pending` object, outcomes go into results() and errors(), and results() holds that
  // object where there is none yet. Without (None), take() hands them out.
  // Functions run in copies of `context`.
  PyMapWork(py::object function, py::object pending, py::object context)
      : native_(native_work_of(function.ptr())),
        function_(std::move(function)),
        context_(std::move(context)),
        collect_(!pending.is_none()),
        pending_(std::move(pending)) {}

  ~PyMapWork() override {
    if (const GilAcquire gil; gil) {
      drop_references();
    } else {  // the interpreter is gone, and what it owned with it
      function_.release();
      context_.release();
      pending_.release();
      results_.release();
      errors_.release();
      for (py::object& item : items_) item.release();
      for (Outcome& outcome : ready_) outcome.release();
    }
  }

  void run(std::size_t begin, std::size_t end, const std::atomic<bool>& stopped,
           RunMeter& meter) override {
    if (meter.alone() && native_ == nullptr) {
      run_alone(begin, end, stopped, meter);
      return;
    }
    {
      const GilUserCode gil;
      meter.begin();
      std::size_t done = 0;
      if (gil && !dropped_) {
        done =
            native_ != nullptr ? run_natively(begin, end, stopped) : run_slice(begin, end, stopped);
      }
      meter.end(done);
    }
    let_others_in();
  }

  void on_event() noexcept override {
    const MutexLock lock(mutex_);
    if (queue_ == nullptr) return;
    queue_->push({event_id_, nullptr});
    queue_.reset();
  }

  // One completion of `id` in `queue` when the job tells of an event.
  void tell(std::shared_ptr<CompletionQueue> queue, std::uint64_t id) {
    const MutexLock lock(mutex_);
    queue_ = std::move(queue);
    event_id_ = id;
  }

  // The rest: with the interpreter lock held.
  std::size_t add(const py::sequence& items) {
    const auto fast =
        py::reinterpret_steal<py::object>(PySequence_Fast(items.ptr(), "items is not a sequence"));
    if (!fast) throw py::error_already_set();
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(fast.ptr());
    for (Py_ssize_t i = 0; i < count; ++i) {
      PyObject* item = PySequence_Fast_GET_ITEM(fast.ptr(), i);
      items_.push_back(py::reinterpret_borrow<py::object>(item));
      if (collect_ && PyList_Append(results_.ptr(), pending_.ptr()) != 0) {
        throw py::error_already_set();
      }
    }
    return static_cast<std::size_t>(count);
  }

  py::list take() {
    std::deque<Outcome> ready;
    ready.swap(ready_);
    py::list taken;
    for (Outcome& outcome : ready) {
      taken.append(
          py::make_tuple(outcome.index, std::move(outcome.value), std::move(outcome.error)));
    }
    return taken;
  }

  // What comes after this is thrown away: results() and errors() are the caller's from now on.
  void drop_references() {
    dropped_ = true;
    std::deque<py::object> items;
    std::deque<Outcome> ready;
    items.swap(items_);  // out of the members first: dropping them may run Python code
    ready.swap(ready_);
    py::object function = std::exchange(function_, {});
    py::object context = std::exchange(context_, {});
    py::object pending = std::exchange(pending_, {});
    py::object results = std::exchange(results_, {});
    py::object errors = std::exchange(errors_, {});
  }

  // REQUIRES: no item is being run.
  int traverse(visitproc visit, void* arg) const {
    for (const py::object* held : {&function_, &context_, &pending_, &results_, &errors_}) {
      Py_VISIT(held->ptr());
    }
    for (const py::object& item : items_) Py_VISIT(item.ptr());
    for (const Outcome& outcome : ready_) {
      Py_VISIT(outcome.value.ptr());
      Py_VISIT(outcome.error.ptr());
    }
    return 0;
  }

  // None once the references are dropped.
  [[nodiscard]] py::object results() const { return results_ ? results_ : py::none(); }
  [[nodiscard]] py::object errors() const { return errors_ ? errors_ : py::none(); }

 private:
  struct Outcome {
    std::size_t index;
    py::object value;
    py::object error;
    void release() {
      value.release();
      error.release();
    }
  };

  // An item of native work, and what became of it.
  struct Step {
    std::unique_ptr<NativeWork::Task> task;
    py::object error;            // it could not be read
    std::exception_ptr failure;  // it was, and failed
  };

  static PyObject* call(PyObject* function, PyObject* item) {
    PyObject* arguments[] = {nullptr, item};
    const UserCall guard;
    PyObject* const result =
        PyObject_Vectorcall(function, arguments + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
    return result != nullptr && PyCoro_CheckExact(result) ? refuse_coroutine(result) : result;
  }

  // Nobody would await it.
  static PyObject* refuse_coroutine(PyObject* coroutine) {
    const py::object owned = py::reinterpret_steal<py::object>(coroutine);
    const py::object closed =
        py::reinterpret_steal<py::object>(PyObject_CallMethod(coroutine, "close", nullptr));
    if (closed) {
      PyErr_SetString(PyExc_TypeError,
                      "the function returned a coroutine: map an `async def` function");
    }
    return nullptr;
  }

  // Threads would only hand the lock to each other, and whoever else asks for it, the loop above
  // all, would come last: CPython has a holder let go of it only after 5 ms without any change of
  // hands. So one thread works at a time, over all jobs of this kind, and lets the others in.
  void run_alone(std::size_t begin, std::size_t end, const std::atomic<bool>& stopped,
                 RunMeter& meter) {
    Turns& all = *turns;
    const std::uint64_t turn = all.enter();
    const Instant until = now_precise() + kTurn_ns;
    bool begun = false;
    std::size_t next = begin;
    for (bool refused = false; !refused && next < end && !stopped && now_precise() < until;) {
      let_others_in();
      const std::size_t slice_end = std::min(end, next + meter.slice());
      const GilUserCode gil;
      if (!std::exchange(begun, true)) meter.begin();
      const std::size_t done = gil && !dropped_ ? run_slice(next, slice_end, stopped) : 0;
      next += done;
      refused = done == 0;
    }
    if (!begun) meter.begin();
    meter.end(next - begin);
    all.leave(turn);
  }

  // Without the lock: who waits for it was told that it is free, and gets there before this thread
  // asks for it again. Not after every short chunk.
  void let_others_in() {
    const Instant now = now_precise();
    Instant due = others_at_.load(std::memory_order_relaxed);
    if (now < due || !others_at_.compare_exchange_strong(due, now + kSlice_ns)) return;
    while (now_precise() < now + kWakeUp_ns) std::this_thread::yield();
  }

  // With the lock. Returns how many items were run.
  std::size_t run_slice(std::size_t begin, std::size_t end, const std::atomic<bool>& stopped) {
    // A copy for each run: a context is entered by one thread at a time.
    const auto context = py::reinterpret_steal<py::object>(PyContext_Copy(context_.ptr()));
    std::size_t done = 0;
    if (context && PyContext_Enter(context.ptr()) == 0) {
      const Instant late = now_coarse() + kLongestRun_ns;
      for (std::size_t i = begin; i < end && !stopped; ++i) {
        run_item(i);
        ++done;
        if (now_coarse() > late) break;
      }
      PyContext_Exit(context.ptr());
    }
    PyErr_Clear();
    return done;
  }

  [[nodiscard]] py::object take_item(std::size_t index) {
    py::object item = std::exchange(items_[index - first_], {});
    while (!items_.empty() && !items_.front()) {
      items_.pop_front();
      ++first_;
    }
    return item;
  }

  void run_item(std::size_t index) {
    const py::object item = take_item(index);
    const py::object function = function_;
    keep(index, py::reinterpret_steal<py::object>(call(function.ptr(), item.ptr())));
  }

  // Reads the items of a chunk, works on them without the interpreter lock, and keeps the results.
  // Returns how many of them it did.
  std::size_t run_natively(std::size_t begin, std::size_t end, const std::atomic<bool>& stopped) {
    std::vector<Step> steps(std::min(end - begin, kNativeChunk));
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const py::object item = items_[begin + i - first_];
      steps[i].task = native_->read(item.ptr());
      if (steps[i].task == nullptr) steps[i].error = take_exception();
      if (dropped_) return i + 1;
    }
    PyThreadState* const state = PyEval_SaveThread();
    const std::size_t done = run_tasks(steps, stopped);
    {
      const UserCall guard;  // a dying interpreter keeps the thread
      PyEval_RestoreThread(state);
    }
    for (std::size_t i = 0; i < done && !dropped_; ++i) {
      static_cast<void>(take_item(begin + i));
      keep_step(begin + i, steps[i]);
    }
    return done;
  }

  static std::size_t run_tasks(std::vector<Step>& steps, const std::atomic<bool>& stopped) {
    const Instant late = now_coarse() + kLongestRun_ns;
    std::size_t done = 0;
    while (done < steps.size() && !stopped) {
      Step& step = steps[done++];
      try {
        if (step.task != nullptr) step.task->run();
      } catch (...) {
        step.failure = std::current_exception();
      }
      if (now_coarse() > late) break;
    }
    return done;
  }

  void keep_step(std::size_t index, Step& step) {
    if (step.error) {
      keep_error(index, std::move(step.error));
    } else if (step.failure != nullptr) {
      set_python_error_from_failure(step.failure);
      keep_error(index, take_exception());
    } else {
      keep(index, py::reinterpret_steal<py::object>(step.task->result()));
    }
  }

  // Without a value, the error that is set is the outcome.
  void keep(std::size_t index, py::object value) {
    if (!value) {
      keep_error(index, take_exception());
    } else if (!dropped_ && !collect_) {
      ready_.push_back({index, std::move(value), py::none()});
    } else if (!dropped_) {
      PyList_SetItem(results_.ptr(), static_cast<Py_ssize_t>(index), value.release().ptr());
    }
  }

  void keep_error(std::size_t index, py::object error) {
    if (dropped_) return;
    if (!collect_) {
      ready_.push_back({index, py::none(), std::move(error)});
    } else {
      errors_[py::int_(index)] = std::move(error);
    }
  }

  const std::shared_ptr<const NativeWork> native_;  // empty: the function is Python's
  py::object function_;
  py::object context_;
  const bool collect_;
  py::object pending_;
  bool dropped_ = false;
  std::deque<py::object> items_;  // empty where an item was run; the first one is number first_
  std::size_t first_ = 0;
  py::object results_ = py::list();
  py::object errors_ = py::dict();
  std::deque<Outcome> ready_;
  std::atomic<Instant> others_at_{0};  // not before this are others let in again

  Mutex mutex_;
  std::shared_ptr<CompletionQueue> queue_ GUARDED_BY(mutex_);
  std::uint64_t event_id_ GUARDED_BY(mutex_) = 0;
};

class BatchJob {
 public:
  BatchJob(std::shared_ptr<PyMapWork> work, std::shared_ptr<MapJob> job)
      : work_(std::move(work)), job_(std::move(job)) {}
  ~BatchJob() { finish(); }
  BatchJob(BatchJob&&) = default;

  void add(const py::sequence& items) {
    const std::size_t count = work_->add(items);
    const GilRelease unlocked;
    job_->add(count);
  }
  void close_input() {
    const GilRelease unlocked;
    job_->close_input();
  }
  void stop() {
    if (generation_ != process_generation()) return;  // the parent's, and its lock may be held
    const GilRelease unlocked;
    job_->stop();
  }
  // Stops, and lets go of the function and the items.
  void finish() {
    if (job_ == nullptr) return;
    stop();
    work_->drop_references();
  }
  py::object wait(std::size_t finished) {
    const LoopBridge bridge = LoopBridge::of_running_loop();
    if (!bridge) throw py::error_already_set();
    std::uint64_t id = 0;
    auto future =
        py::reinterpret_steal<py::object>(bridge.expect(std::make_unique<Happened>(), id));
    if (!future) throw py::error_already_set();
    work_->tell(bridge.queue(), id);
    const GilRelease unlocked;
    job_->notify_at(finished);
    return future;
  }
  // Threads may use what a job holds until it has ended.
  int traverse(visitproc visit, void* arg) const {
    const bool ended = job_ != nullptr && generation_ == process_generation() && job_->ended();
    return ended ? work_->traverse(visit, arg) : 0;
  }
  void clear() { finish(); }
  py::list take() { return work_->take(); }
  [[nodiscard]] py::object results() const { return work_->results(); }
  [[nodiscard]] py::object errors() const { return work_->errors(); }
  [[nodiscard]] bool ended() const { return job_->ended(); }
  [[nodiscard]] std::size_t finished() const { return job_->stats().finished; }
  // (most workers, kind, chunks, processor seconds, seconds waited for the interpreter lock)
  [[nodiscard]] py::tuple stats() const {
    const batch::MapStats stats = job_->stats();
    return py::make_tuple(stats.most_workers, static_cast<int>(stats.kind), stats.runs,
                          to_seconds(stats.cpu_ns), to_seconds(stats.wait_ns));
  }

 private:
  std::shared_ptr<PyMapWork> work_;
  std::shared_ptr<MapJob> job_;
  std::uint32_t generation_ = process_generation();
};

// The threads of one BatchProcessor.
class BatchEngine {
 public:
  explicit BatchEngine(unsigned max_workers)
      : pool_(std::make_shared<BlockingPool>(max_workers)), cpu_(std::make_shared<TbbArena>()) {}

  BatchJob start(py::object function, int kind, unsigned concurrency, std::size_t chunk_size,
                 py::object pending, py::object context) {
    if (!PyContext_CheckExact(context.ptr())) throw py::type_error("context: expected a Context");
    auto work =
        std::make_shared<PyMapWork>(std::move(function), std::move(pending), std::move(context));
    const MapOptions options{static_cast<WorkKind>(kind), concurrency, chunk_size};
    return {work, std::make_shared<MapJob>(options, pool_, cpu_, work)};
  }
  void close() {
    const GilRelease unlocked;
    pool_->close();
  }
  [[nodiscard]] std::size_t threads() const { return pool_->threads(); }

 private:
  std::shared_ptr<BlockingPool> pool_;
  std::shared_ptr<TbbArena> cpu_;
};

bool prepare_fork() {
  const GilRelease unlocked;  // TBB's threads drop their thread states as they end
  return TbbArena::prepare_fork();
}

}  // namespace

void bind_batch(py::module_& module) {
  if (!add_native_function_type(module.ptr())) throw py::error_already_set();
  py::class_<BatchJob>(module, "BatchJob", collected<BatchJob>())
      .def("add", &BatchJob::add, py::arg("items"))
      .def("close_input", &BatchJob::close_input)
      .def("stop", &BatchJob::stop)
      .def("finish", &BatchJob::finish)
      .def("wait", &BatchJob::wait, py::arg("finished"), "wait(finished: int) -> Future[None]")
      .def("take", &BatchJob::take, "take() -> list[tuple[int, Any, BaseException | None]]")
      .def("stats", &BatchJob::stats, "stats() -> tuple[int, int, int, float, float]")
      .def_property_readonly("results", &BatchJob::results, "-> list[Any]")
      .def_property_readonly("errors", &BatchJob::errors, "-> dict[int, BaseException]")
      .def_property_readonly("ended", &BatchJob::ended)
      .def_property_readonly("finished", &BatchJob::finished);
  py::class_<BatchEngine>(module, "BatchEngine")
      .def(py::init<unsigned>(), py::arg("max_workers"))
      .def("start", &BatchEngine::start, py::arg("function"), py::kw_only(), py::arg("kind"),
           py::arg("concurrency"), py::arg("chunk_size"), py::arg("pending"), py::arg("context"),
           "start(function: Callable[[Any], Any], *, kind: int, concurrency: int, chunk_size: int, "
           "pending: object | None, context: Context) -> BatchJob")
      .def("close", &BatchEngine::close)
      .def_property_readonly("threads", &BatchEngine::threads);
  module.def("_batch_prepare_fork", &prepare_fork);
  module.def("_batch_after_fork_in_child", [] {
    TbbArena::reset_after_fork_in_child();
    turns = new Turns;  // the parent's lock may have been held at the fork
  });
  module.attr("BATCH_MEASURED") = static_cast<int>(WorkKind::kMeasured);
  module.attr("BATCH_CPU") = static_cast<int>(WorkKind::kCpu);
  module.attr("BATCH_BLOCKING") = static_cast<int>(WorkKind::kBlocking);
}

}  // namespace mcp::python

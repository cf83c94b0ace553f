// native.cpp: recognizes partial(pool.blocking.fetch, sql) and runs it for a batch.
#include "bindings/sqlite/native.h"

#include <memory>
#include <optional>
#include <vector>

#include "bindings/base/ref.h"
#include "bindings/sqlite/statement.h"

namespace mcp::python {
namespace {

constexpr Py_ssize_t kMostArguments = 8;

class StatementTask final : public NativeWork::Task {
 public:
  StatementTask(Endpoint* endpoint, Kind kind, const Arguments& arguments)
      : action_(endpoint, kind, arguments) {}

  // False with an exception set.
  bool begin() {
    PyObject* at_hand = nullptr;
    if (!action_.begin(run_, at_hand)) return false;
    at_hand_ = Ref::steal(at_hand);
    return true;
  }

  void run() override {
    if (run_) run_->run();
  }

  PyObject* result() override { return run_ ? action_.result_of(*run_) : at_hand_.release(); }

 private:
  StatementAction action_;
  std::optional<StatementRun> run_;  // refers to the action
  Ref at_hand_;
};

// A call that lacks its last positional argument.
class StatementWork final : public NativeWork {
 public:
  StatementWork(Endpoint* endpoint, Kind kind, PyObject* args, PyObject* keywords) : kind_(kind) {
    call_->endpoint = Ref::borrow(reinterpret_cast<PyObject*>(endpoint));
    const Py_ssize_t given = args == nullptr ? 0 : PyTuple_GET_SIZE(args);
    for (Py_ssize_t i = 0; i < given; ++i) {
      call_->given.push_back(Ref::borrow(PyTuple_GET_ITEM(args, i)));
    }
    if (keywords == nullptr || PyDict_GET_SIZE(keywords) == 0) return;
    call_->names = Ref::steal(PySequence_Tuple(keywords));
    PyObject *name, *value;
    for (Py_ssize_t at = 0; PyDict_Next(keywords, &at, &name, &value) != 0;) {
      call_->named.push_back(Ref::borrow(value));
    }
  }

  // A batch lets go of it wherever it ends.
  ~StatementWork() override {
    if (const GilAcquire gil; gil) {
      call_.reset();
    } else {  // the interpreter is gone, and what it owned with it
      static_cast<void>(call_.release());
    }
  }
  StatementWork(const StatementWork&) = delete;
  StatementWork& operator=(const StatementWork&) = delete;

  [[nodiscard]] std::unique_ptr<Task> read(PyObject* item) const override {
    PyObject* all[kMostArguments];
    Py_ssize_t count = 0;
    for (const Ref& one : call_->given) all[count++] = one.get();
    all[count++] = item;
    Py_ssize_t last = count;
    for (const Ref& one : call_->named) all[last++] = one.get();
    try {
      Arguments arguments;
      if (!read_arguments(kind_, all, count, call_->names.get(), arguments)) return nullptr;
      auto task = std::make_unique<StatementTask>(
          reinterpret_cast<Endpoint*>(call_->endpoint.get()), kind_, arguments);
      return task->begin() ? std::move(task) : nullptr;
    } catch (...) {
      set_python_error_from(std::current_exception());
      return nullptr;
    }
  }

 private:
  struct Call {
    Ref endpoint;
    std::vector<Ref> given, named;
    Ref names;  // of `named`, a tuple
  };

  const Kind kind_;
  std::unique_ptr<Call> call_ = std::make_unique<Call>();
};

// The pieces of a functools.partial; a bare function is one without arguments.
struct Callee {
  Ref function, args, keywords;
};

std::optional<Callee> callee_of(PyObject* function) {
  if (PyCFunction_Check(function)) return Callee{Ref::borrow(function), {}, {}};
  const Ref functools = Ref::steal(PyImport_ImportModule("functools"));
  const Ref partial =
      Ref::steal(functools ? PyObject_GetAttrString(functools.get(), "partial") : nullptr);
  if (!partial || reinterpret_cast<PyObject*>(Py_TYPE(function)) != partial.get()) return {};
  Callee callee{Ref::steal(PyObject_GetAttrString(function, "func")),
                Ref::steal(PyObject_GetAttrString(function, "args")),
                Ref::steal(PyObject_GetAttrString(function, "keywords"))};
  const bool usable = callee.function && callee.args && callee.keywords &&
                      PyCFunction_Check(callee.function.get()) &&
                      PyTuple_CheckExact(callee.args.get()) &&
                      PyDict_CheckExact(callee.keywords.get());
  if (!usable) return {};
  const Py_ssize_t count =
      PyTuple_GET_SIZE(callee.args.get()) + PyDict_GET_SIZE(callee.keywords.get());
  if (count >= kMostArguments) return {};
  return callee;
}

std::shared_ptr<const NativeWork> find(PyObject* function) {
  const std::optional<Callee> callee = callee_of(function);
  if (!callee) return nullptr;
  PyObject* self = PyCFunction_GET_SELF(callee->function.get());
  if (self == nullptr || !PyObject_TypeCheck(self, endpoint_type)) return nullptr;
  auto* endpoint = reinterpret_cast<Endpoint*>(self);
  const std::optional<Kind> kind = kind_of_method(PyCFunction_GET_FUNCTION(callee->function.get()));
  const bool on_pool = endpoint->blocking && endpoint->held == nullptr;
  if (!kind || !on_pool || endpoint->pool_state() == nullptr) return nullptr;
  return std::make_shared<StatementWork>(endpoint, *kind, callee->args.get(),
                                         callee->keywords.get());
}

}  // namespace

std::shared_ptr<const NativeWork> statement_work_of(PyObject* function) noexcept {
  try {
    auto work = find(function);
    PyErr_Clear();  // whatever it is, calling it will tell
    return work;
  } catch (...) {
    return nullptr;
  }
}

}  // namespace mcp::python

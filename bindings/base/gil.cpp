// gil.cpp: the gate through which native threads come to the interpreter lock, closed at exit.
#include "bindings/base/gil.h"

#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/mutex.h"
#include "bindings/base/user_code.h"

namespace mcp::python {
namespace {

// The number of threads inside, or on their way in; kClosed is added when the gate closes.
constexpr int kClosed = 1 << 30;
std::atomic<int> gate{0};

bool enter_gate() noexcept {
  if (gate.fetch_add(1, std::memory_order_acq_rel) >= kClosed) {
    gate.fetch_sub(1, std::memory_order_acq_rel);
    return false;
  }
  return true;
}

void leave_gate() noexcept { gate.fetch_sub(1, std::memory_order_acq_rel); }

bool gate_is_closed() noexcept { return gate.load(std::memory_order_acquire) >= kClosed; }

// Held around the making of a thread state, and by a thread that forks. A leaf: nobody waits for
// anything with it in hand but for the interpreter's list of thread states, for a moment.
Mutex* states_mutex = new Mutex;

// The thread state of a native thread, until the thread ends.
class KeptThreadState {
 public:
  KeptThreadState() {
    if (PyGILState_GetThisThreadState() != nullptr || !enter_gate()) return;
    outer_ = ensure_gil();
    saved_ = PyEval_SaveThread();
    leave_gate();
  }
  ~KeptThreadState() {
    if (saved_ == nullptr || !enter_gate()) return;
    PyEval_RestoreThread(saved_);
    PyGILState_Release(outer_);
    leave_gate();
  }
  KeptThreadState(const KeptThreadState&) = delete;
  KeptThreadState& operator=(const KeptThreadState&) = delete;

 private:
  PyThreadState* saved_ = nullptr;
  PyGILState_STATE outer_{};
};

}  // namespace

PyGILState_STATE ensure_gil() {
  if (PyGILState_GetThisThreadState() == nullptr) {
    const MutexLock lock(*states_mutex);
    PyThreadState* state = PyThreadState_New(PyInterpreterState_Main());
    // As PyGILState_Ensure leaves it: the matching PyGILState_Release deletes it.
    if (state != nullptr) state->gilstate_counter = 0;
  }
  return PyGILState_Ensure();
}

GilAcquire::GilAcquire() : held_(enter_gate()) {
  if (held_) state_ = ensure_gil();
}

GilAcquire::~GilAcquire() {
  if (!held_) return;
  PyGILState_Release(state_);
  leave_gate();
}

GilUserCode::GilUserCode() {
  static thread_local const KeptThreadState kept;
  static_cast<void>(kept);
  held_ = enter_gate();
  if (!held_) return;
  state_ = ensure_gil();
  leave_gate();
}

GilUserCode::~GilUserCode() {
  if (held_) PyGILState_Release(state_);
}

UserCall::~UserCall() {
  if (!gate_is_closed() || PyGILState_Check() != 0) return;
  for (;;) pause();  // the process ends with the interpreter
}

GilRelease::~GilRelease() noexcept(false) {
  const UserCall guard;
  PyEval_RestoreThread(state_);
}

void close_gil_gate() {
  if (gate.fetch_add(kClosed, std::memory_order_acq_rel) >= kClosed) {
    gate.fetch_sub(kClosed, std::memory_order_acq_rel);  // closed before
    return;
  }
  const GilRelease unlocked;  // those inside need the lock to leave
  while (gate.load(std::memory_order_acquire) != kClosed) std::this_thread::yield();
}

bool is_main_thread() noexcept { return ::gettid() == ::getpid(); }

bool check_signals() {
  if (!is_main_thread()) return false;
  const PyGILState_STATE state = PyGILState_Ensure();
  const bool raised = PyErr_CheckSignals() != 0;  // the exception stays set for the caller
  PyGILState_Release(state);
  return raised;
}

void hold_thread_states_before_fork() NO_THREAD_SAFETY_ANALYSIS { states_mutex->lock(); }
void free_thread_states_after_fork() NO_THREAD_SAFETY_ANALYSIS { states_mutex->unlock(); }

void reset_gil_gate_after_fork() {
  gate.store(0, std::memory_order_release);
  states_mutex = new Mutex;  // the parent's is left as it is
}

}  // namespace mcp::python

#include "gil.h"

#include <atomic>
#include <thread>

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

}  // namespace

GilAcquire::GilAcquire() : held_(enter_gate()) {
  if (held_) state_ = PyGILState_Ensure();
}

GilAcquire::~GilAcquire() {
  if (!held_) return;
  PyGILState_Release(state_);
  gate.fetch_sub(1, std::memory_order_acq_rel);
}

void close_gil_gate() {
  if (gate.fetch_add(kClosed, std::memory_order_acq_rel) >= kClosed) {
    gate.fetch_sub(kClosed, std::memory_order_acq_rel);  // closed before
    return;
  }
  const GilRelease unlocked;  // those inside need the lock to leave
  while (gate.load(std::memory_order_acquire) != kClosed) std::this_thread::yield();
}

void reset_gil_gate_after_fork() { gate.store(0, std::memory_order_release); }

}  // namespace mcp::python

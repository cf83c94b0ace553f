// thread.cpp: which threads are the library's, and the signals of the others.
#include "base/thread.h"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace mcp {
namespace {

constexpr int kSignals = 64;

thread_local bool is_of_library = false;
// A bit for each signal that is blocked. No lock: a forked child might inherit it locked.
std::atomic<std::uint64_t> application_mask{0};

}  // namespace

void ensure_thread_stacks() noexcept {
#ifndef __GLIBC__
  constexpr std::size_t kLeast = std::size_t{1} << 20;
  pthread_attr_t attributes;
  if (pthread_getattr_default_np(&attributes) != 0) return;
  std::size_t size = 0;
  if (pthread_attr_getstacksize(&attributes, &size) == 0 && size < kLeast &&
      pthread_attr_setstacksize(&attributes, kLeast) == 0) {
    pthread_setattr_default_np(&attributes);
  }
  pthread_attr_destroy(&attributes);
#endif
}

void join_library_threads() noexcept { is_of_library = true; }

void note_application_signals(const sigset_t& mask) noexcept {
  if (is_of_library) return;
  std::uint64_t bits = 0;
  for (int signal = 1; signal <= kSignals; ++signal) {
    if (sigismember(&mask, signal) == 1) bits |= std::uint64_t{1} << (signal - 1);
  }
  application_mask.store(bits, std::memory_order_relaxed);
}

ApplicationSignals::ApplicationSignals() noexcept : changes_(is_of_library) {
  if (!changes_) return;
  sigset_t mask;
  sigemptyset(&mask);
  const std::uint64_t bits = application_mask.load(std::memory_order_relaxed);
  for (int signal = 1; bits != 0 && signal <= kSignals; ++signal) {
    if ((bits >> (signal - 1) & 1) != 0) sigaddset(&mask, signal);
  }
  pthread_sigmask(SIG_SETMASK, &mask, &before_);
}

ApplicationSignals::~ApplicationSignals() {
  if (changes_) pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace mcp

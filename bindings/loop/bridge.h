// bridge.h: from a native job to an asyncio future.
//
// A job holds a shared CompletionQueue and an id, nothing of Python. The bridge of the loop holds,
// under that id, the future and the Conversion that turns payloads into its result. The loop drains
// the queue in its own thread; conversions share at most one budget a tick (slices.h), in turns
// between answers and in order within one (turn_queue.h). Futures that are done (cancelled, most
// often) are skipped. When the loop is closed the bridge goes with its reader handle, and later
// completions are destroyed where they are pushed.
//
// Everything here is called with the interpreter lock held, on the loop's own thread.
#pragma once

#include <cstdint>
#include <memory>

#include "base/clock.h"
#include "base/completion_queue.h"
#include "base/watch_set.h"
#include "bindings/base/gil.h"

namespace mcp::python {

// Builds one future's result. Destroyed with the interpreter lock held.
class Conversion {
 public:
  enum class Progress {
    kDone,   // `result` is the future's result, a new reference
    kYield,  // the deadline passed: call again with the same payload
    kNext,   // this payload is used up; one more will follow
    kError,  // a Python exception is set, and becomes the future's
  };
  virtual ~Conversion() = default;
  virtual Progress resume(Completion& completion, Instant deadline, PyObject*& result) = 0;
};

// Looks for what may be pushed, because a descriptor is readable.
class Looker {
 public:
  Looker() = default;
  virtual ~Looker() = default;
  Looker(const Looker&) = delete;
  Looker& operator=(const Looker&) = delete;
  virtual void look() = 0;  // runs no code of Python's
};

struct BridgeObject;  // the heap type behind LoopBridge, see bridge.cpp

// A borrowed view of the bridge of one loop; valid while that loop runs.
class LoopBridge {
 public:
  explicit LoopBridge(BridgeObject* object) : object_(object) {}

  // The bridge of the running loop, made at first use. Empty, with RuntimeError set, outside a
  // coroutine; empty with OSError set when there is no descriptor left.
  static LoopBridge of_running_loop();
  explicit operator bool() const noexcept { return object_ != nullptr; }

  // A new future of the loop, and the id under which a job completes it. nullptr with an exception
  // set on failure.
  PyObject* expect(std::unique_ptr<Conversion> conversion, std::uint64_t& id) const;
  // The future will not be completed: the job was never started.
  void forget(std::uint64_t id) const;

  // Has the loop, if it has nothing else to do in its next turn, ask for so long whether anything
  // it watches is readable, instead of going to sleep. False with an exception set.
  [[nodiscard]] bool wait_busily(Duration longest) const;

  // Runs `callback` in the loop's next turn. False with an exception set.
  [[nodiscard]] bool call_soon(PyObject* callback) const;

  // What a job keeps to push its completions into.
  [[nodiscard]] std::shared_ptr<CompletionQueue> queue() const;

  // Descriptors that the loop watches. When one of them is readable that has the id of `looker`,
  // the loop calls it, and delivers what it pushes in the same turn. An id is given once; a looker
  // that is gone is called no more.
  std::uint64_t add_looker(std::weak_ptr<Looker> looker) const;
  // Made at first use. Null with an exception set on failure.
  [[nodiscard]] std::shared_ptr<WatchSet> watches() const;

 private:
  BridgeObject* object_;
};

}  // namespace mcp::python

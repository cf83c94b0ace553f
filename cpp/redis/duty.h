// duty.h: who looks for the replies to what is in flight. A pure state machine: no socket, no
// clock, no lock.
//
// Anyone may read replies, at any time, under one lock (client.h), so their order does not hang on
// this. It says who must: whoever has the duty looks until nothing is in flight or another has it.
//
//   nobody  nothing is in flight
//   thread  the I/O thread, which polls; it has the duty whenever no other can be relied on
//   caller  a thread that waits for its own replies; it hands the duty on when it leaves
//   loop    an event loop that watches the connection; only as long as all that wait are its own
//
// A loop may be busy or stopped: any caller takes the duty from it, and so does the thread when the
// oldest command has waited for long. A caller gives it to nobody but the thread.
//
// Thread-compatible. Invariants: while something is in flight somebody has the duty; where the
// answer of a call is "the thread was given the duty", the thread is to be woken.
#pragma once

namespace mcp::redis {

class Duty {
 public:
  enum class Holder { kNobody, kThread, kCaller, kLoop };
  using Loop = const void*;  // told apart by address

  // A command went out that `loop` waits for, or, where that is null, nobody who could look. True:
  // the thread was given the duty.
  [[nodiscard]] bool sent(Loop loop) noexcept {
    const bool is_free = holder_ == Holder::kNobody;
    if (loop != nullptr && is_free) {
      holder_ = Holder::kLoop;
      loop_ = loop;
      return false;
    }
    const bool is_of_two_loops = holder_ == Holder::kLoop && loop != nullptr && loop != loop_;
    if (!is_free && !is_of_two_loops) return false;
    holder_ = Holder::kThread;
    return true;
  }
  // A thread is about to wait for replies. True: it has the duty, and must call left().
  [[nodiscard]] bool waits() noexcept {
    if (holder_ == Holder::kThread || holder_ == Holder::kCaller) return false;
    holder_ = Holder::kCaller;
    return true;
  }
  // The caller looks no more. True: the thread was given the duty.
  [[nodiscard]] bool left(bool in_flight) noexcept {
    holder_ = in_flight ? Holder::kThread : Holder::kNobody;
    return in_flight;
  }
  // Nothing is in flight any more.
  void ended() noexcept {
    if (holder_ != Holder::kCaller) holder_ = Holder::kNobody;
  }
  // The loop takes too long, or there is too much to read for it. True: the thread has the duty.
  [[nodiscard]] bool take_from_loop() noexcept {
    if (holder_ != Holder::kLoop) return false;
    holder_ = Holder::kThread;
    return true;
  }

  [[nodiscard]] Holder holder() const noexcept { return holder_; }
  [[nodiscard]] bool is_of(Loop loop) const noexcept {
    return holder_ == Holder::kLoop && loop_ == loop;
  }

 private:
  Holder holder_ = Holder::kNobody;
  Loop loop_ = nullptr;  // the one that has the duty, or had it last
};

}  // namespace mcp::redis

// coherence.h: when a value read from Redis may be kept in this process, and when what is kept must
// go. A pure state machine: no socket, no clock, no thread; it does not hold the values either.
//
// Redis remembers each key that the data connection D read, and announces the first change of it on
// the invalidation connection I, then forgets the key. The two connections are not ordered against
// each other. What follows from that:
//
// - A fill (a read on its way into the memory cache) has a placeholder from before its command is
//   sent until its value is kept. An invalidation of the key, or of everything, removes the
//   placeholder; a later fill of the key replaces it. A value is kept only while its own
//   placeholder is there: keep() asks after the value was put in, and false says to take it out.
// - Fills begin in the order in which their commands are sent.
// - While D and I are both up and tracking was acknowledged, what is kept is announced when it
//   changes. When either is lost nothing more will be announced, so both are dropped, every
//   placeholder goes, and the memory cache is flushed.
// - While Redis is away, values may be kept for their own lifetime; when tracking begins they are
//   flushed, because nobody would announce their change.
// - A server that cannot track gets no fills kept at all.
// - I is pinged by beat(); a ping that is not answered by the next beat means that I is lost.
//
// Thread-compatible. Invariant: the fills with a placeholder are those that begin() gave out since
// the last change of state and that nothing has ended.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

namespace mcp::redis {

using FillId = std::uint64_t;
inline constexpr FillId kNoFill = 0;  // never kept

class Coherence {
 public:
  enum class State { kAway, kTracking, kUntracked };

  // -- Fills

  // Puts the placeholder of `key`. kNoFill when the server cannot track.
  [[nodiscard]] FillId begin(std::string_view key);
  // Ends the fill. True: its value stays in the memory cache. False: take it out.
  [[nodiscard]] bool keep(FillId fill);
  // Whether keep() would be true now.
  [[nodiscard]] bool holds(FillId fill) const { return by_fill_.contains(fill); }
  // Ends the fill without a value.
  void abandon(FillId fill);

  // -- What happened. After each of the first three, flush the memory cache; after the last, drop
  // `key` from it, known or not.

  // D and I are up; `acknowledged` says whether the server tracks what D reads.
  void connected(bool acknowledged) { enter(acknowledged ? State::kTracking : State::kUntracked); }
  // Either connection is gone, for whatever reason.
  void lost() { enter(State::kAway); }
  // A null invalidation: FLUSHALL, FLUSHDB, or a tracking table that the server gave up.
  void invalidated_all() { forget_fills(); }
  // `key` changed, expired or was evicted.
  void invalidated(std::string_view key);
  // A command of our own changed `key`, and its reply is here: likewise, but for the fill that the
  // command itself began.
  void changed(std::string_view key, FillId own = kNoFill);

  // -- Whether I is alive

  // Call at a steady pace while connected. True: send a ping on I. False: the last one was not
  // answered; treat I as lost.
  [[nodiscard]] bool beat();
  // Something arrived on I.
  void heard() noexcept { awaiting_ = false; }

  [[nodiscard]] State state() const noexcept { return state_; }
  // Grows with every connected() and lost().
  [[nodiscard]] std::uint64_t generation() const noexcept { return generation_; }
  [[nodiscard]] std::size_t placeholders() const noexcept { return by_key_.size(); }

 private:
  void forget_fills();
  void enter(State state);

  State state_ = State::kAway;
  std::uint64_t generation_ = 0;
  FillId last_fill_ = kNoFill;
  bool awaiting_ = false;  // a ping is on its way
  std::unordered_map<std::string, FillId> by_key_;
  std::unordered_map<FillId, std::string> by_fill_;
};

}  // namespace mcp::redis

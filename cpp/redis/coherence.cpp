// coherence.cpp: the transitions of the state machine.
#include "redis/coherence.h"

#include <utility>

namespace mcp::redis {

FillId Coherence::begin(std::string_view key) {
  if (state_ == State::kUntracked) return kNoFill;
  const auto [place, fresh] = by_key_.try_emplace(std::string(key), kNoFill);
  if (!fresh) by_fill_.erase(place->second);
  place->second = ++last_fill_;
  by_fill_.emplace(place->second, place->first);
  return place->second;
}

bool Coherence::keep(FillId fill) {
  const auto found = by_fill_.find(fill);
  if (found == by_fill_.end()) return false;
  by_key_.erase(found->second);
  by_fill_.erase(found);
  return true;
}

void Coherence::abandon(FillId fill) { static_cast<void>(keep(fill)); }

void Coherence::invalidated(std::string_view key) { changed(key); }

void Coherence::changed(std::string_view key, FillId own) {
  const auto found = by_key_.find(std::string(key));
  if (found == by_key_.end() || found->second == own) return;
  by_fill_.erase(found->second);
  by_key_.erase(found);
}

bool Coherence::beat() { return !std::exchange(awaiting_, true); }

void Coherence::forget_fills() {
  by_fill_.clear();
  by_key_.clear();
}

void Coherence::enter(State state) {
  state_ = state;
  ++generation_;
  awaiting_ = false;
  forget_fills();
}

}  // namespace mcp::redis

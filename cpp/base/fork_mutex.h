// fork_mutex.h: a mutex that a forked child never finds locked: fork() waits for it, and lets go of
// it in parent and child. Thread-safe.
//
// For a leaf that is held for a few instructions, for what parent and child both go on using.
// REQUIRES: whoever holds it waits for nothing meanwhile.
#pragma once

#include "base/mutex.h"

namespace mcp {

class ForkMutex : public Mutex {
 public:
  ForkMutex();
  ~ForkMutex();
  ForkMutex(const ForkMutex&) = delete;
  ForkMutex& operator=(const ForkMutex&) = delete;
};

}  // namespace mcp

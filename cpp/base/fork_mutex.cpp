// fork_mutex.cpp: the handlers of a fork that take and free those mutexes.
#include "base/fork_mutex.h"

#include <pthread.h>

#include <functional>
#include <set>

namespace mcp {

// All of the process. Never destroyed: a fork may come as the process ends.
struct ForkMutexes {
  ForkMutexes() { ::pthread_atfork(lock_all, unlock_all, unlock_all); }

  static ForkMutexes& get() {
    static auto* const all = new ForkMutexes;
    return *all;
  }
  static void lock_all() NO_THREAD_SAFETY_ANALYSIS {
    ForkMutexes& all = get();
    all.mutex.lock();
    for (ForkMutex* one : all.members) one->lock();
  }
  static void unlock_all() NO_THREAD_SAFETY_ANALYSIS {
    ForkMutexes& all = get();
    for (ForkMutex* one : all.members) one->unlock();
    all.mutex.unlock();
  }
  void add(ForkMutex& one) {
    const MutexLock lock(mutex);
    members.insert(&one);
  }
  void remove(ForkMutex& one) {
    const MutexLock lock(mutex);
    members.erase(&one);
  }

  Mutex mutex;  // taken before each of them
  // By address, so that they are always taken in one order.
  std::set<ForkMutex*, std::less<>> members GUARDED_BY(mutex);
};

ForkMutex::ForkMutex() { ForkMutexes::get().add(*this); }
ForkMutex::~ForkMutex() { ForkMutexes::get().remove(*this); }

}  // namespace mcp

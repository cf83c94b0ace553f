// fork_mutex.cpp: the handlers of a fork that take and free those mutexes.
#include "base/fork_mutex.h"

#include <pthread.h>

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
    for (ForkMutex* one = all.first; one != nullptr; one = one->next_) one->lock();
  }
  static void unlock_all() NO_THREAD_SAFETY_ANALYSIS {
    ForkMutexes& all = get();
    for (ForkMutex* one = all.first; one != nullptr; one = one->next_) one->unlock();
    all.mutex.unlock();
  }
  void add(ForkMutex& one) {
    const MutexLock lock(mutex);
    one.next_ = first;
    if (first != nullptr) first->previous_ = &one;
    first = &one;
  }
  void remove(ForkMutex& one) {
    const MutexLock lock(mutex);
    if (one.next_ != nullptr) one.next_->previous_ = one.previous_;
    (one.previous_ != nullptr ? one.previous_->next_ : first) = one.next_;
  }

  Mutex mutex;  // taken before each of them
  ForkMutex* first GUARDED_BY(mutex) = nullptr;
};

ForkMutex::ForkMutex() { ForkMutexes::get().add(*this); }
ForkMutex::~ForkMutex() { ForkMutexes::get().remove(*this); }

}  // namespace mcp

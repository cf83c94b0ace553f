// fork_guard.cpp: the handlers around fork(), and the list of pools.
#include "sqlite/fork_guard.h"

#include <pthread.h>
#include <sqlite3.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/mutex.h"
#include "sqlite/pool.h"

namespace mcp::sqlite {
namespace {

constexpr Duration kPatience_ns = kSecond;  // for statements that run when the process forks

// Never destroyed: a thread may fork while the process exits.
struct Registry {
  Mutex mutex;
  std::vector<Pool*> pools GUARDED_BY(mutex);
  std::vector<FileId> held GUARDED_BY(mutex);  // one for each ForkHold
  std::vector<FileId> in_use;                  // by the parent, at the fork that is under way
  std::vector<FileId> inherited;               // in a child
};

Registry& registry() {
  static auto* one = new Registry;
  return *one;
}

// In an order in which SQLite itself nests them.
constexpr int kStaticMutexes[] = {SQLITE_MUTEX_STATIC_MAIN, SQLITE_MUTEX_STATIC_OPEN,
                                  SQLITE_MUTEX_STATIC_VFS1, SQLITE_MUTEX_STATIC_VFS2,
                                  SQLITE_MUTEX_STATIC_VFS3, SQLITE_MUTEX_STATIC_LRU,
                                  SQLITE_MUTEX_STATIC_PRNG, SQLITE_MUTEX_STATIC_MEM};

void before_fork() NO_THREAD_SAFETY_ANALYSIS {
  Registry& all = registry();
  all.mutex.lock();
  const Instant deadline = now_precise() + kPatience_ns;
  all.in_use = all.held;
  for (Pool* pool : all.pools) {
    FileId id;
    if (!pool->pause_for_fork(deadline) && identify(pool->file(), id)) {
      all.in_use.push_back(id);
    }
  }
  if (all.pools.empty()) return;
  for (const int one : kStaticMutexes) sqlite3_mutex_enter(sqlite3_mutex_alloc(one));
}

void leave_mutexes() {
  for (auto one = std::rbegin(kStaticMutexes); one != std::rend(kStaticMutexes); ++one) {
    sqlite3_mutex_leave(sqlite3_mutex_alloc(*one));
  }
}

void after_fork_in_parent() NO_THREAD_SAFETY_ANALYSIS {
  Registry& all = registry();
  if (!all.pools.empty()) leave_mutexes();
  for (Pool* pool : all.pools) pool->resume_after_fork();
  all.mutex.unlock();
}

void after_fork_in_child() NO_THREAD_SAFETY_ANALYSIS {
  Registry& all = registry();
  if (!all.pools.empty()) leave_mutexes();
  all.pools.clear();  // they are the parent's
  all.held.clear();
  all.inherited.insert(all.inherited.end(), all.in_use.begin(), all.in_use.end());
  all.mutex.unlock();
}

void install_handlers() {
  static const int handlers =
      pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  static_cast<void>(handlers);
}

}  // namespace

void guard_at_fork(Pool& pool) {
  install_handlers();
  Registry& all = registry();
  const MutexLock lock(all.mutex);
  all.pools.push_back(&pool);
}

void unguard_at_fork(Pool& pool) noexcept {
  Registry& all = registry();
  const MutexLock lock(all.mutex);
  std::erase(all.pools, &pool);
}

ForkHold::ForkHold(const std::string& path) {
  install_handlers();
  if (!identify(file_of(path), id_)) return;
  Registry& all = registry();
  const MutexLock lock(all.mutex);
  all.held.push_back(id_);
}

ForkHold::~ForkHold() {
  Registry& all = registry();
  const MutexLock lock(all.mutex);
  const auto found = std::find(all.held.begin(), all.held.end(), id_);  // not there in a child
  if (found != all.held.end()) all.held.erase(found);
}

void check_not_inherited(const std::string& path) {
  Registry& all = registry();
  const MutexLock lock(all.mutex);
  FileId id;
  if (all.inherited.empty() || !identify(path, id)) return;
  if (std::find(all.inherited.begin(), all.inherited.end(), id) != all.inherited.end()) {
    throw Error(ErrorKind::kDatabase,
                "the process was forked while a connection to this database was in use: open it "
                "in a process that was started afresh");
  }
}

}  // namespace mcp::sqlite

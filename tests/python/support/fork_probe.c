// fork_probe.c: stops a thread that has just taken a mutex of one module, at a chosen call, so that a
// fork happens while that mutex is held. Preloaded; told what to do by fork_scenes.py through ctypes.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

enum { kMostSites = 512, kPatienceMs = 300 };

static int (*real_lock)(pthread_mutex_t*);
static uintptr_t first, behind;  // the module's code
static _Atomic uintptr_t sites[kMostSites];
static _Atomic uintptr_t armed;
static _Atomic int held;
static __thread int is_forker;

static void pause_ms(long ms) {
  const struct timespec time = {0, ms * 1000000};
  nanosleep(&time, NULL);
}

static void note(uintptr_t at) {
  for (int i = 0; i < kMostSites; ++i) {
    uintptr_t known = atomic_load_explicit(&sites[i], memory_order_relaxed);
    if (known == at) return;
    if (known == 0 && atomic_compare_exchange_strong(&sites[i], &known, at)) return;
    if (known == at) return;
  }
}

int pthread_mutex_lock(pthread_mutex_t* mutex) {
  if (real_lock == NULL) *(void**)&real_lock = dlsym(RTLD_NEXT, "pthread_mutex_lock");
  const int result = real_lock(mutex);
  const uintptr_t at = (uintptr_t)__builtin_return_address(0);
  if (at < first || at >= behind || is_forker) return result;
  note(at - first);
  uintptr_t wanted = at - first;
  if (atomic_load(&armed) != wanted || !atomic_compare_exchange_strong(&armed, &wanted, 0)) {
    return result;
  }
  atomic_store(&held, 1);
  // Whoever prepares the fork may want this mutex: it is not kept for ever.
  for (int i = 0; i < kPatienceMs && atomic_load(&held) == 1; ++i) pause_ms(1);
  atomic_store(&held, 0);
  return result;
}

static void in_child(void) {
  atomic_store(&armed, 0);
  atomic_store(&held, 0);
}

static int look(struct dl_phdr_info* info, size_t size, void* name) {
  (void)size;
  if (strstr(info->dlpi_name, (const char*)name) == NULL) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type != PT_LOAD || !(info->dlpi_phdr[i].p_flags & PF_X)) continue;
    first = info->dlpi_addr;
    behind = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
  }
  return 1;
}

// The calling thread is the one that forks.
int probe_watch(const char* module) {
  is_forker = 1;
  pthread_atfork(NULL, NULL, in_child);
  return dl_iterate_phdr(look, (void*)module);
}

int probe_sites(uintptr_t* out) {
  int count = 0;
  while (count < kMostSites && (out[count] = atomic_load(&sites[count])) != 0) ++count;
  return count;
}

// 1: a thread holds the mutex that it took at `site`, and waits.
int probe_hold(uintptr_t site, int patience_ms) {
  atomic_store(&armed, site);
  for (int i = 0; i < patience_ms && !atomic_load(&held); ++i) pause_ms(1);
  return atomic_load(&held);
}

// 1: it has waited until now.
int probe_release(void) {
  int yes = 1;
  atomic_store(&armed, 0);
  return atomic_compare_exchange_strong(&held, &yes, 2);
}

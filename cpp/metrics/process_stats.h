// process_stats.h: what this process uses and what it may use, as its container sees it: the limits
// of its cgroups (v1 and v2, its own and those above) where there are any, the machine's otherwise.
//
// read_process_stats() only reads files; safe from any thread. Sources: proc(5), and the kernel's
// "Control Group v2" and "cgroup-v1" pages for cpu.max, cpu.cfs_*, cpu.stat and memory.*.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace mcp::metrics {

struct ProcessStats {
  double cpu_seconds = 0;        // user and system time of this process since it started
  double cpu_cores = 0;          // cores it may use: a cgroup quota may be a fraction
  double throttled_seconds = 0;  // time its cgroup was held back by the quota
  std::uint64_t resident_bytes = 0;
  std::uint64_t memory_used_bytes = 0;   // of the container without reclaimable file pages, or host
  std::uint64_t memory_limit_bytes = 0;  // of the container, or the host's memory
  double start_time = 0;                 // of this process, seconds since 1970
  std::uint64_t open_fds = 0;
  std::uint64_t max_fds = 0;  // the soft limit
  std::uint64_t threads = 0;
  std::uint64_t oom_kills = 0;  // processes of its cgroup that the kernel killed for want of memory
  bool limited_by_cgroup = false;  // whether the memory limit is a cgroup's
};

// Calls visit(name, value) for each figure, under the name that Python and the reports have for it.
template <class Visit>
void visit_fields(const ProcessStats& stats, Visit&& visit) {
  visit("cpu_seconds", stats.cpu_seconds);
  visit("cpu_cores", stats.cpu_cores);
  visit("throttled_seconds", stats.throttled_seconds);
  visit("resident_bytes", stats.resident_bytes);
  visit("memory_used_bytes", stats.memory_used_bytes);
  visit("memory_limit_bytes", stats.memory_limit_bytes);
  visit("start_time", stats.start_time);
  visit("open_fds", stats.open_fds);
  visit("max_fds", stats.max_fds);
  visit("threads", stats.threads);
  visit("oom_kills", stats.oom_kills);
  visit("limited_by_cgroup", stats.limited_by_cgroup);
}

// Where to look; tests point it at a tree of their own.
struct SystemRoots {
  std::filesystem::path proc = "/proc";
  std::filesystem::path cgroup = "/sys/fs/cgroup";
};

// The two of them that a timer can afford to read.
struct CpuTimes {
  double cpu_seconds = 0;
  double throttled_seconds = 0;
};
[[nodiscard]] CpuTimes read_cpu_times(const SystemRoots& roots = {});

// Files that are missing or say "max" leave the host's figure in place.
[[nodiscard]] ProcessStats read_process_stats(const SystemRoots& roots = {});

}  // namespace mcp::metrics

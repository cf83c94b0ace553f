// process_stats.cpp: reads /proc and the cgroup's files.
#include "metrics/process_stats.h"

#include <sched.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

namespace mcp::metrics {
namespace {

namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
  const std::ifstream file(path);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  return text.str();
}

// The number after `name` in a file of "name value" lines, in the style of /proc/meminfo and
// cpu.stat.
std::optional<std::uint64_t> field(const std::string& text, std::string_view name) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(name)) continue;
    std::istringstream rest(line.substr(name.size()));
    if (std::uint64_t value = 0; rest >> value) return value;
  }
  return std::nullopt;
}

// A file that holds one number, or "max".
std::optional<std::uint64_t> number(const fs::path& path) {
  std::istringstream text(read_file(path));
  if (std::uint64_t value = 0; text >> value) return value;
  return std::nullopt;
}

std::uint64_t count_entries(const fs::path& directory) {
  std::error_code ignored;
  std::uint64_t count = 0;
  for (fs::directory_iterator at(directory, ignored), end; at != end; at.increment(ignored)) {
    ++count;
  }
  return count;
}

double allowed_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return static_cast<double>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

// The cgroup of this process under the v2 hierarchy: the line "0::/path". Inside a container's own
// namespace the path is "/" and its files stand at the root.
fs::path own_cgroup(const SystemRoots& roots) {
  std::istringstream lines(read_file(roots.proc / "self" / "cgroup"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("0::")) continue;
    const fs::path found = roots.cgroup / fs::path(line.substr(3)).relative_path();
    if (std::error_code ignored; fs::exists(found / "memory.current", ignored)) return found;
  }
  return roots.cgroup;
}

CpuTimes cpu_times(const fs::path& cgroup) {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  const auto throttled_us = field(read_file(cgroup / "cpu.stat"), "throttled_usec");
  return {static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9,
          static_cast<double>(throttled_us.value_or(0)) * 1e-6};
}

void read_cpu(const fs::path& cgroup, ProcessStats& stats) {
  const CpuTimes times = cpu_times(cgroup);
  stats.cpu_seconds = times.cpu_seconds;
  stats.throttled_seconds = times.throttled_seconds;
  stats.cpu_cores = allowed_cores();
  std::istringstream limit(read_file(cgroup / "cpu.max"));
  double quota_us = 0;
  double period_us = 0;
  if (limit >> quota_us >> period_us && period_us > 0) {
    stats.cpu_cores = std::min(stats.cpu_cores, quota_us / period_us);
  }
}

void read_memory(const SystemRoots& roots, const fs::path& cgroup, ProcessStats& stats) {
  std::uint64_t total_pages = 0;
  std::uint64_t resident_pages = 0;
  std::istringstream(read_file(roots.proc / "self" / "statm")) >> total_pages >> resident_pages;
  stats.resident_bytes = resident_pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));

  const std::string host = read_file(roots.proc / "meminfo");
  stats.memory_limit_bytes = field(host, "MemTotal:").value_or(0) * 1024;
  const std::uint64_t available = field(host, "MemAvailable:").value_or(0) * 1024;
  stats.memory_used_bytes =
      stats.memory_limit_bytes - std::min(available, stats.memory_limit_bytes);

  stats.oom_kills = field(read_file(cgroup / "memory.events"), "oom_kill ").value_or(0);
  const auto limit = number(cgroup / "memory.max");
  const auto current = number(cgroup / "memory.current");
  if (!limit || !current || *limit > stats.memory_limit_bytes) return;
  const auto reclaimable = field(read_file(cgroup / "memory.stat"), "inactive_file ").value_or(0);
  stats.memory_limit_bytes = *limit;
  stats.memory_used_bytes = *current - std::min(reclaimable, *current);
  stats.limited_by_cgroup = true;
}

// Field 22 of /proc/self/stat counts clock ticks from boot; the command in field 2 may hold spaces.
double start_time(const SystemRoots& roots) {
  const std::string stat = read_file(roots.proc / "self" / "stat");
  std::istringstream fields(stat.substr(std::min(stat.size(), stat.rfind(')') + 1)));
  std::string skipped;
  for (int i = 3; i < 22; ++i) fields >> skipped;
  double ticks = 0;
  fields >> ticks;
  const auto boot = field(read_file(roots.proc / "stat"), "btime ").value_or(0);
  return static_cast<double>(boot) + ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

CpuTimes read_cpu_times(const SystemRoots& roots) { return cpu_times(own_cgroup(roots)); }

ProcessStats read_process_stats(const SystemRoots& roots) {
  ProcessStats stats;
  const fs::path cgroup = own_cgroup(roots);
  read_cpu(cgroup, stats);
  read_memory(roots, cgroup, stats);
  stats.open_fds = count_entries(roots.proc / "self" / "fd");
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) stats.max_fds = limit.rlim_cur;
  stats.start_time = start_time(roots);
  stats.threads = field(read_file(roots.proc / "self" / "status"), "Threads:").value_or(0);
  return stats;
}

}  // namespace mcp::metrics

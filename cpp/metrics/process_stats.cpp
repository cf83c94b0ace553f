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
#include <vector>

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

// The groups that limit this process, its own first: every one above it limits it too.
struct Cgroups {
  std::vector<fs::path> cpu;
  std::vector<fs::path> memory;
};

// The directories of `path` below `root`, up to `root`. Inside a container's own namespace a path
// may name what is not mounted there: then its files stand at the root.
std::vector<fs::path> lineage(const fs::path& root, const fs::path& path) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (fs::path at = path.relative_path(); !at.empty(); at = at.parent_path()) {
    if (fs::is_directory(root / at, ignored)) found.push_back(root / at);
  }
  found.push_back(root);
  return found;
}

bool lists(std::string_view controllers, std::string_view wanted) {
  for (std::size_t from = 0; from <= controllers.size();) {
    const std::size_t end = std::min(controllers.find(',', from), controllers.size());
    if (controllers.substr(from, end - from) == wanted) return true;
    from = end + 1;
  }
  return false;
}

// Lines "number:controllers:path"; v2 has one line, "0::path". Where v1 is mounted for a
// controller, that one counts.
Cgroups own_cgroups(const SystemRoots& roots) {
  Cgroups found;
  std::istringstream lines(read_file(roots.proc / "self" / "cgroup"));
  fs::path unified;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const fs::path path = line.substr(second + 1);
    if (controllers.empty()) unified = path;
    const auto v1 = [&](const char* controller, std::vector<fs::path>& into) {
      std::error_code ignored;
      if (!lists(controllers, controller)) return;
      for (const fs::path& mount : {roots.cgroup / controller, roots.cgroup / controllers}) {
        if (into.empty() && fs::is_directory(mount, ignored)) into = lineage(mount, path);
      }
    };
    v1("cpu", found.cpu);
    v1("memory", found.memory);
  }
  if (found.cpu.empty()) found.cpu = lineage(roots.cgroup, unified);
  if (found.memory.empty()) found.memory = lineage(roots.cgroup, unified);
  return found;
}

double throttled_seconds(const fs::path& group) {
  const std::string stat = read_file(group / "cpu.stat");
  if (const auto us = field(stat, "throttled_usec ")) return static_cast<double>(*us) * 1e-6;
  return static_cast<double>(field(stat, "throttled_time ").value_or(0)) * 1e-9;
}

CpuTimes cpu_times(const Cgroups& groups) {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  double throttled = 0;
  for (const fs::path& group : groups.cpu)
    throttled = std::max(throttled, throttled_seconds(group));
  return {static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9, throttled};
}

// The cores that `group` allows.
std::optional<double> quota(const fs::path& group) {
  double quota_us = 0;
  double period_us = 0;
  std::istringstream v2(read_file(group / "cpu.max"));
  if (!(v2 >> quota_us >> period_us)) {
    std::istringstream v1(read_file(group / "cpu.cfs_quota_us") + " " +
                          read_file(group / "cpu.cfs_period_us"));
    if (!(v1 >> quota_us >> period_us)) return std::nullopt;
  }
  if (quota_us <= 0 || period_us <= 0) return std::nullopt;  // -1: no limit
  return quota_us / period_us;
}

void read_cpu(const Cgroups& groups, ProcessStats& stats) {
  const CpuTimes times = cpu_times(groups);
  stats.cpu_seconds = times.cpu_seconds;
  stats.throttled_seconds = times.throttled_seconds;
  stats.cpu_cores = allowed_cores();
  for (const fs::path& group : groups.cpu) {
    stats.cpu_cores = std::min(stats.cpu_cores, quota(group).value_or(stats.cpu_cores));
  }
}

// Limits `stats` to what `group` allows, if that is less.
void limit_memory(const fs::path& group, ProcessStats& stats) {
  const bool is_v2 = number(group / "memory.current").has_value();
  auto limit = number(group / (is_v2 ? "memory.max" : "memory.limit_in_bytes"));
  // From memory.high on, the kernel holds its processes back.
  if (const auto high = is_v2 ? number(group / "memory.high") : std::nullopt) {
    limit = std::min(*high, limit.value_or(*high));
  }
  const auto current = number(group / (is_v2 ? "memory.current" : "memory.usage_in_bytes"));
  if (!limit || !current || *limit > stats.memory_limit_bytes) return;
  const auto reclaimable =
      field(read_file(group / "memory.stat"), is_v2 ? "inactive_file " : "total_inactive_file ")
          .value_or(0);
  stats.memory_limit_bytes = *limit;
  stats.memory_used_bytes = *current - std::min(reclaimable, *current);
  stats.limited_by_cgroup = true;
}

void read_memory(const SystemRoots& roots, const Cgroups& groups, ProcessStats& stats) {
  std::uint64_t total_pages = 0;
  std::uint64_t resident_pages = 0;
  std::istringstream(read_file(roots.proc / "self" / "statm")) >> total_pages >> resident_pages;
  stats.resident_bytes = resident_pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));

  const std::string host = read_file(roots.proc / "meminfo");
  stats.memory_limit_bytes = field(host, "MemTotal:").value_or(0) * 1024;
  const std::uint64_t available = field(host, "MemAvailable:").value_or(0) * 1024;
  stats.memory_used_bytes =
      stats.memory_limit_bytes - std::min(available, stats.memory_limit_bytes);
  for (const fs::path& group : groups.memory) limit_memory(group, stats);
  stats.oom_kills =
      groups.memory.empty()
          ? 0
          : field(read_file(groups.memory.front() / "memory.events"), "oom_kill ").value_or(0);
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

CpuTimes read_cpu_times(const SystemRoots& roots) { return cpu_times(own_cgroups(roots)); }

ProcessStats read_process_stats(const SystemRoots& roots) {
  ProcessStats stats;
  const Cgroups groups = own_cgroups(roots);
  read_cpu(groups, stats);
  read_memory(roots, groups, stats);
  stats.open_fds = count_entries(roots.proc / "self" / "fd");
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) stats.max_fds = limit.rlim_cur;
  stats.start_time = start_time(roots);
  stats.threads = field(read_file(roots.proc / "self" / "status"), "Threads:").value_or(0);
  return stats;
}

}  // namespace mcp::metrics

#include "metrics/process_stats.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <tuple>

namespace mcp::metrics {
namespace {

namespace fs = std::filesystem;

// A machine of 8 GiB, of which 6 are available, in a directory.
class ProcessStatsOfATree : public testing::Test {
 protected:
  ProcessStatsOfATree()
      : root_(fs::temp_directory_path() / ("mcp-process-stats-" + std::to_string(getpid()))),
        roots_{root_ / "proc", root_ / "cgroup"} {
    write("proc/self/statm", "5000 1000 100 1 0 900 0\n");
    write("proc/self/status", "Name:\tservice\nThreads:\t7\n");
    write("proc/self/cgroup", "0::/service\n");
    write("proc/meminfo", "MemTotal:        8388608 kB\nMemAvailable:    6291456 kB\n");
  }
  ~ProcessStatsOfATree() override { fs::remove_all(root_); }

  void write(const fs::path& name, const std::string& text) {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }

  fs::path root_;
  SystemRoots roots_;
};

TEST_F(ProcessStatsOfATree, WithoutACgroupTheHostIsTheLimit) {
  const ProcessStats stats = read_process_stats(roots_);
  EXPECT_EQ(stats.memory_limit_bytes, 8ull << 30);
  EXPECT_EQ(stats.memory_used_bytes, 2ull << 30);
  EXPECT_EQ(stats.resident_bytes, 1000u * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)));
  EXPECT_EQ(stats.threads, 7u);
  EXPECT_FALSE(stats.limited_by_cgroup);
  EXPECT_GE(stats.cpu_cores, 1.0);
}

TEST_F(ProcessStatsOfATree, TheContainersQuotaAndMemoryCountWithoutReclaimablePages) {
  write("cgroup/service/cpu.max", "50000 100000\n");
  write("cgroup/service/cpu.stat", "usage_usec 9\nnr_throttled 3\nthrottled_usec 2500000\n");
  write("cgroup/service/memory.max", "1073741824\n");
  write("cgroup/service/memory.current", "943718400\n");
  write("cgroup/service/memory.stat", "anon 1\ninactive_file 104857600\n");
  const ProcessStats stats = read_process_stats(roots_);
  EXPECT_DOUBLE_EQ(stats.cpu_cores, 0.5);
  EXPECT_DOUBLE_EQ(stats.throttled_seconds, 2.5);
  EXPECT_EQ(stats.memory_limit_bytes, 1ull << 30);
  EXPECT_EQ(stats.memory_used_bytes, 800ull << 20);
  EXPECT_TRUE(stats.limited_by_cgroup);
}

TEST_F(ProcessStatsOfATree, InsideItsOwnNamespaceTheFilesStandAtTheRoot) {
  write("proc/self/cgroup", "0::/\n");
  write("cgroup/memory.max", "1073741824\n");
  write("cgroup/memory.current", "104857600\n");
  EXPECT_EQ(read_process_stats(roots_).memory_limit_bytes, 1ull << 30);
}

TEST_F(ProcessStatsOfATree, AnUnlimitedCgroupLeavesTheHostsFigures) {
  write("cgroup/service/cpu.max", "max 100000\n");
  write("cgroup/service/memory.max", "max\n");
  write("cgroup/service/memory.current", "104857600\n");
  const ProcessStats stats = read_process_stats(roots_);
  EXPECT_EQ(stats.memory_limit_bytes, 8ull << 30);
  EXPECT_GE(stats.cpu_cores, 1.0);
  EXPECT_FALSE(stats.limited_by_cgroup);
}

TEST_F(ProcessStatsOfATree, KillsForWantOfMemoryAreTheCgroups) {
  EXPECT_EQ(read_process_stats(roots_).oom_kills, 0u);
  write("cgroup/service/memory.current", "104857600\n");
  write("cgroup/service/memory.events",
        "low 0\nhigh 9\nmax 8\noom 7\noom_kill 3\noom_group_kill 1\n");
  EXPECT_EQ(read_process_stats(roots_).oom_kills, 3u);
}

TEST_F(ProcessStatsOfATree, AGroupAboveLimitsToo) {
  write("proc/self/cgroup", "0::/pod/container\n");
  write("cgroup/pod/cpu.max", "30000 100000\n");
  write("cgroup/pod/cpu.stat", "throttled_usec 1500000\n");
  write("cgroup/pod/memory.max", "1073741824\n");
  write("cgroup/pod/memory.current", "209715200\n");
  write("cgroup/pod/container/cpu.max", "max 100000\n");
  write("cgroup/pod/container/memory.max", "max\n");
  write("cgroup/pod/container/memory.current", "104857600\n");
  const ProcessStats stats = read_process_stats(roots_);
  EXPECT_DOUBLE_EQ(stats.cpu_cores, 0.3);
  EXPECT_DOUBLE_EQ(stats.throttled_seconds, 1.5);
  EXPECT_EQ(stats.memory_limit_bytes, 1ull << 30);
  EXPECT_EQ(stats.memory_used_bytes, 200ull << 20);
}

TEST_F(ProcessStatsOfATree, WhereTheKernelHoldsBackIsALimitToo) {
  write("cgroup/service/memory.current", "104857600\n");
  const std::string million(6, '0');
  for (const auto& [high, max, limit] :
       {std::tuple{"200" + million, "400" + million, 200'000'000u},
        std::tuple{"500" + million, "400" + million, 400'000'000u},
        std::tuple{"200" + million, std::string("max"), 200'000'000u},
        std::tuple{std::string("max"), "400" + million, 400'000'000u}}) {
    write("cgroup/service/memory.high", high + "\n");
    write("cgroup/service/memory.max", max + "\n");
    const ProcessStats stats = read_process_stats(roots_);
    EXPECT_EQ(stats.memory_limit_bytes, limit) << high << " " << max;
    EXPECT_TRUE(stats.limited_by_cgroup);
  }
}

struct FirstVersion {
  const char* name;
  const char* lines;  // of /proc/self/cgroup
  const char* cpu;    // where the files are
  const char* memory;
};

class ProcessStatsOfCgroupV1 : public ProcessStatsOfATree,
                               public testing::WithParamInterface<FirstVersion> {};

TEST_P(ProcessStatsOfCgroupV1, TheContainersQuotaAndMemoryCount) {
  const std::string cpu = std::string("cgroup/") + GetParam().cpu;
  const std::string memory = std::string("cgroup/") + GetParam().memory;
  write("proc/self/cgroup", GetParam().lines);
  write(cpu + "/cpu.cfs_quota_us", "50000\n");
  write(cpu + "/cpu.cfs_period_us", "100000\n");
  write(cpu + "/cpu.stat", "nr_periods 9\nnr_throttled 3\nthrottled_time 2500000000\n");
  write(memory + "/memory.limit_in_bytes", "1073741824\n");
  write(memory + "/memory.usage_in_bytes", "943718400\n");
  write(memory + "/memory.stat", "inactive_file 1\ntotal_inactive_file 104857600\n");
  const ProcessStats stats = read_process_stats(roots_);
  EXPECT_DOUBLE_EQ(stats.cpu_cores, 0.5);
  EXPECT_DOUBLE_EQ(stats.throttled_seconds, 2.5);
  EXPECT_EQ(stats.memory_limit_bytes, 1ull << 30);
  EXPECT_EQ(stats.memory_used_bytes, 800ull << 20);
  EXPECT_TRUE(stats.limited_by_cgroup);
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, ProcessStatsOfCgroupV1,
    testing::Values(FirstVersion{"Docker", "4:memory:/docker/a\n2:cpu,cpuacct:/docker/a\n",
                                 "cpu/docker/a", "memory/docker/a"},
                    FirstVersion{"MountedTogether", "4:memory:/a\n2:cpu,cpuacct:/a\n",
                                 "cpu,cpuacct/a", "memory/a"},
                    FirstVersion{"OwnNamespace", "4:memory:/docker/a\n2:cpuacct,cpu:/docker/a\n",
                                 "cpuacct,cpu", "memory"},
                    FirstVersion{"Hybrid",
                                 "4:memory:/a\n2:cpu,cpuacct:/a\n1:name=systemd:/s\n0::/s\n",
                                 "cpu/a", "memory/a"}),
    [](const auto& one) { return one.param.name; });

TEST_F(ProcessStatsOfATree, UnlimitedFilesOfTheFirstVersionLeaveTheHostsFigures) {
  write("proc/self/cgroup", "4:memory:/a\n2:cpu,cpuacct:/a\n");
  write("cgroup/cpu/a/cpu.cfs_quota_us", "-1\n");
  write("cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
  write("cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n");
  write("cgroup/memory/a/memory.usage_in_bytes", "943718400\n");
  const ProcessStats stats = read_process_stats(roots_);
  EXPECT_GE(stats.cpu_cores, 1.0);
  EXPECT_EQ(stats.memory_limit_bytes, 8ull << 30);
  EXPECT_FALSE(stats.limited_by_cgroup);
}

TEST_F(ProcessStatsOfATree, MissingFilesAreZerosAndNoError) {
  fs::remove_all(root_);
  const ProcessStats stats = read_process_stats(roots_);
  EXPECT_EQ(stats.resident_bytes, 0u);
  EXPECT_EQ(stats.memory_used_bytes, 0u);
}

TEST(ProcessStats, OfThisProcessAreThere) {
  const ProcessStats stats = read_process_stats();
  EXPECT_GT(stats.cpu_seconds, 0.0);
  EXPECT_GT(stats.resident_bytes, 0u);
  EXPECT_GT(stats.open_fds, 2u);
  EXPECT_GE(stats.threads, 1u);
}

TEST_F(ProcessStatsOfATree, TheStartIsTheTicksAfterBootWhateverTheCommandIsCalled) {
  write("proc/stat", "cpu 1 2 3\nbtime 1700000000\n");
  const auto ticks = std::to_string(50 * sysconf(_SC_CLK_TCK));
  write("proc/self/stat",
        "42 (a) b c) S 1 42 42 0 -1 0 0 0 0 0 9 9 0 0 20 0 7 0 " + ticks + " 0\n");
  EXPECT_DOUBLE_EQ(read_process_stats(roots_).start_time, 1'700'000'050.0);
}

TEST_F(ProcessStatsOfATree, CpuTimesAreThoseOfTheWholeReading) {
  write("cgroup/service/memory.current", "1\n");
  write("cgroup/service/cpu.stat", "throttled_usec 2500000\n");
  EXPECT_DOUBLE_EQ(read_cpu_times(roots_).throttled_seconds, 2.5);
  const double before = read_cpu_times(roots_).cpu_seconds;
  EXPECT_LE(before, read_process_stats(roots_).cpu_seconds);
}

}  // namespace
}  // namespace mcp::metrics

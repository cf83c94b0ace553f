// run_delay.cpp: reads the scheduler's figures of a thread through a descriptor that the thread
// keeps.
#include "batch/run_delay.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

namespace mcp::batch {
namespace {

class SchedulerFigures {
 public:
  SchedulerFigures() noexcept : fd_(open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC)) {}
  ~SchedulerFigures() {
    if (fd_ >= 0) close(fd_);
  }
  SchedulerFigures(const SchedulerFigures&) = delete;
  SchedulerFigures& operator=(const SchedulerFigures&) = delete;

  [[nodiscard]] Duration delay() const noexcept {
    char text[96];
    const ssize_t size = fd_ < 0 ? -1 : pread(fd_, text, sizeof text - 1, 0);
    if (size <= 0) return 0;
    text[size] = '\0';
    long long ran = 0;
    long long delayed = 0;
    return std::sscanf(text, "%lld %lld", &ran, &delayed) == 2 ? delayed : 0;
  }

 private:
  int fd_;
};

}  // namespace

Duration thread_run_delay() noexcept {
  thread_local const SchedulerFigures figures;
  return figures.delay();
}

}  // namespace mcp::batch

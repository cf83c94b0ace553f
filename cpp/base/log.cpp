// log.cpp: the bounded queue of log records between spdlog and whoever takes them out.
#include "base/log.h"

#include <spdlog/sinks/base_sink.h>

#include <atomic>
#include <deque>
#include <map>
#include <memory>

#include "base/mutex.h"

namespace mcp {
namespace {

class LogQueue {
 public:
  void push(LogRecord record) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    if (records_.size() == kLogCapacity) {
      records_.pop_front();
      ++dropped_;
    }
    records_.push_back(std::move(record));
    not_empty_.notify_one();
  }

  LogBatch wait(Duration timeout) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    if (records_.empty() && !closed_) not_empty_.wait_for(mutex_, timeout);
    LogBatch batch;
    batch.records.assign(std::make_move_iterator(records_.begin()),
                         std::make_move_iterator(records_.end()));
    batch.dropped = dropped_;
    batch.closed = closed_;
    records_.clear();
    dropped_ = 0;
    return batch;
  }

  void set_closed(bool closed) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    closed_ = closed;
    not_empty_.notify_all();
  }

 private:
  Mutex mutex_;  // a leaf: nothing is locked under it
  CondVar not_empty_;
  std::deque<LogRecord> records_ GUARDED_BY(mutex_);
  std::uint64_t dropped_ GUARDED_BY(mutex_) = 0;
  bool closed_ GUARDED_BY(mutex_) = false;
};

class QueueSink final : public spdlog::sinks::sink {
 public:
  void log(const spdlog::details::log_msg& message) override;
  void flush() override {}
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}
};

struct Log {
  LogQueue queue;
  Mutex mutex;  // guards `loggers`; taken before nothing
  std::map<std::string, std::shared_ptr<spdlog::logger>> loggers GUARDED_BY(mutex);
  std::atomic<int> level{spdlog::level::warn};
};

// Never destroyed: threads may still log, or wait, while the process exits.
std::atomic<Log*>& current() {
  static std::atomic<Log*> log{new Log};
  return log;
}

void QueueSink::log(const spdlog::details::log_msg& message) {
  current().load()->queue.push({message.level,
                                std::string(message.logger_name.data(), message.logger_name.size()),
                                std::string(message.payload.data(), message.payload.size())});
}

}  // namespace

spdlog::logger& logger(const std::string& room) {
  Log& log = *current().load();
  const MutexLock lock(log.mutex);
  auto& found = log.loggers[room];
  if (!found) {
    found = std::make_shared<spdlog::logger>(room, std::make_shared<QueueSink>());
    found->set_level(static_cast<spdlog::level::level_enum>(log.level.load()));
  }
  return *found;
}

void set_log_level(int level) {
  Log& log = *current().load();
  log.level = level;
  const MutexLock lock(log.mutex);
  for (const auto& [room, found] : log.loggers) {
    found->set_level(static_cast<spdlog::level::level_enum>(level));
  }
}

LogBatch wait_for_log(Duration timeout) { return current().load()->queue.wait(timeout); }
void close_log() { current().load()->queue.set_closed(true); }
void reopen_log() { current().load()->queue.set_closed(false); }

void reset_log_after_fork() {
  // The old one is left as it is: its locks may be held by threads that do not exist here.
  auto* fresh = new Log;
  fresh->level = current().load()->level.load();
  current().store(fresh);
}

}  // namespace mcp

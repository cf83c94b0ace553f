// file_watch.h: whether the database file that a pool has open is still the one that its name
// stands for.
//
// A file that was replaced (os.replace) or deleted lives on for whoever has it open: SQLite goes on
// reading and writing it, and nothing of that is in the new one. Device and inode tell.
//
// Safe from any thread. Holds no descriptor: closing one would drop SQLite's locks on the file.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

#include "base/clock.h"

namespace mcp::sqlite {

using FileId = std::pair<dev_t, ino_t>;

// False where there is no such file.
[[nodiscard]] bool identify(const std::string& path, FileId& id) noexcept;

// The file of a database that SQLite opens by `path`, a name or a `file:` URI. Empty for a database
// in memory.
[[nodiscard]] std::string file_of(const std::string& path);

// Whether the connections to the URI `path` share one page cache, and SQLite's locks on it
// (`cache=shared`). A thread that steps one of them then waits for those that step the others,
// whatever these wait for: it may hold no lock that user code, or the authorizer, takes.
[[nodiscard]] bool shares_cache(const std::string& path);

class FileWatch {
 public:
  // A look costs a system call (0.3 us). Answers from the cache, which take half of that, rely on
  // one that is this old at most; replacing a file takes longer (2.1 us at least, on tmpfs), so
  // that whoever has seen it done is never told of the old one.
  static constexpr Duration kLookEvery_ns = 2 * kMicrosecond;

  explicit FileWatch(std::string file) : file_(std::move(file)) {}
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

  // The database is open, in this file.
  void begin(const FileId& id) noexcept;
  // Nothing is open.
  void end() noexcept { inode_.store(0, std::memory_order_relaxed); }

  // Whether the file is another one, at this moment. False while nothing is open.
  [[nodiscard]] bool moved() noexcept;
  // The same, as of kLookEvery_ns ago at most.
  [[nodiscard]] bool moved(Instant now) noexcept {
    if (now - looked_.load(std::memory_order_relaxed) < kLookEvery_ns) {
      return moved_.load(std::memory_order_relaxed);
    }
    looked_.store(now, std::memory_order_relaxed);
    return moved();
  }

  // Whether this file is open.
  [[nodiscard]] bool has(const FileId& id) const noexcept {
    return inode_.load(std::memory_order_relaxed) == id.second &&
           device_.load(std::memory_order_relaxed) == id.first;
  }
  [[nodiscard]] const std::string& file() const noexcept { return file_; }

 private:
  const std::string file_;
  std::atomic<std::uint64_t> device_{0};
  std::atomic<std::uint64_t> inode_{0};  // 0: nothing is open
  std::atomic<Instant> looked_{0};
  std::atomic<bool> moved_{false};
};

// The write-ahead log that a replaced file has left under the name of the new one's.
class LeftLog {
 public:
  // While the database is open.
  void remember(const std::string& database);
  // Whether the log that was remembered lies beside the database.
  [[nodiscard]] bool is_beside(const std::string& database) const noexcept;
  // Whether the log that lies beside the database now is that one, and nobody has written to it
  // since the database was replaced.
  [[nodiscard]] bool is_left_over(const std::string& database) const noexcept;

 private:
  bool known_ = false;
  FileId id_{};
};

}  // namespace mcp::sqlite

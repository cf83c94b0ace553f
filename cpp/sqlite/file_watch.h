// file_watch.h: whether the database that a pool has open is still the one that its name stands
// for.
//
// A file that was replaced (os.replace) or deleted lives on for whoever has it open: SQLite goes on
// reading and writing it, and nothing of that is in the new one. So do its log and the index of
// that, which SQLite finds by name when a connection is opened, and never again: whoever opens the
// database after one of them was deleted has another, and neither sees what the other commits.
// Device and inode tell. A file that was written over (cp) has the inode that it had, and SQLite
// believes its own memory of it, since the index did not change; its time of change tells, as in
// WAL mode only checkpoints write to it, and the index says when those do.
//
// Safe from any thread. Holds no descriptor: closing one would drop SQLite's locks on the file.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"
#include "sqlite/freshness.h"

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
  // Of the log and its index, which nobody has a reason to touch.
  static constexpr Duration kLookBesideEvery_ns = kMillisecond;

  // `freshness` is told by a connection to the file, and outlives this.
  FileWatch(std::string file, Freshness& freshness);
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

  // The database is open, in this file, and has been read.
  void begin(const FileId& id) noexcept;
  // Nothing is open.
  void end() noexcept { inode_.store(0, std::memory_order_relaxed); }

  // Whether the file, its log or the index of that is another one, or the file was written over, at
  // this moment. False while nothing is open.
  [[nodiscard]] bool moved() noexcept { return look(true); }
  // The same, as of kLookEvery_ns and kLookBesideEvery_ns ago at most.
  [[nodiscard]] bool moved(Instant now) noexcept {
    if (now - looked_.load(std::memory_order_relaxed) < kLookEvery_ns) {
      return moved_.load(std::memory_order_relaxed);
    }
    looked_.store(now, std::memory_order_relaxed);
    const bool beside = now - looked_beside_.load(std::memory_order_relaxed) >= kLookBesideEvery_ns;
    if (beside) looked_beside_.store(now, std::memory_order_relaxed);
    return look(beside);
  }

  // Whether this file is open.
  [[nodiscard]] bool has(const FileId& id) const noexcept {
    return inode_.load(std::memory_order_relaxed) == id.second &&
           device_.load(std::memory_order_relaxed) == id.first;
  }
  // Whether the file that is open lies under its name.
  [[nodiscard]] bool is_there() const noexcept;
  // Whether it was seen to be damaged: written over, or without the log or the index that it had.
  [[nodiscard]] bool is_damaged() const noexcept {
    return damaged_.load(std::memory_order_relaxed);
  }
  // Of a file that does: whether what its log holds can still be put there. Not if it was written
  // over, or somebody may have opened it with another log or index.
  [[nodiscard]] bool takes_log() const noexcept;
  [[nodiscard]] const std::string& file() const noexcept { return file_; }

 private:
  // What lies beside the file; 0 if nothing did when it was opened.
  struct Part {
    std::string path;
    std::atomic<std::uint64_t> inode{0};
    [[nodiscard]] bool moved() const noexcept;
  };

  bool look(bool beside) noexcept;
  void note_checkpoints() noexcept;
  [[nodiscard]] bool is_written_over(std::int64_t time) noexcept;

  const std::string file_;
  Freshness& freshness_;
  Part log_, index_;
  std::atomic<std::uint64_t> device_{0};
  std::atomic<std::uint64_t> inode_{0};   // 0: nothing is open
  std::atomic<std::int64_t> written_{0};  // when the file was changed last, by who may
  std::atomic<bool> damaged_{false}, overwritten_{false};
  std::atomic<Instant> looked_{0}, looked_beside_{0};
  std::atomic<bool> moved_{false};
  mutable Mutex mutex_;
  // Before the file was looked at and had changed at `written_`.
  Freshness::Checkpoints checkpoints_ GUARDED_BY(mutex_);
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

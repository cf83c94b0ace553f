// profile.h: what a pool knows about one SQL text: where it runs, how long it takes, what it reads
// and writes. Shared by all connections of the pool.
//
// Safe from any thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "sqlite/freshness.h"
#include "sqlite/sql_text.h"
#include "sqlite/tracker.h"

namespace mcp::sqlite {

// From the authorizer and the opcodes, at prepare. Immutable.
struct Dependencies {
  std::vector<TableId> reads;
  WriteSet writes;
  bool cacheable = false;             // the result depends on `reads` and the bindings alone
  bool controls_transaction = false;  // BEGIN, COMMIT, ROLLBACK, SAVEPOINT
  bool outside_transaction = false;   // ATTACH, DETACH, VACUUM, PRAGMA: never wrapped
};

class Profile {
 public:
  enum class Access { kUnknown, kRead, kWrite };

  Profile(std::string sql_text, std::uint64_t number, std::shared_ptr<Figures> figures)
      : sql(std::move(sql_text)),
        placeholders(placeholders_of(sql)),
        id(number),
        figures_(std::move(figures)) {}

  const std::string sql;
  const Placeholders placeholders;
  const std::uint64_t id;

  [[nodiscard]] Access access() const noexcept { return access_.load(std::memory_order_relaxed); }
  void set_access(Access access) noexcept { access_.store(access, std::memory_order_relaxed); }
  [[nodiscard]] const std::shared_ptr<Figures>& figures() const noexcept { return figures_; }

  // Whether a run is expected to stay within `budget`. After an overrun the statement stays on
  // workers for a number of runs that doubles each time.
  [[nodiscard]] bool fits_inline(Duration budget) noexcept;
  void note_run(Duration took) noexcept;
  // Whether a write is so short, without its commit, that others do well to wait for it and share a
  // commit with it.
  [[nodiscard]] bool is_short_write() const noexcept;
  void note_write(Duration took) noexcept;
  void note_overrun() noexcept;

  [[nodiscard]] std::shared_ptr<const Dependencies> dependencies() const {
    const MutexLock lock(mutex_);
    return dependencies_;
  }
  void set_dependencies(std::shared_ptr<const Dependencies> dependencies) {
    const MutexLock lock(mutex_);
    dependencies_ = std::move(dependencies);
  }

 private:
  const std::shared_ptr<Figures> figures_;
  std::atomic<Access> access_{Access::kUnknown};
  std::atomic<Duration> recent_ns_{-1};  // a maximum that decays; -1: never run
  std::atomic<Duration> recent_write_ns_{-1};
  std::atomic<int> banned_runs_{0};
  std::atomic<int> next_ban_{8};
  mutable Mutex mutex_;
  std::shared_ptr<const Dependencies> dependencies_ GUARDED_BY(mutex_);
};

using ProfilePtr = std::shared_ptr<Profile>;

// The profiles of a pool by SQL text; the least recently used go when there are more than
// kCapacity. Safe from any thread.
class ProfileTable {
 public:
  static constexpr std::size_t kCapacity = 4096;

  explicit ProfileTable(Tracker& tracker) : tracker_(tracker) {}
  // Throws Error for a text that holds a NUL.
  [[nodiscard]] ProfilePtr find(std::string_view sql);

 private:
  Tracker& tracker_;
  Mutex mutex_;
  std::uint64_t last_id_ GUARDED_BY(mutex_) = 0;
  std::list<ProfilePtr> recent_ GUARDED_BY(mutex_);  // most recently asked for first
  std::unordered_map<std::string_view, std::list<ProfilePtr>::iterator> by_sql_ GUARDED_BY(mutex_);
};

}  // namespace mcp::sqlite

// profile.cpp: how long a statement takes, and the table of profiles.
#include "sqlite/profile.h"

namespace mcp::sqlite {
namespace {

constexpr int kLongestBan = 4096;
constexpr Duration kShortWrite_ns = 200 * kMicrosecond;

// Falls by an eighth a run, so that one slow run (a cold page cache) is forgotten.
void note_maximum(std::atomic<Duration>& recent_ns, Duration took) noexcept {
  const Duration recent = recent_ns.load(std::memory_order_relaxed);
  recent_ns.store(recent < 0 ? took : std::max(took, recent - recent / 8),
                  std::memory_order_relaxed);
}

}  // namespace

bool Profile::fits_inline(Duration budget) noexcept {
  const Duration recent = recent_ns_.load(std::memory_order_relaxed);
  if (recent < 0 || recent > budget / 2) return false;
  const int banned = banned_runs_.load(std::memory_order_relaxed);
  if (banned == 0) return true;
  banned_runs_.store(banned - 1, std::memory_order_relaxed);
  return false;
}

void Profile::note_run(Duration took) noexcept { note_maximum(recent_ns_, took); }

bool Profile::is_short_write() const noexcept {
  const Duration recent = recent_write_ns_.load(std::memory_order_relaxed);
  return recent >= 0 && recent <= kShortWrite_ns;
}

void Profile::note_write(Duration took) noexcept { note_maximum(recent_write_ns_, took); }

void Profile::note_overrun() noexcept {
  const int ban = next_ban_.load(std::memory_order_relaxed);
  banned_runs_.store(ban, std::memory_order_relaxed);
  next_ban_.store(std::min(ban * 2, kLongestBan), std::memory_order_relaxed);
}

ProfilePtr ProfileTable::find(std::string_view sql) {
  const MutexLock lock(mutex_);
  const auto found = by_sql_.find(sql);
  if (found != by_sql_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
    return *found->second;
  }
  check_sql(sql);
  auto profile = std::make_shared<Profile>(std::string(sql), ++last_id_, tracker_.figures_of(sql));
  recent_.push_front(profile);
  by_sql_.emplace(profile->sql, recent_.begin());
  if (recent_.size() > kCapacity) {
    by_sql_.erase(recent_.back()->sql);
    recent_.pop_back();
  }
  return profile;
}

}  // namespace mcp::sqlite

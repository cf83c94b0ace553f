// freshness.cpp: compares headers of the wal-index, and explains our own commits.
#include "sqlite/freshness.h"

#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <utility>

#include "base/log.h"

namespace mcp::sqlite {
namespace {

constexpr std::size_t kHeaderWords = 6;  // 48 bytes, twice

// Where the header names the log by its salts, and where what follows it tells of checkpoints:
// frames that are in the database's file, and those that a checkpoint has begun to put there.
constexpr std::size_t kSaltsWord = 4, kDoneWord = 12, kBegunWord = 16;

// iChange, the third 32-bit word of the header: grows by one with each commit that changed
// something.
std::uint32_t change_counter(const std::array<std::uint64_t, kHeaderWords>& header) noexcept {
  return static_cast<std::uint32_t>(header[1]);
}

}  // namespace

Freshness::~Freshness() { detach(); }

void Freshness::attach(sqlite3* watch, Mode mode) {
  const MutexLock lock(mutex_);
  watch_ = watch;
  mode_ = mode;
  if (mode_ == Mode::kWalIndex) map_wal_index();
  if (mode_ == Mode::kDataVersion &&
      sqlite3_prepare_v3(watch_, "PRAGMA data_version", -1, SQLITE_PREPARE_PERSISTENT,
                         &data_version_, nullptr) != SQLITE_OK) {
    mode_ = Mode::kNone;
  }
  ++epoch_;
  has_seen_ = false;
  static_cast<void>(read_token(known_));
}

void Freshness::delete_log_at_close() {
  const MutexLock lock(mutex_);
  if (watch_ != nullptr) sqlite3_db_config(watch_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr);
}

void Freshness::detach() { sqlite3_close_v2(release()); }

sqlite3* Freshness::release() {
  const MutexLock lock(mutex_);
  ++epoch_;
  has_seen_ = false;
  mode_ = Mode::kNone;
  header_ = nullptr;
  sqlite3_finalize(std::exchange(data_version_, nullptr));
  return std::exchange(watch_, nullptr);
}

Freshness::Mode Freshness::mode() const {
  const MutexLock lock(mutex_);
  return mode_;
}

void Freshness::map_wal_index() {
  sqlite3_file* file = nullptr;
  void volatile* region = nullptr;
  const int code = sqlite3_file_control(watch_, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  if (code == SQLITE_OK && file != nullptr && file->pMethods != nullptr &&
      file->pMethods->iVersion >= 2 && file->pMethods->xShmMap != nullptr &&
      file->pMethods->xShmMap(file, 0, 32768, 0, &region) == SQLITE_OK && region != nullptr) {
    header_ = static_cast<const volatile std::uint64_t*>(region);
    return;
  }
  logger("sqlite").warn("the wal-index cannot be mapped: SELECT results are not cached");
  mode_ = Mode::kNone;
}

bool Freshness::read_token(Token& token) {
  switch (mode_) {
    case Mode::kPrivate:
      return committing_ == 0;
    case Mode::kNone:
      return false;
    case Mode::kDataVersion: {
      const int code = sqlite3_step(data_version_);
      if (code == SQLITE_ROW) {
        token[0] = static_cast<std::uint64_t>(sqlite3_column_int64(data_version_, 0));
      }
      sqlite3_reset(data_version_);
      return code == SQLITE_ROW;
    }
    case Mode::kWalIndex:
      break;
  }
  // Writers fill the second copy first; equal copies, read in the other order, are a whole header.
  Token first;
  for (std::size_t i = 0; i < kHeaderWords; ++i) first[i] = header_[i];
  std::atomic_thread_fence(std::memory_order_acquire);
  for (std::size_t i = 0; i < kHeaderWords; ++i) token[i] = header_[kHeaderWords + i];
  std::atomic_thread_fence(std::memory_order_acquire);
  return first == token;
}

Freshness::Observation Freshness::observe_locked() {
  Token token = known_;
  if (!read_token(token)) return {};
  if (token != known_) {
    if (writing_) return {};  // ours, most likely: known once end_write() has counted
    known_ = token;
    ++epoch_;
  }
  return {true, epoch_, clock_};
}

Freshness::Observation Freshness::observe() {
  const MutexLock lock(mutex_);
  return observe_locked();
}

bool Freshness::unchanged(const Observation& then, std::span<const TableId> tables) {
  const MutexLock lock(mutex_);
  const Observation now = observe_locked();
  if (!now.proven || !then.proven || now.epoch != then.epoch) return false;
  if (now.clock == then.clock) return true;
  return std::all_of(tables.begin(), tables.end(),
                     [&](TableId id) REQUIRES(mutex_) { return changed_at_[id] <= then.clock; });
}

bool Freshness::newest_state(Token& token) {
  const MutexLock lock(mutex_);
  return mode_ == Mode::kWalIndex && read_token(token);
}

Freshness::Checkpoints Freshness::checkpoints() {
  const MutexLock lock(mutex_);
  Token token;
  if (mode_ != Mode::kWalIndex || !read_token(token)) return {};
  return {true, token[kSaltsWord], static_cast<std::uint32_t>(header_[kBegunWord]),
          static_cast<std::uint32_t>(header_[kDoneWord])};
}

std::uint64_t Freshness::version() {
  const MutexLock lock(mutex_);
  Token token;
  const bool known = mode_ == Mode::kWalIndex && read_token(token);
  if (!known || !has_seen_ || token != seen_) ++version_;
  has_seen_ = known;
  if (known) seen_ = token;
  return version_;
}

void Freshness::forget_version() {
  const MutexLock lock(mutex_);
  has_seen_ = false;
}

void Freshness::begin_write() {
  const MutexLock lock(mutex_);
  static_cast<void>(observe_locked());  // what came before was not ours
  writing_ = true;
}

void Freshness::end_write(const WriteSet* written, bool logged) {
  const MutexLock lock(mutex_);
  const Token before = known_;
  Token after = known_;
  const bool readable = read_token(after);
  known_ = after;
  writing_ = false;
  const bool moved = after != before;
  const bool ours_alone =
      mode_ == Mode::kPrivate || (mode_ == Mode::kWalIndex && logged && readable &&
                                  change_counter(after) == change_counter(before) + 1);
  if (!moved && readable && mode_ != Mode::kPrivate) return;  // rolled back, or nothing changed
  if (written == nullptr && mode_ == Mode::kPrivate) return;
  // A COMMIT that failed after all may have been seen: with no write set, everything is void.
  if (written == nullptr || written->everything || !ours_alone) {
    ++epoch_;
    return;
  }
  ++clock_;
  for (const TableId id : written->tables) changed_at_[id] = clock_;
}

void Freshness::invalidate_all() {
  const MutexLock lock(mutex_);
  ++epoch_;
}

Freshness::Commit::Commit(Freshness& freshness, bool may_commit)
    : freshness_(may_commit ? &freshness : nullptr) {
  if (freshness_ == nullptr) return;
  const MutexLock lock(freshness_->mutex_);
  ++freshness_->committing_;
}

Freshness::Commit::~Commit() {
  if (freshness_ == nullptr) return;
  const MutexLock lock(freshness_->mutex_);
  --freshness_->committing_;
}

TableId Freshness::table(std::string_view name) {
  std::string key(name);
  std::transform(key.begin(), key.end(), key.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const MutexLock lock(mutex_);
  const auto [found, added] = ids_.emplace(std::move(key), static_cast<TableId>(ids_.size()));
  if (added) changed_at_.push_back(clock_);
  return found->second;
}

}  // namespace mcp::sqlite

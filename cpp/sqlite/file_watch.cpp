// file_watch.cpp: names of database files as SQLite reads them, and what stat() says of them.
#include "sqlite/file_watch.h"

#include <cctype>
#include <cerrno>

namespace mcp::sqlite {
namespace {

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

std::string unescaped(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
                        hex_digit(text[i + 2]) >= 0;
    if (!escape) {
      out.push_back(text[i]);
      continue;
    }
    out.push_back(static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])));
    i += 2;
  }
  return out;
}

bool is_absence(int error) noexcept { return error == ENOENT || error == ENOTDIR; }

std::int64_t time_of(const struct stat& info) noexcept {
  return info.st_mtim.tv_sec * kSecond + info.st_mtim.tv_nsec;
}

bool is_before(const timespec& one, const timespec& other) noexcept {
  return one.tv_sec != other.tv_sec ? one.tv_sec < other.tv_sec : one.tv_nsec < other.tv_nsec;
}

}  // namespace

bool identify(const std::string& path, FileId& id) noexcept {
  struct stat info;
  if (path.empty() || stat(path.c_str(), &info) != 0) return false;
  id = {info.st_dev, info.st_ino};
  return true;
}

std::string file_of(const std::string& path) {
  if (path == ":memory:") return {};
  if (!path.starts_with("file:")) return path;
  const std::size_t end = path.find_first_of("?#");
  const std::string query = end == std::string::npos ? "" : path.substr(end);
  if (query.find("mode=memory") != std::string::npos ||
      query.find("vfs=memdb") != std::string::npos) {
    return {};
  }
  std::string name = path.substr(5, end == std::string::npos ? end : end - 5);
  if (name.starts_with("//")) {  // an authority, which SQLite wants to be empty or localhost
    const std::size_t slash = name.find('/', 2);
    name = slash == std::string::npos ? std::string() : name.substr(slash);
  }
  name = unescaped(name);
  return name == ":memory:" ? std::string() : name;
}

bool shares_cache(const std::string& path) {
  return path.starts_with("file:") && path.find("cache=shared") != std::string::npos;
}

FileWatch::FileWatch(std::string file, Freshness& freshness)
    : file_(std::move(file)), freshness_(freshness) {
  log_.path = file_ + "-wal";
  index_.path = file_ + "-shm";
}

void FileWatch::begin(const FileId& id) noexcept {
  for (Part* part : {&log_, &index_}) {
    FileId found;
    part->inode.store(identify(part->path, found) ? found.second : 0, std::memory_order_relaxed);
  }
  {
    const MutexLock lock(mutex_);
    checkpoints_ = freshness_.checkpoints();
    struct stat info;
    written_.store(stat(file_.c_str(), &info) == 0 ? time_of(info) : 0, std::memory_order_relaxed);
    overwritten_.store(false, std::memory_order_relaxed);
    damaged_.store(false, std::memory_order_relaxed);
  }
  device_.store(id.first, std::memory_order_relaxed);
  inode_.store(id.second, std::memory_order_relaxed);
  moved_.store(false, std::memory_order_relaxed);
}

bool FileWatch::is_there() const noexcept {
  FileId id;
  return identify(file_, id) && has(id);
}

bool FileWatch::takes_log() const noexcept {
  if (overwritten_.load(std::memory_order_relaxed)) return false;
  struct stat info;
  // Who has opened a log, and not written to it yet, has nothing to lose.
  if (log_.moved() && stat(log_.path.c_str(), &info) == 0 && info.st_size > 0) return false;
  return !index_.moved() || stat(index_.path.c_str(), &info) != 0;
}

bool FileWatch::Part::moved() const noexcept {
  const std::uint64_t known = inode.load(std::memory_order_relaxed);
  if (known == 0) return false;
  FileId id;
  return identify(path, id) ? id.second != known : is_absence(errno);
}

bool FileWatch::look(bool beside) noexcept {
  const std::uint64_t inode = inode_.load(std::memory_order_relaxed);
  bool other = false;
  if (inode != 0) {
    if (beside) note_checkpoints();
    struct stat info;
    if (stat(file_.c_str(), &info) != 0) {
      other = is_absence(errno);  // a look that failed for another reason tells nothing
    } else if (info.st_ino != inode || info.st_dev != device_.load(std::memory_order_relaxed)) {
      other = true;
    } else if (is_written_over(time_of(info)) || (beside && (log_.moved() || index_.moved()))) {
      damaged_.store(true, std::memory_order_relaxed);
    }
    other = other || is_damaged();
  }
  moved_.store(other, std::memory_order_relaxed);
  return other;
}

// Before a look at the file, so that what changed it meanwhile is not taken for what came before.
void FileWatch::note_checkpoints() noexcept {
  const MutexLock lock(mutex_);
  struct stat info;
  const Freshness::Checkpoints now = freshness_.checkpoints();
  if (now == checkpoints_ || stat(file_.c_str(), &info) != 0) return;
  if (time_of(info) == written_.load(std::memory_order_relaxed)) checkpoints_ = now;
}

// Whether the file, which was changed at `time`, was changed by no checkpoint.
bool FileWatch::is_written_over(std::int64_t time) noexcept {
  if (time == written_.load(std::memory_order_relaxed)) return false;
  const MutexLock lock(mutex_);
  const Freshness::Checkpoints now = freshness_.checkpoints();
  if (now.at_rest() && now == checkpoints_) {
    overwritten_.store(true, std::memory_order_relaxed);
    return true;
  }
  struct stat info;  // of a time after `now`
  if (stat(file_.c_str(), &info) != 0) return false;
  checkpoints_ = now;
  written_.store(time_of(info), std::memory_order_relaxed);
  return false;
}

void LeftLog::remember(const std::string& database) { known_ = identify(database + "-wal", id_); }

bool LeftLog::is_beside(const std::string& database) const noexcept {
  FileId log;
  return known_ && identify(database + "-wal", log) && log == id_;
}

bool LeftLog::is_left_over(const std::string& database) const noexcept {
  struct stat log, file;
  if (!known_ || stat((database + "-wal").c_str(), &log) != 0) return false;
  if (FileId{log.st_dev, log.st_ino} != id_) return false;
  // Giving a file its name changes its status.
  return stat(database.c_str(), &file) != 0 || !is_before(file.st_ctim, log.st_mtim);
}

}  // namespace mcp::sqlite

// file_watch.cpp: names of database files as SQLite reads them, and what stat() says of them.
#include "sqlite/file_watch.h"

#include <sys/stat.h>

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

void FileWatch::begin(const FileId& id) noexcept {
  device_.store(id.first, std::memory_order_relaxed);
  inode_.store(id.second, std::memory_order_relaxed);
  moved_.store(false, std::memory_order_relaxed);
}

bool FileWatch::moved() noexcept {
  const std::uint64_t inode = inode_.load(std::memory_order_relaxed);
  bool other = false;
  if (inode != 0) {
    FileId id;
    // A look that failed for another reason tells nothing.
    other = identify(file_, id)
                ? id.second != inode || id.first != device_.load(std::memory_order_relaxed)
                : errno == ENOENT || errno == ENOTDIR;
  }
  moved_.store(other, std::memory_order_relaxed);
  return other;
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

// main.cpp: analyzes one statement that nobody vouches for, and exits.
//
//   mcp_analyze DATABASE CPU_SECONDS MEMORY_BYTES < statement > report.json
//
// A process of its own because nothing stops SQLite while it compiles: whoever starts it kills it
// at the deadline. It limits itself before it reads the statement: processor time, memory, no
// process, no core file, few descriptors, and no file is written, made or removed, by a limit and,
// where the kernel has Landlock, by its rules. Standard output is {"report":
// {...}} or {"error": "...", "code": n, "kind": "..."}.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#if __has_include(<linux/landlock.h>)
#include <linux/landlock.h>
#endif

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>

#include "base/error.h"
#include "query/analyzer.h"
#include "query/json.h"

namespace {

constexpr rlim_t kDescriptors = 16;
constexpr std::size_t kLongest_bytes = std::size_t{1} << 20;

bool limit(decltype(RLIMIT_CPU) resource, rlim_t value) {
  const rlimit limits{value, value};
  return setrlimit(resource, &limits) == 0;
}

// No rule allows what is handled here: it is refused everywhere. True where the kernel does not
// know Landlock, too: the limit on the size of files stands then alone.
bool forbid_changes_of_files() {
#if __has_include(<linux/landlock.h>)
  landlock_ruleset_attr handled{};
  handled.handled_access_fs =
      LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
      LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
      LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
      LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_EXECUTE;
  const auto rules = static_cast<int>(
      syscall(SYS_landlock_create_ruleset, &handled, sizeof handled.handled_access_fs, 0));
  if (rules < 0) return errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM;
  const bool done = syscall(SYS_landlock_restrict_self, rules, 0) == 0;
  close(rules);
  return done;
#else
  return true;
#endif
}

bool confine(rlim_t cpu_s, rlim_t memory_bytes) {
  std::signal(SIGXFSZ, SIG_IGN);  // a write beyond the limit is an error to SQLite
  return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         limit(RLIMIT_CORE, 0) && limit(RLIMIT_CPU, cpu_s) && limit(RLIMIT_AS, memory_bytes) &&
         limit(RLIMIT_NOFILE, kDescriptors) && limit(RLIMIT_FSIZE, 0) && limit(RLIMIT_NPROC, 0) &&
         forbid_changes_of_files();
}

// A database in WAL mode that nobody has open needs a file beside it, which may not be made here.
// Without a log it is whole as it lies there.
std::string openable(const std::string& path) {
  unsigned char header[20] = {};
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return path;
  const bool read_it = read(file, header, sizeof header) == static_cast<ssize_t>(sizeof header);
  close(file);
  struct stat found {};
  const bool wal = read_it && header[18] == 2 && header[19] == 2;
  if (!wal || stat((path + "-wal").c_str(), &found) == 0) return path;
  std::string uri = path.starts_with('/') ? "file:" : "file:./";
  for (const char c : path) {
    if (c == '%' || c == '?' || c == '#') {
      constexpr const char* kDigits = "0123456789ABCDEF";
      uri += '%';
      uri += kDigits[static_cast<unsigned char>(c) >> 4U];
      uri += kDigits[static_cast<unsigned char>(c) & 15U];
    } else {
      uri += c;
    }
  }
  return uri + "?immutable=1";
}

std::string read_all() {
  std::string text;
  std::string block(65'536, '\0');
  while (text.size() <= kLongest_bytes) {
    const ssize_t count = read(STDIN_FILENO, block.data(), block.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    text.append(block, 0, static_cast<std::size_t>(count));
  }
  return text;
}

void write_all(const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t count = write(STDOUT_FILENO, text.data() + at, text.size() - at);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    at += static_cast<std::size_t>(count);
  }
}

std::string error_json(const std::string& message, int code, bool corrupt) {
  mcp::query::JsonWriter json;
  json.begin_object();
  json.member("error", message);
  json.member("code", code);
  json.member("kind", corrupt ? "corrupt" : "query");
  json.end_object();
  return json.take();
}

std::string answer(const std::string& path, const std::string& sql) {
  if (sql.size() > kLongest_bytes) return error_json("the statement is too long", 0, false);
  try {
    const mcp::query::Report report =
        mcp::query::analyze(openable(path), sql, {}, mcp::query::Trust::kUntrusted);
    return "{\"report\":" + mcp::query::to_json(report) + "}";
  } catch (const mcp::Error& error) {
    return error_json(error.what(), error.code(), error.kind() == mcp::ErrorKind::kDatabaseCorrupt);
  } catch (const std::bad_alloc&) {
    return error_json("the analysis needs more memory than it may have", SQLITE_NOMEM, false);
  } catch (const std::exception& error) {
    return error_json(error.what(), SQLITE_ERROR, false);
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) return 2;
  if (!confine(std::strtoull(arguments[2], nullptr, 10),
               std::strtoull(arguments[3], nullptr, 10))) {
    return 3;
  }
  write_all(answer(arguments[1], read_all()));
  return 0;
}

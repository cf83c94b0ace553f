// main.cpp: analyzes one statement that nobody vouches for, and exits.
//
//   mcp_analyze DATABASE CPU_SECONDS MEMORY_BYTES < statement > report.json
//
// A process of its own because nothing stops SQLite while it compiles: whoever starts it kills it
// at the deadline. It limits itself before it reads the statement. Standard output is {"report":
// {...}} or {"error": "...", "code": n, "kind": "..."}.
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

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

bool confine(rlim_t cpu_s, rlim_t memory_bytes) {
  return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         limit(RLIMIT_CORE, 0) && limit(RLIMIT_CPU, cpu_s) && limit(RLIMIT_AS, memory_bytes) &&
         limit(RLIMIT_NOFILE, kDescriptors);
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
        mcp::query::analyze(path, sql, {}, mcp::query::Trust::kUntrusted);
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

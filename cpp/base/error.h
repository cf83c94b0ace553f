// error.h: what the core throws. The binding maps each kind to a class of errors.py.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace mcp {

// One kind a class of the Python error tree; see bindings/errors.cpp for the table.
enum class ErrorKind {
  kConfiguration,  // a bad argument or setting; the message names the value
  kCache,
  kSerialization,
  kBackendUnavailable,  // a Redis server that cannot be reached or answered too late
  kProtocol,            // a peer that does not speak its protocol
  kDatabase,
  kQuery,  // SQLite refused a statement; code() is its extended result code
  kIntegrity,
  kPoolTimeout,
  kPoolClosed,
  kDatabaseCorrupt,
  kBatch,
  kLoadTest,
  kTargetRefused,
  kHttp,  // one request failed: no connection, no response, not HTTP
  kHttpTimeout,
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message, int code = 0)
      : std::runtime_error(message), kind_(kind), code_(code) {}

  [[nodiscard]] ErrorKind kind() const noexcept { return kind_; }
  // The foreign library's own code (an extended SQLite result code), 0 if there is none.
  [[nodiscard]] int code() const noexcept { return code_; }

 private:
  ErrorKind kind_;
  int code_;
};

// A bad argument: `name` is the parameter, `value` how the caller wrote it, `expected` what it
// takes.
[[nodiscard]] inline Error invalid_argument(const std::string& name, const std::string& value,
                                            const std::string& expected) {
  return {ErrorKind::kConfiguration, name + "=" + value + ": expected " + expected};
}

}  // namespace mcp

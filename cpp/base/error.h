// error.h: what the core throws. The binding maps each kind to a class of errors.py.
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <utility>

namespace mcp {

// One kind a class of the Python error tree; see bindings/base/errors.cpp for the table.
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

// Copies share their text, on any threads. Not as std::runtime_error shares it: its count is in the
// standard library's own code, where the thread sanitizer does not see it.
class Error : public std::exception {
 public:
  Error(ErrorKind kind, const std::string& message, int code = 0)
      : message_(std::make_shared<const std::string>(message)), kind_(kind), code_(code) {}

  Error(const Error&) noexcept =
      default;  // moving copies: what was moved from still says what it was
  Error& operator=(const Error&) noexcept = default;
  ~Error() override = default;

  [[nodiscard]] const char* what() const noexcept override { return message_->c_str(); }
  [[nodiscard]] ErrorKind kind() const noexcept { return kind_; }
  // The foreign library's own code (an extended SQLite result code), 0 if there is none.
  [[nodiscard]] int code() const noexcept { return code_; }

 private:
  std::shared_ptr<const std::string> message_;
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

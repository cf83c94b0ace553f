// cursor.h: a statement whose rows are taken in portions, as its consumer asks for them.
//
// Thread-compatible: it belongs to the holder of its connection, who ends it before the connection
// is given back.
#pragma once

#include <memory>
#include <utility>

#include "sqlite/execution.h"

namespace mcp::sqlite {

// A portion: large enough that a row costs no hop of its own, small enough to bound memory.
inline constexpr std::size_t kPortion_bytes = 64 * 1024;

class Cursor {
 public:
  explicit Cursor(Request request) : request_(std::move(request)) {}

  // The next rows; none at the end. Throws Error, Stopped. REQUIRES: a Connection::Scope is open.
  [[nodiscard]] Answer advance(Connection& connection, Services services);
  // Gives the statement back. Nothing more comes out.
  void end(Connection& connection) noexcept;

  [[nodiscard]] bool done() const noexcept { return done_; }
  [[nodiscard]] const Request& request() const noexcept { return request_; }

 private:
  void begin(Connection& connection);
  void track(Services services) const;

  Request request_;
  std::unique_ptr<Statement> statement_;
  std::shared_ptr<const ColumnNames> names_;
  Execution total_;
  bool done_ = false;
};

}  // namespace mcp::sqlite

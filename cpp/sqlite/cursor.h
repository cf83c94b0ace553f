// cursor.h: a statement whose rows are taken in portions, as its consumer asks for them.
//
// Thread-compatible: it belongs to the holder of its connection, who ends it before the connection
// is given back.
#pragma once

#include <memory>
#include <utility>

#include "sqlite/execution.h"

namespace mcp::sqlite {

class Cursor {
 public:
  explicit Cursor(Request request)
      : request_(std::move(request)),
        done_(request_.profile->placeholders.empty),
        exhausted_(done_) {}

  // The next portion of rows (base/slices.h); none at the end. Throws Error, Stopped. REQUIRES: a
  // Connection::Scope is open.
  [[nodiscard]] Answer advance(Connection& connection, Services services);
  // Gives the statement back. Nothing more comes out.
  void end(Connection& connection) noexcept;

  [[nodiscard]] bool done() const noexcept { return done_; }
  // Whether the last row has come out; false where it was ended before.
  [[nodiscard]] bool exhausted() const noexcept { return exhausted_; }
  [[nodiscard]] const Request& request() const noexcept { return request_; }

 private:
  void begin(Connection& connection);
  void track(Services services) const;

  Request request_;
  std::unique_ptr<Statement> statement_;
  std::shared_ptr<const ColumnNames> names_;
  Execution total_;
  bool done_;
  bool exhausted_;
};

}  // namespace mcp::sqlite

// cursor.h: a statement whose rows are taken in portions, as its consumer asks for them.
//
// Thread-compatible: it belongs to the holder of its connection, who ends it before the connection
// is given back.
#pragma once

#include <memory>
#include <utility>

#include "sqlite/execution.h"

namespace mcp::sqlite {

struct Slot;

class Cursor {
 public:
  explicit Cursor(Request request)
      : request_(std::move(request)),
        done_(request_.profile->placeholders.empty),
        exhausted_(done_) {}

  // The next portion of rows (base/slices.h); none at the end. Throws Error, also where it was
  // ended before, and Stopped. REQUIRES: a Connection::Scope is open.
  [[nodiscard]] Answer advance(Connection& connection, Services services);
  // Gives the statement back. Nothing more comes out.
  void end(Connection& connection) noexcept;

  [[nodiscard]] bool done() const noexcept { return done_; }
  // Whether the last row has come out; false where it was ended before.
  [[nodiscard]] bool exhausted() const noexcept { return exhausted_; }
  [[nodiscard]] const Request& request() const noexcept { return request_; }
  // Where its statement is; null before its first portion.
  [[nodiscard]] const Slot* place() const noexcept { return place_; }
  void set_place(const Slot& slot) noexcept { place_ = &slot; }

 private:
  void begin(Connection& connection);
  void track(Services services) const;

  Request request_;
  std::unique_ptr<Statement> statement_;
  std::shared_ptr<const ColumnNames> names_;
  Execution total_;
  const Slot* place_ = nullptr;
  bool done_;
  bool exhausted_;
};

}  // namespace mcp::sqlite

// routing.h: which connection a statement runs on first, and where it goes when it turns out to
// write.
//
// A statement that nobody has prepared yet is taken for a read if it is to return rows; SQLite says
// what it is when it is prepared, on a connection that refuses writes with NeedsWriter. So every
// route has two halves, and all of them are in one table (routing_test.cpp). Pure functions.
#pragma once

#include <optional>

#include "base/clock.h"
#include "sqlite/execution.h"
#include "sqlite/pool.h"

namespace mcp::sqlite {

enum class Place {
  kReader,  // any reader of the pool; its only connection, where there is one
  kWriter,
  kLease,  // the connection that the caller has
  kMoved,  // the writer, to which the caller's lease moves first
};

// What becomes of a statement that turned out to write on a connection that only reads.
enum class IfItWrites {
  kMoves,         // it runs again on the writer, where its lease goes with it
  kIsRefused,     // it is in a transaction that reads
  kWaitsForSelf,  // the caller has the writer already, elsewhere: an error instead of waiting
};

struct Route {
  Place place;
  IfItWrites if_it_writes;
  [[nodiscard]] Access access() const noexcept {
    return place == Place::kReader ? Access::kRead : Access::kWrite;
  }
};

// What the caller's lease, if it has one, is at the moment.
struct Standing {
  bool in_transaction;  // from its beginning to its end
  Role role;            // of its connection
};

// `size`: the pool's connections. Throws Error where the caller would wait for the writer that it
// has itself.
[[nodiscard]] Route route_of(const Request& request, const std::optional<Standing>& lease, int size,
                             bool caller_has_writer);

// Whether taking a connection of that kind means waiting for the writer. kAny waits for no
// particular one, so only where there is no other.
[[nodiscard]] bool takes_writer(Access access, int size) noexcept;

// Whether it may be tried on its caller's thread at once: a read that is known to be short.
[[nodiscard]] bool may_run_inline(const Request& request, Duration budget) noexcept;

// Whether it is one short write, fit to share a commit with others.
[[nodiscard]] bool fits_shared_commit(const Request& request);

}  // namespace mcp::sqlite

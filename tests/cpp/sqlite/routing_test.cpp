// The whole table of routes, and what may run where.
#include "sqlite/routing.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace mcp::sqlite {
namespace {

using Known = Profile::Access;

class RoutingTest : public testing::Test {
 protected:
  Request request(Known known, bool want_rows) {
    Request out;
    out.profile = std::make_shared<Profile>("SELECT 1", 1, nullptr);
    out.profile->set_access(known);
    out.want_rows = want_rows;
    return out;
  }
  // "place, then", or "error" where no route is given.
  std::string route(Known known, bool want_rows, std::optional<Standing> lease, int size,
                    bool caller_has_writer) {
    try {
      const Route route = route_of(request(known, want_rows), lease, size, caller_has_writer);
      const char* places[] = {"reader", "writer", "lease", "moved"};
      const char* then[] = {"moves", "is refused", "waits for self"};
      return std::string(places[static_cast<int>(route.place)]) + ", " +
             then[static_cast<int>(route.if_it_writes)];
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDatabase);
      return "error";
    }
  }
};

// What a statement is taken for before it is prepared: rows are asked of reads.
struct Kind {
  Known known;
  bool want_rows;
  bool read;
};
constexpr Kind kKinds[] = {{Known::kRead, true, true},    {Known::kRead, false, true},
                           {Known::kUnknown, true, true}, {Known::kUnknown, false, false},
                           {Known::kWrite, true, false},  {Known::kWrite, false, false}};

TEST_F(RoutingTest, WithoutALeaseReadsGoToReadersAndWritesToTheWriter) {
  for (const Kind& kind : kKinds) {
    const auto at = [&](int size, bool has_writer) {
      return route(kind.known, kind.want_rows, std::nullopt, size, has_writer);
    };
    EXPECT_EQ(at(2, false), kind.read ? "reader, moves" : "writer, moves");
    EXPECT_EQ(at(1, false), kind.read ? "reader, moves" : "writer, moves");
    // Who has the writer waits for a reader only.
    EXPECT_EQ(at(2, true), kind.read ? "reader, waits for self" : "error");
    EXPECT_EQ(at(1, true), "error");
  }
}

TEST_F(RoutingTest, ATransactionKeepsItsConnectionWhateverTheStatement) {
  for (const Kind& kind : kKinds) {
    for (const Role role : {Role::kReader, Role::kWriter}) {
      for (const int size : {1, 2}) {
        for (const bool has_writer : {false, true}) {
          EXPECT_EQ(route(kind.known, kind.want_rows, Standing{true, role}, size, has_writer),
                    "lease, is refused");
        }
      }
    }
  }
}

TEST_F(RoutingTest, AConnectionThatMayMoveDoesSoWhenItHasToWrite) {
  for (const Kind& kind : kKinds) {
    const auto at = [&](bool has_writer) {
      return route(kind.known, kind.want_rows, Standing{false, Role::kReader}, 2, has_writer);
    };
    EXPECT_EQ(at(false), kind.read ? "lease, moves" : "moved, moves");
    EXPECT_EQ(at(true), kind.read ? "lease, waits for self" : "error");
  }
}

TEST_F(RoutingTest, AConnectionThatIsTheWriterStays) {
  for (const Kind& kind : kKinds) {
    for (const int size : {1, 2}) {
      EXPECT_EQ(route(kind.known, kind.want_rows, Standing{false, Role::kWriter}, size, false),
                "lease, moves");
      // It has itself: no statement on it waits for anything.
      EXPECT_NE(route(kind.known, kind.want_rows, Standing{false, Role::kWriter}, size, true),
                "error");
    }
  }
}

TEST_F(RoutingTest, OnlyTheWriterIsWaitedForOrTheOnlyConnection) {
  for (const Access access : {Access::kRead, Access::kWrite, Access::kAny}) {
    EXPECT_TRUE(takes_writer(access, 1));
    EXPECT_EQ(takes_writer(access, 2), access == Access::kWrite);
  }
}

TEST_F(RoutingTest, OnlyAReadThatIsKnownToBeShortRunsInline) {
  for (const Kind& kind : kKinds) {
    Request unknown = request(kind.known, kind.want_rows);
    EXPECT_FALSE(may_run_inline(unknown, kMillisecond));  // never run
    for (const Duration took : {kMicrosecond, 10 * kMillisecond}) {
      Request one = request(kind.known, kind.want_rows);
      one.profile->note_run(took);
      EXPECT_EQ(may_run_inline(one, kMillisecond),
                kind.known == Known::kRead && kind.want_rows && took == kMicrosecond);
      EXPECT_FALSE(may_run_inline(one, 0));
    }
  }
}

TEST_F(RoutingTest, OnlyAShortWriteThatEndsNoTransactionSharesACommit) {
  const auto fits = [&](Known known, Duration took, bool many, bool outside, bool controls) {
    Request one = request(known, false);
    one.many = many;
    if (took > 0) one.profile->note_write(took);
    auto dependencies = std::make_shared<Dependencies>();
    dependencies->outside_transaction = outside;
    dependencies->controls_transaction = controls;
    one.profile->set_dependencies(std::move(dependencies));
    return fits_shared_commit(one);
  };
  EXPECT_TRUE(fits(Known::kWrite, kMicrosecond, false, false, false));
  EXPECT_FALSE(fits(Known::kRead, kMicrosecond, false, false, false));
  EXPECT_FALSE(fits(Known::kUnknown, kMicrosecond, false, false, false));
  EXPECT_FALSE(fits(Known::kWrite, 0, false, false, false));  // never run
  EXPECT_FALSE(fits(Known::kWrite, kSecond, false, false, false));
  EXPECT_FALSE(fits(Known::kWrite, kMicrosecond, true, false, false));
  EXPECT_FALSE(fits(Known::kWrite, kMicrosecond, false, true, false));
  EXPECT_FALSE(fits(Known::kWrite, kMicrosecond, false, false, true));
  Request unprepared = request(Known::kWrite, false);
  unprepared.profile->note_write(kMicrosecond);
  EXPECT_FALSE(fits_shared_commit(unprepared));
}

}  // namespace
}  // namespace mcp::sqlite

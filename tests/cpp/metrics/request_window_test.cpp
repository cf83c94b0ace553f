// What requests did between two looks, all of them and by route.
#include "metrics/request_window.h"

#include <gtest/gtest.h>

#include <string>

namespace mcp::metrics {
namespace {

void request(RequestMetrics& metrics, std::string_view route, Duration took_ns, int status = 200) {
  metrics.begin();
  metrics.end({"GET", route, "http", status, ""}, {took_ns, took_ns, took_ns}, kSecond);
}

TEST(RequestWindow, TheFirstLookIsOfAllSinceTheStart) {
  RequestMetrics metrics(0);
  request(metrics, "/a", 2 * kMillisecond);
  request(metrics, "/b", 4 * kMillisecond, 500);
  RequestWindow window;
  const auto look = window.advance(metrics.snapshot(kSecond));
  EXPECT_EQ(look.all.times.count(), 2u);
  EXPECT_EQ(look.all.errors, 1u);
  ASSERT_EQ(look.routes.size(), 2u);
  EXPECT_EQ(look.routes[0].name, "GET /a");
  EXPECT_EQ(look.routes[1].errors, 1u);
}

TEST(RequestWindow, PercentilesAreThoseOfTheRequestsBetweenTheLooks) {
  RequestMetrics metrics(0);
  for (int i = 0; i < 1000; ++i) request(metrics, "/a", kMillisecond);
  RequestWindow window;
  static_cast<void>(window.advance(metrics.snapshot(kSecond)));
  for (int i = 0; i < 10; ++i) request(metrics, "/a", 100 * kMillisecond);
  const auto look = window.advance(metrics.snapshot(kSecond));
  EXPECT_EQ(look.all.times.count(), 10u);
  EXPECT_GE(look.all.times.percentile_ns(50), 99 * kMillisecond);
  EXPECT_GE(look.routes.at(0).times.percentile_ns(50), 99 * kMillisecond);
}

TEST(RequestWindow, StatusesOfARouteAreOne) {
  RequestMetrics metrics(0);
  RequestWindow window;
  request(metrics, "/a", kMillisecond, 200);
  request(metrics, "/a", kMillisecond, 503);
  request(metrics, "/a", kMillisecond, 404);
  const auto look = window.advance(metrics.snapshot(kSecond));
  ASSERT_EQ(look.routes.size(), 1u);
  EXPECT_EQ(look.routes[0].times.count(), 3u);
  EXPECT_EQ(look.routes[0].errors, 1u);
}

TEST(RequestWindow, NothingBetweenTwoLooksIsNothing) {
  RequestMetrics metrics(0);
  request(metrics, "/a", kMillisecond);
  RequestWindow window;
  static_cast<void>(window.advance(metrics.snapshot(kSecond)));
  const auto look = window.advance(metrics.snapshot(kSecond));
  EXPECT_EQ(look.all.times.count(), 0u);
  EXPECT_TRUE(look.routes.empty());
}

TEST(RequestWindow, TheBusiestRoutesAreToldApartAndTheOthersAreInAll) {
  RequestMetrics metrics(0);
  RequestWindow window;
  for (std::size_t i = 0; i < RequestWindow::kMaxRoutes; ++i) {
    for (int j = 0; j < 2; ++j) request(metrics, "/busy/" + std::to_string(i), kMillisecond);
  }
  request(metrics, "/rare", kMillisecond);
  auto look = window.advance(metrics.snapshot(kSecond));
  EXPECT_EQ(look.routes.size(), RequestWindow::kMaxRoutes);
  EXPECT_EQ(look.all.times.count(), 2 * RequestWindow::kMaxRoutes + 1);

  // It becomes the busiest: what it did before that is not said to be of this moment.
  for (int j = 0; j < 5; ++j) request(metrics, "/rare", kMillisecond);
  look = window.advance(metrics.snapshot(kSecond));
  EXPECT_TRUE(look.routes.empty());
  request(metrics, "/rare", kMillisecond);
  look = window.advance(metrics.snapshot(kSecond));
  ASSERT_EQ(look.routes.size(), 1u);
  EXPECT_EQ(look.routes[0].name, "GET /rare");
  EXPECT_EQ(look.routes[0].times.count(), 1u);
}

TEST(RequestWindow, OperationsHaveFiguresOfTheirOwnAndTheBusiestAreToldApart) {
  RequestMetrics metrics(0);
  RequestWindow window;
  const auto call = [&](const std::string& name, std::string_view error, int times) {
    const RequestTimes took{kMillisecond, kMillisecond, kMillisecond};
    for (int i = 0; i < times; ++i) {
      metrics.end({"tools/call", name, "mcp", 0, error, SeriesKind::kOperation}, took, kSecond);
    }
  };
  for (std::size_t i = 0; i < RequestWindow::kMaxOperations; ++i) {
    call("tool" + std::to_string(i), "", 9);
  }
  call("tool0", "ToolError", 2);
  call("tool0", "CancelledError", 3);  // who left is no failure
  call("rare", "", 1);
  const auto look = window.advance(metrics.snapshot(kSecond));
  EXPECT_TRUE(look.routes.empty());
  ASSERT_EQ(look.operations.size(), RequestWindow::kMaxOperations);
  EXPECT_EQ(look.operations[0].name, "tools/call tool0");
  EXPECT_EQ(look.operations[0].times.count(), 14u);
  EXPECT_EQ(look.operations[0].errors, 2u);
  EXPECT_TRUE(window.advance(metrics.snapshot(kSecond)).operations.empty());
}

TEST(RequestWindow, FiguresThatWentBackwardsBeganAnew) {
  RequestMetrics first(0);
  for (int i = 0; i < 5; ++i) request(first, "/a", kMillisecond);
  RequestMetrics second(0);
  request(second, "/a", kMillisecond);
  RequestWindow window;
  static_cast<void>(window.advance(first.snapshot(kSecond)));
  EXPECT_EQ(window.advance(second.snapshot(kSecond)).all.times.count(), 1u);
}

}  // namespace
}  // namespace mcp::metrics

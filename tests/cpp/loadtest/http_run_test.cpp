// The HTTP engine against a small server in the same process, for the sanitizers to watch.
#include "loadtest/http_run.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "http/server.h"

namespace mcp::loadtest {
namespace {

using http::kOk;
using http::Server;

std::shared_ptr<const Scenario> only_get(const std::string& target = "/") {
  RequestSpec spec{"get", 1, {{"GET", target, {}, ""}}, {}};
  return std::make_shared<const Scenario>(std::vector<RequestSpec>{spec}, "localhost", 0, 0);
}

HttpOptions options(int port, std::uint64_t requests, int users, int threads = 1) {
  HttpOptions result;
  result.endpoints = http::resolve("127.0.0.1", port, {});
  result.host = "127.0.0.1";
  result.port = port;
  result.requests = requests;
  result.users = users;
  result.threads = threads;
  return result;
}

TEST(HttpRun, SendsTheBudgetExactlyFromSeveralThreads) {
  Server server([](int) { return kOk; });
  HttpRun run(options(server.port(), 2000, 8, 3), only_get());
  run.run();
  const Report report = run.report();
  EXPECT_EQ(report.successful, 2000U);
  EXPECT_EQ(report.response.count(), 2000U);
  EXPECT_EQ(server.answered(), 2000);
  // A user whose thread starts when the budget is spent connects to nobody.
  EXPECT_GE(report.connect.count(), 1U);
  EXPECT_LE(report.connect.count(), 8U);
}

TEST(HttpRun, SurvivesConnectionsThatEndAtAnyRequest) {
  Server server([](int i) {
    return i % 7 == 3 ? std::string() : i % 5 == 4 ? kOk.substr(0, 30) : kOk;
  });
  HttpOptions some = options(server.port(), 300, 4);
  some.timeout_ns = 50 * kMillisecond;
  HttpRun run(some, only_get());
  run.run();
  const Report report = run.report();
  EXPECT_EQ(report.successful + report.failed, 300U);
  EXPECT_GT(report.successful, 100U);
  EXPECT_GT(report.errors.at("connection closed"), 0U);
  EXPECT_GT(report.errors.at("timeout"), 0U);
}

TEST(HttpRun, HoldsAnArrivalRateFromSeveralThreads) {
  Server server([](int) { return kOk; });
  HttpOptions open_model = options(server.port(), kNoBudget, 20, 2);
  open_model.rate = Ramp(1000);
  open_model.duration_ns = kSecond / 5;
  HttpRun run(open_model, only_get());
  run.run();
  const Report report = run.report();
  EXPECT_EQ(report.successful + report.not_sent, 200U);
  EXPECT_EQ(report.service.count(), report.response.count());
}

TEST(HttpRun, StopsAtOnceAndCountsWhatItAbandoned) {
  std::unique_ptr<HttpRun> run;  // outlives the server, whose thread stops it
  Server server([&](int i) {
    if (i == 10) run->stop();
    return i < 10 ? kOk : std::string("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
  });
  run = std::make_unique<HttpRun>(options(server.port(), kNoBudget - 1, 1), only_get());
  run->run();
  EXPECT_EQ(run->report().successful, 10U);
  EXPECT_EQ(run->report().abandoned, 1U);
}

TEST(HttpRun, FollowsARedirectWithinTheDeadlineOfTheFirstRequest) {
  Server server([](int i) {
    return i % 2 == 0 ? "HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n" : kOk;
  });
  HttpRun run(options(server.port(), 50, 1), only_get("/first"));
  run.run();
  EXPECT_EQ(run.report().successful, 50U);
  EXPECT_EQ(server.answered(), 100);
}

TEST(HttpRun, RefusesBadOptions) {
  EXPECT_THROW(HttpRun(options(80, 1, 0), only_get()), Error);
  EXPECT_THROW(HttpRun(options(80, 1, 1, 2), only_get()), Error);
  EXPECT_THROW(HttpRun(options(80, kNoBudget, 1), only_get()), Error);
}

TEST(Address, OnlyLocalAndPrivateAddressesAreReachedUnasked) {
  for (const char* host :
       {"127.0.0.1", "127.9.9.9", "::1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "fd00::1"}) {
    EXPECT_EQ(http::resolve(host, 80, {}).size(), 1U) << host;
  }
  for (const char* host : {"8.8.8.8", "169.254.169.254", "172.32.0.1", "100.64.0.1", "fe80::1",
                           "2001:db8::1", "::ffff:8.8.8.8"}) {
    EXPECT_THROW((void)http::resolve(host, 80, {}), Error) << host;
    EXPECT_EQ(http::resolve(host, 80, {host}).size(), 1U) << host;
  }
  EXPECT_TRUE(http::host_matches("a.example.org", "*.example.org"));
  EXPECT_FALSE(http::host_matches("example.org", "*.example.org"));
  EXPECT_FALSE(http::host_matches("badexample.org", "*.example.org"));
}

}  // namespace
}  // namespace mcp::loadtest

// The client against a small server in the same process, for the sanitizers to watch. What a user
// relies on is in tests/python/test_http_client.py.
#include "http/client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "http/server.h"

namespace mcp::http {
namespace {

ClientOptions options(int port) {
  ClientOptions result;
  result.endpoints = resolve("127.0.0.1", port, {});
  result.host = result.authority = "127.0.0.1";
  result.port = port;
  return result;
}

const Message kGetRoot{"GET", "/", {}, ""};
const Message kPost{"POST", "/", {}, "x"};

ErrorKind failure_of(Client& client, const Message& message) {
  try {
    static_cast<void>(client.send(message));
  } catch (const Error& error) {
    return error.kind();
  }
  return ErrorKind::kCache;  // none of the client's: it succeeded
}

TEST(Client, ServesManyThreadsOverAConnectionEachAtMost) {
  Server server([](int) { return kOk; });
  Client client(options(server.port()));
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 300; ++n) good += client.send(kGetRoot).body == "ok" ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 1200);
  EXPECT_LE(server.accepted(), 4);
}

TEST(Client, KeepsNoMoreFreeConnectionsThanItHasPlacesFor) {
  constexpr int kThreads = 80;
  std::atomic<int> there{0};
  Server server([&there](int) {
    for (++there; there < kThreads;) std::this_thread::yield();
    return kOk;
  });
  Client client(options(server.port()));
  for (int round = 0; round < 2; ++round) {
    there = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] { EXPECT_EQ(client.send(kGetRoot).status, 200); });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(server.accepted(), kThreads + (kThreads - 64));
}

TEST(Client, AsksOnceMoreWhereARepeatDoesNoHarm) {
  Server server([](int i) { return i == 1 || i == 3 ? std::string() : kOk; });
  Client client(options(server.port()));
  EXPECT_EQ(client.send(kGetRoot).status, 200);
  EXPECT_EQ(client.send(kGetRoot).status, 200);  // request 1 was closed on, 2 answered
  EXPECT_EQ(failure_of(client, kPost), ErrorKind::kHttp);
  EXPECT_EQ(server.answered(), 4);
}

TEST(Client, GivesUpAtItsDeadlineAndTheConnectionWithIt) {
  std::promise<void> go;
  const std::shared_future<void> gone = go.get_future().share();
  Server server([gone](int i) {
    if (i == 0) gone.wait();
    return kOk;
  });
  ClientOptions hasty = options(server.port());
  hasty.timeout_ns = 20 * kMillisecond;
  Client client(hasty);
  EXPECT_EQ(failure_of(client, kGetRoot), ErrorKind::kHttpTimeout);
  go.set_value();
  while (failure_of(client, kGetRoot) == ErrorKind::kHttpTimeout) {  // on a busy machine
  }
  EXPECT_GE(server.accepted(), 2);
}

TEST(Client, TriesEachEndpointInTurnAndRemembersWhichAnswered) {
  Server server([](int) { return kOk; });
  ClientOptions two = options(server.port());
  int taken = 0;
  {
    const Server gone([](int) { return kOk; });
    taken = gone.port();
  }
  two.endpoints.insert(two.endpoints.begin(), resolve("127.0.0.1", taken, {}).front());
  Client client(two);
  EXPECT_EQ(client.send(kGetRoot).status, 200);
  client.close();
  EXPECT_EQ(client.send(kGetRoot).status, 200);
  two.endpoints.pop_back();
  Client none(two);
  EXPECT_EQ(failure_of(none, kGetRoot), ErrorKind::kHttp);
}

TEST(Client, RefusesWhatIsNoRequest) {
  Client client(options(1));
  EXPECT_EQ(failure_of(client, {"GET", "x", {}, ""}), ErrorKind::kConfiguration);
  EXPECT_EQ(failure_of(client, {"GET", "/", {{"a", "b\r\nc"}}, ""}), ErrorKind::kConfiguration);
  EXPECT_THROW(Client(ClientOptions{}), Error);
}

}  // namespace
}  // namespace mcp::http

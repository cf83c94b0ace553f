#include "redis/client.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "redis/command.h"
#include "redis/peers.h"

namespace mcp::redis {
namespace {

Request request(std::initializer_list<std::string_view> command, std::string fill_key = {}) {
  Request request;
  append_command(request.bytes, command);
  request.fill_key = std::move(fill_key);
  return request;
}

ClientOptions at_port(int port) {
  ClientOptions options;
  options.port = port;
  return options;
}

// Patient: for tests that are not about time, on a machine that may be busy.
ClientOptions patient(int port) {
  ClientOptions options = at_port(port);
  options.timeout = 20 * kSecond;
  return options;
}

std::string text_of(const Outcome& outcome) {
  if (outcome.error) return std::string("error: ") + outcome.error->what();
  return outcome.replies.at(0).text;
}

ErrorKind kind_of(const Outcome& outcome) {
  return outcome.error ? outcome.error->kind() : ErrorKind::kConfiguration;
}

std::size_t count_in(const char* folder) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

// Those that a program started now would get.
int inheritable_descriptors() {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int flags = fcntl(std::stoi(entry.path().filename()), F_GETFD);
    if (flags >= 0 && (flags & FD_CLOEXEC) == 0) ++count;
  }
  return count;
}

TEST(Client, StoresAndReads) {
  const RedisServer server;
  Client client(patient(server.port()), nullptr);
  EXPECT_EQ(text_of(client.call(request({"SET", "k", std::string_view("\0\r\n", 3)}))), "OK");
  EXPECT_EQ(text_of(client.call(request({"GET", "k"}))), std::string("\0\r\n", 3));
  EXPECT_TRUE(client.call(request({"GET", "none"})).replies.at(0).is_nil());
}

TEST(Client, SpeaksOverAUnixSocketAndToAName) {
  const RedisServer server;
  ClientOptions local = patient(0);
  local.unix_path = server.unix_path();
  EXPECT_EQ(text_of(Client(local, nullptr).call(request({"PING"}))), "PONG");
  ClientOptions named = patient(server.port());
  named.host = "localhost";
  EXPECT_EQ(text_of(Client(named, nullptr).call(request({"PING"}))), "PONG");
}

TEST(Client, OpensNothingBeforeTheFirstCommandAndLeavesNothingOpen) {
  const RedisServer server;
  std::thread([] {}).join();  // a sanitizer starts a thread of its own with the first one
  const std::size_t descriptors = count_in("/proc/self/fd"), threads = count_in("/proc/self/task");
  const int inheritable = inheritable_descriptors();
  {
    Client client(patient(server.port()), nullptr);
    EXPECT_EQ(count_in("/proc/self/fd"), descriptors);
    EXPECT_EQ(count_in("/proc/self/task"), threads);
    EXPECT_EQ(text_of(client.call(request({"PING"}))), "PONG");
    EXPECT_EQ(inheritable_descriptors(), inheritable);
  }
  EXPECT_EQ(count_in("/proc/self/fd"), descriptors);
  EXPECT_EQ(count_in("/proc/self/task"), threads);
}

TEST(Client, GivesEachOfManyThreadsItsOwnAnswers) {
  const RedisServer server;
  Client client(patient(server.port()), nullptr);
  std::atomic<int> wrong{0}, right{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        const std::string word = std::to_string(t) + ":" + std::to_string(i);
        ++(text_of(client.call(request({"ECHO", word}))) == word ? right : wrong);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(right, 2000);
}

TEST(Client, SendsTogetherWhatWasGathered) {
  std::mutex mutex;
  std::vector<std::string> pieces;
  FakePeer peer([&](const std::string& piece) {
    const std::lock_guard lock(mutex);
    pieces.push_back(piece);
    return piece.find("PING") == std::string::npos ? std::string() : "+PONG\r\n";
  });
  const auto with = [&](std::string_view word) {
    const std::lock_guard lock(mutex);
    const auto found = std::find_if(pieces.begin(), pieces.end(), [&](const std::string& piece) {
      return piece.find(word) != std::string::npos;
    });
    return found == pieces.end() ? std::string() : *found;
  };
  Client client(patient(peer.port()), nullptr);
  const auto asks = [](std::string_view word) {
    Request made = request({"ECHO", word});
    made.done = [](const Outcome&) {};
    return made;
  };
  client.submit(asks("first"));
  EXPECT_TRUE(eventually([&] { return !with("first").empty(); }));
  EXPECT_TRUE(client.gather(asks("second")));
  EXPECT_TRUE(client.gather(asks("third")));
  client.flush();
  EXPECT_TRUE(eventually([&] { return !with("second").empty(); }));
  EXPECT_NE(with("second").find("third"), std::string::npos);
}

TEST(Client, SendsWhatWasGatheredThoughNobodyFlushes) {
  const RedisServer server;
  Client client(patient(server.port()), nullptr);
  EXPECT_EQ(text_of(client.call(request({"PING"}))), "PONG");
  std::atomic<int> answered{0};
  const auto count = [&](const Outcome& outcome) { answered += text_of(outcome) == "word"; };
  Request sleep = request({"DEBUG", "SLEEP", "0.05"});
  sleep.done = [](const Outcome&) {};
  client.submit(std::move(sleep));
  Request gathered = request({"ECHO", "word"});
  gathered.done = count;
  EXPECT_TRUE(client.gather(std::move(gathered)));
  EXPECT_TRUE(eventually([&] { return answered == 1; }));
  Request alone = request({"ECHO", "word"});  // nothing in flight: it goes out at once
  alone.done = count;
  EXPECT_FALSE(client.gather(std::move(alone)));
  EXPECT_TRUE(eventually([&] { return answered == 2; }));
}

TEST(Client, AnswersARequestOfSeveralCommandsTogether) {
  const RedisServer server;
  Client client(patient(server.port()), nullptr);
  Request both = request({"SET", "k", "v"});
  append_command(both.bytes, {"GET", "k"});
  both.commands = 2;
  const Outcome outcome = client.call(std::move(both));
  ASSERT_EQ(outcome.replies.size(), 2U);
  EXPECT_EQ(outcome.replies[1].text, "v");
}

TEST(Client, CarriesALargeValue) {
  const RedisServer server;
  Client client(patient(server.port()), nullptr);
  const std::string large(std::size_t{8} << 20, 'x');
  EXPECT_EQ(text_of(client.call(request({"SET", "k", large}))), "OK");
  EXPECT_EQ(text_of(client.call(request({"GET", "k"}))), large);
}

TEST(Client, FailsTypedAndOpensTheBreakerWhenThereIsNoServer) {
  Client client(patient(free_port()), nullptr);
  EXPECT_EQ(kind_of(client.call(request({"PING"}))), ErrorKind::kBackendUnavailable);
  EXPECT_NE(client.stats().breaker, Breaker::State::kClosed);
  EXPECT_EQ(client.stats().in_flight, 0U);
}

TEST(Client, FailsWhatIsInFlightWhenTheServerDies) {
  RedisServer server;
  Client client(patient(server.port()), nullptr);
  ASSERT_EQ(text_of(client.call(request({"PING"}))), "PONG");
  std::atomic<int> typed{0}, ended{0};
  for (int i = 0; i < 100; ++i) {
    Request blocked = request({"BLPOP", "never", "0"});
    blocked.done = [&](const Outcome& outcome) {
      typed += kind_of(outcome) == ErrorKind::kBackendUnavailable;
      ++ended;
    };
    client.submit(std::move(blocked));
  }
  server.kill();
  EXPECT_TRUE(eventually([&] { return ended == 100; }));
  EXPECT_EQ(typed, 100);
  EXPECT_EQ(client.stats().losses, 1U);
}

TEST(Client, ComesBackWithTheServer) {
  RedisServer server;
  Client client(patient(server.port()), nullptr);
  ASSERT_EQ(text_of(client.call(request({"PING"}))), "PONG");
  server.kill();
  EXPECT_TRUE(eventually([&] { return client.call(request({"PING"})).error.has_value(); }));
  server.start();
  EXPECT_TRUE(eventually([&] { return !client.call(request({"PING"})).error; }));
  EXPECT_EQ(client.stats().breaker, Breaker::State::kClosed);
}

TEST(Client, NeverReadsAConnectionAgainAfterATimeout) {
  const RedisServer server;
  Client client(at_port(server.port()), nullptr);
  ASSERT_TRUE(eventually([&] { return !client.call(request({"SET", "k", "late"})).error; }));
  server.signal(SIGSTOP);
  EXPECT_EQ(kind_of(client.call(request({"GET", "k"}))), ErrorKind::kBackendUnavailable);
  server.signal(SIGCONT);  // the late answer comes, to nobody
  for (int i = 0; i < 50; ++i) {
    const std::string word = std::to_string(i);
    Outcome outcome;
    ASSERT_TRUE(eventually([&] {
      outcome = client.call(request({"ECHO", word}));
      return !outcome.error;
    }));
    EXPECT_EQ(text_of(outcome), word);
  }
  EXPECT_GE(client.stats().timeouts, 1U);
}

TEST(Client, RefusesMoreInFlightThanTheBound) {
  const RedisServer server;
  ClientOptions options = patient(server.port());
  options.max_in_flight = 10;
  Client client(options, nullptr);
  ASSERT_EQ(text_of(client.call(request({"PING"}))), "PONG");
  std::atomic<int> refused{0};
  for (int i = 0; i < 15; ++i) {
    Request blocked = request({"BLPOP", "never", "0"});
    blocked.done = [&](const Outcome& outcome) { refused += outcome.error.has_value(); };
    client.submit(std::move(blocked));
  }
  EXPECT_EQ(refused, 5);
  client.close();
  EXPECT_EQ(refused, 15);
}

TEST(Client, RefusesEverythingOnceClosed) {
  Client client(patient(free_port()), nullptr);
  client.close();
  client.close();
  EXPECT_EQ(kind_of(client.call(request({"PING"}))), ErrorKind::kBackendUnavailable);
}

TEST(Client, TellsHostileBytesFromRedis) {
  for (const std::string hostile :
       {"HTTP/1.1 200 OK\r\n\r\n", "$99999999999\r\n", "*2000000000\r\n",
        "+PONG\r\n+PONG\r\n+unasked\r\n", ":1\r\n\x01garbage"}) {
    std::atomic<int> pieces{0};
    const FakePeer peer(
        [&](const std::string&) { return pieces++ == 0 ? std::string("+PONG\r\n") : hostile; });
    Client client(patient(peer.port()), nullptr);
    static_cast<void>(client.call(request({"PING"})));
    EXPECT_TRUE(eventually([&] { return client.stats().protocol_errors > 0; })) << hostile;
  }
}

TEST(Client, AHostilePeerFailsTheCommandAsAProtocolError) {
  std::atomic<int> pieces{0};
  const FakePeer peer([&](const std::string&) {
    return std::string(pieces++ == 0 ? "+PONG\r\n" : "HTTP/1.1 200 OK\r\n\r\n");
  });
  Client client(patient(peer.port()), nullptr);
  EXPECT_EQ(kind_of(client.call(request({"PING"}))), ErrorKind::kProtocol);
}

TEST(Client, ASilentPeerCostsNoMoreThanTheTimeoutAndThenNothing) {
  const FakePeer peer([](const std::string&) { return std::string(); });
  Client client(at_port(peer.port()), nullptr);
  EXPECT_EQ(kind_of(client.call(request({"PING"}))), ErrorKind::kBackendUnavailable);
  EXPECT_EQ(kind_of(client.call(request({"PING"}))), ErrorKind::kBackendUnavailable);
  EXPECT_EQ(client.stats().refused, 1U);  // the second did not wait
}

TEST(Client, LogsInAndNeverSaysThePassword) {
  const RedisServer server({"--requirepass", "canary-secret"});
  ClientOptions options = patient(server.port());
  const Outcome without = Client(options, nullptr).call(request({"PING"}));
  EXPECT_NE(text_of(without).find("NOAUTH"), std::string::npos);
  options.password = "wrong-canary";
  const Outcome wrong = Client(options, nullptr).call(request({"PING"}));
  EXPECT_NE(text_of(wrong).find("WRONGPASS"), std::string::npos);
  EXPECT_EQ(text_of(wrong).find("canary"), std::string::npos);
  options.password = "canary-secret";
  EXPECT_EQ(text_of(Client(options, nullptr).call(request({"PING"}))), "PONG");
}

TEST(Client, CountsTheErrorsOfTheServerByTheirCode) {
  const RedisServer server;
  Client client(patient(server.port()), nullptr);
  ASSERT_FALSE(client.call(request({"RPUSH", "list", "x"})).error);
  EXPECT_TRUE(client.call(request({"GET", "list"})).replies.at(0).is_error());
  ASSERT_FALSE(client.call(request({"CONFIG", "SET", "maxmemory", "1"})).error);
  EXPECT_TRUE(client.call(request({"SET", "k", "v"})).replies.at(0).is_error());
  ASSERT_FALSE(client.call(request({"REPLICAOF", "127.0.0.1", std::to_string(free_port())})).error);
  EXPECT_TRUE(client.call(request({"SET", "k", "v"})).replies.at(0).is_error());
  const auto errors = client.stats().error_replies;
  for (const char* code : {"WRONGTYPE", "OOM", "READONLY"}) EXPECT_EQ(errors.at(code), 1U) << code;
}

}  // namespace
}  // namespace mcp::redis

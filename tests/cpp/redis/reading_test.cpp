// Who reads the replies, with real sockets: threads that wait, loops that watch, and the I/O thread
// where neither can be relied on.
#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/watch_set.h"
#include "redis/client.h"
#include "redis/command.h"
#include "redis/peers.h"

namespace mcp::redis {
namespace {

Request echo(
    std::string_view word, Done done = [](const Outcome&) {}) {
  Request request;
  append_command(request.bytes, {"ECHO", word});
  request.done = std::move(done);
  return request;
}

ClientOptions patient_at(int port) {
  ClientOptions options;
  options.port = port;
  options.timeout = 20 * kSecond;
  return options;
}

std::string word_of(const Outcome& outcome) {
  return outcome.error ? std::string("error: ") + outcome.error->what()
                       : outcome.replies.at(0).text;
}

// A loop that looks when it is told to, and only then.
class Loop final : public Watcher {
 public:
  [[nodiscard]] bool watch(int fd) noexcept override { return watches_.add(fd, 1); }
  void unwatch(int fd) noexcept override { watches_.remove(fd); }

  [[nodiscard]] bool has_something() const {
    pollfd poll{watches_.fd(), POLLIN, 0};
    return ::poll(&poll, 1, 0) == 1;
  }
  void close() { watches_.close(); }

 private:
  WatchSet watches_;
};

TEST(Reading, ALoopIsToldOnItsOwnThread) {
  const RedisServer server;
  Client client(patient_at(server.port()), nullptr);
  EXPECT_EQ(word_of(client.call(echo("up"))), "up");
  const auto loop = std::make_shared<Loop>();
  int own = 0, others = 0;
  const auto here = std::this_thread::get_id();
  for (int i = 0; i < 200; ++i) {
    std::atomic<bool> told{false};
    static_cast<void>(client.gather(echo("word",
                                         [&](const Outcome& outcome) {
                                           EXPECT_EQ(word_of(outcome), "word");
                                           ++(std::this_thread::get_id() == here ? own : others);
                                           told = true;
                                         }),
                                    loop));
    ASSERT_TRUE(eventually([&] {
      if (loop->has_something()) client.look();
      return told.load();
    }));
  }
  EXPECT_GT(own, 0);  // all of them, on a machine that is not busy
  EXPECT_EQ(own + others, 200);
}

TEST(Reading, ALoopThatNeverLooksIsRelieved) {
  const RedisServer server;
  Client client(patient_at(server.port()), nullptr);
  EXPECT_EQ(word_of(client.call(echo("up"))), "up");
  const auto loop = std::make_shared<Loop>();
  std::atomic<int> told{0};
  const auto count = [&](const Outcome& outcome) { told += word_of(outcome) == "word"; };
  static_cast<void>(client.gather(echo("word", count), loop));
  static_cast<void>(client.gather(echo("word", count), loop));  // and never flushes
  EXPECT_TRUE(eventually([&] { return told == 2; }));
}

TEST(Reading, ALoopThatIsBusyForLongerThanTheTimeoutLosesNothing) {
  const RedisServer server;
  ClientOptions options = patient_at(server.port());
  options.timeout = kSecond;
  Client client(options, nullptr);
  EXPECT_EQ(word_of(client.call(echo("up"))), "up");
  const auto loop = std::make_shared<Loop>();
  for (int i = 0; i < 3; ++i) {
    std::atomic<bool> told{false};
    std::string word;
    static_cast<void>(client.gather(echo("word",
                                         [&](const Outcome& outcome) {
                                           word = word_of(outcome);
                                           told = true;
                                         }),
                                    loop));
    ASSERT_TRUE(eventually([&] { return told.load(); }));
    EXPECT_EQ(word, "word");
  }
  EXPECT_EQ(client.stats().connections, 1U);
}

TEST(Reading, AClosedLoopIsNotReliedOn) {
  const RedisServer server;
  Client client(patient_at(server.port()), nullptr);
  EXPECT_EQ(word_of(client.call(echo("up"))), "up");
  const auto loop = std::make_shared<Loop>();
  loop->close();
  std::atomic<bool> told{false};
  static_cast<void>(client.gather(echo("word", [&](const Outcome&) { told = true; }), loop));
  EXPECT_TRUE(eventually([&] { return told.load(); }));
}

TEST(Reading, AThreadThatWaitsDoesNotWaitForALoop) {
  const RedisServer server;
  Client client(patient_at(server.port()), nullptr);
  EXPECT_EQ(word_of(client.call(echo("up"))), "up");
  const auto loop = std::make_shared<Loop>(), other = std::make_shared<Loop>();
  std::atomic<int> told{0};
  const auto count = [&](const Outcome& outcome) { told += word_of(outcome) == "theirs"; };
  for (int i = 1; i <= 20; ++i) {
    static_cast<void>(client.gather(echo("theirs", count), loop));
    EXPECT_EQ(word_of(client.call(echo("ours"))), "ours");  // on the loop's thread, which waits
    EXPECT_EQ(told, 2 * i - 1);
    static_cast<void>(client.gather(echo("theirs", count), other));
    client.flush();
    EXPECT_TRUE(eventually([&] { return told == 2 * i; }));
  }
}

TEST(Reading, ThreadsAndLoopsTogetherEachGetTheirOwn) {
  const RedisServer server;
  Client client(patient_at(server.port()), nullptr);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 300; ++i) {
        const std::string word = std::to_string(t) + ":" + std::to_string(i);
        wrong += word_of(client.call(echo(word))) != word;
      }
    });
  }
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      const auto loop = std::make_shared<Loop>();
      for (int i = 0; i < 300; i += 3) {
        std::atomic<int> told{0};
        for (int k = 0; k < 3; ++k) {
          const std::string word = std::to_string(t) + "-" + std::to_string(i + k);
          static_cast<void>(client.gather(echo(word,
                                               [&, word](const Outcome& outcome) {
                                                 wrong += word_of(outcome) != word;
                                                 ++told;
                                               }),
                                          loop));
        }
        client.flush();
        if (!eventually([&] {
              if (loop->has_something()) client.look();
              return told == 3;
            })) {
          ++wrong;
          return;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(client.stats().connections, 1U);
}

TEST(Reading, CallersThatReadAreFreedByAClose) {
  const RedisServer server;
  for (int i = 0; i < 20; ++i) {
    Client client(patient_at(server.port()), nullptr);
    EXPECT_EQ(word_of(client.call(echo("up"))), "up");
    std::thread caller([&] {
      Request sleep;
      append_command(sleep.bytes, {"BLPOP", "nothing", "30"});
      EXPECT_TRUE(client.call(std::move(sleep)).error.has_value());
    });
    EXPECT_TRUE(eventually([&] { return client.stats().in_flight == 1; }));
    client.close();
    caller.join();
  }
}

TEST(Reading, ACallerThatReadsSeesTheServerDie) {
  RedisServer server;
  Client client(patient_at(server.port()), nullptr);
  EXPECT_EQ(word_of(client.call(echo("up"))), "up");
  std::thread caller([&] {
    Request sleep;
    append_command(sleep.bytes, {"BLPOP", "nothing", "30"});
    const Outcome outcome = client.call(std::move(sleep));
    ASSERT_TRUE(outcome.error.has_value());
    EXPECT_EQ(outcome.error->kind(), ErrorKind::kBackendUnavailable);
  });
  EXPECT_TRUE(eventually([&] { return client.stats().in_flight == 1; }));
  server.kill();
  caller.join();
  EXPECT_EQ(client.stats().losses, 1U);
}

// Answers the first connection's first command, then says something that nobody asked for, or
// hangs up; and answers what comes over later connections.
class FicklePeer {
 public:
  // Over a Unix socket: what was sent has arrived.
  explicit FicklePeer(std::string unasked) : unasked_(std::move(unasked)) {
    if (mkdtemp(folder_.data()) == nullptr) throw std::runtime_error("no folder");
    listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const Address address = unix_address(path());
    if (bind(listener_, reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0 ||
        listen(listener_, 4) != 0) {
      throw std::runtime_error("no socket");
    }
    thread_ = std::thread([this] { run(); });
  }
  ~FicklePeer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
    std::filesystem::remove_all(folder_);
  }
  FicklePeer(const FicklePeer&) = delete;
  FicklePeer& operator=(const FicklePeer&) = delete;

  void speak() {
    speaks_ = true;
    while (!has_spoken_) std::this_thread::yield();
  }
  [[nodiscard]] std::string path() const { return folder_ + "/peer.sock"; }

 private:
  void run() {
    const int first = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    answer(first, "+FIRST\r\n");  // the PING of the start
    answer(first, "+FIRST\r\n");
    while (!speaks_) std::this_thread::yield();
    if (unasked_.empty()) {
      ::shutdown(first, SHUT_RDWR);
    } else {
      send(first, unasked_.data(), unasked_.size(), MSG_NOSIGNAL);
    }
    has_spoken_ = true;
    const int second = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (second >= 0) {
      answer(second, "+SECOND\r\n");
      answer(second, "+SECOND\r\n");
    }
    ::close(second);
    ::close(first);
  }
  static void answer(int fd, std::string_view reply) {
    std::array<char, 4096> buffer;
    if (recv(fd, buffer.data(), buffer.size(), 0) > 0) {
      send(fd, reply.data(), reply.size(), MSG_NOSIGNAL);
    }
  }

  const std::string unasked_;
  std::string folder_ = (std::filesystem::temp_directory_path() / "mcp_peer_XXXXXX").string();
  int listener_ = -1;
  std::atomic<bool> speaks_{false}, has_spoken_{false};
  std::thread thread_;
};

TEST(Reading, WhatNobodyAskedForIsNobodysAnswer) {
  for (const char* unasked : {"+LATE\r\n", ""}) {
    FicklePeer peer(unasked);
    ClientOptions options = patient_at(0);
    options.unix_path = peer.path();
    Client client(options, nullptr);
    EXPECT_EQ(word_of(client.call(echo("one"))), "FIRST");
    peer.speak();
    EXPECT_EQ(word_of(client.call(echo("two"))), "SECOND");
    EXPECT_EQ(client.stats().connections, 2U);
  }
}

}  // namespace
}  // namespace mcp::redis

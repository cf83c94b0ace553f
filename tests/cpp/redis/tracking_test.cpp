// The client with tracking against a real server: what is announced, and what ends in a flush.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "redis/client.h"
#include "redis/command.h"
#include "redis/peers.h"

namespace mcp::redis {
namespace {

class Tracking : public testing::Test {
 protected:
  Tracking()
      : client_(options(server_.port(), true), feed_),
        other_(options(server_.port(), false), nullptr) {
    static_cast<void>(run(client_, {"PING"}));
  }

  static ClientOptions options(int port, bool tracking) {
    ClientOptions options;
    options.port = port;
    options.tracking = tracking;
    options.timeout = 20 * kSecond;
    return options;
  }
  static Reply run(Client& client, std::initializer_list<std::string_view> command) {
    Request request;
    append_command(request.bytes, command);
    const Outcome outcome = client.call(std::move(request));
    if (outcome.error) throw *outcome.error;
    return outcome.replies.at(0);
  }
  // GET with a fill that is still open.
  FillId read(const std::string& key) {
    Request request;
    append_command(request.bytes, {"GET", key});
    request.fill_key = key;
    const Outcome outcome = client_.call(std::move(request));
    if (outcome.error) throw *outcome.error;
    return outcome.fill;
  }
  cache::InvalidationNews next_news() {
    cache::InvalidationNews news;
    EXPECT_TRUE(eventually([&] {
      news = feed_->take();
      return news.flush || !news.keys.empty();
    }));
    return news;
  }
  // The ids of the connections that are `kind`: normal or pubsub.
  std::vector<std::string> ids(const std::string& kind) {
    std::vector<std::string> found;
    const std::string list = run(other_, {"CLIENT", "LIST", "TYPE", kind}).text;
    for (std::size_t at = 0; (at = list.find("id=", at)) != std::string::npos; ++at) {
      if (at == 0 || list[at - 1] == '\n')
        found.push_back(list.substr(at + 3, list.find(' ', at) - at - 3));
    }
    return found;
  }

  RedisServer server_;
  std::shared_ptr<cache::InvalidationFeed> feed_ = std::make_shared<cache::InvalidationFeed>();
  Client client_;
  Client other_;
};

TEST_F(Tracking, KeepsWhatNobodyChanges) {
  EXPECT_TRUE(client_.stats().tracking);
  EXPECT_TRUE(client_.keep(read("k")));
}

TEST_F(Tracking, AnnouncesAWriteOfAnotherClient) {
  ASSERT_TRUE(client_.keep(read("k")));
  run(other_, {"SET", "k", "new"});
  EXPECT_EQ(next_news().keys, std::vector<std::string>{"k"});
}

TEST_F(Tracking, AnnouncesItsOwnWriteToo) {
  ASSERT_TRUE(client_.keep(read("k")));
  run(client_, {"SET", "k", "new"});
  EXPECT_EQ(next_news().keys, std::vector<std::string>{"k"});
}

TEST_F(Tracking, AValueThatChangedBehindItsReadIsNotKept) {
  const FillId fill = read("k");
  run(other_, {"SET", "k", "new"});
  static_cast<void>(next_news());
  EXPECT_FALSE(client_.keep(fill));
}

TEST_F(Tracking, TheFirstConnectionFlushesWhatWasKeptBeforeItAndNothingElse) {
  EXPECT_FALSE(feed_->take().flush);
  const auto feed = std::make_shared<cache::InvalidationFeed>();
  Client client(options(server_.port(), true), feed);
  ASSERT_NE(client.begin_away("k"), kNoFill);
  static_cast<void>(run(client, {"PING"}));
  EXPECT_TRUE(eventually([&] { return feed->take().flush; }));
}

TEST_F(Tracking, FlushAllFlushes) {
  const FillId fill = read("k");
  run(other_, {"FLUSHALL"});
  EXPECT_TRUE(next_news().flush);
  EXPECT_FALSE(client_.keep(fill));
}

TEST_F(Tracking, LosingTheInvalidationConnectionAloneDropsBothAndFlushes) {
  const FillId fill = read("k");
  const std::vector<std::string> victims = ids("pubsub");
  ASSERT_EQ(victims.size(), 1U);
  run(other_, {"CLIENT", "KILL", "ID", victims[0]});
  EXPECT_TRUE(next_news().flush);
  EXPECT_FALSE(client_.keep(fill));
  EXPECT_TRUE(eventually([&] { return ids("pubsub").empty() && ids("normal").size() == 1; }));
}

TEST_F(Tracking, LosingTheDataConnectionFlushes) {
  const FillId fill = read("k");
  const std::string own = std::to_string(run(other_, {"CLIENT", "ID"}).integer);
  for (const std::string& id : ids("normal")) {
    if (id != own) run(other_, {"CLIENT", "KILL", "ID", id});
  }
  EXPECT_TRUE(next_news().flush);
  EXPECT_FALSE(client_.keep(fill));
}

TEST_F(Tracking, ADeadServerFlushesAndItsSuccessorStartsEmpty) {
  ASSERT_TRUE(client_.keep(read("k")));
  server_.kill();
  EXPECT_TRUE(next_news().flush);
  const FillId away = client_.begin_away("k");
  EXPECT_NE(away, kNoFill);
  server_.start();
  EXPECT_TRUE(eventually([&] {
    try {
      return run(client_, {"PING"}).text == "PONG";
    } catch (const Error&) {
      return false;
    }
  }));
  EXPECT_TRUE(next_news().flush);
  EXPECT_FALSE(client_.keep(away));
}

TEST_F(Tracking, FailedAttemptsToReturnFlushNothing) {
  server_.kill();
  EXPECT_TRUE(next_news().flush);
  const FillId away = client_.begin_away("k");
  const std::uint64_t arrived = feed_->arrived();
  EXPECT_THROW(run(client_, {"PING"}), Error);  // somebody asks: attempts begin
  EXPECT_TRUE(eventually([&] { return client_.stats().failures >= 3; }));
  EXPECT_EQ(feed_->arrived(), arrived);
  EXPECT_TRUE(client_.keep(away));
}

TEST_F(Tracking, AFillBegunBeforeTheConnectionStandsIsKept) {
  Client fresh(options(server_.port(), true), feed_);
  Request request;
  append_command(request.bytes, {"GET", "k"});
  request.fill_key = "k";
  EXPECT_TRUE(fresh.keep(fresh.call(std::move(request)).fill));
}

TEST(TrackingPeer, ThatFallsSilentIsGivenUp) {
  // Answers the start, then nothing: a half-open connection.
  const FakePeer peer([](const std::string& said) -> std::string {
    if (said.find("SUBSCRIBE") != std::string::npos) {
      return ":7\r\n*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n";
    }
    return said.find("TRACKING") != std::string::npos ? "+OK\r\n+PONG\r\n+PONG\r\n" : "";
  });
  const auto feed = std::make_shared<cache::InvalidationFeed>();
  ClientOptions options;
  options.port = peer.port();
  options.tracking = true;
  options.timeout = 20 * kSecond;
  options.ping_interval = 20 * kMillisecond;
  Client client(options, feed);
  Request request;
  append_command(request.bytes, {"PING"});
  request.done = [](const Outcome&) {};
  client.submit(std::move(request));
  EXPECT_TRUE(eventually([&] { return client.stats().losses > 0; }));
  EXPECT_TRUE(feed->take().flush);
}

TEST(TrackingPeer, ThatCannotTrackIsUsedWithoutKeepingAnything) {
  const FakePeer peer([](const std::string& said) -> std::string {
    if (said.find("SUBSCRIBE") != std::string::npos) {
      return "-ERR unknown "
             "command\r\n*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n";
    }
    return said.find("GET") != std::string::npos ? "$1\r\nv\r\n" : "+PONG\r\n";
  });
  ClientOptions options;
  options.port = peer.port();
  options.tracking = true;
  options.timeout = 20 * kSecond;
  Client client(options, std::make_shared<cache::InvalidationFeed>());
  Request request;
  append_command(request.bytes, {"GET", "k"});
  request.fill_key = "k";
  const Outcome outcome = client.call(std::move(request));
  ASSERT_FALSE(outcome.error) << outcome.error->what();
  EXPECT_EQ(outcome.fill, kNoFill);
  EXPECT_FALSE(client.stats().tracking);
}

TEST(ClusterNode, IsLeftWithAllThatIsKeptWhenItHasLostTouch) {
  const RedisServer server(
      {"--cluster-enabled", "yes", "--cluster-port", std::to_string(free_port())});
  ClientOptions options;
  options.port = server.port();
  options.timeout = 20 * kSecond;
  Client other(options, nullptr);
  const auto run = [&other](std::initializer_list<std::string_view> words) {
    Request asked;
    append_command(asked.bytes, words);
    const Outcome outcome = other.call(std::move(asked));
    return outcome.error ? std::string() : outcome.replies.at(0).text;
  };
  const auto state = [&run] { return run({"CLUSTER", "INFO"}).substr(0, 16); };
  EXPECT_EQ(run({"CLUSTER", "ADDSLOTSRANGE", "0", "16383"}), "OK");
  ASSERT_TRUE(eventually([&] { return state() == "cluster_state:ok"; }));

  options.tracking = true;
  options.cluster = true;
  options.ping_interval = 200 * kMillisecond;  // a beat answered later is a loss
  const auto feed = std::make_shared<cache::InvalidationFeed>();
  Client client(options, feed);
  Request first;
  append_command(first.bytes, {"GET", "k"});
  first.fill_key = "k";
  const Outcome read = client.call(std::move(first));
  ASSERT_FALSE(read.error);
  const std::uint64_t beats = client.stats().requests;
  ASSERT_TRUE(eventually([&] { return client.stats().requests > beats + 3; }));
  EXPECT_EQ(client.stats().losses, 0U);
  EXPECT_TRUE(client.holds(read.fill));

  EXPECT_EQ(run({"CLUSTER", "DELSLOTS", "5"}), "OK");
  ASSERT_TRUE(eventually([&] { return client.stats().losses > 0; }));
  EXPECT_FALSE(client.holds(read.fill));
  EXPECT_TRUE(feed->take().flush);
}

}  // namespace
}  // namespace mcp::redis

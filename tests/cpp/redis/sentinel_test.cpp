#include "redis/sentinel.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "redis/client.h"
#include "redis/command.h"
#include "redis/peers.h"

namespace mcp::redis {
namespace {

Reply bulk(std::string text) { return {Reply::Kind::kString, 0, std::move(text), {}}; }
Reply array(std::vector<Reply> items) { return {Reply::Kind::kArray, 0, {}, std::move(items)}; }

TEST(Sentinels, AreAskedInTurnAndFirstTheOneThatWasRight) {
  const Node a{"a", 1}, b{"b", 2}, c{"c", 3};
  Sentinels sentinels({a, b, c});
  EXPECT_EQ(sentinels.take_turn(), a);
  EXPECT_EQ(sentinels.take_turn(), b);
  sentinels.was_right();
  EXPECT_EQ(sentinels.take_turn(), b);
  EXPECT_EQ(sentinels.take_turn(), c);
  EXPECT_EQ(sentinels.take_turn(), a);
  EXPECT_EQ(sentinels.take_turn(), b);
}

TEST(Sentinels, OneIsAskedAgain) {
  const Node only{"a", 1};
  Sentinels sentinels({only});
  EXPECT_EQ(sentinels.take_turn(), only);
  EXPECT_EQ(sentinels.take_turn(), only);
}

TEST(Sentinels, NameAMasterByAHostAndAPort) {
  const Node master{"10.0.0.1", 6379};
  EXPECT_EQ(master_of(array({bulk("10.0.0.1"), bulk("6379")})), master);
  for (const Reply& other :
       {Reply{}, bulk("10.0.0.1"), array({}), array({bulk("a")}), array({bulk("a"), bulk("")}),
        array({bulk("a"), bulk("0")}), array({bulk("a"), bulk("65536")}),
        array({bulk("a"), bulk("1x")}), array({bulk("a"), bulk("-1")}),
        array({bulk("a"), bulk("99999999999999999999")}), array({bulk(""), bulk("1")}),
        array({bulk(std::string("a\0b", 3)), bulk("1")}),
        array({bulk("a"), bulk("1"), bulk("2")})}) {
    EXPECT_EQ(master_of(other), std::nullopt);
  }
}

TEST(Sentinels, AMasterSaysSoItself) {
  EXPECT_TRUE(is_master(array({bulk("master"), bulk("0"), array({})})));
  for (const Reply& other :
       {Reply{}, bulk("master"), array({}), array({bulk("slave")}), array({bulk("sentinel")})}) {
    EXPECT_FALSE(is_master(other));
  }
}

// -- A client among peers that say what they are told

std::string bulk_text(const std::string& text) {
  return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
}

std::string names(int port) {
  return "*2\r\n" + bulk_text("127.0.0.1") + bulk_text(std::to_string(port));
}

// A server with a role, which answers every PING and refuses to write when it is told to.
std::string serve(const std::string& asked, const std::string& role) {
  std::string said;
  if (asked.find("ROLE") != std::string::npos) said += "*1\r\n" + bulk_text(role);
  if (asked.find("PING") != std::string::npos) said += "+PONG\r\n";
  if (asked.find("SET") != std::string::npos) said += "-READONLY You can't write\r\n";
  return said;
}

ClientOptions asking(std::vector<int> ports) {
  ClientOptions options;
  options.timeout = 20 * kSecond;
  options.ping_interval = 10 * kMillisecond;
  options.sentinels = SentinelOptions{{}, "mymaster", "", ""};
  for (const int port : ports) options.sentinels->nodes.push_back({"127.0.0.1", port});
  return options;
}

Request command(std::initializer_list<std::string_view> words) {
  Request request;
  append_command(request.bytes, words);
  return request;
}

std::string said_to(Client& client, std::initializer_list<std::string_view> words) {
  const Outcome outcome = client.call(command(words));
  return outcome.error ? outcome.error->what() : outcome.replies.at(0).text;
}

TEST(SentinelClient, PassesOverSentinelsThatAreAwayOrDoNotKnow) {
  FakePeer master([](const std::string& asked) { return serve(asked, "master"); });
  FakePeer ignorant([](const std::string&) { return "*-1\r\n"; });
  FakePeer refusing([](const std::string&) { return "-NOAUTH Authentication required.\r\n"; });
  FakePeer knowing([&](const std::string&) { return names(master.port()); });
  Client client(asking({free_port(), ignorant.port(), refusing.port(), knowing.port()}), nullptr);
  EXPECT_EQ(said_to(client, {"PING"}), "PONG");
}

TEST(SentinelClient, SaysWhyNoneHelps) {
  FakePeer ignorant([](const std::string&) { return "*-1\r\n"; });
  FakePeer refusing([](const std::string&) { return "-NOAUTH Authentication required.\r\n"; });
  Client client(asking({ignorant.port(), refusing.port()}), nullptr);
  EXPECT_EQ(said_to(client, {"PING"}),
            "no sentinel says where the master mymaster is: the sentinel at 127.0.0.1:" +
                std::to_string(refusing.port()) + " refused SENTINEL: NOAUTH");
  Client other(asking({ignorant.port()}), nullptr);
  EXPECT_NE(said_to(other, {"PING"}).find("knows no such master"), std::string::npos);
}

TEST(SentinelClient, AsksAnotherWhenWhatOneNamesIsNoMaster) {
  FakePeer old([](const std::string& asked) { return serve(asked, "slave"); });
  FakePeer master([](const std::string& asked) { return serve(asked, "master"); });
  FakePeer behind([&](const std::string&) { return names(old.port()); });
  FakePeer knowing([&](const std::string&) { return names(master.port()); });
  Client client(asking({behind.port(), knowing.port()}), nullptr);
  EXPECT_NE(said_to(client, {"PING"}).find("is not the master"), std::string::npos);
  EXPECT_TRUE(eventually([&] { return said_to(client, {"PING"}) == "PONG"; }));
}

TEST(SentinelClient, LeavesAServerThatTakesNoWritesAnyMore) {
  FakePeer master([](const std::string& asked) { return serve(asked, "master"); });
  FakePeer knowing([&](const std::string&) { return names(master.port()); });
  Client client(asking({knowing.port()}), nullptr);
  EXPECT_EQ(said_to(client, {"PING"}), "PONG");
  const std::uint64_t before = client.stats().connections;
  EXPECT_EQ(said_to(client, {"SET", "k", "v"}), "READONLY You can't write");
  EXPECT_TRUE(eventually(
      [&] { return said_to(client, {"PING"}) == "PONG" && client.stats().connections > before; }));
}

TEST(SentinelClient, GoesWhereASentinelSaysTheMasterIsNow) {
  FakePeer first([](const std::string& asked) { return serve(asked, "master"); });
  FakePeer second([](const std::string& asked) { return serve(asked, "master"); });
  std::atomic<int> port{first.port()};
  FakePeer knowing([&](const std::string&) { return names(port); });
  Client client(asking({knowing.port()}), nullptr);
  EXPECT_EQ(said_to(client, {"PING"}), "PONG");
  EXPECT_EQ(second.connections(), 0);
  port = second.port();
  EXPECT_TRUE(
      eventually([&] { return said_to(client, {"PING"}) == "PONG" && second.connections() > 0; }));
}

TEST(SentinelClient, StaysWithAMasterWhoseSentinelsAreAllAway) {
  FakePeer master([](const std::string& asked) { return serve(asked, "master"); });
  std::atomic<int> asked{0};
  std::optional<FakePeer> knowing(std::in_place, [&](const std::string&) {
    ++asked;
    return names(master.port());
  });
  Client client(asking({knowing->port()}), nullptr);
  EXPECT_EQ(said_to(client, {"PING"}), "PONG");
  EXPECT_TRUE(eventually([&] { return asked > 3; }));  // again and again
  knowing.reset();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(said_to(client, {"PING"}), "PONG");
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_EQ(client.stats().connections, 1U);
}

}  // namespace
}  // namespace mcp::redis

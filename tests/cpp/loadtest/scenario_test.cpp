#include "loadtest/scenario.h"

#include <gtest/gtest.h>

#include <map>
#include <ostream>
#include <set>

#include "base/error.h"

namespace mcp::loadtest {
namespace {

http::Message get(const std::string& target) { return {"GET", target, {}, ""}; }

RequestSpec spec(const std::string& name, double weight, std::vector<http::Message> variants) {
  return {name, weight, std::move(variants), {}};
}

TEST(Scenario, DrawsByWeightAndTheSameForTheSameSeed) {
  const auto make = [](std::uint64_t seed) {
    return Scenario({spec("a", 3, {get("/a")}), spec("b", 1, {get("/b1"), get("/b2")})}, "h", seed,
                    0);
  };
  const Scenario one = make(7), same = make(7), other = make(8);
  std::map<std::string, int> drawn;
  int different = 0;
  constexpr int kDraws = 40'000;
  for (std::uint64_t i = 0; i < kDraws; ++i) {
    const std::string& target = one.prepared(one.choose(i)).message.target;
    ++drawn[target];
    EXPECT_EQ(target, same.prepared(same.choose(i)).message.target);
    different += target != other.prepared(other.choose(i)).message.target;
  }
  EXPECT_NEAR(drawn["/a"], 30'000, 600);
  EXPECT_NEAR(drawn["/b1"], 5'000, 400);
  EXPECT_NEAR(drawn["/b2"], 5'000, 400);
  EXPECT_GT(different, 1000);
}

TEST(Scenario, FollowsASequenceRoundAndRound) {
  const Scenario scenario({spec("a", 1, {get("/0"), get("/2")}), spec("b", 1, {get("/1")})}, "h", 0,
                          0, {{0, 0}, {1, 0}, {0, 1}});
  for (std::uint64_t i = 0; i < 9; ++i) {
    EXPECT_EQ(scenario.prepared(scenario.choose(i)).message.target, "/" + std::to_string(i % 3));
  }
}

TEST(Scenario, PreparesTheBytesOfARequest) {
  const http::Message post{"POST", "/x?y=1", {{"Accept", "*/*"}}, "hello"};
  EXPECT_EQ(http::serialize(post, "h:80"),
            "POST /x?y=1 HTTP/1.1\r\nHost: h:80\r\nAccept: */*\r\nContent-Length: 5\r\n\r\nhello");
  EXPECT_EQ(http::serialize({"GET", "/", {{"host", "other"}}, ""}, "h"),
            "GET / HTTP/1.1\r\nhost: other\r\n\r\n");
}

TEST(Scenario, FillsEachRequestWithValuesOfItsOwn) {
  const std::string path = "/" + std::string(kSequenceMarker);
  http::Message post{"POST", path, {{"Idempotency-Key", std::string(kUuidMarker)}}, ""};
  const Scenario scenario({spec("a", 1, {post})}, "h", 1, 0);
  const PreparedRequest& prepared = scenario.prepared({0, 0});
  ASSERT_EQ(prepared.slots.size(), 2U);
  std::set<std::string> keys;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    std::string bytes = prepared.bytes;
    scenario.fill(bytes, prepared.slots, i);
    EXPECT_EQ(bytes.find('\x01'), std::string::npos);
    EXPECT_EQ(bytes.size(), prepared.bytes.size());
    const std::size_t key = bytes.find("Idempotency-Key: ") + 17;
    keys.insert(bytes.substr(key, 36));
    EXPECT_EQ(bytes[key + 14], '4');
  }
  EXPECT_EQ(keys.size(), 1000U);
  std::string last = prepared.bytes;
  scenario.fill(last, prepared.slots, 42);
  EXPECT_NE(last.find("/000000000042 "), std::string::npos);
}

TEST(Scenario, RefusesWhatWouldBreakOutOfARequest) {
  const auto refuse = [](http::Message message) {
    EXPECT_THROW(Scenario({spec("a", 1, {std::move(message)})}, "h", 0, 0), Error);
  };
  refuse({"GET", "/a\r\nX: 1", {}, ""});
  refuse({"GET", "/a b", {}, ""});
  refuse({"GET", "http://elsewhere/", {}, ""});
  refuse({"G ET", "/", {}, ""});
  refuse({"GET", "/", {{"A\n", "b"}}, ""});
  refuse({"GET", "/", {{"A", "b\r\nC: d"}}, ""});
  refuse({"GET", "/\x01sequence", {}, ""});
  EXPECT_THROW(Scenario({}, "h", 0, 0), Error);
  EXPECT_THROW(Scenario({spec("a", 0, {get("/")})}, "h", 0, 0), Error);
  EXPECT_THROW(Scenario({spec("a", 1, {})}, "h", 0, 0), Error);
  EXPECT_THROW(Scenario({spec("a", 1, {get("/")})}, "h", 0, 0, {{1, 0}}), Error);
}

}  // namespace
}  // namespace mcp::loadtest

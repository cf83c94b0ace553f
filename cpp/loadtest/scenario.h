// scenario.h: what. A weighted set of requests, each with the variants that its data rows gave it,
// as bytes that are ready to be sent. Request number i of a run is a pure function of the seed, so
// that a run sends the same requests however many users and threads carry it.
// Immutable after construction: safe to share between threads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/message.h"
#include "http/response.h"
#include "loadtest/answer_value.h"
#include "loadtest/message_template.h"

namespace mcp::loadtest {

// Stand in a variant's text where each request has a value of its own. The values have the length
// of their markers, so that bytes and Content-Length stay fixed.
inline constexpr std::string_view kSequenceMarker = "\x01sequence--\x01";  // 12 digits
inline constexpr std::string_view kUuidMarker = "\x01uuid------------------------------\x01";  // 36

// Set in the numbers of requests that belong to the warm-up.
inline constexpr std::uint64_t kWarmupNumber = 1ULL << 63;
static_assert(kSequenceMarker.size() == 12 && kUuidMarker.size() == 36);

// What a response must be to count as a success.
struct Expectation {
  int status_low = 100;  // both ends count
  int status_high = 399;
  std::string contains;  // bytes that the (decoded) body has; empty: anything
  std::vector<Check> checks;
  std::vector<Save> saves;  // what a success leaves its user with
  std::size_t events = 0;   // server-sent ones after which nothing more is waited for; 0: the end
  bool json_rpc = false;    // the answer to a call, and no error of its protocol or its tool
};

// What virtual users have before their first request, and whether answers change it.
struct Users {
  bool cookies = false;
  std::vector<std::string> variables;  // names, which markers number
  // Of user i at i modulo the size; each has as many values as there are variables.
  std::vector<std::vector<std::optional<Value>>> values;
  std::vector<Cookies> jars;  // likewise
};

struct RequestSpec {
  std::string name;
  double weight = 1;
  std::vector<http::Message> variants;  // at least one
  Expectation expectation;
};

struct Slot {
  std::size_t offset;
  bool uuid;  // otherwise the sequence number
};

// One HTTP/1.1 request, ready to be sent once its slots are filled.
struct PreparedRequest {
  std::string bytes;
  std::vector<Slot> slots;
  http::Message message;  // as given; redirects and HTTP/2 build on it
  MessageTemplate fields;
  bool is_head = false;
};

struct RequestKind {
  std::string name;
  double weight;
  Expectation expectation;
  http::Keep keep = http::Keep::kNothing;  // of its answers
  std::vector<PreparedRequest> variants;
};

class Scenario {
 public:
  struct Choice {
    std::uint32_t kind;
    std::uint32_t variant;
  };

  // `authority` is the Host header. `salt` makes the UUIDs of this scenario differ from those of
  // another with the same seed. With a `sequence`, requests follow it round and round, and weights
  // do not matter. With `users` that have a state each of them goes through it by itself. Throws
  // Error.
  Scenario(std::vector<RequestSpec> specs, std::string authority, std::uint64_t seed,
           std::uint64_t salt, std::vector<Choice> sequence = {}, Users users = {});

  [[nodiscard]] Choice choose(std::uint64_t number) const noexcept;
  // Whether users have anything of their own.
  [[nodiscard]] bool has_users() const noexcept { return has_users_; }
  [[nodiscard]] UserState make_user(std::uint64_t number) const;
  // The next request of `user`, where it has something of its own.
  [[nodiscard]] Choice choose(std::uint64_t number, UserState& user) const noexcept;
  // The request of `user` as HTTP/1.1. False: `bytes` says which value the user lacks, and it
  // begins anew.
  [[nodiscard]] bool write(Choice choice, UserState& user, std::uint64_t number, bool secure,
                           Instant now, std::string& bytes) const;
  // Leaves the request that was written last in `user.message`.
  void recall(Choice choice, UserState& user) const;
  // `user.message` with the user's cookies.
  [[nodiscard]] std::string serialize(const UserState& user, bool secure, Instant now) const;
  // Judges an answer, and leaves `user` (null: it has nothing) with what is to be kept of it. What
  // is wrong with it; empty: nothing.
  [[nodiscard]] std::string judge(std::uint32_t kind, const http::Response& response,
                                  UserState* user) const;
  void take_cookies(const http::Response& response, UserState& user, Instant now) const {
    if (users_.cookies) user.cookies.take(response.headers(), user.message.target, now);
  }
  [[nodiscard]] const PreparedRequest& prepared(Choice choice) const noexcept {
    return kinds_[choice.kind].variants[choice.variant];
  }
  [[nodiscard]] const std::vector<RequestKind>& kinds() const noexcept { return kinds_; }

  [[nodiscard]] const std::string& authority() const noexcept { return authority_; }

  // Writes the values of request `number` over the markers in `text`.
  void fill(std::string& text, const std::vector<Slot>& slots, std::uint64_t number) const;

 private:
  std::vector<RequestKind> kinds_;
  std::vector<double> cumulative_;  // of the weights, ends at 1
  std::vector<Choice> sequence_;
  Users users_;
  bool has_users_;
  std::string authority_;
  std::uint64_t seed_;
  std::uint64_t salt_;
};

// Where `text` has markers, in order.
[[nodiscard]] std::vector<Slot> find_slots(std::string_view text);

}  // namespace mcp::loadtest

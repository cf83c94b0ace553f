// scenario.cpp: picks requests by weight and variants by number.
#include "loadtest/scenario.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "loadtest/random.h"

namespace mcp::loadtest {
namespace {

void write_hex(char* out, std::uint64_t value, int digits) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (int i = digits - 1; i >= 0; --i, value >>= 4) out[i] = kDigits[value & 15];
}

// A version 4 UUID made of 128 given bits.
void write_uuid(char* out, std::uint64_t high, std::uint64_t low) {
  high = (high & ~0xf000ULL) | 0x4000ULL;
  low = (low & ~(3ULL << 62)) | (2ULL << 62);
  write_hex(out, high >> 32, 8);
  write_hex(out + 9, (high >> 16) & 0xffff, 4);
  write_hex(out + 14, high & 0xffff, 4);
  write_hex(out + 19, low >> 48, 4);
  write_hex(out + 24, low & 0xffffffffffffULL, 12);
  for (const int dash : {8, 13, 18, 23}) out[dash] = '-';
}

// What a peer may see of `text`: without its markers, whose ends are control characters.
std::string without_markers(std::string text) {
  for (const Slot& slot : find_slots(text)) {
    const std::size_t size = slot.uuid ? kUuidMarker.size() : kSequenceMarker.size();
    text.replace(slot.offset, size, size, '0');
  }
  for (std::size_t at = text.find('\x01'); at != std::string::npos;
       at = text.find('\x01', at + 1)) {
    if (is_variable_marker(std::string_view(text).substr(at))) {
      text.replace(at, kVariableMarkerSize, kVariableMarkerSize, '0');
    }
  }
  return text;
}

http::Keep kept_of(const Expectation& expected, bool cookies) {
  const auto of_header = [](const auto& use) { return !use.source.header.empty(); };
  if (cookies || std::any_of(expected.checks.begin(), expected.checks.end(), of_header) ||
      std::any_of(expected.saves.begin(), expected.saves.end(), of_header)) {
    return http::Keep::kBodyAndHeaders;
  }
  const bool looks = !expected.contains.empty() || !expected.checks.empty() ||
                     !expected.saves.empty() || expected.json_rpc || expected.events > 0;
  return looks ? http::Keep::kBody : http::Keep::kNothing;
}

void check_unmarked(http::Message message) {
  message.target = without_markers(std::move(message.target));
  for (auto& [name, value] : message.headers) value = without_markers(std::move(value));
  http::check(message);
}

}  // namespace

std::vector<Slot> find_slots(std::string_view text) {
  std::vector<Slot> slots;
  for (std::size_t at = text.find('\x01'); at != std::string_view::npos;
       at = text.find('\x01', at)) {
    const std::string_view rest = text.substr(at);
    if (rest.starts_with(kSequenceMarker)) {
      slots.push_back({at, false});
      at += kSequenceMarker.size();
    } else if (rest.starts_with(kUuidMarker)) {
      slots.push_back({at, true});
      at += kUuidMarker.size();
    } else {
      ++at;
    }
  }
  return slots;
}

Scenario::Scenario(std::vector<RequestSpec> specs, std::string authority, std::uint64_t seed,
                   std::uint64_t salt, std::vector<Choice> sequence, Users users)
    : sequence_(std::move(sequence)),
      users_(std::move(users)),
      has_users_(users_.cookies || !users_.variables.empty()),
      authority_(std::move(authority)),
      seed_(mix64(seed)),
      salt_(mix64(seed ^ salt)) {
  if (specs.empty()) throw invalid_argument("scenario", "[]", "at least one request");
  double total = 0;
  for (const RequestSpec& spec : specs) {
    if (!std::isfinite(spec.weight) || spec.weight <= 0) {
      throw invalid_argument("weight", std::to_string(spec.weight), "a number above 0");
    }
    total += spec.weight;
  }
  double running = 0;
  for (RequestSpec& spec : specs) {
    if (spec.variants.empty()) throw invalid_argument("data", "[]", "at least one row");
    const http::Keep keep = kept_of(spec.expectation, users_.cookies);
    RequestKind kind{std::move(spec.name), spec.weight, std::move(spec.expectation), keep, {}};
    kind.variants.reserve(spec.variants.size());
    for (http::Message& message : spec.variants) {
      check_unmarked(message);
      std::string bytes = http::serialize(message, authority_);
      std::vector<Slot> slots = find_slots(bytes);
      MessageTemplate fields(message, bytes);
      const bool is_head = message.method == "HEAD";
      kind.variants.push_back(
          {std::move(bytes), std::move(slots), std::move(message), std::move(fields), is_head});
    }
    kinds_.push_back(std::move(kind));
    running += spec.weight / total;
    cumulative_.push_back(running);
  }
  cumulative_.back() = 1;
  for (const Choice& choice : sequence_) {
    if (choice.kind >= kinds_.size() || choice.variant >= kinds_[choice.kind].variants.size()) {
      throw invalid_argument("sequence", std::to_string(choice.kind), "requests of the scenario");
    }
  }
}

Scenario::Choice Scenario::choose(std::uint64_t number) const noexcept {
  if (!sequence_.empty()) return sequence_[(number & ~kWarmupNumber) % sequence_.size()];
  const std::uint64_t bits = mix64(seed_ + number * 0x9e3779b97f4a7c15ULL);
  std::uint32_t kind = 0;
  if (cumulative_.size() > 1) {
    const double x = to_unit(bits);
    kind = static_cast<std::uint32_t>(
        std::upper_bound(cumulative_.begin(), cumulative_.end() - 1, x) - cumulative_.begin());
  }
  const std::size_t variants = kinds_[kind].variants.size();
  const auto variant = variants == 1 ? 0U : static_cast<std::uint32_t>(mix64(bits) % variants);
  return {kind, variant};
}

UserState Scenario::make_user(std::uint64_t number) const {
  UserState user;
  user.variables.resize(users_.variables.size());
  if (!users_.values.empty()) user.variables = users_.values[number % users_.values.size()];
  if (!users_.jars.empty()) user.cookies = users_.jars[number % users_.jars.size()];
  return user;
}

Scenario::Choice Scenario::choose(std::uint64_t number, UserState& user) const noexcept {
  return sequence_.empty() ? choose(number) : sequence_[user.steps++ % sequence_.size()];
}

bool Scenario::write(Choice choice, UserState& user, std::uint64_t number, bool secure, Instant now,
                     std::string& bytes) const {
  const PreparedRequest& request = prepared(choice);
  const bool at_once = !users_.cookies && request.fields.has_bytes();
  const int missing = at_once ? request.fields.render(user.variables, bytes)
                              : request.fields.render(user.variables, user.message);
  if (missing >= 0) {
    const auto variable = static_cast<std::size_t>(missing);
    bytes = user.variables[variable] ? "a value with control characters: " : "no value for ";
    bytes += users_.variables[variable];
    user.steps = 0;
    return false;
  }
  if (!at_once) bytes = serialize(user, secure, now);
  if (!request.slots.empty()) fill(bytes, find_slots(bytes), number & ~kWarmupNumber);
  return true;
}

void Scenario::recall(Choice choice, UserState& user) const {
  // What could be sent has all its values.
  static_cast<void>(prepared(choice).fields.render(user.variables, user.message));
}

std::string Scenario::serialize(const UserState& user, bool secure, Instant now) const {
  const std::string cookies = user.cookies.header(user.message.target, secure, now);
  if (cookies.empty()) return http::serialize(user.message, authority_);
  http::Message message = user.message;
  const auto own =
      std::find_if(message.headers.begin(), message.headers.end(),
                   [](const auto& one) { return http::same_header(one.first, "cookie"); });
  if (own == message.headers.end()) {
    message.headers.emplace_back("Cookie", cookies);
  } else {
    own->second += "; " + cookies;
  }
  return http::serialize(message, authority_);
}

std::string Scenario::judge(std::uint32_t kind, const http::Response& response,
                            UserState* user) const {
  const Expectation& expected = kinds_[kind].expectation;
  const int status = response.status();
  if (status < expected.status_low || status > expected.status_high) {
    return "status " + std::to_string(status);
  }
  if (!expected.contains.empty() && response.body().find(expected.contains) == std::string::npos) {
    return "check failed: body";
  }
  if (expected.events > 0) {
    const std::size_t came = count_events(response.body());
    if (came < expected.events) return "the stream ended after " + std::to_string(came) + " events";
  }
  if (expected.json_rpc) {
    if (std::string failure = json_rpc_failure(response); !failure.empty()) return failure;
  }
  for (const Check& check : expected.checks) {
    const auto found = check.source.read(response);
    if (!found || (check.expected && !equal(*found, *check.expected))) {
      return "check failed: " + check.source.name;
    }
  }
  for (const Save& save : expected.saves) {
    auto found = save.source.read(response);
    if (!found) return "nothing to save: " + save.source.name;
    if (user != nullptr) user->variables[save.variable] = std::move(found);
  }
  return {};
}

void Scenario::fill(std::string& text, const std::vector<Slot>& slots, std::uint64_t number) const {
  const std::uint64_t high = mix64(salt_ ^ mix64(number));
  for (const Slot& slot : slots) {
    char* out = text.data() + slot.offset;
    if (slot.uuid) {
      write_uuid(out, high, mix64(high ^ salt_));
      continue;
    }
    std::uint64_t rest = number;
    for (int i = static_cast<int>(kSequenceMarker.size()) - 1; i >= 0; --i, rest /= 10) {
      out[i] = static_cast<char>('0' + rest % 10);
    }
  }
}

}  // namespace mcp::loadtest

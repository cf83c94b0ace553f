#include "loadtest/scenario.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "loadtest/random.h"

namespace mcp::loadtest {
namespace {

constexpr std::string_view kTokenExtra = "!#$%&'*+-.^_`|~";

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || kTokenExtra.find(static_cast<char>(c)) != std::string_view::npos;
  });
}

// Whether `text`, its markers apart, has a character that would end a line or the text.
bool has_control(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::string_view rest = text.substr(i);
    if (rest.starts_with(kSequenceMarker)) {
      i += kSequenceMarker.size() - 1;
    } else if (rest.starts_with(kUuidMarker)) {
      i += kUuidMarker.size() - 1;
    } else if (const auto c = static_cast<unsigned char>(text[i]);
               (c < 0x20 && c != '\t') || c == 0x7f) {
      return true;
    }
  }
  return false;
}

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

}  // namespace

void check(const HttpMessage& message) {
  if (!is_token(message.method)) throw invalid_argument("method", message.method, "an HTTP token");
  if (message.target.empty() || message.target.front() != '/' || has_control(message.target) ||
      message.target.find(' ') != std::string::npos) {
    throw invalid_argument("path", message.target,
                           "a path that begins with / and has no spaces or control characters");
  }
  for (const auto& [name, value] : message.headers) {
    if (!is_token(name)) throw invalid_argument("headers", name, "a header name");
    if (has_control(value)) {
      throw invalid_argument("headers", name, "a value without control characters");
    }
  }
}

bool same_header(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return std::tolower(static_cast<unsigned char>(x)) ==
                  std::tolower(static_cast<unsigned char>(y));
         });
}

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

std::string serialize(const HttpMessage& message, std::string_view authority) {
  std::string out = message.method + " " + message.target + " HTTP/1.1\r\n";
  bool host = false;
  bool length = false;
  for (const auto& [name, value] : message.headers) {
    host = host || same_header(name, "host");
    length = length || same_header(name, "content-length");
  }
  if (!host) out.append("Host: ").append(authority).append("\r\n");
  for (const auto& [name, value] : message.headers) {
    out.append(name).append(": ").append(value).append("\r\n");
  }
  const bool carries_body = !message.body.empty() || message.method == "POST" ||
                            message.method == "PUT" || message.method == "PATCH";
  if (carries_body && !length) {
    out.append("Content-Length: ").append(std::to_string(message.body.size())).append("\r\n");
  }
  out.append("\r\n").append(message.body);
  return out;
}

Scenario::Scenario(std::vector<RequestSpec> specs, std::string authority, std::uint64_t seed,
                   std::uint64_t salt, std::vector<Choice> sequence)
    : sequence_(std::move(sequence)),
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
    RequestKind kind{std::move(spec.name), spec.weight, std::move(spec.expectation), {}};
    kind.variants.reserve(spec.variants.size());
    for (HttpMessage& message : spec.variants) {
      check(message);
      PreparedRequest prepared;
      prepared.bytes = serialize(message, authority_);
      prepared.slots = find_slots(prepared.bytes);
      prepared.is_head = message.method == "HEAD";
      prepared.message = std::move(message);
      kind.variants.push_back(std::move(prepared));
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

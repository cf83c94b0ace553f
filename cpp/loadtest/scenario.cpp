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
  return text;
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
    for (http::Message& message : spec.variants) {
      check_unmarked(message);
      PreparedRequest prepared;
      prepared.bytes = http::serialize(message, authority_);
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

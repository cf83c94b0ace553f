// body.cpp: inflates and keeps a body within its limits.
#include "http/body.h"

#include <algorithm>
#include <new>

#include "http/headers.h"

namespace mcp::http {
namespace {

constexpr std::size_t kInflateBytes = 16 << 10;
constexpr int kGzip = 15 + 16;  // window bits, as zlib takes them
constexpr int kZlib = 15;
constexpr int kRaw = -15;
// Data that does not compress grows by a little, and an empty body has a header.
constexpr std::uint64_t kEncodingOverhead = 64 << 10;

// RFC 1950, 2.2: the method is 8, and the two bytes are a multiple of 31.
bool is_zlib(unsigned char first, unsigned char second) noexcept {
  return (first & 0x0f) == 8 && (first * 256 + second) % 31 == 0;
}

}  // namespace

Inflater::~Inflater() {
  if (ready_) inflateEnd(&stream_);
}

bool Inflater::start_stream(int window_bits) {
  const int result =
      ready_ ? inflateReset2(&stream_, window_bits) : inflateInit2(&stream_, window_bits);
  if (result != Z_OK) throw std::bad_alloc();
  ready_ = true;
  state_ = State::kInside;
  return true;
}

// Takes what tells the format off the front of `data`; false when nothing can follow here.
bool Inflater::begin(std::string_view& data) {
  if (state_ == State::kBetween) {
    if (coding_ == Coding::kDeflate) return false;
    data.remove_prefix(std::min(data.find_first_not_of('\0'), data.size()));
    return data.empty() || start_stream(kGzip);
  }
  if (coding_ == Coding::kGzip) return start_stream(kGzip);
  const std::size_t taken = std::min(data.size(), 2 - first_.size());
  first_.append(data.substr(0, taken));
  data.remove_prefix(taken);
  if (first_.size() < 2) return true;
  const auto first = static_cast<unsigned char>(first_[0]);
  const auto second = static_cast<unsigned char>(first_[1]);
  // What begins like gzip is no deflate of either kind.
  const bool gzip = first == 0x1f && second == 0x8b;
  return start_stream(gzip ? kGzip : is_zlib(first, second) ? kZlib : kRaw);
}

bool Inflater::inflate_some(std::string_view& data, std::string* out, std::uint64_t limit) {
  char buffer[kInflateBytes];
  stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream_.avail_in = static_cast<uInt>(std::min<std::size_t>(data.size(), 1U << 30));
  const uInt given = stream_.avail_in;
  do {
    stream_.next_out = reinterpret_cast<Bytef*>(buffer);
    stream_.avail_out = sizeof buffer;
    const int result = inflate(&stream_, Z_NO_FLUSH);
    const std::size_t got = sizeof buffer - stream_.avail_out;
    count_ += got;
    if (count_ > limit) return false;
    if (out != nullptr) out->append(buffer, got);
    if (result == Z_STREAM_END) {
      state_ = State::kBetween;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      return false;
    }
    // A full buffer may leave more behind that needs no further input.
  } while (state_ == State::kInside && (stream_.avail_in > 0 || stream_.avail_out == 0));
  data.remove_prefix(given - stream_.avail_in);
  return true;
}

bool Inflater::feed(std::string_view data, std::string* out, std::uint64_t limit) {
  while (!data.empty()) {
    if (state_ != State::kInside) {
      if (!begin(data)) return false;
      if (state_ != State::kInside) continue;
      std::string_view first = first_;
      if (!first.empty() && !inflate_some(first, out, limit)) return false;
      first_.clear();
      continue;
    }
    if (!inflate_some(data, out, limit)) return false;
  }
  return true;
}

void BodySink::begin(std::uint64_t limit, bool keep) {
  limit_ = limit;
  keep_ = keep;
  count_ = 0;
  codings_ = 0;
  inflater_.reset();
  kept_.clear();
  error_ = {};
}

void BodySink::add_encoding(std::string_view value) {
  for (std::string_view coding; !(coding = next_element(value)).empty();) {
    if (same_header(coding, "identity")) continue;
    inflater_.reset();
    if (++codings_ > 1) continue;
    if (same_header(coding, "gzip") || same_header(coding, "x-gzip")) {
      inflater_ = std::make_unique<Inflater>(Inflater::Coding::kGzip);
    } else if (same_header(coding, "deflate")) {
      inflater_ = std::make_unique<Inflater>(Inflater::Coding::kDeflate);
    }
  }
}

std::uint64_t BodySink::encoded_limit() const noexcept {
  if (!inflater_) return limit_;
  const std::uint64_t room = limit_ / 1000 + kEncodingOverhead;
  return limit_ > UINT64_MAX - room ? UINT64_MAX : limit_ + room;
}

bool BodySink::expect(std::uint64_t size) {
  if (size <= encoded_limit() - std::min(count_, encoded_limit())) return true;
  error_ = "body too large";
  return false;
}

bool BodySink::write(std::string_view data) {
  if (!expect(data.size())) return false;
  count_ += data.size();
  if (inflater_) {
    if (inflater_->feed(data, keep_ ? &kept_ : nullptr, limit_)) return true;
    error_ = inflater_->count() > limit_ ? "body too large" : "bad response: corrupt gzip";
    return false;
  }
  if (keep_) kept_.append(data);
  return true;
}

bool BodySink::finish() {
  if (!inflater_ || count_ == 0 || inflater_->ended()) return true;
  error_ = "bad response: truncated gzip";
  return false;
}

}  // namespace mcp::http

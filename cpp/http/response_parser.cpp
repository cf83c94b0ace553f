// response_parser.cpp: the state machine of RFC 9112, byte by byte.
#include "http/response_parser.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "http/headers.h"

namespace mcp::http {
namespace {

constexpr std::string_view kVersion = "HTTP/1.";

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

bool starts_like(std::string_view text, std::string_view prefix) noexcept {
  const std::size_t size = std::min(text.size(), prefix.size());
  return text.substr(0, size) == prefix.substr(0, size);
}

// RFC 9110, 8.6: digits alone; nullopt also when there are more than 64 bits of them.
std::optional<std::uint64_t> parse_length(std::string_view text) noexcept {
  if (text.empty() || !std::all_of(text.begin(), text.end(), is_digit)) return std::nullopt;
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  return parsed.ec == std::errc() ? std::optional(value) : std::nullopt;
}

// The digits at the front of a chunk's line; nullopt when they are none or too many.
std::optional<std::uint64_t> parse_chunk_digits(std::string_view& line) noexcept {
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(line.data(), line.data() + line.size(), value, 16);
  if (parsed.ec != std::errc()) return std::nullopt;
  line.remove_prefix(static_cast<std::size_t>(parsed.ptr - line.data()));
  return value;
}

void skip_blanks(std::string_view& text) noexcept {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
}

bool skip_token(std::string_view& text) noexcept {
  std::size_t size = 0;
  while (size < text.size() && is_token(text.substr(size, 1))) ++size;
  text.remove_prefix(size);
  return size > 0;
}

// RFC 9110, 5.6.4. REQUIRES: it begins with a quotation mark.
bool skip_quoted(std::string_view& text) noexcept {
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      text.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

// RFC 9112, 7.1.1: *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ).
bool are_extensions(std::string_view text) noexcept {
  if (!is_field_text(text)) return false;
  while (!text.empty()) {
    skip_blanks(text);
    if (text.empty() || text.front() != ';') return false;
    text.remove_prefix(1);
    skip_blanks(text);
    if (!skip_token(text)) return false;
    std::string_view rest = text;
    skip_blanks(rest);
    if (rest.empty() || rest.front() != '=') continue;
    rest.remove_prefix(1);
    skip_blanks(rest);
    const bool quoted = !rest.empty() && rest.front() == '"';
    if (!(quoted ? skip_quoted(rest) : skip_token(rest))) return false;
    text = rest;
  }
  return true;
}

}  // namespace

void ResponseParser::begin(bool is_head) noexcept {
  step_ = Step::kStatusLine;
  line_.clear();
  line_whole_ = false;
  error_ = {};
  head_bytes_ = 0;
  is_head_ = is_head;
  keep_alive_ = false;
}

bool ResponseParser::fail(std::string_view why) noexcept {
  step_ = Step::kBad;
  error_ = why;
  return false;
}

bool ResponseParser::count_head(std::size_t bytes) noexcept {
  head_bytes_ += static_cast<std::uint32_t>(std::min<std::size_t>(bytes, kMostHeaderBytes + 1));
  return head_bytes_ <= kMostHeaderBytes || fail("headers too large");
}

// True: `line` is the next whole line without its end, valid until the next call. False: there is
// none yet, or it is a fault.
bool ResponseParser::take_line(std::string_view& data, std::string_view& line) {
  const auto* const end =
      data.empty() ? nullptr
                   : static_cast<const char*>(std::memchr(data.data(), '\n', data.size()));
  const std::size_t size =
      end == nullptr ? data.size() : static_cast<std::size_t>(end - data.data()) + 1;
  const std::string_view piece = data.substr(0, size);
  if (!count_head(piece.size())) return false;
  if (end == nullptr) {
    line_.append(piece);
    data = {};
    // Only the last byte may be the beginning of the line's end.
    const std::size_t cr = line_.find('\r');
    return cr < line_.size() - 1 ? fail("bad response: bare CR") : false;
  }
  line = piece;
  if (!line_.empty()) line = line_.append(piece);
  data.remove_prefix(size);
  line.remove_suffix(1);
  if (!line.ends_with('\r')) return fail("bad response: bare LF");
  line.remove_suffix(1);
  return true;
}

bool ResponseParser::parse_status(std::string_view line) {
  const std::size_t at = kVersion.size();
  if (!line.starts_with(kVersion) || line.size() < at + 5 || !is_digit(line[at]) ||
      line[at + 1] != ' ' || !std::all_of(line.begin() + at + 2, line.begin() + at + 5, is_digit)) {
    return fail("bad response: bad status line");
  }
  const std::string_view reason = line.substr(at + 5);
  if ((!reason.empty() && reason.front() != ' ') || !is_field_text(reason)) {
    return fail("bad response: bad status line");
  }
  minor_version_ = line[at] - '0';
  status_ = (line[at + 2] - '0') * 100 + (line[at + 3] - '0') * 10 + (line[at + 4] - '0');
  if (status_ < 100) return fail("bad response: bad status line");
  length_.reset();
  chunked_ = coded_ = says_close_ = says_keep_alive_ = false;
  sink_.on_status(status_);
  step_ = Step::kFields;
  return true;
}

bool ResponseParser::take_framing(std::string_view name, std::string_view value) {
  if (same_header(name, "content-length")) {
    // "5, 5" is what a list makes of two fields; an empty element is no length.
    while (true) {
      const std::size_t comma = std::min(value.find(','), value.size());
      const auto length = parse_length(trimmed(value.substr(0, comma)));
      if (!length) return fail("bad response: bad Content-Length");
      if (length_ && *length_ != *length) return fail("bad response: several Content-Lengths");
      length_ = length;
      if (comma == value.size()) return true;
      value.remove_prefix(comma + 1);
    }
  }
  if (same_header(name, "transfer-encoding")) {
    for (std::string_view coding; !(coding = next_element(value)).empty();) {
      chunked_ = !coded_ && same_header(coding, "chunked");
      coded_ = true;
    }
    coded_ = true;
  } else if (same_header(name, "connection")) {
    for (std::string_view option; !(option = next_element(value)).empty();) {
      says_close_ = says_close_ || same_header(option, "close");
      says_keep_alive_ = says_keep_alive_ || same_header(option, "keep-alive");
    }
  }
  return true;
}

bool ResponseParser::take_field(std::string_view line) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
    return fail("bad response: bad field");
  }
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (!is_field_text(value)) return fail("bad response: bad field");
  if (step_ == Step::kTrailers) {
    sink_.on_trailer(name, value);
    return true;
  }
  if (!take_framing(name, value)) return false;
  return sink_.on_field(name, value) || fail({});
}

// Takes fields to the empty line. A field is over when the line behind it does not fold it.
bool ResponseParser::parse_fields(std::string_view& data) {
  while (!data.empty()) {
    if (line_whole_) {
      line_whole_ = false;
      if (is_blank(data.front())) {
        line_.push_back(' ');
      } else {
        const bool taken = take_field(line_);
        line_.clear();
        if (!taken) return false;
        continue;
      }
    }
    std::string_view line;
    if (!take_line(data, line)) return false;
    if (line.empty()) {
      line_.clear();
      return step_ == Step::kTrailers ? (step_ = Step::kDone, true) : end_of_head();
    }
    if (is_blank(line.front())) return fail("bad response: bad field");
    if (!data.empty() && !is_blank(data.front())) {
      const bool taken = take_field(line);
      line_.clear();
      if (!taken) return false;
      continue;
    }
    if (line.data() == line_.data()) {
      line_.resize(line.size());
    } else {
      line_ = line;
    }
    line_whole_ = true;
  }
  return false;
}

bool ResponseParser::end_of_head() {
  if (status_ < 200 && status_ != 101) {  // interim: the answer is yet to come
    step_ = Step::kStatusLine;
    return true;
  }
  keep_alive_ = !says_close_ && status_ != 101 && (minor_version_ > 0 || says_keep_alive_);
  if (coded_ && minor_version_ == 0) keep_alive_ = false;
  if (is_head_ || status_ == 101 || status_ == 204 || status_ == 304) {
    step_ = Step::kDone;
    return true;
  }
  if (coded_) {
    if (!chunked_) return fail("bad response: unknown Transfer-Encoding");
    if (length_) return fail("bad response: Transfer-Encoding and Content-Length");
    step_ = Step::kChunkSize;
    return true;
  }
  if (!length_) {
    keep_alive_ = false;
    step_ = Step::kUntilEnd;
    return true;
  }
  remaining_ = *length_;
  step_ = remaining_ == 0 ? Step::kDone : Step::kBody;
  return sink_.on_size(remaining_) || fail({});
}

bool ResponseParser::take_body(std::string_view& data) {
  const std::string_view piece = data.substr(
      0, step_ == Step::kUntilEnd ? data.size() : std::min<std::uint64_t>(data.size(), remaining_));
  data.remove_prefix(piece.size());
  if (!sink_.on_body(piece)) return fail({});
  if (step_ == Step::kUntilEnd) return true;
  remaining_ -= piece.size();
  if (remaining_ == 0) step_ = step_ == Step::kBody ? Step::kDone : Step::kChunkEnd;
  return true;
}

bool ResponseParser::parse_chunk_size(std::string_view& data) {
  if (line_.empty()) line_began_at_ = head_bytes_;
  std::string_view line;
  const bool whole = take_line(data, line);
  if (step_ == Step::kBad) return false;
  // The size is judged before its line is whole: a peer may never end it.
  std::string_view rest = whole ? line : std::string_view(line_);
  const auto size = parse_chunk_digits(rest);
  if (!size) return fail("bad response: bad chunk size");
  if (rest.empty() && !whole) return false;  // more digits may follow
  if (*size > 0 && !sink_.on_size(*size)) return fail({});
  if (!whole) {
    const bool may_be = rest.front() == '\r' || rest.front() == ';' || is_blank(rest.front());
    return may_be ? false : fail("bad response: bad chunk size");
  }
  if (!are_extensions(rest)) return fail("bad response: bad chunk size");
  if (rest.empty()) head_bytes_ = line_began_at_;  // only extensions count
  line_.clear();
  remaining_ = *size;
  step_ = remaining_ == 0 ? Step::kTrailers : Step::kChunk;
  return true;
}

bool ResponseParser::end_of_chunk(std::string_view& data) {
  while (line_.size() < 2) {
    if (data.empty()) return false;
    line_.push_back(data.front());
    data.remove_prefix(1);
    if (!starts_like(line_, "\r\n")) return fail("bad response: bad chunk");
  }
  line_.clear();
  step_ = Step::kChunkSize;
  return true;
}

// One step; false when it needs more bytes or has failed.
bool ResponseParser::advance(std::string_view& data) {
  switch (step_) {
    case Step::kStatusLine: {
      std::string_view line;
      if (take_line(data, line)) {
        const bool good = parse_status(line);
        line_.clear();
        return good;
      }
      if (step_ != Step::kBad && !starts_like(line_, kVersion)) {
        return fail("bad response: bad status line");
      }
      return false;
    }
    case Step::kFields:
    case Step::kTrailers:
      return parse_fields(data);
    case Step::kBody:
    case Step::kChunk:
    case Step::kUntilEnd:
      return take_body(data);
    case Step::kChunkSize:
      return parse_chunk_size(data);
    case Step::kChunkEnd:
      return end_of_chunk(data);
    case Step::kDone:
    case Step::kBad:
      return false;
  }
  return false;
}

ResponseParser::State ResponseParser::feed(std::string_view& data) {
  while (!data.empty() && advance(data)) {
  }
  if (step_ == Step::kBad) return State::kBad;
  return step_ == Step::kDone ? State::kDone : State::kMore;
}

ResponseParser::State ResponseParser::end_of_stream() {
  if (step_ == Step::kUntilEnd) {
    step_ = Step::kDone;
    return State::kDone;
  }
  fail("connection closed mid-response");
  return State::kBad;
}

}  // namespace mcp::http

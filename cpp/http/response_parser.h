// response_parser.h: HTTP/1.1 responses out of bytes, cut anywhere. Strict where two readers could
// disagree about where a message ends, for that is how responses are split and smuggled; every
// fault is told as soon as the bytes that make it one are there. Thread-compatible. Does no I/O.
//
// RFC 9112:
//   2.2   lines end in CRLF; a bare LF or CR is a fault.
//   4     "HTTP/1." DIGIT SP 3DIGIT, and a reason that may be missing with its space.
//   5     no space before the colon; 5.2: a folded field is unfolded; no control characters.
//   6.1   the only transfer coding is chunked. With a Content-Length beside it, a fault; in
//   HTTP/1.0,
//         the last message of its connection.
//   6.3   HEAD, 1xx, 204 and 304 have no body. Content-Length is digits, and several are the same.
//         A body without either ends with the connection.
//   7.1   a chunk size is hexadecimal digits of any number whose value fits 64 bits; extensions are
//         read past, quoted strings in them too; trailers are told apart from the head's fields,
//         for merged they could change what the head had said (RFC 9110, 6.5.1).
//   9.3   keep-alive by version and Connection.
// RFC 9110, 15.2: answers of the class 1xx but 101 are interim: fields of theirs are forgotten.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mcp::http {

// Of the heads of a response (interim ones included), its trailers and its chunk extensions.
inline constexpr std::uint32_t kMostHeaderBytes = 32 << 10;

class ResponseParser {
 public:
  // Who is told. Views are valid during the call. A false answer ends the response: kBad, and
  // error() is empty, for the one who said no knows why.
  class Sink {
   public:
    virtual void on_status(int status) = 0;  // a new head begins: forget the one before
    [[nodiscard]] virtual bool on_field(std::string_view name, std::string_view value) = 0;
    // At least so many bytes of the body are still to come. May be asked again for the same bytes.
    [[nodiscard]] virtual bool on_size(std::uint64_t size) = 0;
    [[nodiscard]] virtual bool on_body(std::string_view data) = 0;
    virtual void on_trailer(std::string_view name, std::string_view value) = 0;

   protected:
    ~Sink() = default;
  };
  enum class State { kMore, kDone, kBad };

  explicit ResponseParser(Sink& sink) : sink_(sink) {}

  // Makes ready for the next response. `is_head`: it has no body whatever its fields say.
  void begin(bool is_head) noexcept;
  // Takes what belongs to the response off the front of `data`, all of it unless it is done.
  // REQUIRES: the last answer was kMore.
  State feed(std::string_view& data);
  // The peer closed its side.
  State end_of_stream();

  // Whether the connection can carry another request. REQUIRES: done.
  [[nodiscard]] bool keep_alive() const noexcept { return keep_alive_; }
  // After kBad: "bad response: ...", "headers too large", ... or empty.
  [[nodiscard]] std::string_view error() const noexcept { return error_; }

 private:
  enum class Step {
    kStatusLine,
    kFields,
    kBody,  // remaining_ bytes
    kChunkSize,
    kChunk,     // remaining_ bytes
    kChunkEnd,  // the line end behind a chunk
    kTrailers,
    kUntilEnd,
    kDone,
    kBad,
  };

  bool advance(std::string_view& data);
  bool fail(std::string_view why) noexcept;
  bool take_line(std::string_view& data, std::string_view& line);
  bool count_head(std::size_t bytes) noexcept;
  bool parse_status(std::string_view line);
  bool parse_fields(std::string_view& data);
  bool take_field(std::string_view line);
  bool take_framing(std::string_view name, std::string_view value);
  bool end_of_head();
  bool take_body(std::string_view& data);
  bool parse_chunk_size(std::string_view& data);
  bool end_of_chunk(std::string_view& data);

  Sink& sink_;
  Step step_ = Step::kStatusLine;
  std::string line_;         // of a line that is not whole yet
  bool line_whole_ = false;  // line_ is a field, unless the next byte folds it
  std::string_view error_;
  std::uint64_t remaining_ = 0;
  std::optional<std::uint64_t> length_;
  std::uint32_t head_bytes_ = 0;
  std::uint32_t line_began_at_ = 0;  // head_bytes_ before the line of a chunk
  int status_ = 0;
  int minor_version_ = 1;
  bool is_head_ = false;
  bool chunked_ = false;
  bool coded_ = false;  // there is a transfer coding
  bool says_close_ = false;
  bool says_keep_alive_ = false;
  bool keep_alive_ = false;
};

}  // namespace mcp::http

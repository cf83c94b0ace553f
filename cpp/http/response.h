// response.h: one response after another. HTTP/1.1 is read from bytes as they come; the
// grammar is Boost.Beast's parser; this adds what a load generator needs from a response, and
// limits on what a hostile one can make it hold. Thread-compatible.
#pragma once

#include <boost/beast/http/basic_parser.hpp>
#include <zlib.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mcp::http {

inline constexpr std::uint32_t kMostHeaderBytes = 32 << 10;

using HeaderList = std::vector<std::pair<std::string, std::string>>;

// What of a response is there to be looked at, beside its status.
enum class Keep { kNothing, kBody, kBodyAndHeaders };

// Undoes Content-Encoding: gzip or deflate.
class Inflater {
 public:
  Inflater();
  ~Inflater();
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Appends to `out` (null: only counts). False when the data is corrupt or `limit` bytes were
  // exceeded, which count() tells.
  bool feed(std::string_view data, std::string* out, std::uint64_t limit);
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] bool ended() const noexcept { return ended_; }

 private:
  z_stream stream_{};
  std::uint64_t count_ = 0;
  bool ended_ = false;
};

// The body of a response: counted, decoded, and kept where somebody will look at it.
class BodySink {
 public:
  void begin(std::uint64_t limit, bool keep);
  void set_encoding(std::string_view encoding);
  // False with error() set.
  bool write(std::string_view data);
  bool finish();

  [[nodiscard]] const std::string& kept() const noexcept { return kept_; }
  [[nodiscard]] std::string_view error() const noexcept { return error_; }

 private:
  std::uint64_t limit_ = 0;
  std::uint64_t count_ = 0;
  bool keep_ = false;
  std::unique_ptr<Inflater> inflater_;
  std::string kept_;
  std::string_view error_;
};

class Response {
 public:
  enum class State { kMore, kComplete, kBad };

  // Makes ready for the next response. `is_head`: it has no body whatever its headers say.
  void begin(bool is_head, std::uint64_t body_limit, Keep keep);
  State feed(std::string_view data);
  // The peer closed its side: the end of a body without a length, or a failure.
  State end_of_stream();

  // The parts of a response that came in other framing than HTTP/1.1's, in their order.
  void set_status(int status);
  void add_header(std::string_view name, std::string_view value);
  // False: the body cannot be taken, and error() says why.
  [[nodiscard]] bool add_body(std::string_view data);
  // The response is whole. kBad if what came is none.
  State finish();
  // Ends it: kBad.
  State fail(std::string_view why);

  [[nodiscard]] bool started() const noexcept { return started_; }
  [[nodiscard]] int status() const noexcept { return status_; }
  // Whether the connection can carry another request. REQUIRES: complete.
  [[nodiscard]] bool keep_alive() const noexcept { return keep_alive_; }
  [[nodiscard]] const std::string& location() const noexcept { return location_; }
  // In their order, with names in lower case; those of a body that was decoded speak of it as sent.
  [[nodiscard]] const HeaderList& headers() const noexcept { return headers_; }
  [[nodiscard]] const std::string& body() const noexcept { return body_.kept(); }
  // After kBad: "headers too large", "body too large", "bad response: bad chunk", ...
  [[nodiscard]] const std::string& error() const noexcept { return error_; }

 private:
  class Parser;
  struct ParserDelete {
    void operator()(Parser* parser) const noexcept;
  };

  void reset_parser();
  void keep_header(std::string_view name, std::string_view value);
  State parse(std::string_view& data);
  State complete(std::string_view rest);

  std::unique_ptr<Parser, ParserDelete> parser_;
  BodySink body_;
  std::string pending_;  // bytes that the parser wants to see again with more behind them
  std::string location_;
  HeaderList headers_;
  bool keep_headers_ = false;
  std::string error_;
  int status_ = 0;
  bool is_head_ = false;
  bool started_ = false;
  bool keep_alive_ = false;
};

}  // namespace mcp::http

// response.h: one response after another, as a load generator and a client need them: status, and
// where somebody will look at them fields and the decoded body. HTTP/1.1 comes as bytes
// (response_parser.h); other framings call the parts one by one. Thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "http/body.h"
#include "http/headers.h"
#include "http/response_parser.h"

namespace mcp::http {

// What of a response is there to be looked at, beside its status.
enum class Keep { kNothing, kBody, kBodyAndHeaders };

class Response final : private ResponseParser::Sink {
 public:
  enum class State { kMore, kComplete, kBad };

  Response() : parser_(*this) {}
  Response(const Response&) = delete;
  Response& operator=(const Response&) = delete;

  // Makes ready for the next response. `is_head`: it has no body whatever its headers say.
  void begin(bool is_head, std::uint64_t body_limit, Keep keep);
  State feed(std::string_view data);
  // The peer closed its side: the end of a body without a length, or a failure.
  State end_of_stream();

  // The parts of a response that came in other framing than HTTP/1.1's, in their order. A status
  // that follows another ends an interim answer.
  void set_status(int status);
  // False: not with the fields before it, and error() says why.
  [[nodiscard]] bool add_header(std::string_view name, std::string_view value);
  // A field behind the body: kept apart, and without effect on anything else.
  void add_trailer(std::string_view name, std::string_view value);
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
  // Of the final answer; empty if there is none. Two that differ are a bad response.
  [[nodiscard]] const std::string& location() const noexcept { return location_; }
  // In their order, with names in lower case; those of a body that was decoded speak of it as sent.
  [[nodiscard]] const HeaderList& headers() const noexcept { return headers_; }
  // The fields behind the body, likewise.
  [[nodiscard]] const HeaderList& trailers() const noexcept { return trailers_; }
  [[nodiscard]] const std::string& body() const noexcept { return body_.kept(); }
  // After kBad: "headers too large", "body too large", "bad response: bad chunk", ...
  [[nodiscard]] const std::string& error() const noexcept { return error_; }

 private:
  void on_status(int status) override { set_status(status); }
  bool on_field(std::string_view name, std::string_view value) override {
    return add_header(name, value);
  }
  bool on_size(std::uint64_t size) override;
  bool on_body(std::string_view data) override { return add_body(data); }
  void on_trailer(std::string_view name, std::string_view value) override {
    add_trailer(name, value);
  }

  State fail_by_parser();
  State complete(bool keep_alive);

  ResponseParser parser_;
  BodySink body_;
  std::string location_;
  HeaderList headers_;
  HeaderList trailers_;
  std::string error_;
  std::uint64_t body_limit_ = 0;
  Keep keep_ = Keep::kNothing;
  int status_ = 0;
  bool is_head_ = false;
  bool started_ = false;
  bool keep_alive_ = false;
};

}  // namespace mcp::http

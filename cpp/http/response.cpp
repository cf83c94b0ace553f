// response.cpp: feeds a response's bytes or fields to whoever looks at them.
#include "http/response.h"

#include <cctype>
#include <utility>

namespace mcp::http {
namespace {

void append(HeaderList& list, std::string_view name, std::string_view value) {
  std::string lower(name);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  list.emplace_back(std::move(lower), value);
}

}  // namespace

void Response::begin(bool is_head, std::uint64_t body_limit, Keep keep) {
  is_head_ = is_head;
  body_limit_ = body_limit;
  keep_ = keep;
  started_ = false;
  keep_alive_ = false;
  status_ = 0;
  error_.clear();
  location_.clear();
  headers_.clear();
  trailers_.clear();
  body_.begin(body_limit, keep != Keep::kNothing);
  parser_.begin(is_head);
}

Response::State Response::fail(std::string_view why) {
  error_ = why;
  return State::kBad;
}

// Where the parser has no reason, the one who stopped it has written it down.
Response::State Response::fail_by_parser() {
  if (!parser_.error().empty()) error_ = parser_.error();
  return State::kBad;
}

Response::State Response::complete(bool keep_alive) {
  if (!body_.finish()) return fail(body_.error());
  keep_alive_ = keep_alive;
  return State::kComplete;
}

Response::State Response::feed(std::string_view data) {
  started_ = true;
  switch (parser_.feed(data)) {
    case ResponseParser::State::kMore:
      return State::kMore;
    case ResponseParser::State::kBad:
      return fail_by_parser();
    case ResponseParser::State::kDone:
      break;
  }
  // Bytes behind the response answer nothing that was asked: the connection is out of step.
  return complete(parser_.keep_alive() && data.empty());
}

Response::State Response::end_of_stream() {
  if (!started_) return fail("connection closed");
  if (parser_.end_of_stream() == ResponseParser::State::kBad) return fail_by_parser();
  return complete(false);
}

void Response::set_status(int status) {
  if (status_ != 0) {  // what was said before was interim
    headers_.clear();
    location_.clear();
    body_.begin(body_limit_, keep_ != Keep::kNothing);
  }
  started_ = true;
  status_ = status;
}

bool Response::add_header(std::string_view name, std::string_view value) {
  // Most names are told apart by their length.
  if (name.size() == 8 && same_header(name, "location")) {
    if (!location_.empty() && location_ != value) {
      error_ = "bad response: several Locations";
      return false;
    }
    location_ = value;
  } else if (name.size() == 16 && same_header(name, "content-encoding")) {
    if (!is_head_) body_.add_encoding(value);
  }
  if (keep_ == Keep::kBodyAndHeaders) append(headers_, name, value);
  return true;
}

void Response::add_trailer(std::string_view name, std::string_view value) {
  if (keep_ == Keep::kBodyAndHeaders) append(trailers_, name, value);
}

bool Response::on_size(std::uint64_t size) {
  if (body_.expect(size)) return true;
  error_ = body_.error();
  return false;
}

bool Response::add_body(std::string_view data) {
  if (body_.write(data)) return true;
  error_ = body_.error();
  return false;
}

Response::State Response::finish() {
  if (status_ == 0) return fail("bad response: no status");
  return complete(true);
}

}  // namespace mcp::http

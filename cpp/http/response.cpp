#include "http/response.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>

#include <cctype>
#include <new>
#include <utility>

#include "http/message.h"

namespace beast = boost::beast::http;
using boost::beast::error_code;
using boost::beast::string_view;

namespace mcp::http {
namespace {

constexpr std::size_t kInflateBytes = 16 << 10;
constexpr int kGzipOrZlib = 15 + 32;  // window bits, and zlib finds out which of the two it is

std::string_view view(string_view text) noexcept { return {text.data(), text.size()}; }

}  // namespace

Inflater::Inflater() {
  if (inflateInit2(&stream_, kGzipOrZlib) != Z_OK) throw std::bad_alloc();
}

Inflater::~Inflater() { inflateEnd(&stream_); }

bool Inflater::feed(std::string_view data, std::string* out, std::uint64_t limit) {
  char buffer[kInflateBytes];
  stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream_.avail_in = static_cast<uInt>(data.size());
  while (stream_.avail_in > 0 && !ended_) {
    stream_.next_out = reinterpret_cast<Bytef*>(buffer);
    stream_.avail_out = sizeof buffer;
    const int result = inflate(&stream_, Z_NO_FLUSH);
    const std::size_t got = sizeof buffer - stream_.avail_out;
    count_ += got;
    if (count_ > limit) return false;
    if (out != nullptr) out->append(buffer, got);
    if (result == Z_STREAM_END) {
      ended_ = true;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      return false;
    }
  }
  return true;
}

void BodySink::begin(std::uint64_t limit, bool keep) {
  limit_ = limit;
  keep_ = keep;
  count_ = 0;
  inflater_.reset();
  kept_.clear();
  error_ = {};
}

void BodySink::set_encoding(std::string_view encoding) {
  if (same_header(encoding, "gzip") || same_header(encoding, "x-gzip") ||
      same_header(encoding, "deflate")) {
    inflater_ = std::make_unique<Inflater>();
  }
}

bool BodySink::write(std::string_view data) {
  count_ += data.size();
  if (inflater_) {
    if (inflater_->feed(data, keep_ ? &kept_ : nullptr, limit_)) return true;
    error_ = inflater_->count() > limit_ ? "body too large" : "bad response: corrupt gzip";
    return false;
  }
  if (count_ > limit_) {
    error_ = "body too large";
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

class Response::Parser final : public beast::basic_parser<false> {
 public:
  explicit Parser(Response& owner) : owner_(owner) {
    eager(true);
    header_limit(kMostHeaderBytes);
    body_limit(UINT64_MAX);  // BodySink limits what counts: the decoded size
    skip(owner.is_head_);
  }

 private:
  void on_request_impl(beast::verb, string_view, string_view, int, error_code&) override {}
  void on_response_impl(int code, string_view, int, error_code&) override { owner_.status_ = code; }
  void on_field_impl(beast::field name, string_view text, string_view value, error_code&) override {
    if (name == beast::field::location) owner_.location_ = view(value);
    if (name == beast::field::content_encoding) owner_.body_.set_encoding(view(value));
    if (owner_.keep_headers_) owner_.keep_header(view(text), view(value));
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(string_view data, error_code& error) override {
    if (!owner_.body_.write(view(data))) error = beast::error::body_limit;
    return data.size();
  }
  void on_chunk_header_impl(std::uint64_t, string_view, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, string_view data, error_code& error) override {
    return on_body_impl(data, error);
  }
  void on_finish_impl(error_code&) override {}

  Response& owner_;
};

void Response::ParserDelete::operator()(Parser* parser) const noexcept { delete parser; }

void Response::reset_parser() {
  // The parser cannot be reset, and its memory can be used again.
  if (Parser* const old = parser_.release(); old != nullptr) {
    std::destroy_at(old);
    parser_.reset(::new (static_cast<void*>(old)) Parser(*this));
  } else {
    parser_.reset(new Parser(*this));
  }
}

void Response::begin(bool is_head, std::uint64_t body_limit, Keep keep) {
  is_head_ = is_head;
  started_ = false;
  keep_alive_ = false;
  status_ = 0;
  pending_.clear();
  location_.clear();
  headers_.clear();
  keep_headers_ = keep == Keep::kBodyAndHeaders;
  error_.clear();
  body_.begin(body_limit, keep != Keep::kNothing);
  reset_parser();
}

Response::State Response::fail(std::string_view why) {
  error_ = why;
  return State::kBad;
}

Response::State Response::complete(std::string_view rest) {
  if (!body_.finish()) return fail(body_.error());
  // Bytes behind the response answer nothing that was asked: the connection is out of step.
  keep_alive_ = parser_->keep_alive() && rest.empty();
  return State::kComplete;
}

// Takes what it can off the front of `data`.
Response::State Response::parse(std::string_view& data) {
  while (true) {
    error_code error;
    const std::size_t used =
        parser_->put(boost::asio::const_buffer(data.data(), data.size()), error);
    data.remove_prefix(used);
    if (error && error != beast::error::need_more) {
      if (!body_.error().empty()) return fail(body_.error());
      if (error == beast::error::header_limit) return fail("headers too large");
      return fail("bad response: " + error.message());
    }
    if (parser_->is_done()) {
      const bool interim = status_ >= 100 && status_ < 200 && status_ != 101;
      if (!interim) return complete(data);
      headers_.clear();
      reset_parser();
    } else if (error || used == 0) {
      return State::kMore;
    }
    if (data.empty()) return State::kMore;
  }
}

Response::State Response::feed(std::string_view data) {
  started_ = true;
  if (pending_.empty()) {
    const State state = parse(data);
    if (state == State::kMore) pending_.assign(data);
    return state;
  }
  pending_.append(data);
  std::string_view rest = pending_;
  const State state = parse(rest);
  if (state != State::kMore) return state;
  pending_.erase(0, pending_.size() - rest.size());
  // A line of a chunk header or a trailer that never ends.
  if (pending_.size() > 2 * kMostHeaderBytes) return fail("headers too large");
  return State::kMore;
}

Response::State Response::end_of_stream() {
  error_code error;
  if (parser_->got_some()) parser_->put_eof(error);
  if (!parser_->got_some() || error || !parser_->is_done()) {
    return fail(started_ ? "connection closed mid-response" : "connection closed");
  }
  const State state = complete({});
  keep_alive_ = false;
  return state;
}

void Response::keep_header(std::string_view name, std::string_view value) {
  std::string lower(name);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  headers_.emplace_back(std::move(lower), value);
}

void Response::set_status(int status) {
  started_ = true;
  headers_.clear();
  status_ = status;
}

void Response::add_header(std::string_view name, std::string_view value) {
  if (same_header(name, "location")) location_ = value;
  if (same_header(name, "content-encoding") && !is_head_) body_.set_encoding(value);
  if (keep_headers_) keep_header(name, value);
}

bool Response::add_body(std::string_view data) {
  if (body_.write(data)) return true;
  error_ = body_.error();
  return false;
}

Response::State Response::finish() {
  if (status_ == 0) return fail("bad response: no status");
  if (!body_.finish()) return fail(body_.error());
  keep_alive_ = true;
  return State::kComplete;
}

}  // namespace mcp::http

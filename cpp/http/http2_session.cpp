// http2_session.cpp: nghttp2's callbacks, and the state of each stream.
#include "http/http2_session.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "http/message.h"

namespace mcp::http {
namespace {

constexpr std::int32_t kStreamWindowBytes = 1 << 20;
constexpr std::int32_t kWindowBytes = 1 << 24;
// Headers of HTTP/1.1's connection, which have no place in HTTP/2.
constexpr std::array<std::string_view, 6> kConnectionHeaders = {
    "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host"};

using End = Http2Session::End;

std::string_view text(const std::uint8_t* data, std::size_t size) noexcept {
  return {reinterpret_cast<const char*>(data), size};
}

std::string_view take_until(std::string_view& rest, std::string_view end) {
  const std::size_t at = std::min(rest.find(end), rest.size());
  const std::string_view taken = rest.substr(0, at);
  rest.remove_prefix(std::min(at + end.size(), rest.size()));
  return taken;
}

nghttp2_nv field(std::string_view name, std::string_view value) noexcept {
  const auto bytes = [](std::string_view view) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(view.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

// What serialize() wrote, as the fields of a HEADERS frame, and of every request that begins with
// the same head.
class RequestFields {
 public:
  RequestFields() = default;
  RequestFields(const RequestFields&) = delete;  // fields_ point into it
  RequestFields& operator=(const RequestFields&) = delete;

  // `scheme` is a literal.
  void describe(std::string_view request, std::string_view scheme) {
    if (!head_.empty() && scheme == scheme_ && request.starts_with(head_)) return;
    head_ = request.substr(0, request.find(kEnd) + kEnd.size());
    scheme_ = scheme;
    read();
  }
  [[nodiscard]] const std::vector<nghttp2_nv>& fields() const noexcept { return fields_; }
  [[nodiscard]] std::size_t head_size() const noexcept { return head_.size(); }

 private:
  static constexpr std::string_view kEnd = "\r\n\r\n";

  void read() {
    std::string_view head(head_.data(), head_.size() - kEnd.size());
    names_.clear();
    names_.reserve(head.size());  // views of it stay valid
    std::string_view line = take_until(head, "\r\n");
    const std::string_view method = take_until(line, " ");
    const std::string_view target = take_until(line, " ");
    fields_.reserve(16);
    fields_ = {field(":method", method), field(":scheme", scheme_), field(":path", target)};
    while (!head.empty()) {
      std::string_view value = take_until(head, "\r\n");
      add(take_until(value, ": "), value);
    }
  }

  void add(std::string_view name, std::string_view value) {
    if (same_header(name, "te") && !same_header(value, "trailers")) return;  // RFC 9113, 8.2.2
    const std::size_t at = names_.size();
    for (const char c : name) {
      names_.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
    }
    const std::string_view lower = std::string_view(names_).substr(at);
    if (lower == "host") fields_.insert(fields_.begin() + 1, field(":authority", value));
    if (std::find(kConnectionHeaders.begin(), kConnectionHeaders.end(), lower) ==
        kConnectionHeaders.end()) {
      fields_.push_back(field(lower, value));
    }
  }

  std::string head_;   // with the empty line that ends it
  std::string names_;  // in lower case
  std::string_view scheme_;
  std::vector<nghttp2_nv> fields_;
};

}  // namespace

// The callbacks run inside feed() and output().
struct Http2Session::State {
  State();
  ~State() { nghttp2_session_del(session); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  Http2Stream* stream(std::int32_t id) const noexcept {
    return static_cast<Http2Stream*>(nghttp2_session_get_stream_user_data(session, id));
  }
  // Out of those in flight; the session forgets it.
  void leave(Http2Stream& of) noexcept;
  void end(Http2Stream& of, End how);
  void fail(Http2Stream& of, std::string_view why, End how = End::kFailed);
  // Ends it alone: the peer is told to say no more about it.
  void refuse(Http2Stream& of);
  void finish(Http2Stream& of);
  void end_all(std::string_view why);
  void take_header(Http2Stream& of, std::string_view name, std::string_view value);
  void goodbye(std::int32_t last_stream);

  static int on_begin_frame(nghttp2_session*, const nghttp2_frame_hd* head, void* data);
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                       std::uint8_t, void* data);
  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* bytes,
                     std::size_t size, void* data);
  static int on_received(nghttp2_session*, const nghttp2_frame* frame, void* data);
  static int on_close(nghttp2_session*, std::int32_t id, std::uint32_t code, void* data);
  static int on_sent(nghttp2_session*, const nghttp2_frame* frame, void* data);
  static int on_not_sent(nghttp2_session*, const nghttp2_frame* frame, int code, void* data);
  static ssize_t read_body(nghttp2_session*, std::int32_t id, std::uint8_t* out, std::size_t room,
                           std::uint32_t* flags, nghttp2_data_source*, void* data);

  nghttp2_session* session = nullptr;
  std::vector<Http2Stream*> in_flight;
  std::vector<Ended> ended;
  // Of the last requests, by where their bytes were: prepared ones are sent again and again.
  std::array<RequestFields, 4> fields;
  Instant now = 0;
  bool answered = false;  // a stream has been completed
  bool over = false;
};

Http2Session::State::State() {
  nghttp2_session_callbacks* callbacks = nullptr;
  if (nghttp2_session_callbacks_new(&callbacks) != 0) throw std::bad_alloc();
  nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_received);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
  nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_not_sent);
  const int made = nghttp2_session_client_new(&session, callbacks, this);
  nghttp2_session_callbacks_del(callbacks);
  if (made != 0) throw std::bad_alloc();
}

void Http2Session::State::leave(Http2Stream& of) noexcept {
  nghttp2_session_set_stream_user_data(session, of.id, nullptr);
  in_flight.back()->place = of.place;
  in_flight[of.place] = in_flight.back();
  in_flight.pop_back();
}

void Http2Session::State::end(Http2Stream& of, End how) {
  leave(of);
  of.last_byte_at = now;
  answered = answered || how == End::kComplete;
  ended.push_back({&of, how});
}

void Http2Session::State::fail(Http2Stream& of, std::string_view why, End how) {
  of.response.fail(why);
  end(of, how);
}

void Http2Session::State::refuse(Http2Stream& of) {
  nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, of.id, NGHTTP2_CANCEL);
  end(of, End::kFailed);
}

// The answer is there. One that does not wait for the whole body ends the sending of it (8.1).
void Http2Session::State::finish(Http2Stream& of) {
  if (!of.body.empty()) {
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, of.id, NGHTTP2_NO_ERROR);
  }
  const bool whole = of.response.finish() == Response::State::kComplete;
  end(of, whole ? End::kComplete : End::kFailed);
}

void Http2Session::State::end_all(std::string_view why) {
  over = true;
  while (!in_flight.empty()) {
    Http2Stream& of = *in_flight.back();
    const bool left = nghttp2_session_find_stream(session, of.id) != nullptr;
    const End how = !left                   ? End::kUnprocessed
                    : of.response.started() ? End::kFailed
                    : of.reused             ? End::kGivenUp
                                            : End::kFailed;
    const bool cut = of.response.started() && why == "connection closed";
    fail(of, cut ? "connection closed mid-response" : why, how);
  }
}

// RFC 9113, 6.8: streams above `last_stream` were not processed, and none is opened any more.
void Http2Session::State::goodbye(std::int32_t last_stream) {
  for (std::size_t i = in_flight.size(); i-- > 0;) {
    Http2Stream& of = *in_flight[i];
    const bool left = nghttp2_session_find_stream(session, of.id) != nullptr;
    if (left && of.id <= last_stream) continue;
    if (!left) nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, of.id, NGHTTP2_CANCEL);
    fail(of, "connection closed", End::kUnprocessed);
  }
}

void Http2Session::State::take_header(Http2Stream& of, std::string_view name,
                                      std::string_view value) {
  of.header_bytes += name.size() + value.size();
  if (of.header_bytes > kMostHeaderBytes) {
    of.response.fail("headers too large");
    return refuse(of);
  }
  if (name == ":status") {
    int status = 0;  // nghttp2 has checked that it is three digits
    std::from_chars(value.data(), value.data() + value.size(), status);
    of.response.set_status(status);
  } else if (of.in_trailers) {
    of.response.add_trailer(name, value);
  } else if (!of.response.add_header(name, value)) {
    refuse(of);
  }
}

int Http2Session::State::on_begin_frame(nghttp2_session*, const nghttp2_frame_hd* head,
                                        void* data) {
  constexpr std::size_t kHeadBytes = 9;
  auto& state = *static_cast<State*>(data);
  Http2Stream* const of = state.stream(head->stream_id);
  if (of == nullptr) return 0;
  of->bytes_received += kHeadBytes + head->length;
  if (of->first_byte_at == 0) of->first_byte_at = state.now;
  // RFC 9113, 8.1: the one section of fields behind that of the final answer.
  if (head->type == NGHTTP2_HEADERS) of->in_trailers = of->response.status() >= 200;
  return 0;
}

int Http2Session::State::on_header(nghttp2_session*, const nghttp2_frame* frame,
                                   const std::uint8_t* name, std::size_t name_size,
                                   const std::uint8_t* value, std::size_t value_size, std::uint8_t,
                                   void* data) {
  auto& state = *static_cast<State*>(data);
  Http2Stream* const of = state.stream(frame->hd.stream_id);
  if (of != nullptr) state.take_header(*of, text(name, name_size), text(value, value_size));
  return 0;
}

int Http2Session::State::on_data(nghttp2_session*, std::uint8_t, std::int32_t id,
                                 const std::uint8_t* bytes, std::size_t size, void* data) {
  auto& state = *static_cast<State*>(data);
  Http2Stream* const of = state.stream(id);
  if (of != nullptr && !of->response.add_body(text(bytes, size))) state.refuse(*of);
  return 0;
}

int Http2Session::State::on_received(nghttp2_session*, const nghttp2_frame* frame, void* data) {
  auto& state = *static_cast<State*>(data);
  if (frame->hd.type == NGHTTP2_GOAWAY) state.goodbye(frame->goaway.last_stream_id);
  const bool of_answer = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
  if (!of_answer || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
  if (Http2Stream* const of = state.stream(frame->hd.stream_id); of != nullptr) state.finish(*of);
  return 0;
}

int Http2Session::State::on_close(nghttp2_session*, std::int32_t id, std::uint32_t code,
                                  void* data) {
  auto& state = *static_cast<State*>(data);
  Http2Stream* const of = state.stream(id);
  if (of == nullptr) return 0;
  const bool refused = code == NGHTTP2_REFUSED_STREAM && !of->response.started();
  state.fail(*of, std::string("stream reset: ") + nghttp2_http2_strerror(code),
             refused ? End::kRefused : End::kFailed);
  return 0;
}

// A violation of the protocol makes nghttp2 say goodbye, and nothing else tells of it.
int Http2Session::State::on_sent(nghttp2_session*, const nghttp2_frame* frame, void* data) {
  if (frame->hd.type != NGHTTP2_GOAWAY || frame->goaway.error_code == NGHTTP2_NO_ERROR) return 0;
  const char* const why = nghttp2_http2_strerror(frame->goaway.error_code);
  static_cast<State*>(data)->end_all(std::string("bad response: HTTP/2 ") + why);
  return 0;
}

// A request that could not become a stream, for want of identifiers or after a goodbye.
int Http2Session::State::on_not_sent(nghttp2_session*, const nghttp2_frame* frame, int,
                                     void* data) {
  auto& state = *static_cast<State*>(data);
  if (frame->hd.type != NGHTTP2_HEADERS) return 0;
  Http2Stream* const of = state.stream(frame->hd.stream_id);
  if (of != nullptr) state.fail(*of, "connection closed", End::kUnprocessed);
  return 0;
}

ssize_t Http2Session::State::read_body(nghttp2_session*, std::int32_t id, std::uint8_t* out,
                                       std::size_t room, std::uint32_t* flags, nghttp2_data_source*,
                                       void* data) {
  Http2Stream* const of = static_cast<State*>(data)->stream(id);
  if (of == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  const std::size_t size = std::min(room, of->body.size());
  std::memcpy(out, of->body.data(), size);
  of->body.remove_prefix(size);
  if (of->body.empty()) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(size);
}

bool Http2Session::built_in() noexcept { return true; }

Http2Session::Http2Session() : state_(std::make_unique<State>()) {
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindowBytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, kMostHeaderBytes},
  };
  if (nghttp2_submit_settings(state_->session, NGHTTP2_FLAG_NONE, settings, std::size(settings)) !=
          0 ||
      nghttp2_session_set_local_window_size(state_->session, NGHTTP2_FLAG_NONE, 0, kWindowBytes) !=
          0) {
    throw std::bad_alloc();
  }
}

Http2Session::~Http2Session() = default;

std::vector<Http2Session::Ended>& Http2Session::ended() noexcept { return state_->ended; }

std::size_t Http2Session::in_flight() const noexcept { return state_->in_flight.size(); }

bool Http2Session::has_answered() const noexcept { return state_->answered; }

bool Http2Session::is_over() const noexcept { return state_->over; }

bool Http2Session::takes_more() const noexcept {
  return !state_->over && nghttp2_session_check_request_allowed(state_->session) != 0;
}

bool Http2Session::submit(Http2Stream& stream, std::string_view request, bool tls) {
  State& state = *state_;
  if (!takes_more()) return false;
  RequestFields& parts =
      state.fields[std::hash<const char*>()(request.data()) / 64 % state.fields.size()];
  parts.describe(request, tls ? "https" : "http");
  stream.body = request.substr(parts.head_size());
  stream.header_bytes = 0;
  stream.bytes_received = 0;
  stream.first_byte_at = stream.last_byte_at = 0;
  stream.reused = state.answered;
  stream.in_trailers = false;
  const nghttp2_data_provider provider{{}, State::read_body};
  stream.id =
      nghttp2_submit_request(state.session, nullptr, parts.fields().data(), parts.fields().size(),
                             stream.body.empty() ? nullptr : &provider, &stream);
  if (stream.id < 0) return false;
  stream.place = state.in_flight.size();
  state.in_flight.push_back(&stream);
  return true;
}

void Http2Session::cancel(Http2Stream& stream) {
  nghttp2_submit_rst_stream(state_->session, NGHTTP2_FLAG_NONE, stream.id, NGHTTP2_CANCEL);
  state_->leave(stream);
}

std::string_view Http2Session::output() {
  const std::uint8_t* bytes = nullptr;
  const ssize_t size = nghttp2_session_mem_send(state_->session, &bytes);
  return size > 0 ? text(bytes, static_cast<std::size_t>(size)) : std::string_view();
}

void Http2Session::feed(std::string_view data, Instant now) {
  State& state = *state_;
  state.now = now;
  const ssize_t used = nghttp2_session_mem_recv(
      state.session, reinterpret_cast<const std::uint8_t*>(data.data()), data.size());
  if (used < 0) {
    const char* const why = nghttp2_strerror(static_cast<int>(used));
    state.end_all(std::string("bad response: ") + why);
  } else if (nghttp2_session_want_read(state.session) == 0) {  // goodbye was said
    state.end_all("connection closed");
  }
}

void Http2Session::lost(std::string_view why, Instant now) {
  state_->now = now;
  state_->end_all(why);
}

}  // namespace mcp::http

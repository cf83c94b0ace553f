#include "http/http2_session.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "http/message.h"

namespace mcp::http {
namespace {

constexpr std::int32_t kWindowBytes = 1 << 20;
// Headers of HTTP/1.1's connection, which have no place in HTTP/2.
constexpr std::array<std::string_view, 6> kConnectionHeaders = {
    "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host"};

using Outcome = Response::State;

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

// What serialize() wrote, as the fields of a HEADERS frame. They point into `request` and `names`.
struct RequestFields {
  std::vector<nghttp2_nv> fields;
  std::string names;  // in lower case
  std::string_view body;

  RequestFields(std::string_view request, std::string_view scheme) {
    const std::size_t end = request.find("\r\n\r\n");
    body = request.substr(end + 4);
    std::string_view head = request.substr(0, end);
    names.reserve(head.size());  // views of it stay valid
    std::string_view line = take_until(head, "\r\n");
    const std::string_view method = take_until(line, " ");
    const std::string_view target = take_until(line, " ");
    fields = {field(":method", method), field(":scheme", scheme), field(":path", target)};
    while (!head.empty()) {
      std::string_view value = take_until(head, "\r\n");
      add(take_until(value, ": "), value);
    }
  }

 private:
  void add(std::string_view name, std::string_view value) {
    const std::size_t at = names.size();
    for (const char c : name) {
      names.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
    }
    const std::string_view lower = std::string_view(names).substr(at);
    if (lower == "host") fields.insert(fields.begin() + 1, field(":authority", value));
    if (std::find(kConnectionHeaders.begin(), kConnectionHeaders.end(), lower) ==
        kConnectionHeaders.end()) {
      fields.push_back(field(lower, value));
    }
  }
};

}  // namespace

// The callbacks run inside feed() and output().
struct Http2Session::State {
  explicit State(Response& of);
  ~State() { nghttp2_session_del(session); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  Outcome end(Outcome how) noexcept {
    stream = -1;
    return outcome = how;
  }
  bool take_header(std::string_view name, std::string_view value);

  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
                       std::uint8_t, void* data);
  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t stream, const std::uint8_t* bytes,
                     std::size_t size, void* data);
  static int on_close(nghttp2_session*, std::int32_t stream, std::uint32_t code, void* data);
  static int on_sent(nghttp2_session*, const nghttp2_frame* frame, void* data);
  static ssize_t read_body(nghttp2_session*, std::int32_t, std::uint8_t* out, std::size_t room,
                           std::uint32_t* flags, nghttp2_data_source*, void* data);

  Response& response;
  nghttp2_session* session = nullptr;
  std::int32_t stream = -1;  // under way; -1: none
  std::string_view body;     // of the request, what is still to be sent
  std::size_t header_bytes = 0;
  Outcome outcome = Outcome::kMore;  // of the stream under way, or of the last one
};

Http2Session::State::State(Response& of) : response(of) {
  nghttp2_session_callbacks* callbacks = nullptr;
  if (nghttp2_session_callbacks_new(&callbacks) != 0) throw std::bad_alloc();
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
  const int made = nghttp2_session_client_new(&session, callbacks, this);
  nghttp2_session_callbacks_del(callbacks);
  if (made != 0) throw std::bad_alloc();
}

bool Http2Session::State::take_header(std::string_view name, std::string_view value) {
  header_bytes += name.size() + value.size();
  if (header_bytes > kMostHeaderBytes) {
    end(response.fail("headers too large"));
    return false;
  }
  if (name == ":status") {
    int status = 0;  // nghttp2 has checked that it is three digits
    std::from_chars(value.data(), value.data() + value.size(), status);
    response.set_status(status);
  } else {
    response.add_header(name, value);
  }
  return true;
}

int Http2Session::State::on_header(nghttp2_session*, const nghttp2_frame* frame,
                                   const std::uint8_t* name, std::size_t name_size,
                                   const std::uint8_t* value, std::size_t value_size, std::uint8_t,
                                   void* data) {
  auto& state = *static_cast<State*>(data);
  if (frame->hd.stream_id != state.stream) return 0;
  const bool taken = state.take_header(text(name, name_size), text(value, value_size));
  return taken ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

int Http2Session::State::on_data(nghttp2_session*, std::uint8_t, std::int32_t stream,
                                 const std::uint8_t* bytes, std::size_t size, void* data) {
  auto& state = *static_cast<State*>(data);
  if (stream != state.stream || state.response.add_body(text(bytes, size))) return 0;
  state.end(Outcome::kBad);
  return NGHTTP2_ERR_CALLBACK_FAILURE;
}

int Http2Session::State::on_close(nghttp2_session*, std::int32_t stream, std::uint32_t code,
                                  void* data) {
  auto& state = *static_cast<State*>(data);
  if (stream != state.stream) return 0;
  if (code == NGHTTP2_NO_ERROR) {
    state.end(state.response.finish());
  } else {
    const char* const why = nghttp2_http2_strerror(code);
    state.end(state.response.fail(std::string("stream reset: ") + why));
  }
  return 0;
}

// A violation of the protocol makes nghttp2 say goodbye, and nothing else tells of it.
int Http2Session::State::on_sent(nghttp2_session*, const nghttp2_frame* frame, void* data) {
  auto& state = *static_cast<State*>(data);
  if (frame->hd.type != NGHTTP2_GOAWAY || frame->goaway.error_code == NGHTTP2_NO_ERROR) return 0;
  const char* const why = nghttp2_http2_strerror(frame->goaway.error_code);
  state.end(state.response.fail(std::string("bad response: HTTP/2 ") + why));
  return 0;
}

ssize_t Http2Session::State::read_body(nghttp2_session*, std::int32_t, std::uint8_t* out,
                                       std::size_t room, std::uint32_t* flags, nghttp2_data_source*,
                                       void* data) {
  auto& state = *static_cast<State*>(data);
  const std::size_t size = std::min(room, state.body.size());
  std::memcpy(out, state.body.data(), size);
  state.body.remove_prefix(size);
  if (state.body.empty()) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(size);
}

bool Http2Session::built_in() noexcept { return true; }

Http2Session::Http2Session(Response& response) : state_(std::make_unique<State>(response)) {
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kWindowBytes},
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

bool Http2Session::is_usable() const noexcept {
  return nghttp2_session_check_request_allowed(state_->session) != 0;
}

bool Http2Session::submit(std::string_view request, bool tls) {
  State& state = *state_;
  if (!is_usable()) return false;
  const RequestFields parts(request, tls ? "https" : "http");
  state.body = parts.body;
  state.header_bytes = 0;
  state.outcome = Outcome::kMore;
  const nghttp2_data_provider provider{{}, State::read_body};
  state.stream =
      nghttp2_submit_request(state.session, nullptr, parts.fields.data(), parts.fields.size(),
                             parts.body.empty() ? nullptr : &provider, nullptr);
  return state.stream >= 0;
}

std::string_view Http2Session::output() {
  const std::uint8_t* bytes = nullptr;
  const ssize_t size = nghttp2_session_mem_send(state_->session, &bytes);
  return size > 0 ? text(bytes, static_cast<std::size_t>(size)) : std::string_view();
}

Response::State Http2Session::feed(std::string_view data) {
  State& state = *state_;
  const bool under_way = state.stream >= 0;
  const ssize_t used = nghttp2_session_mem_recv(
      state.session, reinterpret_cast<const std::uint8_t*>(data.data()), data.size());
  if (under_way && state.outcome != Outcome::kMore) return state.outcome;
  if (used < 0) {
    const char* const why = nghttp2_strerror(static_cast<int>(used));
    return state.end(state.response.fail(std::string("bad response: ") + why));
  }
  if (nghttp2_session_want_read(state.session) == 0) {  // goodbye was said
    return state.end(state.response.fail("connection closed"));
  }
  return Outcome::kMore;
}

bool Http2Session::has_failed() const noexcept {
  return state_->stream < 0 && state_->outcome == Outcome::kBad;
}

Response::State Http2Session::end_of_stream() {
  State& state = *state_;
  return state.end(state.response.fail(state.response.started() ? "connection closed mid-response"
                                                                : "connection closed"));
}

}  // namespace mcp::http

// connection.cpp: one request and its response on one HTTP/1.1 connection.
#include "http/connection.h"

namespace mcp::http {

int Connection::open(const ConnectOptions& options) {
  options_ = &options;
  answered_ = false;
  first_byte_at_ = last_byte_at_ = 0;
  bytes_received_ = 0;
  return transport_.open(options);
}

void Connection::begin(std::string_view request, bool is_head, Keep keep) {
  output_ = request;
  reused_ = answered_;
  first_byte_at_ = last_byte_at_ = 0;
  bytes_received_ = 0;
  response_.begin(is_head, options_->body_limit, keep);
}

void Connection::close() noexcept {
  transport_.close();
  hung_up_ = false;
  output_ = {};
}

Connection::Progress Connection::fail(std::string_view why) {
  failure_ = why;
  close();
  return Progress::kFailed;
}

void Connection::send_now() noexcept {
  while (!output_.empty()) {
    std::size_t put = 0;
    switch (transport_.write(output_, put)) {
      case Transport::Io::kDone:
        output_.remove_prefix(put);
        break;
      case Transport::Io::kAgain:
        return;
      // A server may answer and close before it has read everything: look for the answer first.
      case Transport::Io::kClosed:
      case Transport::Io::kError:
        output_ = {};
        return;
    }
  }
}

Connection::Progress Connection::receive(std::span<char> buffer) {
  while (true) {
    std::size_t got = 0;
    const Transport::Io io = transport_.read(buffer, got);
    if (io == Transport::Io::kAgain) return Progress::kPending;
    if (io == Transport::Io::kError) return fail(transport_.failure());
    Response::State state;
    last_byte_at_ = now_precise();
    if (io == Transport::Io::kClosed) {
      state = response_.end_of_stream();
    } else {
      if (first_byte_at_ == 0) first_byte_at_ = last_byte_at_;
      bytes_received_ += got;
      state = response_.feed({buffer.data(), got});
    }
    if (state == Response::State::kBad) return fail(response_.error());
    if (state == Response::State::kComplete) {
      answered_ = true;
      return Progress::kComplete;
    }
    // A short read has emptied the socket, but for the end of the stream; TLS may hold more.
    if (!transport_.is_secure() && !hung_up_ && got < buffer.size()) return Progress::kPending;
  }
}

Connection::Progress Connection::advance(std::span<char> buffer, bool hung_up) {
  hung_up_ = hung_up_ || hung_up;
  switch (transport_.come_up()) {
    case Transport::Progress::kPending:
      return Progress::kPending;
    case Transport::Progress::kFailed:
      return fail(transport_.failure());
    case Transport::Progress::kUp:
      break;
  }
  send_now();
  return receive(buffer);
}

bool Connection::still_usable() {
  char byte;
  std::size_t got = 0;
  return !transport_.is_up() || transport_.read({&byte, 1}, got) == Transport::Io::kAgain;
}

}  // namespace mcp::http

// http2_connection.cpp: moves bytes between an HTTP/2 session and its socket.
#include "http/http2_connection.h"

namespace mcp::http {
namespace {

constexpr std::size_t kMostGathered = 64 << 10;

}  // namespace

int Http2Connection::open(const ConnectOptions& options) {
  options_ = &options;
  session_.emplace();
  output_.clear();
  written_ = 0;
  heard_at_ = 0;
  hung_up_ = false;
  return transport_.open(options);
}

bool Http2Connection::submit(Http2Stream& stream, std::string_view request, bool is_head,
                             Keep keep) {
  if (!takes_more()) return false;
  stream.response.begin(is_head, options_->body_limit, keep);
  return session_->submit(stream, request, options_->tls != nullptr);
}

void Http2Connection::cancel(Http2Stream& stream) { session_->cancel(stream); }

void Http2Connection::close() noexcept { transport_.close(); }

void Http2Connection::lose(std::string_view why) {
  transport_.close();
  session_->lost(why, now_precise());
}

// Fills the buffer with frames; false when there are none.
bool Http2Connection::gather() {
  if (written_ < output_.size()) return true;
  output_.clear();
  written_ = 0;
  while (output_.size() < kMostGathered) {
    const std::string_view more = session_->output();
    if (more.empty()) break;
    output_.append(more);
  }
  return !output_.empty();
}

void Http2Connection::send_now() {
  while (transport_.is_up() && gather()) {
    std::size_t put = 0;
    switch (transport_.write(std::string_view(output_).substr(written_), put)) {
      case Transport::Io::kDone:
        written_ += put;
        break;
      case Transport::Io::kAgain:
        return;
      // There may be answers, and a goodbye, to be read yet.
      case Transport::Io::kClosed:
      case Transport::Io::kError:
        hung_up_ = true;
        written_ = output_.size();
        return;
    }
  }
}

void Http2Connection::advance(std::span<char> buffer, bool hung_up) {
  hung_up_ = hung_up_ || hung_up;
  if (!transport_.is_up()) {
    const Transport::Progress progress = transport_.come_up();
    if (progress == Transport::Progress::kFailed) return lose(transport_.failure());
    if (progress == Transport::Progress::kPending) return;
  }
  send_now();
  for (std::size_t got = buffer.size();
       transport_.is_secure() || hung_up_ || got == buffer.size();) {
    const Transport::Io io = transport_.read(buffer, got);
    if (io == Transport::Io::kAgain) break;
    if (io == Transport::Io::kError) return lose(transport_.failure());
    if (io == Transport::Io::kClosed) return lose("connection closed");
    heard_at_ = now_precise();
    session_->feed({buffer.data(), got}, heard_at_);
  }
  send_now();  // acknowledgements, windows
  if (session_->is_over()) lose("connection closed");
}

}  // namespace mcp::http

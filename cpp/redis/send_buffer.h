// send_buffer.h: bytes on their way out, sent in as many pieces as the socket asks for.
// Thread-compatible.
#pragma once

#include <string>
#include <string_view>

#include "redis/socket.h"

namespace mcp::redis {

class SendBuffer {
 public:
  void append(std::string_view bytes) { bytes_ += bytes; }
  // Where commands are written.
  [[nodiscard]] std::string& tail() noexcept { return bytes_; }

  // As much as fits. A broken connection keeps everything; it shows when the connection is read.
  void send_to(const Socket& socket) {
    const ssize_t sent = socket.send(std::string_view(bytes_).substr(sent_));
    if (sent <= 0) return;
    sent_ += static_cast<std::size_t>(sent);
    if (sent_ == bytes_.size()) {
      clear();
    } else if (sent_ > bytes_.size() / 2) {
      bytes_.erase(0, sent_);
      sent_ = 0;
    }
  }
  void clear() {
    constexpr std::size_t kKept = 64 << 10;
    sent_ = 0;
    bytes_.clear();
    if (bytes_.capacity() > kKept) bytes_.shrink_to_fit();
  }
  [[nodiscard]] bool empty() const noexcept { return bytes_.empty(); }

 private:
  std::string bytes_;
  std::size_t sent_ = 0;  // of bytes_, from its beginning
};

}  // namespace mcp::redis

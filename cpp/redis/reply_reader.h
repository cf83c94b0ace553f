// reply_reader.h: hiredis' parser with the bounds that it does not have: a peer cannot make it hold
// or allocate more than the limits say, whatever lengths it announces.
//
// Thread-compatible. After an exception the reader is of no further use, nor is the connection.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

#include "redis/reply.h"

struct redisReader;

namespace mcp::redis {

struct ReplyLimits {
  std::size_t reply_bytes = std::size_t{64} << 20;  // strings of one reply, together
  std::size_t elements = std::size_t{1} << 20;      // elements of one reply, nested ones included
  std::size_t line_bytes = std::size_t{64} << 10;   // a status, an error, a number or a length
};

class ReplyReader {
 public:
  explicit ReplyReader(ReplyLimits limits = {});  // throws std::bad_alloc
  ~ReplyReader();
  ReplyReader(const ReplyReader&) = delete;
  ReplyReader& operator=(const ReplyReader&) = delete;

  // Takes in bytes as they came from the peer. Throws Error (kProtocol) when out of memory.
  void feed(std::string_view bytes);
  // The next complete reply, or nothing until more bytes are fed. Throws Error (kProtocol).
  [[nodiscard]] std::optional<Reply> next();

 private:
  struct Budget;

  void check_pending() const;

  ReplyLimits limits_;
  std::unique_ptr<Budget> budget_;
  redisReader* reader_;
};

}  // namespace mcp::redis

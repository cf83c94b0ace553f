// http2_lines.h: the HTTP/2 connections of one generator thread. Lanes share them, `streams` lanes
// to a line; a line whose connection takes no more gets a new one, while the old one finishes what
// it carries. Thread-compatible.
// Invariant: a lane is on the connection that its last send() went to until it is in an Outcome or
// was cancelled.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "http/http2_connection.h"

namespace mcp::loadtest {

class Http2Lines {
 public:
  struct Outcome {
    std::uint32_t lane;
    http::Http2Session::End how;
    bool was_up;    // the connection had come up,
    bool answered;  // and answered some request
  };
  struct CameUp {
    std::uint32_t first_lane;  // of those that the connection was opened for
    std::uint32_t last_lane;   // behind them
    Instant opened;
    Instant up;
  };

  // Events of connections carry their number in `epoll`. `connect` outlives it.
  Http2Lines(int epoll, const http::ConnectOptions& connect, std::size_t lanes, int streams);

  // Sends `request`, on a new connection where there is none. 0, or the errno of what failed. It
  // leaves with the next flush() or event. `request` stays alive while the lane is in flight.
  int send(std::uint32_t lane, std::string_view request, bool is_head, http::Keep keep);
  // The lane's time is over. A connection that has said nothing since `heard_after` gets no more
  // requests.
  void cancel(std::uint32_t lane, Instant heard_after);
  // An event of connection `number`. Outcomes are added to outcomes(), news of it to came_up().
  void handle(std::uint32_t number, std::span<char> buffer, bool hung_up);
  // Writes what was submitted since the last one; once behind each round of events. Outcomes are
  // added to outcomes().
  void flush();
  [[nodiscard]] bool wants_flush() const noexcept { return !dirty_.empty(); }

  [[nodiscard]] std::vector<Outcome>& outcomes() noexcept { return outcomes_; }
  [[nodiscard]] std::vector<CameUp>& came_up() noexcept { return came_up_; }
  [[nodiscard]] const http::Http2Stream& stream(std::uint32_t lane) const noexcept {
    return seats_[lane].stream;
  }
  // Whether the connection of the lane's last send() is up.
  [[nodiscard]] bool is_up(std::uint32_t lane) const noexcept;
  // Bytes that all have sent since the last call.
  [[nodiscard]] std::uint64_t take_bytes_sent() noexcept;

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  struct Seat {  // of a lane
    http::Http2Stream stream;
    std::uint32_t number = kNone;  // of its connection
  };
  struct Line {
    http::Http2Connection connection;
    std::uint32_t of = 0;  // which group of lanes it serves
    Instant opened = 0;
    bool told_up = false;
    bool dirty = false;  // waits for flush()
  };

  int open(std::uint32_t group, std::uint32_t& number);
  [[nodiscard]] std::uint32_t free_number();
  void collect(Line& line);
  void retire_if_done(std::uint32_t number);

  const int epoll_;
  const http::ConnectOptions& connect_;
  const std::uint32_t streams_;
  std::vector<Seat> seats_;                   // by lane
  std::vector<std::uint32_t> current_;        // the connection of each group
  std::vector<std::unique_ptr<Line>> lines_;  // by number; null: free
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> resting_;  // free, but this round may still have an event of theirs
  std::vector<std::uint32_t> dirty_;
  std::vector<Outcome> outcomes_;
  std::vector<CameUp> came_up_;
  std::uint64_t bytes_sent_ = 0;
};

}  // namespace mcp::loadtest

// http2_lines.cpp: gives lanes streams, and replaces connections that are full.
#include "loadtest/http2_lines.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace mcp::loadtest {

Http2Lines::Http2Lines(int epoll, const http::ConnectOptions& connect, std::size_t lanes,
                       int streams)
    : epoll_(epoll),
      connect_(connect),
      streams_(static_cast<std::uint32_t>(streams)),
      seats_(lanes),
      current_((lanes + streams_ - 1) / streams_, kNone) {
  for (std::uint32_t lane = 0; lane < lanes; ++lane) seats_[lane].stream.tag = lane;
}

bool Http2Lines::is_up(std::uint32_t lane) const noexcept {
  const std::uint32_t number = seats_[lane].number;
  return number != kNone && lines_[number] && lines_[number]->connection.is_up();
}

std::uint32_t Http2Lines::free_number() {
  if (free_.empty()) {
    lines_.emplace_back();
    return static_cast<std::uint32_t>(lines_.size() - 1);
  }
  const std::uint32_t number = free_.back();
  free_.pop_back();
  return number;
}

int Http2Lines::open(std::uint32_t group, std::uint32_t& number) {
  auto line = std::make_unique<Line>();
  line->of = group;
  line->opened = now_precise();
  if (const int code = line->connection.open(connect_); code != 0) return code;
  number = free_number();
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u32 = number;
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, line->connection.fd(), &event) != 0) {
    free_.push_back(number);
    return errno;
  }
  lines_[number] = std::move(line);
  current_[group] = number;
  return 0;
}

int Http2Lines::send(std::uint32_t lane, std::string_view request, bool is_head, http::Keep keep) {
  Seat& seat = seats_[lane];
  seat.stream.first_byte_at = 0;
  seat.stream.bytes_received = 0;
  const std::uint32_t group = lane / streams_;
  std::uint32_t number = current_[group];
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (number == kNone || !lines_[number]->connection.takes_more()) {
      const std::uint32_t before = number;
      if (const int code = open(group, number); code != 0) return code;
      if (before != kNone) retire_if_done(before);
    }
    Line& line = *lines_[number];
    if (!line.connection.submit(seat.stream, request, is_head, keep)) continue;
    seat.number = number;
    if (!std::exchange(line.dirty, true)) dirty_.push_back(number);
    return 0;
  }
  return ENOBUFS;
}

void Http2Lines::cancel(std::uint32_t lane, Instant heard_after) {
  const std::uint32_t number = seats_[lane].number;
  Line& line = *lines_[number];
  line.connection.cancel(seats_[lane].stream);
  if (!std::exchange(line.dirty, true)) dirty_.push_back(number);
  if (line.connection.heard_at() >= heard_after) return;
  // Silent: whoever comes next gets another one.
  if (current_[line.of] == number) current_[line.of] = kNone;
  retire_if_done(number);
}

void Http2Lines::collect(Line& line) {
  for (const auto& [stream, how] : line.connection.ended()) {
    outcomes_.push_back({stream->tag, how, line.told_up, line.connection.has_answered()});
  }
  line.connection.ended().clear();
}

// Frees a connection that nobody will use again, once it carries nothing.
void Http2Lines::retire_if_done(std::uint32_t number) {
  const std::unique_ptr<Line>& line = lines_[number];
  if (!line || line->connection.in_flight() > 0) return;
  if (current_[line->of] == number) {
    if (line->connection.takes_more()) return;
    current_[line->of] = kNone;
  }
  line->connection.send_now();  // a goodbye
  collect(*line);
  bytes_sent_ += line->connection.take_bytes_sent();
  if (line->dirty) std::erase(dirty_, number);
  lines_[number].reset();
  resting_.push_back(number);
}

void Http2Lines::handle(std::uint32_t number, std::span<char> buffer, bool hung_up) {
  if (number >= lines_.size() || !lines_[number]) return;  // an event of one that is gone
  Line& line = *lines_[number];
  line.connection.advance(buffer, hung_up);
  if (!line.told_up && line.connection.up_at() != 0) {
    line.told_up = true;
    const std::uint32_t first = line.of * streams_;
    const auto last =
        static_cast<std::uint32_t>(std::min<std::size_t>(first + streams_, seats_.size()));
    came_up_.push_back({first, last, line.opened, line.connection.up_at()});
  }
  collect(line);
  retire_if_done(number);
}

void Http2Lines::flush() {
  free_.insert(free_.end(), resting_.begin(), resting_.end());
  resting_.clear();
  for (const std::uint32_t number : std::exchange(dirty_, {})) {
    Line& line = *lines_[number];
    line.dirty = false;
    line.connection.send_now();
    collect(line);
    retire_if_done(number);
  }
}

std::uint64_t Http2Lines::take_bytes_sent() noexcept {
  std::uint64_t bytes = std::exchange(bytes_sent_, 0);
  for (const auto& line : lines_) {
    if (line) bytes += line->connection.take_bytes_sent();
  }
  return bytes;
}

}  // namespace mcp::loadtest

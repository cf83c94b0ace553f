// A HTTP/1.1 server on loopback that injects latencies: request number i, from 0, is answered
// DELAYS[i % n] nanoseconds after it was read, to the microsecond. One thread; it sleeps until
// shortly before an answer is due and spends the rest awake.
//
//   latency_server DELAYS_FILE     one delay in nanoseconds a line
//
// Prints its port. When standard input ends it prints, for each request in the order of their
// numbers, the nanoseconds that really passed between reading and answering it.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <queue>
#include <string_view>
#include <vector>

namespace {

using Nanoseconds = std::int64_t;

constexpr Nanoseconds kAwake = 100'000;
constexpr std::string_view kAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

Nanoseconds now() {
  timespec at{};
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * 1'000'000'000 + at.tv_nsec;
}

struct Answer {
  Nanoseconds due;
  std::size_t number;
  int fd;
  bool operator>(const Answer& other) const { return due > other.due; }
};

class Server {
 public:
  explicit Server(std::vector<Nanoseconds> delays) : delays_(std::move(delays)) {
    prctl(PR_SET_TIMERSLACK, 1UL);
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
        listen(listener_, 1024) != 0 ||
        getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
      std::perror("latency_server");
      std::exit(1);
    }
    epoll_ = epoll_create1(0);
    watch(listener_);
    watch(STDIN_FILENO);
    std::printf("%d\n", ntohs(address.sin_port));
    std::fflush(stdout);
  }

  void run() {
    while (!ended_) {
      while (!answers_.empty() && answers_.top().due <= now()) answer();
      wait();
    }
    for (const Nanoseconds took : took_) std::printf("%lld\n", static_cast<long long>(took));
  }

 private:
  void watch(int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }

  void wait() {
    epoll_event events[64];
    Nanoseconds left = 1'000'000'000;
    if (!answers_.empty()) left = std::max<Nanoseconds>(0, answers_.top().due - now() - kAwake);
    const timespec timeout{left / 1'000'000'000, left % 1'000'000'000};
    const int count = epoll_pwait2(epoll_, events, 64, &timeout, nullptr);
    for (int i = 0; i < count; ++i) handle(events[i].data.fd);
  }

  void handle(int fd) {
    if (fd == listener_) {
      const int connection = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK);
      if (connection < 0) return;
      const int on = 1;
      setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      watch(connection);
      return;
    }
    char buffer[4096];
    const ssize_t got = read(fd, buffer, sizeof buffer);
    const Nanoseconds at = now();
    if (fd == STDIN_FILENO) {
      ended_ = got <= 0;
    } else if (got <= 0) {
      close(fd);
    } else {  // a request fits into one segment
      answers_.push({at + delays_[read_at_.size() % delays_.size()], read_at_.size(), fd});
      read_at_.push_back(at);
      took_.push_back(0);
    }
  }

  void answer() {
    const Answer next = answers_.top();
    answers_.pop();
    took_[next.number] = now() - read_at_[next.number];
    (void)!send(next.fd, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL);
  }

  const std::vector<Nanoseconds> delays_;
  std::priority_queue<Answer, std::vector<Answer>, std::greater<>> answers_;
  std::vector<Nanoseconds> read_at_;
  std::vector<Nanoseconds> took_;
  int listener_ = -1;
  int epoll_ = -1;
  bool ended_ = false;
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) return 2;
  std::ifstream file(arguments[1]);
  std::vector<Nanoseconds> delays;
  for (Nanoseconds delay = 0; file >> delay;) delays.push_back(delay);
  if (delays.empty()) return 2;
  Server(std::move(delays)).run();
}

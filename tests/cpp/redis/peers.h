// peers.h: what a client talks to in tests: a real redis-server, and a peer that says what it is
// told.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"

extern char** environ;

namespace mcp::redis {

// Turns until `holds` answers true; false after half a minute.
inline bool eventually(const std::function<bool()>& holds) {
  const Instant end = now_precise() + 30 * kSecond;
  while (!holds()) {
    if (now_precise() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

// A listening socket on a free loopback port.
inline int listen_on_loopback(int& port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(fd, 64) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::runtime_error("no loopback port");
  }
  port = ntohs(address.sin_port);
  return fd;
}

inline int free_port() {
  int port = 0;
  ::close(listen_on_loopback(port));
  return port;
}

// A redis-server without persistence, in a folder of its own; it ends with the object.
class RedisServer {
 public:
  explicit RedisServer(std::vector<std::string> options = {}) : options_(std::move(options)) {
    folder_ = (std::filesystem::temp_directory_path() / "mcp_redis_XXXXXX").string();
    if (mkdtemp(folder_.data()) == nullptr) throw std::runtime_error("no folder");
    port_ = free_port();
    start();
  }
  ~RedisServer() {
    kill();
    std::filesystem::remove_all(folder_);
  }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  // Returns when it takes connections.
  void start() {
    std::vector<std::string> words = {"redis-server",
                                      "--port",
                                      std::to_string(port_),
                                      "--bind",
                                      "127.0.0.1",
                                      "--dir",
                                      folder_,
                                      "--unixsocket",
                                      unix_path(),
                                      "--save",
                                      "",
                                      "--enable-debug-command",
                                      "yes"};
    words.insert(words.end(), options_.begin(), options_.end());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    std::array<int, 2> pipe{};
    if (pipe2(pipe.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe[1], STDOUT_FILENO);
    const int failure =
        posix_spawnp(&pid_, "redis-server", &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    ::close(pipe[1]);
    if (failure != 0) throw std::runtime_error("redis-server is not installed");
    std::string said;
    std::array<char, 4096> buffer;
    while (said.find("eady to accept connections") == std::string::npos) {
      const ssize_t got = read(pipe[0], buffer.data(), buffer.size());
      if (got <= 0) throw std::runtime_error("redis-server ended: " + said);
      said.append(buffer.data(), static_cast<std::size_t>(got));
    }
    ::close(log_);
    log_ = pipe[0];  // kept open: the server writes on
  }
  void signal(int number) const { ::kill(pid_, number); }
  void kill() {
    if (pid_ <= 0) return;
    signal(SIGKILL);
    signal(SIGCONT);
    waitpid(std::exchange(pid_, -1), nullptr, 0);
    ::close(std::exchange(log_, -1));
  }

  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] std::string unix_path() const { return folder_ + "/redis.sock"; }

 private:
  std::vector<std::string> options_;
  std::string folder_;
  int port_ = 0;
  pid_t pid_ = -1;
  int log_ = -1;
};

// Takes connections, one after the other or together, and answers what `answer` says to each piece
// it reads. An empty answer says nothing.
class FakePeer {
 public:
  explicit FakePeer(std::function<std::string(const std::string&)> answer)
      : answer_(std::move(answer)), listener_(listen_on_loopback(port_)) {
    thread_ = std::thread([this] { run(); });
  }
  ~FakePeer() {
    stopping_ = true;
    const int wake = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port_));
    static_cast<void>(connect(wake, reinterpret_cast<sockaddr*>(&address), sizeof address));
    thread_.join();
    ::close(wake);
    ::close(listener_);
  }
  FakePeer(const FakePeer&) = delete;
  FakePeer& operator=(const FakePeer&) = delete;

  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] int connections() const { return connections_; }

 private:
  void run() {
    std::vector<pollfd> polls = {{listener_, POLLIN, 0}};
    while (!stopping_) {
      poll(polls.data(), polls.size(), -1);
      if (polls[0].revents != 0) {
        const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd >= 0) polls.push_back({fd, POLLIN, 0});
        ++connections_;
      }
      for (std::size_t i = 1; i < polls.size(); ++i) {
        if (polls[i].revents != 0) serve(polls[i]);
      }
      std::erase_if(polls, [](const pollfd& each) { return each.fd < 0; });
    }
    for (std::size_t i = 1; i < polls.size(); ++i) ::close(polls[i].fd);
  }
  void serve(pollfd& poll) {
    std::array<char, 4096> buffer;
    const ssize_t got = recv(poll.fd, buffer.data(), buffer.size(), 0);
    if (got <= 0) {
      ::close(std::exchange(poll.fd, -1));
      return;
    }
    const std::string said = answer_({buffer.data(), static_cast<std::size_t>(got)});
    static_cast<void>(send(poll.fd, said.data(), said.size(), MSG_NOSIGNAL));
  }

  std::function<std::string(const std::string&)> answer_;
  int port_ = 0;
  int listener_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> connections_{0};
  std::thread thread_;
};

}  // namespace mcp::redis

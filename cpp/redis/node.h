// node.h: a server as it is named: a host, which may have to be looked up, and a port.
#pragma once

#include <string>

namespace mcp::redis {

struct Node {
  std::string host;
  int port = 0;

  [[nodiscard]] bool operator==(const Node&) const = default;
  [[nodiscard]] std::string text() const {
    const bool bare = host.find(':') == std::string::npos;
    return (bare ? host : "[" + host + "]") + ":" + std::to_string(port);
  }
};

}  // namespace mcp::redis

// cookies.h: the cookies that one user of one origin has (RFC 6265). Thread-compatible.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "http/headers.h"

namespace mcp::loadtest {

class Cookies {
 public:
  // Takes what the answer to a request of `target` sets, at `now`.
  void take(const http::HeaderList& headers, std::string_view target, Instant now);
  void set(std::string name, std::string value);
  // The value of the Cookie field of a request of `target`; empty: there is none.
  [[nodiscard]] std::string header(std::string_view target, bool secure, Instant now) const;

 private:
  struct Cookie {
    std::string name;
    std::string value;
    std::string path = "/";
    bool secure = false;
    Instant until = kNever;
  };
  void take_one(std::string_view field, std::string_view path, Instant now);
  void put(Cookie cookie, Instant now);

  std::vector<Cookie> cookies_;
};

}  // namespace mcp::loadtest

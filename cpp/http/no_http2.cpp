// Stands in for http2_session.cpp where libnghttp2 was not found.
#include "base/error.h"
#include "http/http2_session.h"

namespace mcp::http {

struct Http2Session::State {};

bool Http2Session::built_in() noexcept { return false; }

Http2Session::Http2Session(Response&) {
  throw Error(ErrorKind::kLoadTest, "this build has no HTTP/2: libnghttp2 was not found");
}
Http2Session::~Http2Session() = default;
bool Http2Session::submit(std::string_view, bool) { return false; }
std::string_view Http2Session::output() { return {}; }
Response::State Http2Session::feed(std::string_view) { return Response::State::kBad; }
bool Http2Session::has_failed() const noexcept { return true; }
Response::State Http2Session::end_of_stream() { return Response::State::kBad; }
bool Http2Session::is_usable() const noexcept { return false; }

}  // namespace mcp::http

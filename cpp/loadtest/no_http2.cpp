// Stands in for http2_session.cpp where libnghttp2 was not found.
#include "base/error.h"
#include "loadtest/http2_session.h"

namespace mcp::loadtest {

struct Http2Session::State {};

bool Http2Session::built_in() noexcept { return false; }

Http2Session::Http2Session(HttpResponse&) {
  throw Error(ErrorKind::kLoadTest, "this build has no HTTP/2: libnghttp2 was not found");
}
Http2Session::~Http2Session() = default;
bool Http2Session::submit(std::string_view, bool) { return false; }
std::string_view Http2Session::output() { return {}; }
HttpResponse::State Http2Session::feed(std::string_view) { return HttpResponse::State::kBad; }
bool Http2Session::has_failed() const noexcept { return true; }
HttpResponse::State Http2Session::end_of_stream() { return HttpResponse::State::kBad; }
bool Http2Session::is_usable() const noexcept { return false; }

}  // namespace mcp::loadtest

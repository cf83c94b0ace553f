// Stands in for http2_session.cpp where libnghttp2 was not found.
#include "base/error.h"
#include "http/http2_session.h"

namespace mcp::http {

struct Http2Session::State {
  std::vector<Ended> ended;
};

bool Http2Session::built_in() noexcept { return false; }

Http2Session::Http2Session() {
  throw Error(ErrorKind::kLoadTest, "this build has no HTTP/2: libnghttp2 was not found");
}
Http2Session::~Http2Session() = default;
bool Http2Session::submit(Http2Stream&, std::string_view, bool) { return false; }
void Http2Session::cancel(Http2Stream&) {}
std::string_view Http2Session::output() { return {}; }
void Http2Session::feed(std::string_view, Instant) {}
void Http2Session::lost(std::string_view, Instant) {}
std::vector<Http2Session::Ended>& Http2Session::ended() noexcept { return state_->ended; }
std::size_t Http2Session::in_flight() const noexcept { return 0; }
bool Http2Session::takes_more() const noexcept { return false; }
bool Http2Session::has_answered() const noexcept { return false; }
bool Http2Session::is_over() const noexcept { return true; }

}  // namespace mcp::http

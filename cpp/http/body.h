// body.h: the body of a response as it comes: counted, decoded, and kept where somebody will look
// at it. Limits are on what a hostile peer can make it hold, and on the work it can cause.
// Thread-compatible. RFC 9110, sections 8.4 and 8.4.1; RFC 1950, 1951 and 1952.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace mcp::http {

// Undoes a content coding. A gzip body is a series of members, all of which belong to it; zero
// bytes behind a member are padding, anything else is corrupt. A deflate body is in the zlib
// format, or without it, as many servers send; nothing may follow its end.
class Inflater {
 public:
  enum class Coding { kGzip, kDeflate };

  explicit Inflater(Coding coding) noexcept : coding_(coding) {}
  ~Inflater();
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Appends to `out` (null: only counts). False when the data is corrupt or `limit` bytes were
  // exceeded, which count() tells. Throws std::bad_alloc.
  bool feed(std::string_view data, std::string* out, std::uint64_t limit);
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  // Whether what came is whole.
  [[nodiscard]] bool ended() const noexcept { return state_ == State::kBetween; }

 private:
  enum class State { kStart, kInside, kBetween };

  [[nodiscard]] bool begin(std::string_view& data);
  [[nodiscard]] bool start_stream(int window_bits);
  [[nodiscard]] bool inflate_some(std::string_view& data, std::string* out, std::uint64_t limit);

  const Coding coding_;
  State state_ = State::kStart;
  bool ready_ = false;  // stream_ is initialised
  z_stream stream_{};
  std::string first_;  // bytes of a deflate body that do not yet tell its format
  std::uint64_t count_ = 0;
};

class BodySink {
 public:
  // `limit`: bytes of the decoded body.
  void begin(std::uint64_t limit, bool keep);
  // The value of a Content-Encoding field. A single gzip or deflate is undone; of any other coding,
  // and of several, the body stays as it was sent.
  void add_encoding(std::string_view value);
  // Whether a body of `size` encoded bytes can be taken; false with error() set.
  bool expect(std::uint64_t size);
  // False with error() set.
  bool write(std::string_view data);
  bool finish();

  [[nodiscard]] const std::string& kept() const noexcept { return kept_; }
  [[nodiscard]] std::string_view error() const noexcept { return error_; }

 private:
  [[nodiscard]] std::uint64_t encoded_limit() const noexcept;

  std::uint64_t limit_ = 0;
  std::uint64_t count_ = 0;  // encoded bytes
  bool keep_ = false;
  int codings_ = 0;
  std::unique_ptr<Inflater> inflater_;
  std::string kept_;
  std::string_view error_;
};

}  // namespace mcp::http

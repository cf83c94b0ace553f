// regex.cpp: loads PCRE2 and matches with it.
#include "loadtest/regex.h"

#include <dlfcn.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "base/text.h"

namespace mcp::loadtest {
namespace {

constexpr std::uint32_t kMostSteps = 100'000;
constexpr std::size_t kUnset = ~std::size_t{0};

// The part of PCRE2's stable 8-bit interface that is used here (pcre2api(3)).
struct Library {
  void* (*compile)(const unsigned char*, std::size_t, std::uint32_t, int*, std::size_t*, void*);
  void (*free_code)(void*);
  int (*match)(const void*, const unsigned char*, std::size_t, std::size_t, std::uint32_t, void*,
               void*);
  void* (*make_match)(const void*, void*);
  void (*free_match)(void*);
  std::size_t* (*offsets)(void*);
  std::uint32_t (*pairs)(void*);  // of offsets: the match, and each group
  int (*message)(int, unsigned char*, std::size_t);
  void* (*make_limits)(void*);
  int (*set_match_limit)(void*, std::uint32_t);
  void* limits = nullptr;  // of every match, for as long as the process lives
  bool complete = false;
};

template <typename Function>
bool load(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  return function != nullptr;
}

Library open_library() {
  Library found{};
  void* const handle = ::dlopen("libpcre2-8.so.0", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return found;
  found.complete = load(handle, "pcre2_compile_8", found.compile) &&
                   load(handle, "pcre2_code_free_8", found.free_code) &&
                   load(handle, "pcre2_match_8", found.match) &&
                   load(handle, "pcre2_match_data_create_from_pattern_8", found.make_match) &&
                   load(handle, "pcre2_match_data_free_8", found.free_match) &&
                   load(handle, "pcre2_get_ovector_pointer_8", found.offsets) &&
                   load(handle, "pcre2_get_ovector_count_8", found.pairs) &&
                   load(handle, "pcre2_get_error_message_8", found.message) &&
                   load(handle, "pcre2_match_context_create_8", found.make_limits) &&
                   load(handle, "pcre2_set_match_limit_8", found.set_match_limit);
  if (!found.complete) return found;
  found.limits = found.make_limits(nullptr);
  if (found.limits != nullptr) found.set_match_limit(found.limits, kMostSteps);
  return found;
}

const Library& library() {
  static const Library loaded = open_library();
  return loaded;
}

const unsigned char* bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

}  // namespace

Regex::Regex(const std::string& pattern) : code_(nullptr) {
  const Library& pcre = library();
  if (!pcre.complete) {
    throw invalid_argument("regex", on_one_line(pattern),
                           "none, because this machine has no libpcre2-8 (on Debian: apt-get "
                           "install libpcre2-8-0)");
  }
  int error = 0;
  std::size_t at = 0;
  code_ = pcre.compile(bytes(pattern), pattern.size(), 0, &error, &at, nullptr);
  if (code_ != nullptr) return;
  std::array<unsigned char, 128> text{};
  pcre.message(error, text.data(), text.size());
  throw invalid_argument("regex", on_one_line(pattern),
                         "a regular expression (" +
                             std::string(reinterpret_cast<const char*>(text.data())) + " at " +
                             std::to_string(at) + ")");
}

Regex::~Regex() { library().free_code(code_); }

std::optional<std::string_view> Regex::find(std::string_view text) const {
  const Library& pcre = library();
  void* const match = pcre.make_match(code_, nullptr);
  if (match == nullptr) return std::nullopt;
  std::optional<std::string_view> found;
  if (pcre.match(code_, bytes(text), text.size(), 0, 0, match, pcre.limits) > 0) {
    const std::size_t* const offsets = pcre.offsets(match) + (pcre.pairs(match) > 1 ? 2 : 0);
    if (offsets[0] != kUnset) found = text.substr(offsets[0], offsets[1] - offsets[0]);
  }
  pcre.free_match(match);
  return found;
}

}  // namespace mcp::loadtest

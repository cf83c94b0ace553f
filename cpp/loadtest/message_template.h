// message_template.h: requests that have values of the user who sends them. Immutable.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"
#include "loadtest/answer_value.h"
#include "loadtest/cookies.h"

namespace mcp::loadtest {

// What one virtual user has gathered.
struct UserState {
  std::vector<std::optional<Value>> variables;
  Cookies cookies;
  std::uint64_t steps = 0;  // taken, of the sequence
  http::Message message;    // sent last, without its cookies
};

// A value's marker in the text of a message: "\x01v", the number of the variable in four digits,
// how it is put there, "\x01".
inline constexpr std::size_t kVariableMarkerSize = 8;
enum class Encoding : char {
  kPercent = 'p',  // of a path
  kHeader = 'h',   // as it is, without control characters
  kPlain = 'b',
  kJsonString = 'j',  // between the quotes of a string
  kJsonValue = 'w',   // a value of its own type
};
[[nodiscard]] bool is_variable_marker(std::string_view text) noexcept;

class MessageTemplate {
 public:
  // `bytes`: the message as it is sent. REQUIRES: markers have numbers below that of the variables.
  MessageTemplate(http::Message message, std::string_view bytes);

  [[nodiscard]] bool has_variables() const noexcept { return has_variables_; }
  // The index of the first variable that has no value, or none that can be sent; -1: `out` is made.
  [[nodiscard]] int render(const std::vector<std::optional<Value>>& variables,
                           http::Message& out) const;
  // The same as bytes, where no value changes the length of the body.
  [[nodiscard]] bool has_bytes() const noexcept { return has_bytes_; }
  [[nodiscard]] int render(const std::vector<std::optional<Value>>& variables,
                           std::string& out) const {
    return fill(bytes_, variables, out);
  }

 private:
  struct Piece {
    std::string literal;
    int variable = -1;  // after the literal; -1: none
    Encoding encoding = Encoding::kPlain;
  };
  using Pieces = std::vector<Piece>;
  static Pieces split(std::string_view text);
  static int fill(const Pieces& pieces, const std::vector<std::optional<Value>>& variables,
                  std::string& out);

  http::Message message_;
  Pieces target_;
  Pieces body_;
  Pieces bytes_;
  std::vector<Pieces> headers_;
  bool has_variables_ = false;
  bool has_bytes_ = true;
};

}  // namespace mcp::loadtest

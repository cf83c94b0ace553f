// headers.h: header fields as both sides of a message have them: a list in the order on the wire.
// Pure. RFC 9110, section 5.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mcp::http {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

// Field names and many values compare without case.
[[nodiscard]] bool same_header(std::string_view a, std::string_view b) noexcept;

// RFC 9110, 5.6.2: what methods and field names are made of.
[[nodiscard]] bool is_token(std::string_view text) noexcept;

// RFC 9110, 5.5: whether `text` has no control character but the tab. Bytes above ASCII pass.
[[nodiscard]] bool is_field_text(std::string_view text) noexcept;

// `text` without the spaces and tabs around it.
[[nodiscard]] std::string_view trimmed(std::string_view text) noexcept;

// Takes the next element off the front of a comma-separated list (RFC 9110, 5.6.1). Empty elements
// are passed over; empty when there is none left.
[[nodiscard]] std::string_view next_element(std::string_view& list) noexcept;

// What may stand around a field's value (RFC 9110, 5.6.3).
[[nodiscard]] constexpr bool is_blank(char c) noexcept { return c == ' ' || c == '\t'; }

}  // namespace mcp::http

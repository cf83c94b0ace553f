// json_text.h: values in JSON text by where they are, without making a tree of it. Text that is no
// JSON has no values; what comes after a value that was found is not looked at. Of a key that is
// there twice the first counts. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mcp::loadtest {

// Keys of objects and indexes of arrays, from the outermost value on.
using JsonPath = std::vector<std::string>;

// The value as it is written; nothing if there is none.
[[nodiscard]] std::optional<std::string_view> find_json(std::string_view text,
                                                        const JsonPath& path);

// The same in an answer of server-sent events, whose first event that has the value counts.
[[nodiscard]] std::optional<std::string> find_json_in_answer(std::string_view body,
                                                             const JsonPath& path);

// Server-sent events in `body` that are whole and carry data.
[[nodiscard]] std::size_t count_events(std::string_view body);

// What a string says, and any other value as it is written.
[[nodiscard]] std::string json_as_text(std::string_view value);

// `text` as it stands between the quotes of a JSON string.
void append_json_escaped(std::string& out, std::string_view text);

}  // namespace mcp::loadtest

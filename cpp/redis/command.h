// command.h: commands as they go over the wire: arrays of bulk strings, safe for any bytes.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace mcp::redis {

inline void append_command(std::string& out, std::span<const std::string_view> arguments) {
  out += '*';
  out += std::to_string(arguments.size());
  out += "\r\n";
  for (const std::string_view argument : arguments) {
    out += '$';
    out += std::to_string(argument.size());
    out += "\r\n";
    out += argument;
    out += "\r\n";
  }
}

inline void append_command(std::string& out, std::initializer_list<std::string_view> arguments) {
  append_command(out, std::span<const std::string_view>(arguments.begin(), arguments.size()));
}

}  // namespace mcp::redis

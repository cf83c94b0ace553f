// message_template.cpp: parts messages at their markers and puts values there.
#include "loadtest/message_template.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace mcp::loadtest {
namespace {

void append_percent(std::string& out, std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
}

bool append(std::string& out, const Value& value, Encoding encoding) {
  switch (encoding) {
    case Encoding::kPercent:
      append_percent(out, value.text);
      return true;
    case Encoding::kHeader:
      out += http::trimmed(value.text);
      return http::is_field_text(value.text);
    case Encoding::kPlain:
      out += value.text;
      return true;
    case Encoding::kJsonValue:
      if (!value.json.empty()) {
        out += value.json;
        return true;
      }
      out += '"';
      append_json_escaped(out, value.text);
      out += '"';
      return true;
    case Encoding::kJsonString:
      append_json_escaped(out, value.text);
      return true;
  }
  return false;
}

}  // namespace

bool is_variable_marker(std::string_view text) noexcept {
  return text.size() >= kVariableMarkerSize && text.starts_with("\x01v") && text[7] == '\x01' &&
         std::all_of(text.begin() + 2, text.begin() + 6,
                     [](char c) { return c >= '0' && c <= '9'; });
}

MessageTemplate::MessageTemplate(http::Message message, std::string_view bytes)
    : message_(std::move(message)),
      target_(split(message_.target)),
      body_(split(message_.body)),
      bytes_(split(bytes)) {
  const auto varies = [](const Pieces& pieces) {
    return pieces.size() > 1 || pieces.front().variable >= 0;
  };
  has_bytes_ = !varies(body_);
  has_variables_ = varies(target_) || varies(body_);
  for (const auto& [name, value] : message_.headers) {
    headers_.push_back(split(value));
    has_variables_ = has_variables_ || varies(headers_.back());
  }
}

MessageTemplate::Pieces MessageTemplate::split(std::string_view text) {
  Pieces pieces(1);
  for (std::size_t at = 0; at < text.size();) {
    if (!is_variable_marker(text.substr(at))) {
      pieces.back().literal += text[at++];
      continue;
    }
    std::from_chars(text.data() + at + 2, text.data() + at + 6, pieces.back().variable);
    pieces.back().encoding = static_cast<Encoding>(text[at + 6]);
    at += kVariableMarkerSize;
    if (at < text.size()) pieces.emplace_back();
  }
  return pieces;
}

int MessageTemplate::fill(const Pieces& pieces, const std::vector<std::optional<Value>>& variables,
                          std::string& out) {
  out.clear();
  for (const Piece& piece : pieces) {
    out += piece.literal;
    if (piece.variable < 0) continue;
    const std::optional<Value>& value = variables[static_cast<std::size_t>(piece.variable)];
    if (!value || !append(out, *value, piece.encoding)) return piece.variable;
  }
  return -1;
}

int MessageTemplate::render(const std::vector<std::optional<Value>>& variables,
                            http::Message& out) const {
  out.method = message_.method;
  if (const int missing = fill(target_, variables, out.target); missing >= 0) return missing;
  if (const int missing = fill(body_, variables, out.body); missing >= 0) return missing;
  out.headers.resize(headers_.size());
  for (std::size_t i = 0; i < headers_.size(); ++i) {
    out.headers[i].first = message_.headers[i].first;
    const int missing = fill(headers_[i], variables, out.headers[i].second);
    if (missing >= 0) return missing;
  }
  return -1;
}

}  // namespace mcp::loadtest

// fingerprint.cpp: writes a statement's tokens without its values.
#include "sqlite/fingerprint.h"

#include <vector>

#include "sqlite/tokenizer.h"

namespace mcp::sqlite {
namespace {

constexpr std::size_t kListElementsOfSample = 3;
constexpr std::size_t kLongestOrdinal = 3;  // digits of a column's number in ORDER BY

// An IN list or the rows of VALUES. An element that repeats the one before it is taken back from
// the output.
struct List {
  bool rows = false;             // VALUES
  std::size_t depth = 0;         // of the commas between elements
  std::size_t element = 0;       // where the current element starts in the output
  std::size_t previous = 0;      // where the last kept element starts
  std::size_t previous_end = 0;  // 0: none was kept
  std::size_t repeats = 0;       // kept copies of the last element
};

class Writer {
 public:
  Writer(std::string_view sql, std::string& out, bool sample, std::size_t limit_bytes)
      : tokens_(sql), out_(out), sample_(sample), limit_bytes_(limit_bytes) {}

  void run() {
    current_ = tokens_.next();
    following_ = tokens_.next();
    while (current_.kind != TokenKind::kEnd && out_.size() <= limit_bytes_) {
      write_current();
      previous_ = current_;
      advance();
    }
    while (!lists_.empty()) close_list();
    while (!out_.empty() && (out_.back() == ';' || out_.back() == ' ')) out_.pop_back();
  }

 private:
  void advance() {
    current_ = following_;
    following_ = tokens_.next();
  }

  void write_current() {
    if (is_sign_of_a_number()) advance();
    leave_finished_rows();
    if (current_.is(',')) {
      end_element();
    } else if (current_.is(')')) {
      close_parenthesis();
    } else {
      begin_element_if_due();
    }
    note_clause();
    put(text_of_current());
    if (current_.is('(')) {
      ++depth_;
      open_list_if_due();
    } else if (current_.is("VALUES") && following_.is('(')) {
      lists_.push_back({.rows = true, .depth = depth_});
      element_due_ = true;
    } else if (current_.is(',') && !lists_.empty() && lists_.back().depth == depth_) {
      element_due_ = true;
    }
  }

  // A minus or plus that belongs to a number: "= -5", not "a - 5".
  [[nodiscard]] bool is_sign_of_a_number() const {
    if (!current_.is('-') && !current_.is('+')) return false;
    if (following_.kind != TokenKind::kNumber) return false;
    switch (previous_.kind) {
      case TokenKind::kEnd:
        return true;
      case TokenKind::kKeyword:
        return !previous_.is("NULL") && !previous_.is("END");
      case TokenKind::kOperator:
        return !previous_.is(')');
      default:
        return false;
    }
  }

  [[nodiscard]] bool is_literal() const {
    switch (current_.kind) {
      case TokenKind::kString:
        return !previous_.is("AS");  // a column's name
      case TokenKind::kNumber:
        return !is_ordinal();
      case TokenKind::kBlob:
      case TokenKind::kParameter:
        return true;
      case TokenKind::kKeyword:
        return current_.is("NULL") && stands_alone_in_a_list();
      case TokenKind::kQuotedName:
        return current_.text[0] == '"' && !previous_.is('.') && !following_.is('.') &&
               !following_.is('(') && (follows_comparison() || stands_alone_in_a_list());
      default:
        return false;
    }
  }

  [[nodiscard]] bool is_ordinal() const {
    return ordinals_ && depth_ == ordinals_depth_ && (previous_.is("BY") || previous_.is(',')) &&
           current_.text.size() <= kLongestOrdinal;
  }

  [[nodiscard]] bool stands_alone_in_a_list() const {
    if (lists_.empty()) return false;
    const List& list = lists_.back();
    return depth_ == list.depth + (list.rows ? 1 : 0) && (previous_.is('(') || previous_.is(',')) &&
           (following_.is(',') || following_.is(')'));
  }

  [[nodiscard]] bool follows_comparison() const {
    if (previous_.kind == TokenKind::kKeyword) {
      return previous_.is("LIKE") || previous_.is("GLOB") || previous_.is("BETWEEN") ||
             previous_.is("IS");
    }
    if (previous_.kind != TokenKind::kOperator) return false;
    const char first = previous_.text[0];
    return first == '=' || first == '<' || first == '>' || first == '!';
  }

  [[nodiscard]] std::string_view text_of_current() {
    if (is_literal()) return sample_ && is_pattern() ? redacted_pattern() : "?";
    // A keyword after a dot is a column's name.
    if (current_.kind == TokenKind::kKeyword && !previous_.is('.')) return current_.keyword;
    return current_.text;
  }

  [[nodiscard]] bool is_pattern() const {
    if (current_.kind != TokenKind::kString) return false;
    return previous_.is("LIKE") || previous_.is("GLOB") ||
           unquoted(current_.text).find_first_not_of("%_*") == std::string_view::npos;
  }

  [[nodiscard]] std::string_view redacted_pattern() {
    const std::string_view pattern = unquoted(current_.text);
    constexpr std::string_view kWildcards = "%_*?";
    if (pattern.find_first_not_of("%_*") == std::string_view::npos) return current_.text;
    pattern_ = "'";
    if (kWildcards.find(pattern.front()) != std::string_view::npos) pattern_ += pattern.front();
    pattern_ += previous_.is("GLOB") ? 'x' : '?';  // ? is a wildcard of GLOB
    if (kWildcards.find(pattern.back()) != std::string_view::npos) pattern_ += pattern.back();
    return pattern_ += '\'';
  }

  // Keeps in mind whether commas separate the terms of ORDER BY or GROUP BY.
  void note_clause() {
    if (current_.is("BY")) {
      ordinals_ = true;
      ordinals_depth_ = depth_;
    } else if (ordinals_ && depth_ == ordinals_depth_ && current_.kind == TokenKind::kKeyword &&
               (current_.is("LIMIT") || current_.is("HAVING") || current_.is("SELECT") ||
                current_.is("UNION") || current_.is("ROWS") || current_.is("RANGE"))) {
      ordinals_ = false;
    }
  }

  void put(std::string_view text) {
    if (needs_space(text)) out_ += ' ';
    if (begins_element_) {
      lists_.back().element = out_.size();
      begins_element_ = false;
    }
    out_ += text;
  }

  [[nodiscard]] bool needs_space(std::string_view text) const {
    if (out_.empty() || previous_.is('(') || previous_.is('.')) return false;
    switch (text[0]) {
      case ',':
      case ')':
      case ';':
        return false;
      case '.':
        return text.size() > 1;
      case '(':  // a call, or a table's columns
        return !previous_.is_name() && !previous_.is("REPLACE");
      default:
        return true;
    }
  }

  void open_list_if_due() {
    if (!previous_.is("IN") || following_.is("SELECT") || following_.is("WITH") ||
        following_.is("VALUES")) {
      return;
    }
    lists_.push_back({.depth = depth_});
    element_due_ = true;
  }

  void begin_element_if_due() {
    if (!element_due_) return;
    element_due_ = false;
    begins_element_ = true;
  }

  void close_parenthesis() {
    while (!lists_.empty() && lists_.back().depth == depth_ && depth_ > 0) close_list();
    if (depth_ > 0) --depth_;
    if (ordinals_ && depth_ < ordinals_depth_) ordinals_ = false;
  }

  // The rows of VALUES end at whatever follows a row and is no comma.
  void leave_finished_rows() {
    while (!lists_.empty() && lists_.back().rows && lists_.back().depth == depth_ &&
           previous_.is(')') && !current_.is(',')) {
      close_list();
    }
  }

  // At the comma behind an element of the innermost list.
  void end_element() {
    if (lists_.empty() || lists_.back().depth != depth_) return;
    fold_element(lists_.back());
  }

  void close_list() {
    if (!element_due_) fold_element(lists_.back());
    lists_.pop_back();
    element_due_ = false;
  }

  // Takes the element back, with the comma before it, if it says what the last one said.
  void fold_element(List& list) {
    if (list.element >= out_.size()) return;
    const std::size_t size = out_.size() - list.element;
    const std::size_t allowed = sample_ && !list.rows ? kListElementsOfSample : 1;
    const bool same = list.previous_end != 0 && size == list.previous_end - list.previous &&
                      out_.compare(list.previous, size, out_, list.element, size) == 0;
    if (same && list.repeats >= allowed) {
      out_.resize(list.previous_end);
    } else {
      list.repeats = same ? list.repeats + 1 : 1;
      list.previous = list.element;
      list.previous_end = out_.size();
    }
    list.element = out_.size();
  }

  Tokenizer tokens_;
  std::string& out_;
  const bool sample_;
  const std::size_t limit_bytes_;
  Token previous_;
  Token current_;
  Token following_;
  std::size_t depth_ = 0;
  std::vector<List> lists_;
  bool element_due_ = false;     // the next token starts an element of the innermost list
  bool begins_element_ = false;  // the token being written does
  bool ordinals_ = false;        // inside ORDER BY or GROUP BY at ordinals_depth_
  std::size_t ordinals_depth_ = 0;
  std::string pattern_;
};

}  // namespace

void fingerprint(std::string_view sql, std::string& out) {
  out.clear();
  out.reserve(sql.size() < kSampleLimit_bytes ? sql.size() + sql.size() / 4 : sql.size());
  Writer(sql, out, false, std::string::npos - 1).run();
}

std::string fingerprint(std::string_view sql) {
  std::string out;
  fingerprint(sql, out);
  return out;
}

std::uint64_t fingerprint_hash(std::string_view fingerprint) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : fingerprint) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3U;
  }
  return hash;
}

std::string redacted_sample(std::string_view sql, std::size_t limit_bytes) {
  std::string out;
  Writer(sql, out, true, limit_bytes).run();
  if (out.size() > limit_bytes) {
    out.resize(limit_bytes > kSampleCut.size() ? limit_bytes - kSampleCut.size() : 0);
    while (!out.empty() && (out.back() & 0xC0) == 0x80) out.pop_back();  // whole characters only
    if (!out.empty() && (out.back() & 0x80) != 0) out.pop_back();
    out += kSampleCut;
  }
  return out;
}

}  // namespace mcp::sqlite

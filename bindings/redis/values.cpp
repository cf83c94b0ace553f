// values.cpp: spells keys, and writes and reads values, of plain types.
#include "bindings/redis/values.h"

#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>

namespace mcp::python {
namespace {

constexpr std::size_t kLongestKey = 256;  // longer ones are hashed
constexpr int kDeepestKey = 8;
constexpr std::string_view kValueHeader{"\xc1\x01m\x00", 4};
constexpr std::string_view kUntagged = "000000";
constexpr std::size_t kStampBytes = 16;

void append_part(std::string& out, char letter, std::string_view body) {
  char size[20];
  const auto end = std::to_chars(size, size + sizeof size, body.size());
  out += letter;
  out.append(size, end.ptr);
  out += ':';
  out += body;
}

bool append_integer(PyObject* key, std::string& out) {
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(key, &overflow);
  if (overflow != 0) return false;
  char text[24];
  const auto end = std::to_chars(text, text + sizeof text, number, 16);
  append_part(out, 'i', {text, static_cast<std::size_t>(end.ptr - text)});
  return true;
}

// The text in UTF-8; nothing if it has none, for lone surrogates.
std::optional<std::string_view> utf8_of(PyObject* text) {
  Py_ssize_t size = 0;
  const char* bytes = PyUnicode_AsUTF8AndSize(text, &size);
  if (bytes != nullptr) return std::string_view(bytes, static_cast<std::size_t>(size));
  PyErr_Clear();
  return std::nullopt;
}

bool append_key(PyObject* key, std::string& out, int depth) {
  if (PyUnicode_CheckExact(key)) {
    const auto text = utf8_of(key);
    if (text) append_part(out, 's', *text);
    return text.has_value();
  }
  if (PyLong_CheckExact(key) || PyBool_Check(key)) return append_integer(key, out);
  if (PyBytes_CheckExact(key)) {
    append_part(out, 'b',
                {PyBytes_AS_STRING(key), static_cast<std::size_t>(PyBytes_GET_SIZE(key))});
    return true;
  }
  if (key == Py_None) {
    append_part(out, 'n', {});
    return true;
  }
  if (!PyTuple_CheckExact(key) || depth == kDeepestKey) return false;
  std::string inside;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(key); ++i) {
    if (!append_key(PyTuple_GET_ITEM(key, i), inside, depth + 1)) return false;
  }
  append_part(out, 't', inside);
  return true;
}

// -- msgpack

template <class Number>
void append_big_endian(std::string& out, Number number) {
  for (int shift = static_cast<int>(sizeof(Number)) * 8 - 8; shift >= 0; shift -= 8) {
    out += static_cast<char>(number >> shift & 0xFF);
  }
}

template <class Number>
Number big_endian(std::string_view bytes) {
  Number number = 0;
  for (std::size_t i = 0; i < sizeof(Number); ++i) {
    number = static_cast<Number>(number << 8 | static_cast<unsigned char>(bytes[i]));
  }
  return number;
}

// A number of up to 32 bits behind the code of its width.
void append_size(std::string& out, char code8, std::size_t size) {
  if (size <= 0xFF) {
    out += code8;
    append_big_endian(out, static_cast<std::uint8_t>(size));
  } else if (size <= 0xFFFF) {
    out += static_cast<char>(code8 + 1);
    append_big_endian(out, static_cast<std::uint16_t>(size));
  } else {
    out += static_cast<char>(code8 + 2);
    append_big_endian(out, static_cast<std::uint32_t>(size));
  }
}

bool write_integer(PyObject* value, std::string& out) {
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
  if (overflow != 0) return false;
  const auto bits = static_cast<std::uint64_t>(number);
  if (number >= -32 && number <= 127) {
    out += static_cast<char>(number);
  } else if (number >= 0 && number <= 0xFFFFFFFFLL) {
    append_size(out, '\xcc', bits);
  } else if (number >= 0) {
    out += '\xcf';
    append_big_endian(out, bits);
  } else if (number >= INT8_MIN) {
    out += '\xd0';
    append_big_endian(out, static_cast<std::uint8_t>(bits));
  } else if (number >= INT16_MIN) {
    out += '\xd1';
    append_big_endian(out, static_cast<std::uint16_t>(bits));
  } else if (number >= INT32_MIN) {
    out += '\xd2';
    append_big_endian(out, static_cast<std::uint32_t>(bits));
  } else {
    out += '\xd3';
    append_big_endian(out, bits);
  }
  return true;
}

bool write_text(std::string_view text, std::string& out) {
  if (text.size() > UINT32_MAX) return false;
  if (text.size() < 32) {
    out += static_cast<char>(0xa0 | text.size());
  } else {
    append_size(out, '\xd9', text.size());
  }
  out += text;
  return true;
}

bool write_plain(PyObject* value, std::string& out) {
  if (PyUnicode_CheckExact(value)) {
    const auto text = utf8_of(value);
    return text && write_text(*text, out);
  }
  if (value == Py_None || PyBool_Check(value)) {
    out += value == Py_None ? '\xc0' : value == Py_True ? '\xc3' : '\xc2';
    return true;
  }
  if (PyLong_CheckExact(value)) return write_integer(value, out);
  if (PyFloat_CheckExact(value)) {
    out += '\xcb';
    append_big_endian(out, std::bit_cast<std::uint64_t>(PyFloat_AS_DOUBLE(value)));
    return true;
  }
  if (!PyBytes_CheckExact(value)) return false;
  const auto size = static_cast<std::size_t>(PyBytes_GET_SIZE(value));
  if (size > UINT32_MAX) return false;
  append_size(out, '\xc4', size);
  out.append(PyBytes_AS_STRING(value), size);
  return true;
}

// What a str or bytes is made of, if `body` ends with it: behind `head` bytes of which the last
// `width` are its size.
bool has_size(std::string_view body, std::size_t width, std::size_t& size) {
  if (body.size() < 1 + width) return false;
  const std::string_view digits = body.substr(1, width);
  size = width == 1   ? big_endian<std::uint8_t>(digits)
         : width == 2 ? big_endian<std::uint16_t>(digits)
                      : big_endian<std::uint32_t>(digits);
  return size == body.size() - 1 - width;
}

PyObject* text_of(std::string_view bytes) {
  PyObject* text =
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), nullptr);
  if (text == nullptr && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) PyErr_Clear();
  return text;
}

PyObject* read_sized(std::string_view body, unsigned char code) {
  const bool is_text = code >= 0xd9;
  const std::size_t width = std::size_t{1} << (code - (is_text ? 0xd9 : 0xc4));
  std::size_t size = 0;
  if (!has_size(body, width, size)) return nullptr;
  const std::string_view bytes = body.substr(1 + width);
  if (is_text) return text_of(bytes);
  return PyBytes_FromStringAndSize(bytes.data(), static_cast<Py_ssize_t>(bytes.size()));
}

PyObject* read_number(std::string_view body, unsigned char code) {
  const std::string_view digits = body.substr(1);
  const bool is_signed = code >= 0xd0;
  if (digits.size() != std::size_t{1} << (code - (is_signed ? 0xd0 : 0xcc))) return nullptr;
  switch (code) {
    case 0xcc:
      return PyLong_FromLong(big_endian<std::uint8_t>(digits));
    case 0xcd:
      return PyLong_FromLong(big_endian<std::uint16_t>(digits));
    case 0xce:
      return PyLong_FromUnsignedLong(big_endian<std::uint32_t>(digits));
    case 0xcf:
      return PyLong_FromUnsignedLongLong(big_endian<std::uint64_t>(digits));
    case 0xd0:
      return PyLong_FromLong(static_cast<std::int8_t>(big_endian<std::uint8_t>(digits)));
    case 0xd1:
      return PyLong_FromLong(static_cast<std::int16_t>(big_endian<std::uint16_t>(digits)));
    case 0xd2:
      return PyLong_FromLong(static_cast<std::int32_t>(big_endian<std::uint32_t>(digits)));
    default:
      return PyLong_FromLongLong(static_cast<std::int64_t>(big_endian<std::uint64_t>(digits)));
  }
}

PyObject* read_plain(std::string_view body) {
  if (body.empty()) return nullptr;
  const auto code = static_cast<unsigned char>(body[0]);
  if (code >= 0xa0 && code <= 0xbf) {
    return body.size() == 1 + (code & 0x1fU) ? text_of(body.substr(1)) : nullptr;
  }
  if ((code >= 0xd9 && code <= 0xdb) || (code >= 0xc4 && code <= 0xc6)) {
    return read_sized(body, code);
  }
  if (code >= 0xcc && code <= 0xd3) return read_number(body, code);
  if (code == 0xcb && body.size() == 9) {
    return PyFloat_FromDouble(std::bit_cast<double>(big_endian<std::uint64_t>(body.substr(1))));
  }
  if (body.size() != 1) return nullptr;
  if (code <= 0x7f || code >= 0xe0) return PyLong_FromLong(static_cast<signed char>(code));
  if (code == 0xc0) return Py_NewRef(Py_None);
  return code == 0xc2 || code == 0xc3 ? PyBool_FromLong(code == 0xc3) : nullptr;
}

}  // namespace

std::optional<std::string> PlainCodec::spell(PyObject* key) const {
  std::string name = prefix_;
  if (!append_key(key, name, 0) || name.size() - prefix_.size() > kLongestKey) return std::nullopt;
  return name;
}

std::optional<std::string> PlainCodec::write(PyObject* value) const {
  std::string written(kValueHeader);
  if (!is_plain_ || !write_plain(value, written)) return std::nullopt;
  const std::size_t size = written.size() - kValueHeader.size();
  if (size > largest_ || size > compress_above_) return std::nullopt;
  return written;
}

PyObject* PlainCodec::read(std::string_view record) const {
  constexpr std::string_view kMark = "\xc1V";
  const std::size_t tags_at = kMark.size() + kStampBytes;
  const std::size_t header_at = tags_at + kUntagged.size();
  const std::size_t body_at = header_at + kValueHeader.size();
  const bool is_ours = is_plain_ && record.size() > body_at && record.size() <= largest_ &&
                       record.starts_with(kMark) &&
                       record.substr(tags_at, kUntagged.size()) == kUntagged &&
                       record.substr(header_at, kValueHeader.size()) == kValueHeader;
  return is_ours ? read_plain(record.substr(body_at)) : nullptr;
}

bool holds_buffers(PyObject* value) {
  if (PyList_CheckExact(value)) {
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(value); ++i) {
      if (holds_buffers(PyList_GET_ITEM(value, i))) return true;
    }
    return false;
  }
  if (PyDict_CheckExact(value)) {
    Py_ssize_t at = 0;
    PyObject* key = nullptr;
    PyObject* item = nullptr;
    while (PyDict_Next(value, &at, &key, &item) != 0) {
      if (holds_buffers(key) || holds_buffers(item)) return true;
    }
    return false;
  }
  return PyByteArray_CheckExact(value) || PyMemoryView_Check(value);
}

}  // namespace mcp::python

// values.h: what is done to keys and values often enough to be done without Python: keys of plain
// types are spelled as tiers/_keys.py spells them, and values of plain types are written and read
// as tiers/_codecs.py does with msgpack. Everything else is left to those.
//
// REQUIRES: the interpreter lock.
#pragma once

#include <Python.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace mcp::python {

// A tier's way to write, as far as it is known here. Immutable.
class PlainCodec {
 public:
  // `prefix`: of every name. `is_plain`: values are msgpack without signatures. Values of up to
  // `largest` bytes are written and read, and compressed above `compress_above`.
  PlainCodec(std::string prefix, bool is_plain, std::size_t largest, std::size_t compress_above)
      : prefix_(std::move(prefix)),
        is_plain_(is_plain),
        largest_(largest),
        compress_above_(compress_above) {}

  // The name of `key`; nothing if Python must spell it.
  [[nodiscard]] std::optional<std::string> spell(PyObject* key) const;
  // What the codec writes for `value`; nothing if Python must write it.
  [[nodiscard]] std::optional<std::string> write(PyObject* value) const;
  // The value of a record without tags: a new reference; nullptr, with no exception set, if Python
  // must read it, and with one set when out of memory.
  [[nodiscard]] PyObject* read(std::string_view record) const;

 private:
  std::string prefix_;
  bool is_plain_;
  std::size_t largest_;
  std::size_t compress_above_;
};

// Whether there is a bytearray or a memoryview in `value`, in lists and dicts of it to any depth:
// msgpack, which has packed it and so has found its end, takes them for bytes.
[[nodiscard]] bool holds_buffers(PyObject* value);

}  // namespace mcp::python

// reads.cpp: reads what GET and MGET found, and binds PlainCodec.
#include "bindings/redis/reads.h"

#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/base/errors.h"
#include "bindings/base/ref.h"
#include "redis/command.h"

namespace py = pybind11;

namespace mcp::python {

py::tuple read_one(HeldOutcome& held, const PlainCodec& codec) {
  if (held.outcome().error) throw Error(*held.outcome().error);
  const redis::Reply& reply = held.outcome().replies[0];
  if (reply.is_error()) throw redis::error_of(reply.text);
  if (reply.kind != redis::Reply::Kind::kString) return py::make_tuple(0, py::none());
  if (PyObject* value = codec.read(reply.text); value != nullptr) {
    return py::make_tuple(1, py::reinterpret_steal<py::object>(value));
  }
  if (PyErr_Occurred()) throw py::error_already_set();
  return py::make_tuple(2, py::bytes(reply.text));
}

py::tuple read_all(HeldOutcome& held, const PlainCodec& codec, const py::object& missing) {
  if (held.outcome().error) throw Error(*held.outcome().error);
  const redis::Reply& reply = held.outcome().replies[0];
  if (reply.is_error()) throw redis::error_of(reply.text);
  py::list values(reply.items.size());
  py::list others;
  for (std::size_t i = 0; i < reply.items.size(); ++i) {
    const redis::Reply& item = reply.items[i];
    PyObject* value = nullptr;
    if (item.kind == redis::Reply::Kind::kString) {
      value = codec.read(item.text);
      if (value == nullptr) {
        if (PyErr_Occurred()) throw py::error_already_set();
        others.append(py::make_tuple(i, py::bytes(item.text)));
      }
    }
    if (value == nullptr) value = Py_NewRef(missing.ptr());
    PyList_SET_ITEM(values.ptr(), static_cast<Py_ssize_t>(i), value);
  }
  return py::make_tuple(values, others);
}

redis::Request make_reads(const py::list& names) {
  std::vector<std::string_view> arguments{"MGET"};
  arguments.reserve(names.size() + 1);
  for (const py::handle name : names) {
    if (!PyBytes_Check(name.ptr())) throw py::type_error("the name of a redis key is bytes");
    arguments.emplace_back(PyBytes_AS_STRING(name.ptr()),
                           static_cast<std::size_t>(PyBytes_GET_SIZE(name.ptr())));
  }
  if (arguments.size() == 1) throw py::value_error("expected at least one name");
  redis::Request request;
  redis::append_command(request.bytes, arguments);
  return request;
}

namespace {

class ReadConversion final : public Conversion {
 public:
  explicit ReadConversion(std::shared_ptr<PlainCodec> codec) : codec_(std::move(codec)) {}
  Progress resume(Completion& completion, Instant, PyObject*& result) override {
    try {
      auto& held = static_cast<HeldOutcome&>(*completion.payload);
      result = read_one(held, *codec_).release().ptr();
      return Progress::kDone;
    } catch (...) {
      set_python_error_from_current_exception();
      return Progress::kError;
    }
  }

 private:
  std::shared_ptr<PlainCodec> codec_;
};

class ReadsConversion final : public Conversion {
 public:
  ReadsConversion(std::shared_ptr<PlainCodec> codec, py::object missing)
      : codec_(std::move(codec)), missing_(std::move(missing)) {}
  Progress resume(Completion& completion, Instant, PyObject*& result) override {
    try {
      auto& held = static_cast<HeldOutcome&>(*completion.payload);
      result = read_all(held, *codec_, missing_).release().ptr();
      return Progress::kDone;
    } catch (...) {
      set_python_error_from_current_exception();
      return Progress::kError;
    }
  }

 private:
  std::shared_ptr<PlainCodec> codec_;
  py::object missing_;
};

// `one` of each item, as a list of bytes, None where it makes nothing.
template <class One>
py::list each(const py::sequence& items, One one) {
  const Ref fast = Ref::steal(PySequence_Fast(items.ptr(), "expected a sequence"));
  if (!fast) throw py::error_already_set();
  py::list made(static_cast<std::size_t>(PySequence_Fast_GET_SIZE(fast.get())));
  for (std::size_t i = 0; i < made.size(); ++i) {
    const auto text = one(PySequence_Fast_GET_ITEM(fast.get(), static_cast<Py_ssize_t>(i)));
    py::object item = text ? py::object(py::bytes(*text)) : py::object(py::none());
    PyList_SET_ITEM(made.ptr(), static_cast<Py_ssize_t>(i), item.release().ptr());
  }
  return made;
}

py::object bytes_or_none(const std::optional<std::string>& text) {
  return text ? py::object(py::bytes(*text)) : py::object(py::none());
}

}  // namespace

std::unique_ptr<Conversion> read_conversion(std::shared_ptr<PlainCodec> codec) {
  return std::make_unique<ReadConversion>(std::move(codec));
}

std::unique_ptr<Conversion> reads_conversion(std::shared_ptr<PlainCodec> codec,
                                             py::object missing) {
  return std::make_unique<ReadsConversion>(std::move(codec), std::move(missing));
}

void bind_codec(py::module_& module) {
  py::class_<PlainCodec, std::shared_ptr<PlainCodec>>(module, "PlainCodec")
      .def(py::init([](const py::bytes& prefix, bool is_plain, std::size_t largest,
                       std::optional<std::size_t> compress_above) {
             return std::make_shared<PlainCodec>(std::string(prefix), is_plain, largest,
                                                 compress_above.value_or(largest));
           }),
           py::arg("prefix"), py::arg("is_plain"), py::arg("largest"), py::arg("compress_above"))
      .def(
          "spell",
          [](const PlainCodec& self, py::handle key) {
            return bytes_or_none(self.spell(key.ptr()));
          },
          py::arg("key"), "spell(key: Any) -> bytes | None")
      .def(
          "spell_each",
          [](const PlainCodec& self, const py::sequence& keys) {
            return each(keys, [&](PyObject* key) { return self.spell(key); });
          },
          py::arg("keys"), "spell_each(keys: Sequence[Any]) -> list[bytes | None]")
      .def(
          "write_each",
          [](const PlainCodec& self, const py::sequence& values) {
            return each(values, [&](PyObject* value) { return self.write(value); });
          },
          py::arg("values"), "write_each(values: Sequence[Any]) -> list[bytes | None]")
      .def(
          "read",
          [](const PlainCodec& self, const py::bytes& record) -> py::object {
            PyObject* value = self.read(std::string_view(record));
            if (value == nullptr && PyErr_Occurred()) throw py::error_already_set();
            if (value == nullptr) return py::none();
            return py::make_tuple(py::reinterpret_steal<py::object>(value));
          },
          py::arg("record"), "read(record: bytes) -> tuple[Any] | None");
  module.def(
      "_holds_buffers", [](py::handle value) { return holds_buffers(value.ptr()); },
      py::arg("value"), "_holds_buffers(value: Any) -> bool");
}

}  // namespace mcp::python

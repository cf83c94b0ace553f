// reads.h: values that are read without a step of Python's: GET and MGET whose replies a PlainCodec
// reads. Errors, of the outcome or in its reply, are thrown.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "bindings/loop/bridge.h"
#include "bindings/redis/answers.h"
#include "bindings/redis/values.h"

namespace mcp::python {

// What one GET found: (0, None), (1, value), or (2, record) if Python must read it.
[[nodiscard]] pybind11::tuple read_one(HeldOutcome& held, const PlainCodec& codec);

// MGET of `names`.
[[nodiscard]] redis::Request make_reads(const pybind11::list& names);
// What it found: the values by index, `missing` where there is none; and (index, record) of those
// that Python must read, which are missing in the former.
[[nodiscard]] pybind11::tuple read_all(HeldOutcome& held, const PlainCodec& codec,
                                       const pybind11::object& missing);

// The same for futures.
[[nodiscard]] std::unique_ptr<Conversion> read_conversion(std::shared_ptr<PlainCodec> codec);
[[nodiscard]] std::unique_ptr<Conversion> reads_conversion(std::shared_ptr<PlainCodec> codec,
                                                           pybind11::object missing);

void bind_codec(pybind11::module_& module);

}  // namespace mcp::python

// delivery.h: the way of a statement's replies (cpp/sqlite/reply.h) to its caller: from native rows
// to a result, on the loop, and into the result cache. Everything here needs the interpreter lock.
#pragma once

#include <memory>
#include <string>

#include "bindings/loop/bridge.h"
#include "bindings/sqlite/endpoint.h"
#include "bindings/sqlite/result.h"
#include "sqlite/execution.h"
#include "sqlite/reply.h"

namespace mcp::python {

// What a statement needs to become a result. Shared by all ways to run it.
struct Delivery {
  Kind kind;
  RowType row_type;
  std::string cache_key;  // empty: not to be kept
  bool leads = false;     // others may wait for this result
  [[nodiscard]] std::size_t most_kept(const PoolState& state) const noexcept {
    return cache_key.empty() ? 0 : state.cache.largest();
  }
};

// Puts `result` into the result cache if it may be kept.
void keep_result(PoolState& state, const Delivery& delivery, const sqlite::Answer& answer,
                 Collector& collector, PyObject* result);

class StatementConversion final : public Conversion {
 public:
  StatementConversion(Endpoint* endpoint, Delivery delivery)
      : endpoint_(endpoint),
        delivery_(std::move(delivery)),
        collector_(delivery_.kind, delivery_.row_type, endpoint->pool_state()->converters,
                   delivery_.most_kept(*endpoint->pool_state())) {
    Py_INCREF(endpoint_);
  }
  ~StatementConversion() override {
    land();
    Py_DECREF(endpoint_);
  }

  Progress resume(Completion& completion, Instant deadline, PyObject*& result) override;

 private:
  // Wakes whoever waited for this result, come or not: they look in the cache, and one of them
  // runs the statement if it is not there.
  void land();
  Endpoint* const endpoint_;
  Delivery delivery_;
  Collector collector_;
  Duration converted_ns_ = 0;
};

// Wakes a caller that waited for another's result.
class FollowerConversion final : public Conversion {
 public:
  Progress resume(Completion&, Instant, PyObject*& result) override {
    result = Py_NewRef(Py_None);
    return Progress::kDone;
  }
};

}  // namespace mcp::python

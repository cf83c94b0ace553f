// delivery.cpp: from replies to results.
#include "bindings/sqlite/delivery.h"

#include <new>
#include <utility>

namespace mcp::python {

using sqlite::Answer;

void keep_result(PoolState& state, const Delivery& delivery, const Answer& answer,
                 Collector& collector, PyObject* result) {
  if (delivery.cache_key.empty() || !answer.cacheable) return;
  PyObject* kept = collector.kept(result);
  if (kept == nullptr) {
    PyErr_Clear();
    return;
  }
  try {
    state.cache.put(delivery.cache_key, kept, collector.bytes(), answer.seen, answer.dependencies);
  } catch (const std::bad_alloc&) {
    // Then it is not kept.
  }
  drop_later(kept);
}

Conversion::Progress StatementConversion::resume(Completion& completion, Instant deadline,
                                                 PyObject*& result) {
  auto& payload = static_cast<sqlite::Reply&>(*completion.payload);
  if (payload.failure) {
    set_python_error_from(payload.failure);
    return Progress::kError;
  }
  const Instant start = now_precise();
  const auto step = collector_.add(payload.answer.rows, payload.answer.names, deadline);
  converted_ns_ += now_precise() - start;
  if (step == Collector::Step::kError) return Progress::kError;
  if (step == Collector::Step::kYield) return Progress::kYield;
  if (!completion.last) return Progress::kNext;
  result = collector_.result(payload.answer.changes);
  if (result == nullptr) return Progress::kError;
  if (payload.answer.figures != nullptr) payload.answer.figures->add_conversion(converted_ns_);
  PoolState& state = *endpoint_->pool_state();
  keep_result(state, delivery_, payload.answer, collector_, result);
  state.cache.drop_dead();
  return Progress::kDone;
}

void StatementConversion::land() {
  PoolState* state = endpoint_->pool_state();
  if (!delivery_.leads || state == nullptr) return;
  auto flight = state->flights.extract(delivery_.cache_key);
  if (flight.empty()) return;
  for (PoolState::Follower& follower : flight.mapped()) {
    follower.queue->push({follower.id, nullptr, true});
  }
}

}  // namespace mcp::python

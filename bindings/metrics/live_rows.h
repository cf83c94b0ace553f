// live_rows.h: the counters of caches and pools, told to the other workers whenever a request or an
// operation has been counted, so that a worker that is killed takes none of theirs along.
//
// REQUIRES the interpreter lock everywhere. Objects are held weakly.
#pragma once

#include <cstdint>
#include <vector>

#include "bindings/base/counters.h"
#include "bindings/base/ref.h"
#include "metrics/request_metrics.h"

namespace mcp::python {

class LiveRows {
 public:
  // Publishes `row`. Where `source` has counters, they are put in as they are now and followed from
  // here on; `places` (bytes) says where in the row each of them stands. False with an exception
  // set.
  [[nodiscard]] bool publish(metrics::RequestMetrics& metrics, metrics::RowFigures& row,
                             PyObject* source, PyObject* places);
  // Tells what has changed. An object that is gone is followed no more: its row stays.
  void tell(metrics::RequestMetrics& metrics) {
    if (!rows_.empty()) tell_all(metrics);
  }

 private:
  struct Followed {
    Ref reference;  // weak
    const CounterKind* kind;
    metrics::RowHandle handle;
    std::array<std::uint8_t, kMostCounters> places;
    CounterValues told;
  };
  void tell_all(metrics::RequestMetrics& metrics);

  std::vector<Followed> rows_;
};

}  // namespace mcp::python

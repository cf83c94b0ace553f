// request_window.h: what requests did between two looks at their figures.
//
// Thread-compatible. Percentiles are those of the requests between the looks: the histograms of the
// earlier look are subtracted, never an average of percentiles taken.
// Invariants: at most kMaxRoutes routes are told apart, the busiest since the start; the others are
// in `all` only. About 30 KiB for each of them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "metrics/histogram.h"
#include "metrics/request_metrics.h"

namespace mcp::metrics {

class RequestWindow {
 public:
  static constexpr std::size_t kMaxRoutes = 32;

  struct Figures {
    std::string route;  // "GET /path"; empty for all requests
    Histogram times{2};
    std::uint64_t errors = 0;  // status 500 and above
  };
  struct Look {
    Figures all;
    std::vector<Figures> routes;  // those that had requests, by name
    Histogram lag{2};             // of the event loop, the last minute
  };

  // What came since the last call, or since the start. Figures that went backwards began anew.
  Look advance(const RequestMetrics::Snapshot& now);

 private:
  struct Seen {
    Histogram times{2};
    std::uint64_t errors = 0;
  };
  static Figures since(const Seen& earlier, const Seen& now);

  Seen all_;
  std::map<std::string, Seen> routes_;           // the busiest
  std::map<std::string, std::uint64_t> counts_;  // requests of every route
};

}  // namespace mcp::metrics

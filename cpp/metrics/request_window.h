// request_window.h: what requests and operations did between two looks at their figures.
//
// Thread-compatible. Percentiles are those of the requests between the looks: the histograms of the
// earlier look are subtracted, never an average of percentiles taken.
// Invariants: at most kMaxRoutes routes and kMaxOperations operations are told apart, the busiest
// since the start; other routes are in `all` only. About 30 KiB for each of them.
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
  static constexpr std::size_t kMaxOperations = 24;

  struct Figures {
    std::string name;  // "GET /path", "tools/call add"; empty for all requests
    Histogram times{2};
    std::uint64_t errors = 0;  // of those that failed
  };
  struct Look {
    Figures all;
    std::vector<Figures> routes;  // those that had requests, by name
    std::vector<Figures> operations;
    Histogram lag{2};  // of the event loop, the last minute
  };

  // What came since the last call, or since the start. Figures that went backwards began anew.
  Look advance(const RequestMetrics::Snapshot& now);

 private:
  struct Seen {
    Histogram times{2};
    std::uint64_t errors = 0;
  };
  // What has a name of its own: the routes, or the operations.
  class Named {
   public:
    std::vector<Figures> advance(std::map<std::string, Seen> now, std::size_t most);

   private:
    std::map<std::string, Seen> busiest_;
    std::map<std::string, std::uint64_t> counts_;  // of every one
  };
  static Figures since(const Seen& earlier, const Seen& now);

  Seen all_;
  Named routes_;
  Named operations_;
};

}  // namespace mcp::metrics

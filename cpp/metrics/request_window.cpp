// request_window.cpp: subtracts one look at the figures of requests from the next.
#include "metrics/request_window.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace mcp::metrics {
RequestWindow::Figures RequestWindow::since(const Seen& earlier, const Seen& now) {
  Figures figures{"", now.times, now.errors};
  if (now.times.count() < earlier.times.count() || now.errors < earlier.errors) return figures;
  try {
    figures.times.subtract(earlier.times);
    figures.errors -= earlier.errors;
  } catch (const Error&) {  // not the same samples any more
    figures.times = now.times;
  }
  return figures;
}

RequestWindow::Look RequestWindow::advance(const RequestMetrics::Snapshot& now) {
  Look look;
  look.lag = now.lag;
  Seen all{now.total, now.errors};
  look.all = since(all_, all);
  all_ = std::move(all);

  std::map<std::string, Seen> seen;
  for (const auto& series : now.series) {
    Seen& route = seen[series.method + " " + series.route];
    route.times.merge(series.last_byte);
    if (series.status >= kServerError) route.errors += series.last_byte.count();
  }
  std::map<std::string, std::uint64_t> counts;
  std::vector<std::pair<std::uint64_t, std::string>> busiest;
  for (const auto& [name, route] : seen) {
    counts[name] = route.times.count();
    busiest.emplace_back(route.times.count(), name);
  }
  std::ranges::sort(busiest, [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  if (busiest.size() > kMaxRoutes) busiest.resize(kMaxRoutes);

  std::map<std::string, Seen> kept;
  for (const auto& [count, name] : busiest) {
    Seen& route = seen.at(name);
    const auto earlier = routes_.find(name);
    // One that was counted before and only now belongs to the busiest has no earlier figures.
    if (earlier != routes_.end() || !counts_.contains(name)) {
      Figures figures = since(earlier == routes_.end() ? Seen{} : earlier->second, route);
      figures.route = name;
      if (figures.times.count() > 0) look.routes.push_back(std::move(figures));
    }
    kept.emplace(name, std::move(route));
  }
  std::ranges::sort(look.routes, {}, &Figures::route);
  routes_ = std::move(kept);
  counts_ = std::move(counts);
  return look;
}

}  // namespace mcp::metrics

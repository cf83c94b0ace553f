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

std::vector<RequestWindow::Figures> RequestWindow::Named::advance(std::map<std::string, Seen> now,
                                                                  std::size_t most) {
  std::map<std::string, std::uint64_t> counts;
  std::vector<std::pair<std::uint64_t, std::string>> order;
  for (const auto& [name, seen] : now) {
    counts[name] = seen.times.count();
    order.emplace_back(seen.times.count(), name);
  }
  std::ranges::sort(order, [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  if (order.size() > most) order.resize(most);

  std::vector<Figures> found;
  std::map<std::string, Seen> kept;
  for (const auto& [count, name] : order) {
    Seen& seen = now.at(name);
    const auto earlier = busiest_.find(name);
    // One that was counted before and only now belongs to the busiest has no earlier figures.
    if (earlier != busiest_.end() || !counts_.contains(name)) {
      Figures figures = since(earlier == busiest_.end() ? Seen{} : earlier->second, seen);
      figures.name = name;
      if (figures.times.count() > 0) found.push_back(std::move(figures));
    }
    kept.emplace(name, std::move(seen));
  }
  std::ranges::sort(found, {}, &Figures::name);
  busiest_ = std::move(kept);
  counts_ = std::move(counts);
  return found;
}

RequestWindow::Look RequestWindow::advance(const RequestMetrics::Snapshot& now) {
  Look look;
  look.lag = now.lag;
  Seen all{now.total, now.errors};
  look.all = since(all_, all);
  all_ = std::move(all);

  std::map<std::string, Seen> routes;
  for (const auto& series : now.series) {
    Seen& route = routes[series.method + " " + series.route];
    route.times.merge(series.last_byte);
    route.errors += series.errors();
  }
  std::map<std::string, Seen> operations;
  for (const auto& series : now.operations) {
    Seen& operation = operations[series.method + " " + series.route];
    operation.times.merge(series.last_byte);
    operation.errors += series.errors();
  }
  look.routes = routes_.advance(std::move(routes), kMaxRoutes);
  look.operations = operations_.advance(std::move(operations), kMaxOperations);
  return look;
}

}  // namespace mcp::metrics

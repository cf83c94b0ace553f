// request_metrics.cpp: counts requests into series, and keeps the last minute.
#include "metrics/request_metrics.h"

#include <algorithm>

namespace mcp::metrics {
namespace {

constexpr int kServerError = 500;

}  // namespace

RequestMetrics::Series& RequestMetrics::series_for(const RequestLabels& labels) {
  key_.assign(labels.method).append(1, '\0').append(labels.route).append(1, '\0');
  key_.append(labels.scheme).append(1, '\0').append(labels.error_type).append(1, '\0');
  key_.append(1, static_cast<char>(labels.status >> 8));
  key_.append(1, static_cast<char>(labels.status & 0xff));
  if (const auto found = series_.find(key_); found != series_.end()) return found->second;
  // One place is kept for everything that has none.
  if (series_.size() + 1 >= kMaxSeries && labels.route != kOther) {
    return series_for({kOther, kOther, "", 0, ""});
  }
  return series_.try_emplace(key_, labels).first->second;
}

RequestMetrics::Slice& RequestMetrics::slice_at(Instant now) {
  const std::int64_t number = now / kSliceLength;
  Slice& slice = slices_[static_cast<std::size_t>(number) % kSlices];
  if (slice.number != number) {
    slice.number = number;
    slice.times.reset();
    slice.lag.reset();
    slice.errors = 0;
  }
  return slice;
}

void RequestMetrics::end(const RequestLabels& labels, const RequestTimes& times, Instant now) {
  active_.fetch_sub(1, std::memory_order_relaxed);
  const MutexLock lock(mutex_);
  Series& series = series_for(labels);
  series.last_byte.record(times.last_byte_ns);
  series.first_byte_total_ns += times.first_byte_ns;
  series.returned_total_ns += times.returned_ns;
  total_.record(times.last_byte_ns);
  Slice& slice = slice_at(now);
  slice.times.record(times.last_byte_ns);
  if (labels.status >= kServerError) {
    ++errors_;
    ++slice.errors;
  }
}

void RequestMetrics::record_lag(Duration lag_ns, Instant now) {
  const MutexLock lock(mutex_);
  slice_at(now).lag.record(lag_ns);
}

RequestMetrics::Snapshot RequestMetrics::snapshot(Instant now) const {
  Snapshot snapshot;
  const std::int64_t number = now / kSliceLength;
  const Instant oldest = (number - static_cast<std::int64_t>(kSlices) + 1) * kSliceLength;
  snapshot.last_minute_length_ns = now - std::max(oldest, start_);
  snapshot.active = active();
  std::vector<const Series*> all;  // series stay where they are once they exist
  {
    const MutexLock lock(mutex_);
    snapshot.total = total_;
    snapshot.errors = errors_;
    for (const Slice& slice : slices_) {
      if (slice.number * kSliceLength < oldest || slice.number > number) continue;
      snapshot.last_minute.merge(slice.times);
      snapshot.lag.merge(slice.lag);
      snapshot.last_minute_errors += slice.errors;
    }
    all.reserve(series_.size());
    for (const auto& [key, series] : series_) all.push_back(&series);
  }
  snapshot.series.reserve(all.size());
  for (const Series* series : all) {
    const MutexLock lock(mutex_);
    snapshot.series.push_back(*series);
  }
  return snapshot;
}

}  // namespace mcp::metrics

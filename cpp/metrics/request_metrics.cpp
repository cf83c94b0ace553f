// request_metrics.cpp: counts requests into series, and keeps the last minute.
#include "metrics/request_metrics.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <new>
#include <string>
#include <utility>

#include "base/fork.h"
#include "base/log.h"

namespace mcp::metrics {
namespace {

constexpr std::uint32_t kAlone = 0xffffffff;

Slot* make_slot(Instant start) {
  void* memory = std::calloc(1, sizeof(Slot));
  if (memory == nullptr) throw std::bad_alloc();
  auto* slot = static_cast<Slot*>(memory);
  slot->pid.store(static_cast<std::uint64_t>(getpid()), std::memory_order_relaxed);
  slot->start_ns.store(static_cast<std::uint64_t>(start), std::memory_order_relaxed);
  return slot;
}

void add_series(const SeriesFigures& one, std::map<std::string, SeriesFigures>& all) {
  std::string key;
  append_key(one.labels(), key);
  const auto [at, is_new] = all.try_emplace(std::move(key), one);
  if (is_new) return;
  SeriesFigures& sum = at->second;
  sum.last_byte.merge(one.last_byte);
  sum.first_byte_total_ns += one.first_byte_total_ns;
  sum.returned_total_ns += one.returned_total_ns;
}

}  // namespace

RequestMetrics::RequestMetrics(Instant start)
    : joined_(kAlone),
      own_(make_slot(start)),
      writer_(std::make_unique<SlotWriter>(*own_)),
      slot_(own_.get()) {}

RequestMetrics::~RequestMetrics() = default;

bool RequestMetrics::has_forked() const noexcept {
  const std::uint32_t joined = joined_.load(std::memory_order_relaxed);
  return joined != kAlone && joined != process_generation();
}

void RequestMetrics::count_in(Slot& slot) {
  writer_ = std::make_unique<SlotWriter>(slot);
  slot_.store(&slot, std::memory_order_release);
  ++slots_;
}

// In a forked child, where no other thread is yet.
void RequestMetrics::rejoin() noexcept {
  joined_.store(kAlone, std::memory_order_relaxed);
  try {
    const auto path = segment_->path();
    own_.reset(make_slot(now_precise()));
    count_in(*own_);
    segment_.reset();
    join(path, now_precise());
  } catch (const std::exception& error) {
    logger("metrics").warn("this worker counts for itself: {}", error.what());
  }
}

void RequestMetrics::join(const std::filesystem::path& path, Instant now) {
  auto segment = std::make_shared<Segment>(path, now);
  const MutexLock lock(mutex_);
  Slot& before = writer_->slot();
  SlotFigures counted = read_slot(before);
  count_in(segment->slot());
  if (segment_ == nullptr) {  // else that segment keeps it
    counted.rows.clear();
    writer_->absorb(counted);
  }
  segment->slot().active.fetch_add(before.active.exchange(0));
  segment_ = std::move(segment);
  joined_.store(process_generation(), std::memory_order_relaxed);
}

int RequestMetrics::worker() const {
  const MutexLock lock(mutex_);
  return segment_ == nullptr ? -1 : segment_->number();
}

void RequestMetrics::end(const SeriesLabels& labels, const RequestTimes& times, Instant now) {
  if (has_forked()) rejoin();
  if (labels.kind == SeriesKind::kRequest) {
    slot_.load(std::memory_order_acquire)->active.fetch_sub(1, std::memory_order_relaxed);
  }
  const MutexLock lock(mutex_);
  writer_->record(labels, times, now);
}

void RequestMetrics::record_lag(Duration lag_ns, Instant now) {
  if (has_forked()) rejoin();
  const MutexLock lock(mutex_);
  writer_->record_lag(lag_ns, now);
}

RowHandle RequestMetrics::publish(const RowFigures& row) {
  if (has_forked()) rejoin();
  const MutexLock lock(mutex_);
  return {slots_, writer_->publish(row)};
}

bool RequestMetrics::update(const RowHandle& handle, std::span<const std::uint8_t> places,
                            std::span<const double> values) {
  if (has_forked()) rejoin();
  const MutexLock lock(mutex_);
  if (handle.slot != slots_) return false;
  writer_->update(handle.row, places, values);
  return true;
}

std::vector<WorkerFigures> RequestMetrics::read() {
  if (has_forked()) rejoin();
  std::shared_ptr<Segment> segment;
  {
    const MutexLock lock(mutex_);
    segment = segment_;
  }
  if (segment != nullptr) return segment->read();
  std::vector<WorkerFigures> alone;
  alone.push_back({read_slot(*own_), 0, true});
  return alone;
}

RequestMetrics::Snapshot RequestMetrics::sum(const std::vector<WorkerFigures>& workers,
                                             Instant now) {
  Snapshot snapshot;
  const std::int64_t number = now / kSliceLength;
  const Instant oldest = (number - static_cast<std::int64_t>(kSlices) + 1) * kSliceLength;
  Instant start = now;
  std::map<std::string, SeriesFigures> series;
  for (const auto& [figures, slot, alive] : workers) {
    if (figures.start_ns > 0 || alive) start = std::min(start, figures.start_ns);
    if (alive) snapshot.active += figures.active;
    snapshot.folded += figures.folded;
    for (const SeriesFigures& one : figures.series) add_series(one, series);
    for (const SliceFigures& slice : figures.slices) {
      if (slice.number * kSliceLength < oldest || slice.number > number) continue;
      snapshot.last_minute.merge(slice.times);
      snapshot.lag.merge(slice.lag);
      snapshot.last_minute_errors += slice.errors;
    }
  }
  snapshot.last_minute_length_ns = now - std::max(oldest, start);
  for (auto& [key, one] : series) {
    const bool is_request = one.kind == SeriesKind::kRequest;
    if (is_request) {
      snapshot.total.merge(one.last_byte);
      snapshot.errors += one.errors();
    }
    (is_request ? snapshot.series : snapshot.operations).push_back(std::move(one));
  }
  return snapshot;
}

}  // namespace mcp::metrics

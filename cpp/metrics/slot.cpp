// slot.cpp: reads a slot while its writer goes on.
#include "metrics/slot.h"

#include <sched.h>

#include <bit>
#include <span>
#include <utility>

namespace mcp::metrics {
namespace {

constexpr int kPatience = 10'000;  // looks at a writer that folds; each gives the processor away

using Counts = std::vector<std::pair<std::size_t, std::uint64_t>>;

Histogram histogram_of(const Counts& counts, const SlotTimes& times) {
  // The writer may stand between a count and its sum, so the bounds are made to fit.
  const std::uint64_t lowest = value_of(times.lowest_ns);
  const std::uint64_t low = lowest == 0 ? 0 : lowest - 1;
  const std::uint64_t high = std::max(low, value_of(times.highest_ns));
  return Histogram::restore(kDigits, Histogram::kDefaultHighest, counts,
                            static_cast<double>(value_of(times.sum_ns)), static_cast<Duration>(low),
                            static_cast<Duration>(high));
}

void append_counts(std::span<const Cell> cells, std::size_t first, Counts& counts) {
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (const std::uint64_t count = value_of(cells[i])) counts.emplace_back(first + i, count);
  }
}

SeriesFigures read_series(const Slot& slot, const SlotSeries& series) {
  SeriesFigures figures({text_of(series.method), text_of(series.route), text_of(series.scheme),
                         series.status, text_of(series.error_type), series.kind});
  Counts counts;
  for (std::size_t i = 0; i < kHistogramChunks; ++i) {
    const std::uint16_t chunk = series.chunks[i].load(std::memory_order_acquire);
    if (chunk == 0 || chunk > Slot::kChunks) continue;
    append_counts(slot.chunks[chunk - 1U].cells, i * kChunkCells, counts);
  }
  figures.last_byte = histogram_of(counts, series.times);
  figures.first_byte_total_ns = static_cast<Duration>(value_of(series.first_byte_ns));
  figures.returned_total_ns = static_cast<Duration>(value_of(series.returned_ns));
  return figures;
}

void read_all_series(const Slot& slot, SlotFigures& figures) {
  const std::uint64_t word = slot.swap.load(std::memory_order_acquire);
  const Swap swap = Swap::of(word);
  for (std::size_t i = 0; i < Slot::kSeries; ++i) {
    bool counted = slot.series[i].state.load(std::memory_order_acquire) == SlotSeries::kCounted;
    if (word != 0) counted = i == swap.sum || (counted && i != swap.gone && i != swap.grown);
    if (!counted) continue;
    SeriesFigures one = read_series(slot, slot.series[i]);
    if (one.last_byte.count() > 0) figures.series.push_back(std::move(one));
  }
}

void read_slices(const Slot& slot, SlotFigures& figures) {
  for (const SlotSlice& slice : slot.slices) {
    const std::uint64_t number = slice.number.load(std::memory_order_acquire);
    if (number == 0) continue;
    Counts times;
    Counts lag;
    append_counts(slice.times, 0, times);
    append_counts(slice.lag, 0, lag);
    SliceFigures one{static_cast<std::int64_t>(number) - 1, value_of(slice.errors),
                     histogram_of(times, slice.time_sums), histogram_of(lag, slice.lag_sums)};
    std::atomic_thread_fence(std::memory_order_acquire);
    if (value_of(slice.number) == number) figures.slices.push_back(std::move(one));
  }
}

void read_rows(const Slot& slot, SlotFigures& figures) {
  for (const SlotRow& row : slot.rows) {
    if (row.used.load(std::memory_order_acquire) == 0) continue;
    RowFigures& one = figures.rows.emplace_back();
    one.kind = text_of(row.kind);
    one.name = text_of(row.name);
    one.text = text_of(row.text);
    one.counters = value_of(row.counters);
    one.maxima = value_of(row.maxima);
    for (std::size_t i = 0; i < SlotRow::kValues; ++i) {
      one.values[i] = std::bit_cast<double>(value_of(row.values[i]));
    }
  }
}

}  // namespace

void append_key(const SeriesLabels& labels, std::string& key) {
  key.append(labels.method).append(1, '\0').append(labels.route).append(1, '\0');
  key.append(labels.scheme).append(1, '\0').append(labels.error_type).append(1, '\0');
  key.append(1, static_cast<char>(labels.status >> 8));
  key.append(1, static_cast<char>(labels.status & 0xff));
  key.append(1, static_cast<char>(labels.kind));
}

SlotFigures read_slot(const Slot& slot) {
  for (int look = 0;; ++look) {
    const std::uint32_t before = slot.version.load(std::memory_order_acquire);
    if (before % 2 == 1 && look < kPatience) {
      sched_yield();
      continue;
    }
    SlotFigures figures;
    figures.pid = value_of(slot.pid);
    figures.start_ns = static_cast<Instant>(value_of(slot.start_ns));
    figures.active = slot.active.load(std::memory_order_relaxed);
    figures.folded = value_of(slot.folded);
    read_all_series(slot, figures);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (slot.version.load(std::memory_order_relaxed) != before && look < kPatience) continue;
    read_slices(slot, figures);
    read_rows(slot, figures);
    return figures;
  }
}

}  // namespace mcp::metrics

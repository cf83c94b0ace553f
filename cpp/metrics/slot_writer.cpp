// slot_writer.cpp: records into a slot, and folds the least used series when places run out.
#include "metrics/slot_writer.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>

namespace mcp::metrics {
namespace {

// Enough for the sum of a fold and for what is recorded after it.
constexpr std::size_t kSpareChunks = 2 * kHistogramChunks;

std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// Cut at a whole character; what is cut off is told apart by a hash.
template <std::size_t kSize>
void write_text(std::array<char, kSize>& field, std::string_view text) {
  field.fill('\0');
  text = text.substr(0, text.find('\0'));
  if (text.size() < kSize) {
    std::copy(text.begin(), text.end(), field.begin());
    return;
  }
  constexpr std::size_t kHash = 9;  // '~' and eight digits
  if constexpr (kSize <= kHash + 1) {
    std::copy_n(text.begin(), kSize - 1, field.begin());
  } else {
    std::size_t kept = kSize - 1 - kHash;
    while (kept > 0 && (static_cast<unsigned char>(text[kept]) & 0xc0) == 0x80) --kept;
    std::copy_n(text.begin(), kept, field.begin());
    std::snprintf(field.data() + kept, kSize - kept, "~%08x",
                  static_cast<unsigned>(fnv1a(text) >> 32));
  }
}

// The system of an operation that is one of kSystems, else nothing.
std::string_view known_system(const SeriesLabels& labels) {
  const bool known = labels.kind == SeriesKind::kOperation &&
                     std::ranges::find(kSystems, labels.scheme) != kSystems.end();
  return known ? labels.scheme : "";
}

bool is_rest(const SeriesLabels& labels) {
  return labels.route == kOtherLabel && labels.method == kOtherLabel &&
         labels.scheme == known_system(labels);
}

// Where a series goes that has to make room. What failed stays told apart.
SeriesLabels rest_of(const SeriesLabels& labels) {
  const bool by_status = labels.kind == SeriesKind::kRequest && labels.status >= kServerError;
  const bool failed = labels.failed() && !by_status;
  const bool usual = labels.status >= 100 && labels.status <= 599;
  return {kOtherLabel,
          kOtherLabel,
          known_system(labels),
          usual ? labels.status / 100 * 100 : 0,
          failed ? kOtherLabel : "",
          labels.kind};
}

SeriesLabels labels_of(const SlotSeries& series) {
  return {text_of(series.method), text_of(series.route),      text_of(series.scheme),
          series.status,          text_of(series.error_type), series.kind};
}

}  // namespace

SlotWriter::SlotWriter(Slot& slot) : slot_(&slot) {
  std::vector<bool> used(Slot::kChunks, false);
  for (std::size_t i = Slot::kSeries; i-- > 0;) {
    SlotSeries& series = slot.series[i];
    if (series.state.load(std::memory_order_relaxed) != SlotSeries::kCounted) {
      free_series_.push_back(static_cast<std::uint16_t>(i));
      continue;
    }
    const SeriesLabels labels = labels_of(series);
    std::string key;
    append_key(labels, key);
    const Places places = places_of(labels);
    uses_[key] = {static_cast<std::uint16_t>(i), places, is_rest(labels), 1, 0};
    ++taken_[static_cast<std::size_t>(places)];
    for (const auto& chunk : series.chunks) {
      if (const std::uint16_t number = chunk.load(std::memory_order_relaxed)) {
        used[number - 1U] = true;
      }
    }
  }
  for (std::size_t i = Slot::kChunks; i-- > 0;) {
    if (!used[i]) free_chunks_.push_back(static_cast<std::uint16_t>(i));
  }
  for (std::size_t i = 0; i < Slot::kRows; ++i) {
    const SlotRow& row = slot.rows[i];
    if (row.used.load(std::memory_order_relaxed) == 0) continue;
    rows_[std::string(text_of(row.kind)) + '\0' + std::string(text_of(row.name))] = i;
  }
}

SlotWriter::Places SlotWriter::places_of(const SeriesLabels& labels) {
  if (labels.kind == SeriesKind::kOperation) {
    return labels.scheme == kDatabase ? Places::kStatements : Places::kOperations;
  }
  const bool stray = labels.method == kOtherLabel || labels.route == kUnmatchedLabel ||
                     labels.route == kOtherLabel;
  return stray ? Places::kStray : Places::kDeclared;
}

SlotSeries& SlotWriter::series_for(const SeriesLabels& labels, std::uint64_t uses) {
  key_.clear();
  append_key(labels, key_);
  const auto found = uses_.find(key_);
  Use& use = found != uses_.end() ? found->second : make_series(labels);
  use.count += uses;
  use.last = ++clock_;
  const std::uint16_t index = use.index;
  if (free_chunks_.size() < kSpareChunks) make_chunks(index);
  return slot_->series[index];
}

void SlotWriter::make_chunks(std::uint16_t kept) {
  for (const Places places :
       {Places::kStray, Places::kStatements, Places::kOperations, Places::kDeclared}) {
    while (free_chunks_.size() < kSpareChunks && fold_least_used(places, kept)) {
    }
  }
}

SlotWriter::Use& SlotWriter::make_series(const SeriesLabels& labels) {
  // A label that had to be cut is looked up as it stands in the slot.
  SlotSeries cut{};
  write_labels(cut, labels);
  std::string key;
  append_key(labels_of(cut), key);
  if (const auto found = uses_.find(key); found != uses_.end()) return found->second;
  const Places places = places_of(labels);
  if (!is_rest(labels)) make_room(places);
  const std::uint16_t index = free_series_.back();
  free_series_.pop_back();
  SlotSeries& series = slot_->series[index];
  write_labels(series, labels);
  series.state.store(SlotSeries::kCounted, std::memory_order_release);
  ++taken_[static_cast<std::size_t>(places)];
  return uses_[key] = {index, places, is_rest(labels), 0, 0};
}

// Stray places and those of operations keep a few back for the rests of all kinds.
void SlotWriter::make_room(Places places) {
  constexpr std::size_t kRests = 12;
  const std::array<std::size_t, 4> limits{Slot::kDeclared, Slot::kStray - kRests,
                                          Slot::kOperations - kRests, Slot::kStatements - kRests};
  const auto own = static_cast<std::size_t>(places);
  while (taken_[own] >= limits[own] && fold_least_used(places)) {
  }
}

bool SlotWriter::fold_least_used(Places places, std::uint16_t kept) {
  auto victim = uses_.end();
  for (auto at = uses_.begin(); at != uses_.end(); ++at) {
    const Use& use = at->second;
    if (use.places != places || use.is_rest || use.index == kept) continue;
    if (victim == uses_.end() ||
        std::pair(use.count, use.last) < std::pair(victim->second.count, victim->second.last)) {
      victim = at;
    }
  }
  if (victim == uses_.end()) return false;
  fold(victim);
  return true;
}

void SlotWriter::fold(Uses::iterator victim) {
  const Use gone = victim->second;
  SlotSeries& from = slot_->series[gone.index];
  const SeriesLabels rest = rest_of(labels_of(from));
  std::string key;
  append_key(rest, key);
  const auto known = uses_.find(key);
  const std::uint16_t sum = free_series_.back();
  free_series_.pop_back();
  SlotSeries& to = slot_->series[sum];
  write_labels(to, rest);
  add_series(to, from);
  const std::uint16_t grown = known == uses_.end() ? Swap::kNone : known->second.index;
  if (grown != Swap::kNone) add_series(to, slot_->series[grown]);

  slot_->version.fetch_add(1, std::memory_order_acq_rel);
  slot_->swap.store(Swap{gone.index, grown, sum}.word(), std::memory_order_release);
  from.state.store(SlotSeries::kFree, std::memory_order_release);
  if (grown != Swap::kNone) {
    slot_->series[grown].state.store(SlotSeries::kFree, std::memory_order_release);
  }
  to.state.store(SlotSeries::kCounted, std::memory_order_release);
  slot_->swap.store(0, std::memory_order_release);
  slot_->version.fetch_add(1, std::memory_order_acq_rel);
  add(slot_->folded, 1);

  const auto release = [&](std::uint16_t index) {
    release_chunks(slot_->series[index]);
    free_series_.push_back(index);
  };
  release(gone.index);
  --taken_[static_cast<std::size_t>(gone.places)];
  uses_.erase(victim);
  const Places places = places_of(rest);
  if (grown != Swap::kNone) {
    release(grown);
    known->second.index = sum;
  } else {
    uses_[key] = {sum, places, true, 0, 0};
    ++taken_[static_cast<std::size_t>(places)];
  }
}

// REQUIRES: `series` does not count.
void SlotWriter::write_labels(SlotSeries& series, const SeriesLabels& labels) {
  series.status = labels.status;
  series.kind = labels.kind;
  write_text(series.method, labels.method);
  write_text(series.scheme, labels.scheme);
  write_text(series.error_type, labels.error_type);
  write_text(series.route, labels.route);
  series.times.clear();
  series.first_byte_ns.store(0, std::memory_order_relaxed);
  series.returned_ns.store(0, std::memory_order_relaxed);
  for (auto& chunk : series.chunks) chunk.store(0, std::memory_order_relaxed);
}

void SlotWriter::add_series(SlotSeries& to, const SlotSeries& from) {
  for (std::size_t i = 0; i < kHistogramChunks; ++i) {
    const std::uint16_t chunk = from.chunks[i].load(std::memory_order_relaxed);
    if (chunk == 0) continue;
    for (std::size_t j = 0; j < kChunkCells; ++j) {
      const std::uint64_t samples = value_of(slot_->chunks[chunk - 1U].cells[j]);
      if (samples > 0) count(to, i * kChunkCells + j, samples);
    }
  }
  add(to.times.sum_ns, value_of(from.times.sum_ns));
  if (const std::uint64_t lowest = value_of(from.times.lowest_ns)) {
    to.times.extend(lowest - 1, value_of(from.times.highest_ns));
  }
  add(to.first_byte_ns, value_of(from.first_byte_ns));
  add(to.returned_ns, value_of(from.returned_ns));
}

void SlotWriter::count(SlotSeries& series, std::size_t cell, std::uint64_t samples) {
  auto& place = series.chunks[cell / kChunkCells];
  std::uint16_t chunk = place.load(std::memory_order_relaxed);
  if (chunk == 0) {
    chunk = static_cast<std::uint16_t>(free_chunks_.back() + 1);
    free_chunks_.pop_back();
    for (Cell& one : slot_->chunks[chunk - 1U].cells) one.store(0, std::memory_order_relaxed);
    place.store(chunk, std::memory_order_release);
  }
  add(slot_->chunks[chunk - 1U].cells[cell % kChunkCells], samples);
}

void SlotWriter::release_chunks(SlotSeries& series) {
  for (auto& place : series.chunks) {
    const std::uint16_t chunk = place.load(std::memory_order_relaxed);
    if (chunk == 0) continue;
    place.store(0, std::memory_order_relaxed);
    free_chunks_.push_back(static_cast<std::uint16_t>(chunk - 1));
  }
}

SlotSlice& SlotWriter::slice_at(std::int64_t number) {
  SlotSlice& slice = slot_->slices[static_cast<std::size_t>(number) % Slot::kSlices];
  const auto stored = static_cast<std::uint64_t>(number) + 1;
  if (value_of(slice.number) != stored) {
    slice.number.store(0, std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_release);
    for (Cell& cell : slice.times) cell.store(0, std::memory_order_relaxed);
    for (Cell& cell : slice.lag) cell.store(0, std::memory_order_relaxed);
    slice.time_sums.clear();
    slice.lag_sums.clear();
    slice.errors.store(0, std::memory_order_relaxed);
    slice.number.store(stored, std::memory_order_release);
  }
  return slice;
}

void SlotWriter::record(const SeriesLabels& labels, const RequestTimes& times, Instant now) {
  const Duration time = std::max<Duration>(0, times.last_byte_ns);
  const std::size_t cell = layout_.slot_of(std::min(time, layout_.highest_ns()));
  SlotSeries& series = series_for(labels, 1);
  series.times.note(time);
  add(series.first_byte_ns, static_cast<std::uint64_t>(std::max<Duration>(0, times.first_byte_ns)));
  add(series.returned_ns, static_cast<std::uint64_t>(std::max<Duration>(0, times.returned_ns)));
  count(series, cell, 1);
  if (labels.kind != SeriesKind::kRequest) return;
  SlotSlice& slice = slice_at(now / kSliceLength);
  slice.time_sums.note(time);
  add(slice.times[cell], 1);
  if (labels.failed()) add(slice.errors, 1);
}

void SlotWriter::record_lag(Duration lag_ns, Instant now) {
  const Duration lag = std::clamp<Duration>(lag_ns, 0, layout_.highest_ns());
  SlotSlice& slice = slice_at(now / kSliceLength);
  slice.lag_sums.note(lag_ns);
  add(slice.lag[layout_.slot_of(lag)], 1);
}

std::size_t SlotWriter::publish(const RowFigures& figures) {
  SlotRow cut{};
  write_text(cut.kind, figures.kind);
  write_text(cut.name, figures.name);
  const std::string key = std::string(text_of(cut.kind)) + '\0' + std::string(text_of(cut.name));
  const auto known = rows_.find(key);
  if (known == rows_.end() && rows_.size() == Slot::kRows) return kNoRow;
  const std::size_t index = known == rows_.end() ? rows_.size() : known->second;
  SlotRow& row = slot_->rows[index];
  row.counters.store(figures.counters, std::memory_order_relaxed);
  row.maxima.store(figures.maxima, std::memory_order_relaxed);
  for (std::size_t i = 0; i < SlotRow::kValues; ++i) {
    row.values[i].store(std::bit_cast<std::uint64_t>(figures.values[i]), std::memory_order_relaxed);
  }
  if (known != rows_.end()) return index;
  row.kind = cut.kind;
  row.name = cut.name;
  write_text(row.text, figures.text);
  row.used.store(1, std::memory_order_release);
  rows_.emplace(key, index);
  return index;
}

void SlotWriter::update(std::size_t row, std::span<const std::uint8_t> places,
                        std::span<const double> values) {
  for (std::size_t i = 0; i < places.size(); ++i) {
    Cell& cell = slot_->rows.at(row).values.at(places[i]);
    cell.store(std::bit_cast<std::uint64_t>(values[i]), std::memory_order_relaxed);
  }
}

void SlotWriter::absorb(const SlotFigures& figures) {
  add(slot_->folded, figures.folded);
  const std::uint64_t start = value_of(slot_->start_ns);
  if (figures.start_ns > 0 && (start == 0 || static_cast<Instant>(start) > figures.start_ns)) {
    slot_->start_ns.store(static_cast<std::uint64_t>(figures.start_ns), std::memory_order_relaxed);
  }
  for (const SeriesFigures& one : figures.series) {
    const Histogram& times = one.last_byte;
    SlotSeries& series = series_for(one.labels(), times.count());
    for (std::size_t i = 0; i < times.slots().size(); ++i) {
      if (times.slots()[i] > 0) count(series, i, times.slots()[i]);
    }
    add(series.times.sum_ns, static_cast<std::uint64_t>(times.sum_ns()));
    series.times.extend(static_cast<std::uint64_t>(times.min_ns()),
                        static_cast<std::uint64_t>(times.max_ns()));
    add(series.first_byte_ns, static_cast<std::uint64_t>(one.first_byte_total_ns));
    add(series.returned_ns, static_cast<std::uint64_t>(one.returned_total_ns));
  }
  for (const SliceFigures& one : figures.slices) {
    const auto newest = static_cast<std::uint64_t>(one.number) + 1;
    if (value_of(slot_->slices[static_cast<std::size_t>(one.number) % Slot::kSlices].number) >
        newest) {
      continue;
    }
    SlotSlice& slice = slice_at(one.number);
    add(slice.errors, one.errors);
    const auto pour = [](const Histogram& times, std::array<Cell, kHistogramCells>& cells,
                         SlotTimes& sums) {
      if (times.count() == 0) return;
      for (std::size_t i = 0; i < times.slots().size(); ++i) add(cells[i], times.slots()[i]);
      add(sums.sum_ns, static_cast<std::uint64_t>(times.sum_ns()));
      sums.extend(static_cast<std::uint64_t>(times.min_ns()),
                  static_cast<std::uint64_t>(times.max_ns()));
    };
    pour(one.times, slice.times, slice.time_sums);
    pour(one.lag, slice.lag, slice.lag_sums);
  }
  for (const RowFigures& one : figures.rows) {
    RowFigures sum = one;
    auto known = rows_.find(one.kind + '\0' + one.name);
    if (known == rows_.end() && rows_.size() >= kNamedRows) {
      sum.name = kOtherLabel;
      known = rows_.find(sum.kind + '\0' + sum.name);
    }
    for (std::size_t i = 0; i < SlotRow::kValues; ++i) {
      const double before =
          known == rows_.end()
              ? 0.0
              : std::bit_cast<double>(value_of(slot_->rows[known->second].values[i]));
      const bool is_counter = (one.counters >> i & 1) != 0;
      const bool is_maximum = (one.maxima >> i & 1) != 0;
      sum.values[i] = is_counter   ? one.values[i] + before
                      : is_maximum ? std::max(one.values[i], before)
                                   : 0.0;
    }
    publish(sum);
  }
}

}  // namespace mcp::metrics

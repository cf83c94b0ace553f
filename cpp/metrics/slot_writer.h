// slot_writer.h: counts into a slot, within its bounds.
//
// Thread-compatible: one writer a slot, in one process, under a lock.
// Invariants: declared routes, stray requests, statements and other operations have places of their
// own, so that none pushes out another's. Where they run out, the series that was used least (of
// those the one unused for longest) is added to the series kOtherLabel of its kind, system and
// class of status, and counted in Slot::folded. The sum over all series is the number of record()
// calls, always.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/slot.h"

namespace mcp::metrics {

// What one request took, all from its arrival.
struct RequestTimes {
  Duration first_byte_ns;  // to the response's start
  Duration last_byte_ns;   // to the last piece of its body
  Duration returned_ns;    // to the application's return, background tasks included
};

class SlotWriter {
 public:
  static constexpr Duration kSliceLength = 10 * kSecond;
  static constexpr std::size_t kNamedRows = Slot::kRows - 10;

  // Goes on with what the slot holds.
  explicit SlotWriter(Slot& slot);

  [[nodiscard]] Slot& slot() const noexcept { return *slot_; }

  void record(const SeriesLabels& labels, const RequestTimes& times, Instant now);
  void record_lag(Duration lag_ns, Instant now);
  static constexpr std::size_t kNoRow = Slot::kRows;

  // Sets the figures of one thing: the number of its row. kNoRow where all are taken.
  std::size_t publish(const RowFigures& row);
  // Sets some of the values of a row that was published: `values` at `places`.
  void update(std::size_t row, std::span<const std::uint8_t> places,
              std::span<const double> values);
  // Adds what another slot holds that outlives its worker. Rows beyond kNamedRows are added up in
  // one a kind, kOtherLabel.
  void absorb(const SlotFigures& figures);

 private:
  enum class Places : std::uint8_t { kDeclared, kStray, kOperations, kStatements };
  struct Use {
    std::uint16_t index = 0;
    Places places{};
    bool is_rest = false;
    std::uint64_t count = 0;
    std::uint64_t last = 0;
  };
  using Uses = std::map<std::string, Use, std::less<>>;

  SlotSeries& series_for(const SeriesLabels& labels, std::uint64_t uses);
  Use& make_series(const SeriesLabels& labels);
  void make_room(Places places);
  bool fold_least_used(Places places, std::uint16_t kept = Swap::kNone);
  void make_chunks(std::uint16_t kept);
  void fold(Uses::iterator victim);
  void write_labels(SlotSeries& series, const SeriesLabels& labels);
  void add_series(SlotSeries& to, const SlotSeries& from);
  void count(SlotSeries& series, std::size_t cell, std::uint64_t samples);
  void release_chunks(SlotSeries& series);
  SlotSlice& slice_at(std::int64_t number);
  static Places places_of(const SeriesLabels& labels);

  Slot* slot_;
  Uses uses_;
  std::array<std::size_t, 4> taken_{};  // series by Places
  std::vector<std::uint16_t> free_series_;
  std::vector<std::uint16_t> free_chunks_;
  std::map<std::string, std::size_t, std::less<>> rows_;  // by kind and name
  std::uint64_t clock_ = 0;
  std::string key_;  // reused for each look-up
  Histogram layout_{kDigits};
};

}  // namespace mcp::metrics

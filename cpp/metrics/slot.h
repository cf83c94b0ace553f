// slot.h: how the figures of one worker lie in memory, its own or shared between processes.
//
// Memory of zeros is an empty slot. One process writes (`SlotWriter`, under a lock of its own), any
// process reads (`read_slot()`), without a lock between them: every cell is one atomic word, and
// what a killed writer leaves behind is right to the request. Invariants: a request is counted by
// one store into one cell; a series counts if its state is kCounted, unless `swap` says otherwise.
// `swap` replaces two series by their sum in one store, so that folding loses and doubles nothing,
// wherever its process ends.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "metrics/histogram.h"

namespace mcp::metrics {

// From this status on, a request has failed.
inline constexpr int kServerError = 500;

// What a field of a fixed size holds, up to its first zero.
template <std::size_t kSize>
std::string_view text_of(const std::array<char, kSize>& field) {
  return {field.data(), std::string_view(field.data(), kSize).find('\0')};
}

using Cell = std::atomic<std::uint64_t>;
static_assert(Cell::is_always_lock_free);

[[nodiscard]] inline std::uint64_t value_of(const Cell& cell) noexcept {
  return cell.load(std::memory_order_relaxed);
}
// Not atomic as a whole: a cell has one writer.
inline void add(Cell& cell, std::uint64_t amount) noexcept {
  cell.store(value_of(cell) + amount, std::memory_order_relaxed);
}

inline constexpr int kDigits = 2;
inline constexpr std::size_t kHistogramCells = 3840;  // of Histogram(kDigits), rounded up
inline constexpr std::size_t kChunkCells = 128;       // one doubling
inline constexpr std::size_t kHistogramChunks = kHistogramCells / kChunkCells;

inline constexpr std::string_view kOtherLabel = "_OTHER";
inline constexpr std::string_view kUnmatchedLabel = "_UNMATCHED";

// What is raised where the client went away, which is no failure of the server: asyncio's and
// AnyIO's, Starlette's, Django's, that of WebSockets in Starlette and Litestar, and uvicorn's and
// Werkzeug's.
inline constexpr std::array<std::string_view, 5> kClientLeft{
    "CancelledError", "ClientDisconnect", "RequestAborted", "WebSocketDisconnect",
    "ClientDisconnected"};
[[nodiscard]] inline bool client_left(std::string_view error_type) noexcept {
  return std::ranges::find(kClientLeft, error_type) != kClientLeft.end();
}

// What operations belong to, in the place of a scheme; those of any other system that make room are
// told apart no more.
inline constexpr std::string_view kDatabase = "db";
inline constexpr std::array<std::string_view, 4> kSystems{"mcp", kDatabase, "task", "websocket"};

enum class SeriesKind : std::uint8_t {
  kRequest,    // over HTTP
  kOperation,  // a call of a tool, a task, a statement: whatever is not a request
};

// What a series is counted under; for requests the names of OpenTelemetry's semantic conventions.
struct SeriesLabels {
  std::string_view method;  // one of HTTP's, or kOtherLabel
  std::string_view route;   // the template, never the path
  std::string_view scheme;
  int status;
  std::string_view error_type;  // what the application raised; empty where it did not
  SeriesKind kind = SeriesKind::kRequest;

  // Whether what is counted here has failed: by its status, or because something was raised, be it
  // after a response had begun.
  [[nodiscard]] bool failed() const noexcept {
    const bool by_status = kind == SeriesKind::kRequest && status >= kServerError;
    return by_status || (!error_type.empty() && !client_left(error_type));
  }
};

// The figures of a histogram that its cells do not hold exactly.
struct SlotTimes {
  Cell sum_ns;
  Cell lowest_ns;  // and 1; 0 for none
  Cell highest_ns;

  void note(Duration value_ns, std::uint64_t times = 1) noexcept {
    const auto value = static_cast<std::uint64_t>(value_ns < 0 ? 0 : value_ns);
    add(sum_ns, value * times);
    extend(value, value);
  }
  void extend(std::uint64_t low, std::uint64_t high) noexcept {
    const std::uint64_t lowest = value_of(lowest_ns);
    if (lowest == 0 || low + 1 < lowest) lowest_ns.store(low + 1, std::memory_order_relaxed);
    if (high > value_of(highest_ns)) highest_ns.store(high, std::memory_order_relaxed);
  }
  void clear() noexcept {
    for (Cell* cell : {&sum_ns, &lowest_ns, &highest_ns}) cell->store(0, std::memory_order_relaxed);
  }
};

struct SlotSeries {
  enum State : std::uint32_t { kFree, kCounted };

  std::atomic<std::uint32_t> state;
  std::int32_t status;
  SeriesKind kind;
  // Each ends in a zero; longer ones end in a hash.
  std::array<char, 32> method;
  std::array<char, 16> scheme;
  std::array<char, 64> error_type;
  std::array<char, 160> route;
  SlotTimes times;
  Cell first_byte_ns;
  Cell returned_ns;
  std::array<std::atomic<std::uint16_t>, kHistogramChunks> chunks;  // number and 1; 0 for none
};

// Ten seconds.
struct SlotSlice {
  Cell number;  // start / length, and 1; 0 for none
  Cell errors;
  SlotTimes time_sums;
  SlotTimes lag_sums;
  std::array<Cell, kHistogramCells> times;
  std::array<Cell, kHistogramCells> lag;
};

// Figures of something that is not a series, a cache for example: numbers by their place.
struct SlotRow {
  static constexpr std::size_t kValues = 40;

  std::atomic<std::uint32_t> used;
  std::array<char, 20> kind;
  std::array<char, 128> name;
  std::array<char, 512> text;  // what the name stands for
  Cell counters;               // a bit for each value that outlives its worker, and is added up
  Cell maxima;                 // a bit for each of which the largest outlives it
  std::array<Cell, kValues> values;  // the bits of doubles
};

struct Chunk {
  std::array<Cell, kChunkCells> cells;
};

struct Slot {
  static constexpr std::size_t kDeclared = 448;
  static constexpr std::size_t kStray = 64;        // of no declared route, or of no known method
  static constexpr std::size_t kOperations = 127;  // tools, tasks and the like
  static constexpr std::size_t kStatements = 96;   // of databases, which are made by programs
  static constexpr std::size_t kSeries =
      kDeclared + kStray + kOperations + kStatements + 1;  // a spare for folding
  static constexpr std::size_t kSlices = 6;
  static constexpr std::size_t kRows = 160;
  static constexpr std::size_t kChunks = 1536;

  Cell generation;  // of the worker that has the slot; 0 for none
  Cell pid;
  Cell start_ns;  // on the monotonic clock
  std::atomic<std::int64_t> active;
  Cell folded;                         // series that made room for others
  std::atomic<std::uint32_t> version;  // odd while series are folded
  Cell swap;                           // see `Swap`; 0 for none
  std::array<SlotSeries, kSeries> series;
  std::array<SlotSlice, kSlices> slices;
  std::array<SlotRow, kRows> rows;
  std::array<Chunk, kChunks> chunks;
};

// `gone` and `grown` (if there was one) count no more, `sum` counts, whatever their states say.
struct Swap {
  static constexpr std::uint16_t kNone = 0xffff;

  std::uint16_t gone;
  std::uint16_t grown;
  std::uint16_t sum;

  [[nodiscard]] std::uint64_t word() const noexcept {
    return std::uint64_t{1} << 63 | std::uint64_t{gone} << 32 | std::uint64_t{grown} << 16 | sum;
  }
  [[nodiscard]] static Swap of(std::uint64_t word) noexcept {
    return {static_cast<std::uint16_t>(word >> 32 & 0x7fff), static_cast<std::uint16_t>(word >> 16),
            static_cast<std::uint16_t>(word)};
  }
};

// ---- what was read of a slot

struct SeriesFigures {
  explicit SeriesFigures(const SeriesLabels& labels)
      : method(labels.method),
        route(labels.route),
        scheme(labels.scheme),
        status(labels.status),
        error_type(labels.error_type),
        kind(labels.kind) {}

  [[nodiscard]] SeriesLabels labels() const {
    return {method, route, scheme, status, error_type, kind};
  }
  // How many failed: all or none.
  [[nodiscard]] std::uint64_t errors() const { return labels().failed() ? last_byte.count() : 0; }

  std::string method;
  std::string route;
  std::string scheme;
  int status;
  std::string error_type;
  SeriesKind kind;
  Histogram last_byte{kDigits};
  Duration first_byte_total_ns = 0;
  Duration returned_total_ns = 0;
};

struct SliceFigures {
  std::int64_t number = -1;
  std::uint64_t errors = 0;
  Histogram times{kDigits};
  Histogram lag{kDigits};
};

struct RowFigures {
  std::string kind;
  std::string name;
  std::string text;
  std::uint64_t counters = 0;
  std::uint64_t maxima = 0;
  std::array<double, SlotRow::kValues> values{};
};

struct SlotFigures {
  std::uint64_t pid = 0;
  Instant start_ns = 0;
  std::int64_t active = 0;
  std::uint64_t folded = 0;
  std::vector<SeriesFigures> series;
  std::vector<SliceFigures> slices;  // at most Slot::kSlices, in no order
  std::vector<RowFigures> rows;
};

// Appends what tells one series from another to `key`.
void append_key(const SeriesLabels& labels, std::string& key);

// Waits, within bounds, while the writer folds.
[[nodiscard]] SlotFigures read_slot(const Slot& slot);

}  // namespace mcp::metrics

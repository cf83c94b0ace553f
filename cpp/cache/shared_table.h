// shared_table.h: an IndexTable cut into regions that threads read without a lock while one writes.
//
// A reader announces the region that it reads in a stripe of its own, one cache line, and then
// looks whether a writer has closed the region; if so it withdraws and takes the writers' mutex
// instead. A writer, who holds that mutex, closes a region and then waits until no stripe announces
// it. So a reader writes no line that another reader touches, and waits for nobody; a writer waits
// for the readers of the one or two regions that it changes, who are a few dozen nanoseconds from
// leaving. What an entry holds is protected with the region of its hash, and not only the table's
// slots.
//
// Thread-safety: enter() and Reader by any thread; everything else by the one that holds the mutex,
// and find() also inside a Reader of the hash. The announcement, the look at the region, the
// closing and the look at the stripes are sequentially consistent: of a reader and a writer that
// meet, one sees the other. Invariant: a region's table and its entries change only between
// exclude() and readmit().
//
// Platform: `thread()` numbers the threads, `pause(n)` lets others run in the n-th turn of a wait,
// `step()` marks a point between two steps of the protocol, for tests that order them.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "cache/index_table.h"
#include "cache/types.h"

namespace mcp::cache {

template <class Platform, class StripeData>
class SharedTable {
 public:
  using Cursor = IndexTable::Cursor;

  struct alignas(64) Stripe {
    std::atomic<std::uint32_t> reading{
        kIdle};       // a region, by the thread that owns the stripe for now
    StripeData data;  // the owner's
  };

  // The right to read one region, if it converts to true.
  class Reader {
   public:
    explicit Reader(Stripe* stripe) noexcept : stripe_(stripe) {}
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
    ~Reader() {
      if (stripe_ == nullptr) return;
      Platform::step();
      stripe_->reading.store(kIdle, std::memory_order_release);
    }
    explicit operator bool() const noexcept { return stripe_ != nullptr; }
    [[nodiscard]] StripeData& data() noexcept { return stripe_->data; }

   private:
    Stripe* stripe_;
  };

  // ---- any thread

  // Empty if a writer is at work in the region of this (mixed) hash, or the stripe is taken: two
  // threads share one, or one thread already reads.
  [[nodiscard]] Reader enter(std::uint64_t hash) noexcept {
    const std::uint32_t number = Platform::thread() % kStripes;
    if (number >= stripes_used_.load(std::memory_order_relaxed)) announce_stripe(number);
    Stripe& stripe = stripes_[number];
    std::uint32_t idle = kIdle;
    const std::uint32_t region = region_of(hash);
    if (!stripe.reading.compare_exchange_strong(idle, region, std::memory_order_seq_cst)) {
      return Reader(nullptr);
    }
    Platform::step();
    if (regions_[region].closed.load(std::memory_order_seq_cst)) {
      stripe.reading.store(kIdle, std::memory_order_release);
      return Reader(nullptr);
    }
    Platform::step();
    return Reader(&stripe);
  }

  template <class Match>
  [[nodiscard]] Index find(std::uint64_t hash, Match&& match) const {
    return table_of(hash).find(hash, match);
  }

  // ---- the writer

  // Closes a region that the writer will change, without waiting yet.
  void close(std::uint64_t hash) noexcept { close_region(region_of(hash)); }

  // Nobody else reads the region of this hash until readmit().
  void exclude(std::uint64_t hash) noexcept {
    close_region(region_of(hash));
    await_readers();
  }

  // Nobody else reads any region until readmit().
  void exclude_readers() noexcept {
    for (std::uint32_t region = 0; region < kRegions; ++region) close_region(region);
    await_readers();
  }

  void readmit() noexcept {
    for (; closed_ != 0; closed_ &= closed_ - 1) {
      Platform::step();
      regions_[static_cast<std::size_t>(std::countr_zero(closed_))].closed.store(
          false, std::memory_order_release);
    }
    awaited_ = 0;
  }

  void insert(std::uint64_t hash, Index index) noexcept {
    exclude(hash);
    table_of(hash).insert(hash, index);
  }
  void erase(std::uint64_t hash, Index index) noexcept {
    exclude(hash);
    table_of(hash).erase(hash, index);
  }
  void rename(std::uint64_t hash, Index from, Index to) noexcept {
    exclude(hash);
    table_of(hash).rename(hash, from, to);
  }
  [[nodiscard]] bool must_grow(std::uint64_t hash, Index index) const noexcept {
    return table_of(hash).must_grow(hash, index);
  }
  template <class HashOf>
  void grow(std::uint64_t hash, Index index, HashOf&& hash_of) {
    exclude(hash);
    table_of(hash).grow(hash, index, hash_of);
  }
  template <class HashOf>
  void rehash(std::size_t /*entries*/, std::size_t limit, HashOf&& hash_of) {
    exclude_readers();
    for (Region& region : regions_) region.table.rehash(region.table.size(), limit, hash_of);
  }
  void clear() noexcept {
    exclude_readers();
    for (Region& region : regions_) region.table.clear();
  }

  [[nodiscard]] Cursor candidates(std::uint64_t hash) const noexcept {
    return table_of(hash).candidates(hash);
  }
  [[nodiscard]] Index candidate(Cursor& at) const noexcept {
    return table_of(at.hash).candidate(at);
  }
  [[nodiscard]] std::size_t size() const noexcept {
    std::size_t sum = 0;
    for (const Region& region : regions_) sum += region.table.size();
    return sum;
  }
  [[nodiscard]] std::size_t memory_bytes() const noexcept {
    std::size_t sum = 0;
    for (const Region& region : regions_) sum += region.table.memory_bytes();
    return sum;
  }
  template <class HashOf>
  void check_invariants(HashOf&& hash_of) const {
    for (const Region& region : regions_) region.table.check_invariants(hash_of);
  }
  // What the stripes' owners left there; torn unless StripeData is made of atomics.
  template <class F>
  void for_each_stripe(F&& f) const {
    for (const Stripe& stripe : stripes_) f(stripe.data);
  }

 private:
  static constexpr std::uint32_t kRegions = 64;  // the bits of closed_
  static constexpr std::uint32_t kStripes = 16;
  static constexpr std::uint32_t kIdle = kRegions;

  struct alignas(64) Region {
    std::atomic<bool> closed{false};
    IndexTable table;
  };

  // Bits that IndexTable hardly uses: the lowest of the tag.
  [[nodiscard]] static std::uint32_t region_of(std::uint64_t hash) noexcept {
    return static_cast<std::uint32_t>(hash >> 32) % kRegions;
  }
  [[nodiscard]] IndexTable& table_of(std::uint64_t hash) noexcept {
    return regions_[region_of(hash)].table;
  }
  [[nodiscard]] const IndexTable& table_of(std::uint64_t hash) const noexcept {
    return regions_[region_of(hash)].table;
  }

  void announce_stripe(std::uint32_t number) noexcept {
    std::uint32_t used = stripes_used_.load(std::memory_order_seq_cst);
    while (used <= number &&
           !stripes_used_.compare_exchange_weak(used, number + 1, std::memory_order_seq_cst)) {
    }
  }

  void close_region(std::uint32_t region) noexcept {
    const std::uint64_t bit = std::uint64_t{1} << region;
    if ((closed_ & bit) != 0) return;
    closed_ |= bit;
    regions_[region].closed.store(true, std::memory_order_seq_cst);
    Platform::step();
  }

  // Waits for the readers of every closed region.
  void await_readers() noexcept {
    if (awaited_ == closed_) return;
    const std::uint32_t used = stripes_used_.load(std::memory_order_seq_cst);
    for (std::uint32_t number = 0; number < used; ++number) {
      const auto& reading = stripes_[number].reading;
      for (unsigned turn = 0;; ++turn) {
        const std::uint32_t region = reading.load(std::memory_order_seq_cst);
        if (region == kIdle || ((closed_ >> region) & 1) == 0) break;
        Platform::pause(turn);
      }
    }
    awaited_ = closed_;
    Platform::step();
  }

  std::uint64_t closed_ = 0;   // one bit a region, the writer's
  std::uint64_t awaited_ = 0;  // of these no reader is left
  alignas(64) std::atomic<std::uint32_t> stripes_used_{0};
  std::array<Stripe, kStripes> stripes_;
  std::array<Region, kRegions> regions_;
};

}  // namespace mcp::cache

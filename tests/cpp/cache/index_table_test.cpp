#include "cache/index_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <vector>

namespace mcp::cache {
namespace {

// Entries come and go under scattered indices, few at a time; hashes collide often when `spread` is
// small.
void churn(std::uint64_t spread, std::size_t most, Index indices) {
  IndexTable table;
  std::map<Index, std::uint64_t> hashes;
  const auto hash_of = [&](Index i) { return hashes.at(i); };
  std::uint64_t random = 1;
  for (int n = 0; n < 4'000; ++n) {
    random = mix_hash(random + 1);
    const auto i = static_cast<Index>(random % indices);
    if (const auto at = hashes.find(i); at != hashes.end()) {
      table.erase(at->second, i);
      hashes.erase(at);
    } else if (hashes.size() < most) {
      const std::uint64_t hash = mix_hash((random >> 20) % spread);
      if (table.must_grow(hash, i)) table.grow(hash, i, hash_of);
      hashes[i] = hash;
      table.insert(hash, i);
    }
    ASSERT_NO_THROW(table.check_invariants(hash_of));
    ASSERT_EQ(table.size(), hashes.size());
  }
  for (const auto& [i, hash] : hashes) {
    ASSERT_EQ(table.find(hash, [want = i](Index found) { return found == want; }), i);
  }
}

TEST(IndexTable, FindsScatteredIndices) { churn(UINT64_MAX, 100, 50'000); }
TEST(IndexTable, FindsIndicesWhoseHashesCollide) { churn(3, 200, 300); }
TEST(IndexTable, FindsAFewAmongMany) { churn(UINT64_MAX, 5, 1 << 20); }

// Hashes that are multiples of one large power of two, as those of integers can be made: the
// searches for them stay as short as for any others.
TEST(IndexTable, HashesThatDifferInHighBitsOnlySpread) {
  constexpr std::size_t kGroups = 1 << 13;
  constexpr std::size_t kHashes = 12 * kGroups;  // 12 to a group, when spread by chance
  for (int shift = 0; shift <= 46; ++shift) {
    std::vector<int> in_group(kGroups, 0);
    std::set<std::uint32_t> tags;
    for (std::uint64_t n = 0; n < kHashes; ++n) {
      const std::uint64_t hash = mix_hash(n << shift);
      ++in_group[hash % kGroups];
      if (n < 1000) tags.insert(static_cast<std::uint32_t>(hash >> 32));
    }
    EXPECT_LE(*std::max_element(in_group.begin(), in_group.end()), 48) << "shift " << shift;
    EXPECT_GE(tags.size(), 990U) << "shift " << shift;
  }
}

TEST(IndexTable, ANewTableIsEmpty) {
  const IndexTable table;
  EXPECT_EQ(table.find(7, [](Index) { return true; }), kNone);
  auto at = table.candidates(7);
  EXPECT_EQ(table.candidate(at), kNone);
}

TEST(IndexTable, AllOnesIsAHashLikeAnyOther) {
  IndexTable table;
  EXPECT_EQ(table.find(UINT64_MAX, [](Index) { return true; }), kNone);
  table.insert(UINT64_MAX, 3);
  EXPECT_EQ(table.find(UINT64_MAX, [](Index) { return true; }), 3U);
}

}  // namespace
}  // namespace mcp::cache

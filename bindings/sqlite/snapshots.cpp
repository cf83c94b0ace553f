// snapshots.cpp: remembers the pools whose snapshots end with this tick.
#include "bindings/sqlite/snapshots.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/fork.h"
#include "bindings/loop/budget.h"

namespace mcp::python {
namespace {

// The pools with a snapshot that this thread's tick has to drop. A thread that ends drops them too.
struct Holders {
  std::vector<std::weak_ptr<sqlite::Pool>> pools;
  std::uint32_t generation = process_generation();
  void drop() noexcept {
    // A forked child leaves its parent's pools alone.
    if (std::exchange(generation, process_generation()) != process_generation()) pools.clear();
    for (const auto& one : pools) {
      if (const auto pool = one.lock()) pool->drop_snapshots();
    }
    pools.clear();
  }
  ~Holders() { drop(); }
};

thread_local Holders holders;

void drop_all() noexcept { holders.drop(); }

bool same(const std::weak_ptr<sqlite::Pool>& one, const std::shared_ptr<sqlite::Pool>& other) {
  return !one.owner_before(other) && !other.owner_before(one);
}

}  // namespace

void drop_snapshots_after_tick(const std::shared_ptr<sqlite::Pool>& pool) {
  auto& pools = holders.pools;
  if (holders.generation != process_generation()) holders.drop();
  const bool known =
      std::any_of(pools.begin(), pools.end(), [&](const auto& one) { return same(one, pool); });
  if (!known) pools.push_back(pool);
  at_end_of_tick(&drop_all);
}

}  // namespace mcp::python

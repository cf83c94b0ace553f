// policies.h: the policies that a cache may be asked for, by name. One more is a header of its own
// (cache_core.h says what it has to have) and its class in this list: bindings, benchmarks and
// tests go through it. The first is the default.
#pragma once

#include <cstddef>
#include <string_view>
#include <type_traits>
#include <utility>

#include "cache/adaptive_policy.h"
#include "cache/lru_policy.h"
#include "cache/sieve_policy.h"

namespace mcp::cache {

template <class... Policy>
struct PolicyList {
  // Another template with these policies as its arguments.
  template <template <class...> class Other>
  using into = Other<Policy...>;

  // Calls f(std::type_identity<P>{}) for the policy of this name; false if there is none.
  template <class F>
  static bool with_name(std::string_view name, F&& f) {
    return ((name == Policy::kName && (f(std::type_identity<Policy>{}), true)) || ...);
  }
  // Calls f(std::type_identity<P>{}) for each.
  template <class F>
  static void for_each(F&& f) {
    (f(std::type_identity<Policy>{}), ...);
  }
};

using Policies = PolicyList<AdaptivePolicy, LruPolicy, SievePolicy>;

}  // namespace mcp::cache

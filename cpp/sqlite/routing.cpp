// routing.cpp: the table of routes, in code.
#include "sqlite/routing.h"

#include "sqlite/pool_errors.h"

namespace mcp::sqlite {
namespace {

bool is_taken_for_a_read(const Request& request) noexcept {
  const Profile::Access access = request.profile->access();
  return access == Profile::Access::kRead ||
         (access == Profile::Access::kUnknown && request.want_rows);
}

}  // namespace

bool takes_writer(Access access, int size) noexcept {
  return access == Access::kWrite || size == 1;
}

Route route_of(const Request& request, const std::optional<Standing>& lease, int size,
               bool caller_has_writer) {
  if (lease && lease->in_transaction) return {Place::kLease, IfItWrites::kIsRefused};
  const IfItWrites later = caller_has_writer ? IfItWrites::kWaitsForSelf : IfItWrites::kMoves;
  const bool reads = is_taken_for_a_read(request);
  if (lease && (reads || lease->role == Role::kWriter)) return {Place::kLease, later};
  const Route route{lease ? Place::kMoved : reads ? Place::kReader : Place::kWriter, later};
  if (caller_has_writer && takes_writer(route.access(), size)) throw waits_for_itself();
  return route;
}

bool may_run_inline(const Request& request, Duration budget) noexcept {
  return budget > 0 && request.want_rows && request.profile->access() == Profile::Access::kRead &&
         request.profile->fits_inline(budget);
}

bool fits_shared_commit(const Request& request) {
  if (request.many || !request.profile->is_short_write()) return false;
  if (request.profile->access() != Profile::Access::kWrite) return false;
  const auto dependencies = request.profile->dependencies();
  return dependencies != nullptr && !dependencies->outside_transaction &&
         !dependencies->controls_transaction;
}

}  // namespace mcp::sqlite

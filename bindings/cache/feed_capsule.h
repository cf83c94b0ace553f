// feed_capsule.h: how a feed of invalidations goes through Python from the tier that writes
// it to the memory cache that follows it: a capsule that owns a
// std::shared_ptr<cache::InvalidationFeed>.
#pragma once

namespace mcp::python {

inline constexpr const char* kFeedCapsule = "mcp_performance.InvalidationFeed";

}  // namespace mcp::python

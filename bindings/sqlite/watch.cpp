// watch.cpp: a feed of invalidations whose news are the commits to a database.
#include "bindings/sqlite/watch.h"

#include <atomic>
#include <memory>

#include "base/fork.h"
#include "bindings/cache/feed_capsule.h"
#include "bindings/sqlite/endpoint.h"
#include "cache/invalidation_feed.h"

namespace py = pybind11;

namespace mcp::python {
namespace {

// The commits of one pool's database. In a forked child, whose pool is another one, it says at
// every look that there may have been some, and leaves the parent's pool alone.
class PoolCommits final : public cache::ChangeSource {
 public:
  explicit PoolCommits(std::shared_ptr<sqlite::Pool> pool) : pool_(std::move(pool)) {}
  ~PoolCommits() override {
    if (is_inherited()) leave_to_parent(pool_);
  }

  [[nodiscard]] std::uint64_t changes() noexcept override {
    if (is_inherited()) return beyond_.fetch_add(1, std::memory_order_relaxed);
    return pool_->version();
  }

 private:
  [[nodiscard]] bool is_inherited() const noexcept { return generation_ != process_generation(); }

  std::shared_ptr<sqlite::Pool> pool_;
  const std::uint32_t generation_ = process_generation();
  std::atomic<std::uint64_t> beyond_{std::uint64_t{1} << 62U};
};

using Feed = std::shared_ptr<cache::InvalidationFeed>;

Feed watch_pool(py::handle object) {
  if (PyObject_TypeCheck(object.ptr(), endpoint_type) == 0) {
    throw py::type_error("expected a SQLite pool");
  }
  PoolState* state = reinterpret_cast<Endpoint*>(object.ptr())->pool_state();
  if (state == nullptr) throw std::runtime_error("the pool was not initialised");
  static_cast<void>(state->pool());  // of this process
  return std::make_shared<cache::InvalidationFeed>(std::make_unique<PoolCommits>(state->current));
}

class PoolWatch {
 public:
  explicit PoolWatch(Feed feed) : feed_(std::move(feed)) {}

  [[nodiscard]] std::uint64_t arrived() const noexcept { return feed_->arrived(); }
  [[nodiscard]] py::object feed() const {
    return py::capsule(new Feed(feed_), kFeedCapsule,
                       [](void* held) { delete static_cast<Feed*>(held); });
  }

 private:
  Feed feed_;
};

}  // namespace

void bind_pool_watch(py::module_& module) {
  py::class_<PoolWatch>(module, "_SQLiteWatch")
      .def(py::init([](py::handle pool) { return PoolWatch(watch_pool(pool)); }), py::arg("pool"),
           "__init__(self, pool: SQLiteEndpoint) -> None")
      .def("arrived", &PoolWatch::arrived,
           "arrived(self) -> int\n\nA number that has grown if anybody may have committed.")
      .def("feed", &PoolWatch::feed);
}

}  // namespace mcp::python

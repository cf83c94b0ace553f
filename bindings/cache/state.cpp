// state.cpp: looks up, stores and removes entries, and tells of what left.
#include "bindings/cache/state.h"

#include <cmath>
#include <stdexcept>
#include <utility>

#include "bindings/base/saved_error.h"

namespace mcp::python {
namespace {

PyObject* housekeeper = nullptr;

constexpr std::uint64_t kUnbounded = std::uint64_t{1} << 62;
constexpr std::size_t kBuriedPerStore = 8;
constexpr std::size_t kBuriedPerTag = 1000;
constexpr int kMostRestarts = 1000;

const char* name_of(cache::Cause cause) noexcept {
  switch (cause) {
    case cache::Cause::kEvicted:
      return "evicted";
    case cache::Cause::kExpired:
      return "expired";
    case cache::Cause::kReplaced:
      return "replaced";
    case cache::Cause::kRemoved:
      return "removed";
    case cache::Cause::kCleared:
      return "cleared";
  }
  return "removed";
}

}  // namespace

void set_housekeeper(PyObject* function) {
  const Ref old = Ref::steal(std::exchange(housekeeper, Py_NewRef(function)));
}

// Usable even where a subclass never calls __init__.
CacheState::CacheState(PyObject* owner) : owner_(owner) {
  configure(CacheSettings{});
  is_configured_ = false;
}

CacheState::~CacheState() = default;

void CacheState::configure(const CacheSettings& settings) {
  const std::uint64_t capacity = settings.is_unbounded ? kUnbounded : settings.capacity;
  const cache::CacheOptions options{.capacity = capacity, .idle_ttl = settings.idle_ttl};
  // Without a bound nothing is ever chosen, and the plainest order serves.
  std::string_view policy = settings.policy;
  if (settings.is_unbounded) policy = cache::LruPolicy::kName;
  const auto make = [&]<class Policy>(std::type_identity<Policy>) {
    core_ = std::make_unique<CoreOf<Policy>>(options);
  };
  if (!cache::Policies::with_name(policy, make)) throw std::invalid_argument("policy");
  is_configured_ = true;
  capacity_ = settings.capacity;
  is_unbounded_ = settings.is_unbounded;
  ttl_ = settings.ttl;
  idle_ttl_ = settings.idle_ttl;
  weigher_ = Ref::borrow(settings.weigher);
  on_evict_ = Ref::borrow(settings.on_evict);
  clock_ = Ref::borrow(settings.clock);
}

bool CacheState::read_python_clock(Instant& now) {
  const Ref clock = Ref::borrow(clock_.get());
  const Ref value = Ref::steal(PyObject_CallNoArgs(clock.get()));
  if (!value) return false;
  const double seconds = PyFloat_AsDouble(value.get());
  if (seconds == -1.0 && PyErr_Occurred()) return false;
  if (!std::isfinite(seconds) || std::fabs(seconds) > 9e9) {
    PyErr_SetString(PyExc_ValueError, "clock() must return a finite number of seconds");
    return false;
  }
  now = from_seconds(seconds);
  return true;
}

template <class Core>
cache::Index CacheState::locate(Core& core, const KeyView& view, bool& failed) {
  bool unsure = false;
  const cache::Index i = core.find(static_cast<std::uint64_t>(view.hash), [&](PyObject* key) {
    const Match match = matches_fast(key, view);
    unsure |= match == Match::kUnsure;
    return match == Match::kEqual;
  });
  if (i != cache::kNone || !unsure) [[likely]]
    return i;
  return locate_slow(core, view, failed);
}

// Asks __eq__, which may do anything to this cache: after each call the search goes on only if
// nothing came, went or moved.
template <class Core>
cache::Index CacheState::locate_slow(Core& core, const KeyView& view, bool& failed) {
  for (int restart = 0; restart < kMostRestarts; ++restart) {
    auto cursor = core.candidates(static_cast<std::uint64_t>(view.hash));
    const std::uint64_t version = core.version();
    bool changed = false;
    for (cache::Index i; !changed && (i = core.candidate(cursor)) != cache::kNone;) {
      const Ref key = Ref::borrow(core.key(i));
      const int equal = matches_slow(key.get(), view);
      if (equal < 0) {
        failed = true;
        return cache::kNone;
      }
      changed = core.version() != version;
      if (!changed && equal) return i;
    }
    if (!changed) return cache::kNone;
  }
  PyErr_SetString(PyExc_RuntimeError, "a key's __eq__ changes the cache at every comparison");
  failed = true;
  return cache::kNone;
}

bool CacheState::follow(std::shared_ptr<cache::InvalidationFeed> feed, PyObject* handler) {
  if (feed != nullptr && feed_ != nullptr) return false;
  feed_ = std::move(feed);
  news_seen_ = 0;
  news_handler_ = Ref::borrow(handler);
  return true;
}

bool CacheState::take_news() {
  const std::uint64_t arrived = feed_->arrived();
  const Ref handler = Ref::borrow(news_handler_.get());
  const Ref done = Ref::steal(PyObject_CallNoArgs(handler.get()));
  if (!done) return false;
  news_seen_ = arrived;
  return true;
}

Lookup CacheState::look_up(const KeyView& view, bool touch) {
  Lookup result;
  bool failed = false;
  if (has_news() && !take_news()) {
    result.found = Found::kFailed;
    return result;
  }
  with_core([&](auto& core) {
    Instant now = 0;
    cache::Index i = cache::kNone;
    if (!read_clock(now) || ((i = locate(core, view, failed)) == cache::kNone && failed)) {
      result.found = Found::kFailed;
      return;
    }
    if (i == cache::kNone) {
      result.absent_at = core.version();
      return;
    }
    const Stored stored = core.value(i);
    const bool is_dead = stored.is_boxed() && stored.box()->is_dead();
    if (is_dead || core.expired(i, now)) {
      result.has_expired = !is_dead;
      if (!touch) return;
      Displaced out;
      core.erase(i, is_dead ? cache::Cause::kRemoved : cache::Cause::kExpired, out);
      settle(out, nullptr, is_dead ? "invalidated" : nullptr);
      return;
    }
    result.found = Found::kFresh;
    result.value = Ref::borrow(stored.value());
    result.fresh_until = core.expires_at(i, now);
    if (stored.is_boxed()) {
      const Box& box = *stored.box();
      result.is_failure = box.is_failure;
      result.load_ns = box.load_ns;
      if (box.fresh_until != kNever) result.fresh_until = box.fresh_until;
      if (box.fresh_until <= now) result.found = Found::kStale;
    }
    if (touch) core.touch(i, now);
  });
  return result;
}

void CacheState::count_miss(const KeyView& view, const Lookup& lookup) {
  ++figures.misses;
  const auto hash = static_cast<std::uint64_t>(view.hash);
  if (lookup.has_expired || lookup.found == Found::kStale ||
      with_core([&](auto& core) { return core.expired_recently(hash); })) {
    ++figures.misses_expired;
  } else if (with_core([&](auto& core) { return core.evicted_recently(hash); })) {
    ++figures.misses_evicted;
  }
}

bool CacheState::weigh(PyObject* key, PyObject* value, std::uint32_t& weight) {
  weight = 1;
  if (!weigher_) [[likely]]
    return true;
  const Ref weigher = Ref::borrow(weigher_.get());
  PyObject* args[] = {key, value};
  const Ref answer = Ref::steal(PyObject_Vectorcall(weigher.get(), args, 2, nullptr));
  if (!answer) return false;
  if (!PyLong_Check(answer.get()) || PyBool_Check(answer.get())) {
    PyErr_Format(PyExc_TypeError, "weigher must return an int, not %R", answer.get());
    return false;
  }
  const long long number = PyLong_AsLongLong(answer.get());
  if (number == -1 && PyErr_Occurred()) PyErr_Clear();
  if (number < 0 || number > static_cast<long long>(CoreOf<cache::LruPolicy>::kMaxWeight)) {
    PyErr_Format(PyExc_ValueError, "weigher returned %R: expected 0 to 4294967295", answer.get());
    return false;
  }
  weight = static_cast<std::uint32_t>(number);
  return true;
}

Stored CacheState::wrap(PyObject* value, const KeyView& view, const StoreTerms& terms, Instant now,
                        std::uint32_t weight, bool& refused) {
  const bool plain =
      terms.tags.empty() && terms.stale == 0 && terms.load_ns == 0 && !terms.is_failure;
  if (plain) return Stored(Py_NewRef(value));
  auto box = std::make_unique<Box>();
  box->is_failure = terms.is_failure;
  if (!tags_.attach(*box, terms.tags, terms.stamp)) {
    refused = true;
    return Stored{};
  }
  box->value = Py_NewRef(value);
  box->hash = static_cast<std::uint64_t>(view.hash);
  const bool is_cut = terms.longest < terms.ttl;  // leaves before it is stale
  box->fresh_until = terms.stale == 0 && !is_cut ? kNever : after(now, terms.ttl);
  box->load_ns = terms.load_ns;
  if (terms.is_failure) {
    box->weight = weight;
    ++failures_.entries;
    failures_.weight += weight;
  }
  return Stored(box.release());
}

void CacheState::unwrap(Stored stored) noexcept {
  if (!stored.is_boxed()) return;
  if (stored.box()->is_failure) {
    --failures_.entries;
    failures_.weight -= stored.box()->weight;
  }
  tags_.detach(*stored.box(), !loads_.empty());
  delete stored.box();
}

template <class Core>
bool CacheState::is_fresh(Core& core, cache::Index i, Instant now) {
  const Stored stored = core.value(i);
  if (core.expired(i, now)) return false;
  if (!stored.is_boxed()) return true;
  const Box& box = *stored.box();
  return !box.is_dead() && !box.is_failure && box.fresh_until > now;
}

template <class Core>
cache::Index CacheState::place(Core& core, const KeyView& view, const StoreTerms& terms,
                               bool& failed) {
  for (;;) {
    const bool is_absent = terms.absent_at == core.version();
    const cache::Index i = is_absent ? cache::kNone : locate(core, view, failed);
    if (failed || !terms.is_newest || loads_.empty()) return i;
    const std::uint64_t version = core.version();
    failed = !loads_.fence(view);  // may compare, and so change the cache
    if (failed || core.version() == version) return i;
  }
}

namespace {

bool still_holds(PyObject* holds, bool& failed) {
  if (holds == nullptr) [[likely]]
    return true;
  const Ref answer = Ref::steal(PyObject_CallNoArgs(holds));
  failed = !answer;
  return answer.get() == Py_True;
}

}  // namespace

bool CacheState::store(const KeyView& view, PyObject* key, PyObject* value,
                       const StoreTerms& terms) {
  if (tags_.has_dead()) bury_dead(kBuriedPerStore);
  const bool is_over = after(terms.ttl, terms.stale) <= 0;
  if (is_over || (capacity_ == 0 && !is_unbounded_)) return true;
  std::uint32_t weight = 1;
  Instant now = 0;
  // A weigher knows values; an exception that is remembered is none, and weighs 1.
  if (!terms.is_failure && !weigh(key, value, weight)) return false;
  if (!read_clock(now)) return false;
  bool failed = false;
  Displaced out;
  with_core([&](auto& core) {
    const cache::Index i = place(core, view, terms, failed);
    if (failed || (i != cache::kNone && terms.keeps_present && is_fresh(core, i, now))) return;
    // Weigher, clock and __eq__ have run: nothing else does before the entry is in. If holds() lets
    // others in, what they did to the cache counts, and `i` may be another key's.
    if (terms.claim != nullptr && !terms.claim->may_store()) return;
    const std::uint64_t version = core.version();
    bool refused = !still_holds(terms.holds, failed) || core.version() != version;
    if (refused) return;
    const Stored stored = wrap(value, view, terms, now, weight, refused);
    if (refused) return;
    const Duration kept = std::min(after(terms.ttl, terms.stale), terms.longest);
    const Instant expires_at = after(now, kept);
    try {
      if (i != cache::kNone) {
        core.replace(i, stored, weight, expires_at, now, out);
      } else {
        core.insert(Py_NewRef(key), static_cast<std::uint64_t>(view.hash), stored, weight,
                    expires_at, now, out);
      }
    } catch (...) {
      if (i == cache::kNone) Py_DECREF(key);
      PyObject* unused = stored.value();
      unwrap(stored);
      Py_DECREF(unused);
      failed = true;
      PyErr_NoMemory();
    }
    if (!failed && (expires_at != kNever || idle_ttl_ != 0) && !is_watched_) watch_expiry();
  });
  settle(out, key);
  return !failed;
}

void CacheState::count(cache::Cause cause) noexcept {
  switch (cause) {
    case cache::Cause::kEvicted:
      ++figures.evictions;
      break;
    case cache::Cause::kExpired:
      ++figures.expirations;
      break;
    case cache::Cause::kReplaced:
      break;
    case cache::Cause::kRemoved:
    case cache::Cause::kCleared:
      ++figures.invalidations;
      break;
  }
}

void CacheState::tell(PyObject* key, PyObject* value, const char* cause) {
  const ErrorSetAside aside;
  const Ref listener = Ref::borrow(on_evict_.get());
  const Ref result = Ref::steal(PyObject_CallFunction(listener.get(), "OOs", key, value, cause));
  if (!result) PyErr_WriteUnraisable(listener.get());
}

void CacheState::settle(Displaced& out, PyObject* key, const char* cause) {
  for (auto& item : out) {
    PyObject* object = item.value.value();
    const bool is_failure = item.value.is_boxed() && item.value.box()->is_failure;
    unwrap(item.value);
    count(item.cause);
    if (on_evict_ && !is_failure) {
      tell(item.key != nullptr ? item.key : key, object,
           cause != nullptr ? cause : name_of(item.cause));
    }
    Py_XDECREF(item.key);
    Py_DECREF(object);
  }
  out.clear();
}

void CacheState::bury_dead(std::size_t limit) {
  for (; limit > 0; --limit) {
    Box* box = tags_.first_dead();
    if (box == nullptr) return;
    Displaced out;
    with_core([&](auto& core) {
      auto cursor = core.candidates(box->hash);
      for (cache::Index i; (i = core.candidate(cursor)) != cache::kNone;) {
        if (core.value(i) != Stored(box)) continue;
        core.erase(i, cache::Cause::kRemoved, out);
        return;
      }
    });
    has_room_to_spare_ = true;
    settle(out, nullptr, "invalidated");
  }
}

int CacheState::remove(const KeyView& view, Ref* taken) {
  bool failed = false;
  if (!loads_.fence(view)) return -1;
  Instant now = 0;
  if (!read_clock(now)) return -1;
  Displaced out;
  bool was_living = false;
  bool is_dead = false;  // by its tag, and not yet taken out
  with_core([&](auto& core) {
    const cache::Index i = locate(core, view, failed);
    if (i == cache::kNone) return;
    const Stored stored = core.value(i);
    is_dead = stored.is_boxed() && stored.box()->is_dead();
    const bool is_expired = !is_dead && core.expired(i, now);
    was_living = !is_dead && !is_expired;
    const bool is_value =
        !stored.is_boxed() || (!stored.box()->is_failure && stored.box()->fresh_until > now);
    if (taken != nullptr && was_living && is_value) *taken = Ref::borrow(stored.value());
    core.erase(i, is_expired ? cache::Cause::kExpired : cache::Cause::kRemoved, out);
  });
  settle(out, nullptr, is_dead ? "invalidated" : nullptr);
  return failed ? -1 : was_living;
}

int CacheState::set_ttl(const KeyView& view, Duration ttl) {
  Instant now = 0;
  bool failed = false;
  if (!read_clock(now)) return -1;
  return with_core([&](auto& core) {
    const cache::Index i = locate(core, view, failed);
    if (failed) return -1;
    if (i == cache::kNone || core.expired(i, now)) return 0;
    const Stored stored = core.value(i);
    Duration stale = 0;
    if (stored.is_boxed()) {
      Box& box = *stored.box();
      if (box.is_dead()) return 0;
      if (box.fresh_until != kNever) {
        stale = core.expires_at(i, now) - box.fresh_until;
        box.fresh_until = after(now, ttl);
      }
    }
    const Instant expires_at = after(after(now, ttl), stale);
    core.set_expiry(i, expires_at, now);
    core.touch(i, now);
    if (expires_at != kNever && !is_watched_) watch_expiry();
    return 1;
  });
}

int CacheState::time_left(const KeyView& view, Duration* left) {
  Instant now = 0;
  bool failed = false;
  if (!read_clock(now)) return -1;
  return with_core([&](auto& core) {
    const cache::Index i = locate(core, view, failed);
    if (failed) return -1;
    if (i == cache::kNone || core.expired(i, now)) return 0;
    Instant until = core.expires_at(i, now);
    const Stored stored = core.value(i);
    if (stored.is_boxed()) {
      if (stored.box()->is_dead() || stored.box()->is_failure) return 0;
      until = std::min(until, stored.box()->fresh_until);
    }
    *left = until == kNever ? kNever : std::max<Duration>(until - now, 0);
    return 1;
  });
}

void CacheState::clear() {
  loads_.clear();
  Displaced out;
  with_core([&](auto& core) { core.clear(out); });
  settle(out);
}

bool CacheState::invalidate_tags(const std::vector<std::string>& names, std::size_t& killed) {
  loads_.fence_tags(names);
  Ref error;  // of a clock: what is asked for is done nevertheless
  if (!expire(SIZE_MAX)) error = take_error();
  for (const std::string& name : names) {
    // An entry with several tags is to be counted once: those that are dead by another go first.
    bury_dead(kBuriedPerTag);
    killed += tags_.invalidate(name, !loads_.empty());
  }
  if (!error) return true;
  set_error(std::move(error));
  return false;
}

void CacheState::resize(std::uint64_t capacity, bool is_unbounded) {
  Displaced out;
  capacity_ = capacity;
  is_unbounded_ = is_unbounded;
  with_core([&](auto& core) { core.resize(is_unbounded ? kUnbounded : capacity, out); });
  settle(out);
}

bool CacheState::expire(std::size_t budget) {
  bury_dead(budget);
  if (loads_.empty()) tags_.prune();
  Instant now = 0;
  if (!read_clock(now)) return false;
  Displaced out;
  with_core([&](auto& core) {
    const bool more = core.expire(now, out, budget);
    if (budget == SIZE_MAX) core.expire_late(now, out);
    has_room_to_spare_ |= !out.empty();
    if (!more && std::exchange(has_room_to_spare_, false)) core.shrink_to_fit();
  });
  settle(out);
  return true;
}

bool CacheState::measure(Extent& extent) {
  if (!expire(SIZE_MAX)) return false;
  with_core([&](auto& core) {
    extent = {core.size() - failures_.entries, core.weight() - failures_.weight};
  });
  return true;
}

PyObject* CacheState::list(bool pairs) {
  if (tags_.has_dead()) bury_dead(SIZE_MAX);
  Instant now = 0;
  if (!read_clock(now)) return nullptr;
  // Making the list may run the collector, and that any code: it is made first, with room.
  for (;;) {
    const std::size_t room = with_core([](auto& core) { return core.size(); });
    Ref items = Ref::steal(PyList_New(static_cast<Py_ssize_t>(pairs ? 2 * room : room)));
    if (!items) return nullptr;
    if (with_core([](auto& core) { return core.size(); }) > room) continue;
    Py_ssize_t filled = 0;
    with_core([&](auto& core) {
      core.for_each([&](cache::Index i) {
        const Stored stored = core.value(i);
        if (core.expired(i, now) || (stored.is_boxed() && stored.box()->is_failure)) return;
        PyList_SET_ITEM(items.get(), filled++, Py_NewRef(core.key(i)));
        if (pairs) PyList_SET_ITEM(items.get(), filled++, Py_NewRef(stored.value()));
      });
    });
    // What was not filled is cut off.
    if (PyList_SetSlice(items.get(), filled, PyList_GET_SIZE(items.get()), nullptr) < 0) {
      return nullptr;
    }
    if (!pairs) return items.release();
    Ref result = Ref::steal(PyList_New(filled / 2));
    if (!result) return nullptr;
    for (Py_ssize_t k = 0; k < filled / 2; ++k) {
      PyObject* pair = PyTuple_Pack(2, PyList_GET_ITEM(items.get(), 2 * k),
                                    PyList_GET_ITEM(items.get(), 2 * k + 1));
      if (pair == nullptr) return nullptr;
      PyList_SET_ITEM(result.get(), k, pair);
    }
    return result.release();
  }
}

void CacheState::watch_expiry() {
  is_watched_ = true;
  if (housekeeper == nullptr) return;
  const Ref done = Ref::steal(PyObject_CallOneArg(housekeeper, owner_));
  if (!done) PyErr_WriteUnraisable(owner_);
  if (done.get() == Py_False) is_watched_ = false;  // the next entry asks again
}

int CacheState::traverse(visitproc visit, void* arg) {
  Py_VISIT(weigher_.get());
  Py_VISIT(on_evict_.get());
  Py_VISIT(clock_.get());
  Py_VISIT(news_handler_.get());
  return with_core([&](auto& core) {
    int result = 0;
    core.for_each([&](cache::Index i) {
      if (result == 0) result = visit(core.key(i), arg);
      if (result == 0) result = visit(core.value(i).value(), arg);
    });
    return result;
  });
}

void CacheState::drop_all() noexcept {
  loads_.clear();
  weigher_ = Ref{};
  on_evict_ = Ref{};
  clock_ = Ref{};
  feed_.reset();
  news_handler_ = Ref{};
  try {
    Displaced out;
    with_core([&](auto& core) { core.clear(out); });
    settle(out);
  } catch (const std::bad_alloc&) {
    // Nothing was dropped: the collector comes back, or the process ends.
    return;
  }
}

}  // namespace mcp::python

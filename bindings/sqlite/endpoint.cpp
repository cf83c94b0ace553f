// endpoint.cpp: the type SQLiteEndpoint, and the functions that sqlite/_pool.py calls on it.
#include "bindings/sqlite/endpoint.h"

#include <dlfcn.h>
#include <sqlite3.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "bindings/base/counters.h"
#include "bindings/base/errors.h"
#include "bindings/base/fields.h"
#include "bindings/base/rooms.h"
#include "bindings/base/text.h"
#include "bindings/sqlite/action.h"
#include "bindings/sqlite/arguments.h"
#include "bindings/sqlite/figures.h"
#include "bindings/sqlite/lease.h"
#include "bindings/sqlite/native.h"
#include "bindings/sqlite/stream.h"
#include "bindings/sqlite/watch.h"
#include "sqlite/file_watch.h"
#include "sqlite/fork_guard.h"
#include "sqlite/pool_errors.h"

namespace py = pybind11;

namespace mcp::python {

PyTypeObject* endpoint_type = nullptr;

// ---- PoolState ----

sqlite::Pool& PoolState::pool() {
  if (current != nullptr && generation == process_generation()) return *current;
  if (current != nullptr) {
    // The parent's threads and connections are not here: nothing of them may be touched or closed.
    leave_to_parent(current);
    cache.clear();
    flights.clear();
    drop_profiles();
  }
  generation = process_generation();
  sqlite::PoolOptions chosen = options;
  if (chosen.database.memory) {
    static std::atomic<std::uint64_t> number{0};
    chosen.database.path = "file:/mcp_performance-" + std::to_string(number.fetch_add(1)) + "-" +
                           std::to_string(generation) + "?vfs=memdb";
  }
  current = std::make_shared<sqlite::Pool>(std::move(chosen));
  return *current;
}

bool PoolState::is_quiet() const {
  if (current == nullptr) return true;
  if (generation != process_generation()) return false;  // the parent's, and its lock may be held
  const sqlite::PoolCounts counts = current->counts();
  return counts.in_use == 0 && counts.waiting == 0;
}

void PoolState::drop_profiles() {
  for (KnownText& known : known_texts_) {
    known.profile = nullptr;
    Py_CLEAR(known.text);
  }
}

sqlite::ProfilePtr PoolState::profile_of(PyObject* sql) {
  const auto address = reinterpret_cast<std::uintptr_t>(sql);
  KnownText& known = known_texts_[(address >> 4) % known_texts_.size()];
  if (known.text == sql) return known.profile;
  std::string_view text;
  if (!utf8_of(sql, "sql", text)) return nullptr;
  sqlite::ProfilePtr profile = pool().profiles().find(text);
  if (PyUnicode_CheckExact(sql)) {
    Py_INCREF(sql);
    Py_XSETREF(known.text, sql);
    known.profile = profile;
  }
  return profile;
}

HeldLease::HeldLease(const PoolState& state, bool in_transaction)
    : lease(std::make_shared<sqlite::Lease>(state.current, in_transaction)),
      holder(std::make_shared<const Holder>(Holder::caller())),
      all(state.leases) {
  all->push_back(this);
}

HeldLease::~HeldLease() {
  lease->end();
  std::erase(*all, this);
}

sqlite::Lease& Endpoint::open_lease() const {
  if (held == nullptr || !held->lease->open()) throw sqlite::given_back();
  return *held->lease;
}

void set_python_error_from(const std::exception_ptr& failure) noexcept {
  try {
    std::rethrow_exception(failure);
  } catch (const sqlite::Stopped& stopped) {
    if (PyErr_Occurred() != nullptr) return;  // a signal handler's
    set_python_error(stopped.why == sqlite::Stop::kDeadline
                         ? Error(ErrorKind::kPoolTimeout, "the statement did not finish in time", 9)
                         : Error(ErrorKind::kPoolClosed, "the statement was stopped", 9));
  } catch (const sqlite::NeedsWriter&) {
    set_python_error(Error(ErrorKind::kQuery, "the transaction is read-only", 8));
  } catch (...) {
    set_python_error_from_current_exception();
  }
}

// ---- the type ----

namespace {

void end_endpoint(Endpoint* self) {
  delete std::exchange(self->held, nullptr);
  PoolState* state = std::exchange(self->state, nullptr);
  if (state == nullptr) return;
  if (state->current != nullptr) {
    if (state->generation == process_generation()) {
      const GilRelease unlocked;
      state->current->terminate();
    } else {
      leave_to_parent(state->current);
    }
  }
  state->drop_profiles();
  PyObject* init = std::exchange(state->init, nullptr);
  PyObject* adapters = std::exchange(state->adapters, nullptr);
  PyObject* converters = std::exchange(state->converters, nullptr);
  delete state;
  Py_XDECREF(init);
  Py_XDECREF(adapters);
  Py_XDECREF(converters);
}

int endpoint_traverse(Endpoint* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(self->owner);
  if (self->state != nullptr) {
    if (self->state->is_quiet()) {
      Py_VISIT(self->state->init);
      for (PyObject* const callable : *self->state->callables) Py_VISIT(callable);
    }
    Py_VISIT(self->state->adapters);
    Py_VISIT(self->state->converters);
  }
  return 0;
}

int endpoint_clear(Endpoint* self) {
  end_endpoint(self);
  Py_CLEAR(self->owner);
  return 0;
}

void endpoint_dealloc(Endpoint* self) {
  PyObject_GC_UnTrack(self);
  endpoint_clear(self);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

Endpoint& checked(py::handle object) {
  if (PyObject_TypeCheck(object.ptr(), endpoint_type) == 0) {
    throw py::type_error("expected an endpoint of a SQLite pool");
  }
  auto& endpoint = *reinterpret_cast<Endpoint*>(object.ptr());
  if (endpoint.pool_state() == nullptr) {
    throw std::runtime_error("the pool was not initialised");
  }
  return endpoint;
}

py::object returned(PyObject* object) {
  if (object == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(object);
}

void configure(py::handle self, const py::dict& settings) {
  auto& endpoint = *reinterpret_cast<Endpoint*>(self.ptr());
  if (endpoint.state != nullptr || endpoint.owner != nullptr) {
    throw std::runtime_error("the pool is initialised already");
  }
  sqlite::PoolOptions options;
  options.database.path = settings["path"].cast<std::string>();
  options.database.memory = settings["memory"].cast<bool>();
  options.database.wal = settings["wal"].cast<bool>();
  options.database.cache_pages = settings["cache_pages"].cast<int>();
  options.database.synchronous = settings["synchronous"].cast<std::string>();
  options.database.guarded = settings["guarded"].cast<bool>();
  options.database.busy_timeout_ns = from_seconds(settings["busy_timeout"].cast<double>());
  options.size = settings["size"].cast<int>();
  options.acquire_timeout_ns = from_seconds(settings["acquire_timeout"].cast<double>());
  // A caller's thread has the interpreter lock, which another connection's user code may wait for.
  if (sqlite::shares_cache(options.database.path))
    options.inline_budget_ns = 0;
  else
    options.inline_budget_ns = from_seconds(settings["inline_budget"].cast<double>());
  options.slow_ns = from_seconds(settings["slow_query_threshold"].cast<double>());
  options.tracking = settings["tracking"].cast<bool>();
  const auto callables = std::make_shared<UserCallables>();
  const py::object init = settings["init"];
  if (!init.is_none()) {
    PyObject* callable = init.ptr();
    options.init = [callable, callables](sqlite::Connection& connection) {
      run_init(callable, callables, connection);
    };
  }
  endpoint.state =
      new PoolState(std::move(options), settings["query_cache_bytes"].cast<std::size_t>(),
                    from_seconds(settings["query_cache_ttl"].cast<double>()));
  endpoint.state->callables = callables;
  endpoint.state->row_type = static_cast<RowType>(settings["row_type"].cast<int>());
  if (!init.is_none()) endpoint.state->init = init.inc_ref().ptr();
  const py::object adapters = settings["adapters"];
  const py::object converters = settings["converters"];
  if (!adapters.is_none()) endpoint.state->adapters = adapters.inc_ref().ptr();
  if (!converters.is_none()) endpoint.state->converters = converters.inc_ref().ptr();
  endpoint.state->keeps_results = settings["keeps_results"].cast<bool>();
}

void attach(py::handle self, py::handle owner, bool blocking) {
  checked(owner);
  auto& endpoint = *reinterpret_cast<Endpoint*>(self.ptr());
  auto* target = reinterpret_cast<Endpoint*>(owner.ptr());
  if (target->owner != nullptr) target = target->owner;
  if (endpoint.state != nullptr || endpoint.owner != nullptr) {
    throw std::runtime_error("the endpoint is attached already");
  }
  endpoint.owner = reinterpret_cast<Endpoint*>(Py_NewRef(reinterpret_cast<PyObject*>(target)));
  endpoint.blocking = blocking;
}

py::dict counts(py::handle self) {
  PoolState& state = *checked(self).pool_state();
  py::dict out = dict_of(state.pool().counts());
  out["cache"] = dict_of(state.cache.counters());
  return out;
}

constexpr std::array<std::string_view, 15> kPoolCounters{"reads",
                                                         "writes",
                                                         "errors",
                                                         "timeouts",
                                                         "inline_runs",
                                                         "inline_overruns",
                                                         "worker_runs",
                                                         "reconnects",
                                                         "quarantined",
                                                         "replaced",
                                                         "database_seconds",
                                                         "writer_wait_seconds",
                                                         "reader_wait_seconds",
                                                         "starved_checkpoints",
                                                         "shared_commits"};
constexpr std::array<std::string_view, 6> kResultCounters{
    "hits", "misses", "loads", "evictions", "expirations", "invalidations"};

template <class Read>
bool read_of(PyObject* object, CounterValues& values, Read&& read) noexcept {
  try {
    values = read(*checked(py::handle(object)).pool_state());
    return true;
  } catch (const std::exception&) {
    PyErr_Clear();
    return false;
  }
}

double as_double(std::uint64_t count) { return static_cast<double>(count); }

bool read_pool_counters(PyObject* object, CounterValues& values) noexcept {
  return read_of(object, values, [](PoolState& state) {
    const sqlite::PoolCounts c = state.pool().counts();
    return CounterValues{as_double(c.reads),
                         as_double(c.writes),
                         as_double(c.errors),
                         as_double(c.timeouts),
                         as_double(c.inline_runs),
                         as_double(c.inline_overruns),
                         as_double(c.worker_runs),
                         as_double(c.reconnects),
                         as_double(c.quarantined),
                         as_double(c.replaced),
                         c.database_s,
                         c.writer_wait_s,
                         c.reader_wait_s,
                         as_double(c.starved_checkpoints),
                         as_double(c.shared_commits)};
  });
}

bool read_result_counters(PyObject* object, CounterValues& values) noexcept {
  return read_of(object, values, [](PoolState& state) {
    const ResultCache::Counters kept = state.cache.counters();
    return CounterValues{as_double(kept.hits),        as_double(kept.misses),
                         as_double(kept.loads),       as_double(kept.evictions),
                         as_double(kept.expirations), as_double(kept.invalidations)};
  });
}

py::list query_totals(py::handle self) {
  return totals_by_fingerprint(checked(self).pool_state()->pool().tracker());
}

py::dict overall_totals(py::handle self) {
  return totals_of_all(checked(self).pool_state()->pool().tracker());
}

py::list slow_statements(py::handle self) {
  return slow_executions(checked(self).pool_state()->pool().tracker());
}

py::object begin(py::handle self, int kind, py::handle timeout) {
  Endpoint& endpoint = checked(self);
  Duration timeout_ns = 0;
  if (!read_timeout(timeout.ptr(), timeout_ns)) throw py::error_already_set();
  if (endpoint.held != nullptr) throw std::runtime_error("the endpoint has a connection already");
  return returned(begin_lease(&endpoint, static_cast<sqlite::Block>(kind), timeout_ns));
}

void release(py::handle self) {
  Endpoint& endpoint = checked(self);
  if (endpoint.held != nullptr) endpoint.held->lease->end();
}

bool in_transaction(py::handle self) {
  Endpoint& endpoint = checked(self);
  return endpoint.held != nullptr && endpoint.held->lease->in_transaction();
}

void terminate(py::handle self) {
  PoolState& state = *checked(self).pool_state();
  state.cache.clear();
  state.cache.drop_dead();
  state.pool();
  const std::shared_ptr<sqlite::Pool> pool = state.current;
  const GilRelease unlocked;
  pool->terminate();
}

// Whether the extension module at `path` uses the very library that this one does.
bool shared_with(const std::string& path) {
  void* other = dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (other == nullptr) return false;
  void* theirs = dlsym(other, "sqlite3_libversion");
  dlclose(other);
  return theirs == reinterpret_cast<void*>(&sqlite3_libversion);
}

// The file of the library that this one uses.
std::string library_file() {
  Dl_info info;
  const bool known = dladdr(reinterpret_cast<void*>(&sqlite3_libversion), &info) != 0;
  return known && info.dli_fname != nullptr ? info.dli_fname : "";
}

// The name by which Python's own sqlite3 opens the pool's database too. Commits to a file show in
// its wal-index or change counter, whoever made them; those to a database in memory do not, so its
// results are kept no longer.
std::string lend_database(py::handle self) {
  PoolState& state = *checked(self).pool_state();
  const sqlite::Pool& pool = state.pool();
  if (pool.closed()) throw Error(ErrorKind::kPoolClosed, "the pool is closed");
  if (pool.options().database.memory) {
    state.keeps_results = false;
    state.cache.clear();
    state.cache.drop_dead();
  }
  return pool.options().database.path;
}

PyType_Slot endpoint_slots[] = {
    {Py_tp_doc, const_cast<char*>("__new__(cls, *args: Any, **kwargs: Any) -> Self\n\n"
                                  "Runs statements on a pool, or on one of its connections.")},
    {Py_tp_new, reinterpret_cast<void*>(PyType_GenericNew)},
    {Py_tp_traverse, reinterpret_cast<void*>(endpoint_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(endpoint_clear)},
    {Py_tp_dealloc, reinterpret_cast<void*>(endpoint_dealloc)},
    {Py_tp_methods, query_methods},
    {0, nullptr},
};

PyType_Spec endpoint_spec = {"mcp_performance._core.SQLiteEndpoint", sizeof(Endpoint), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
                             endpoint_slots};

void add_numbers(py::module_& module) {
  module.attr("SQLITE_ANY") = static_cast<int>(sqlite::Block::kConnection);
  module.attr("SQLITE_READ") = static_cast<int>(sqlite::Block::kReadTransaction);
  module.attr("SQLITE_WRITE") = static_cast<int>(sqlite::Block::kWriteTransaction);
  module.attr("SQLITE_READER") = static_cast<int>(sqlite::Block::kReader);
  module.attr("SQLITE_TUPLE") = static_cast<int>(RowType::kTuple);
  module.attr("SQLITE_NAMED") = static_cast<int>(RowType::kNamed);
  module.attr("SQLITE_DICT") = static_cast<int>(RowType::kDict);
}

// What the pool says of itself.
void bind_figures(py::module_& module) {
  add_counter_kind({"pool", kPoolCounters, read_pool_counters});
  add_counter_kind({"results", kResultCounters, read_result_counters});
  module.def("_sqlite_counts", &counts,
             "_sqlite_counts(pool: SQLiteEndpoint, /) -> dict[str, Any]");
  module.def("_sqlite_query_totals", &query_totals,
             "_sqlite_query_totals(pool: SQLiteEndpoint, /) -> list[dict[str, Any]]");
  module.def("_sqlite_overall_totals", &overall_totals,
             "_sqlite_overall_totals(pool: SQLiteEndpoint, /) -> dict[str, Any]");
  module.def("_sqlite_slow", &slow_statements,
             "_sqlite_slow(pool: SQLiteEndpoint, /) -> list[dict[str, Any]]");
  module.def(
      "_sqlite_reset_stats",
      [](py::handle self) { checked(self).pool_state()->pool().tracker().reset(); },
      "_sqlite_reset_stats(pool: SQLiteEndpoint, /) -> None");
}

// Connections that are borrowed, and the transactions on them.
void bind_blocks(py::module_& module) {
  module.def("_sqlite_begin", &begin,
             "_sqlite_begin(endpoint: SQLiteEndpoint, kind: int, timeout: float | None, /) -> Any");
  module.def(
      "_sqlite_end",
      [](py::handle self, bool commit) {
        return returned(end_transaction(&checked(self), commit));
      },
      "_sqlite_end(endpoint: SQLiteEndpoint, commit: bool, /) -> Any");
  module.def(
      "_sqlite_control",
      [](py::handle self, const py::str& sql) {
        return returned(run_control(&checked(self), sql.ptr()));
      },
      "_sqlite_control(endpoint: SQLiteEndpoint, sql: str, /) -> Any");
  module.def("_sqlite_release", &release, "_sqlite_release(endpoint: SQLiteEndpoint, /) -> None");
  module.def("_sqlite_in_transaction", &in_transaction,
             "_sqlite_in_transaction(endpoint: SQLiteEndpoint, /) -> bool");
}

void bind_lifetime(py::module_& module) {
  module.def(
      "_sqlite_open", [](py::handle self) { return returned(open_pool(&checked(self))); },
      "_sqlite_open(pool: SQLiteEndpoint, /) -> Any");
  module.def(
      "_sqlite_close", [](py::handle self) { return returned(close_pool(&checked(self))); },
      "_sqlite_close(pool: SQLiteEndpoint, /) -> Any");
  module.def(
      "_sqlite_close_blocking",
      [](py::handle self, double timeout_s) {
        const bool closed = close_pool_blocking(&checked(self), from_seconds(timeout_s));
        if (PyErr_Occurred() != nullptr) throw py::error_already_set();
        return closed;
      },
      "_sqlite_close_blocking(pool: SQLiteEndpoint, timeout_s: float, /) -> bool");
  module.def(
      "_sqlite_close_timeout",
      [](py::handle self, py::handle timeout) {
        Duration timeout_ns = checked(self).pool_state()->options.acquire_timeout_ns;
        if (!read_timeout(timeout.ptr(), timeout_ns)) throw py::error_already_set();
        return to_seconds(timeout_ns);
      },
      "_sqlite_close_timeout(pool: SQLiteEndpoint, timeout: float | None, /) -> float");
  module.def(
      "_sqlite_held_for",
      [](py::handle self) {
        py::list statements;
        for (const std::string& sql : checked(self).pool_state()->pool().held_for()) {
          statements.append(py::str(sql));
        }
        return statements;
      },
      "_sqlite_held_for(pool: SQLiteEndpoint, /) -> list[str]");
  module.def(
      "_sqlite_expect",
      [](py::handle self, dev_t device, ino_t inode) {
        checked(self).pool_state()->pool().expect({device, inode});
      },
      "_sqlite_expect(pool: SQLiteEndpoint, device: int, inode: int, /) -> None");
  module.def(
      "_sqlite_era", [](py::handle self) { return checked(self).pool_state()->pool().era(); },
      "_sqlite_era(pool: SQLiteEndpoint, /) -> int");
  module.def(
      "_sqlite_delete_log_at_close",
      [](py::handle self) { checked(self).pool_state()->pool().freshness().delete_log_at_close(); },
      "_sqlite_delete_log_at_close(pool: SQLiteEndpoint, /) -> None");
  module.def("_sqlite_terminate", &terminate, "_sqlite_terminate(pool: SQLiteEndpoint, /) -> None");
  module.def(
      "_sqlite_closed", [](py::handle self) { return checked(self).pool_state()->pool().closed(); },
      "_sqlite_closed(pool: SQLiteEndpoint, /) -> bool");
}

}  // namespace

void bind_sqlite(py::module_& module) {
  bind_awaitable(module);
  add_native_finder(&statement_work_of);
  bind_query(module);
  endpoint_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&endpoint_spec));
  if (endpoint_type == nullptr) throw py::error_already_set();
  module.attr("SQLiteEndpoint") = py::handle(reinterpret_cast<PyObject*>(endpoint_type));
  module.def("_sqlite_configure", &configure,
             "_sqlite_configure(pool: SQLiteEndpoint, settings: dict[str, Any], /) -> None");
  module.def(
      "_sqlite_attach", &attach,
      "_sqlite_attach(endpoint: SQLiteEndpoint, pool: SQLiteEndpoint, blocking: bool, /) -> None");
  bind_figures(module);
  bind_blocks(module);
  bind_lifetime(module);
  bind_stream(module);
  bind_new_connection(module);
  bind_pool_watch(module);
  module.def(
      "_sqlite_backup",
      [](py::handle self, const std::string& path) {
        return returned(backup_to(&checked(self), path));
      },
      "_sqlite_backup(pool: SQLiteEndpoint, path: str, /) -> Any");
  module.attr("SQLITE_VERSION") = sqlite3_libversion();
  add_numbers(module);
  module.def("_sqlite_shared_with", &shared_with, py::arg("path"));
  module.def("_sqlite_library_file", &library_file);
  module.def("_sqlite_lend_database", &lend_database,
             "_sqlite_lend_database(pool: SQLiteEndpoint, /) -> str");
  py::class_<sqlite::ForkHold>(module, "_SQLiteForkHold")
      .def(py::init([](const py::bytes& path) {
             return std::make_unique<sqlite::ForkHold>(std::string(path));
           }),
           py::arg("path"));  // whatever the file system takes, not only UTF-8
}

}  // namespace mcp::python

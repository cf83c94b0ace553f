// sqlite_query.cpp: fetch, fetchrow, fetchval, execute and executemany, awaited or waited for.
#include <cmath>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "errors.h"
#include "sqlite_action.h"
#include "sqlite_endpoint.h"
#include "sqlite_lease.h"
#include "sqlite_params.h"
#include "sqlite_result.h"

namespace mcp::python {
namespace {

using sqlite::Access;
using sqlite::Answer;
using sqlite::Operation;
using sqlite::OperationPtr;
using sqlite::Pool;
using sqlite::ProfilePtr;
using sqlite::Request;
using sqlite::RowBlock;
using sqlite::Slot;
using sqlite::Stop;
using sqlite::Stopped;

PyObject *name_sql, *name_params, *name_timeout, *name_cache, *name_row_type;
PyObject *value_tuple, *value_named, *value_dict, *empty_tuple;

// ---- arguments ----

struct Arguments {
  PyObject* sql = nullptr;     // borrowed
  PyObject* params = nullptr;  // borrowed
  Duration timeout_ns = 0;
  bool cache = true;
  std::optional<RowType> row_type;
};

bool same_name(PyObject* given, PyObject* wanted) {
  return given == wanted || PyUnicode_Compare(given, wanted) == 0;
}

bool read_timeout(PyObject* value, Duration& out) {
  if (value == Py_None) return true;
  const double seconds = PyFloat_AsDouble(value);
  if (seconds == -1.0 && PyErr_Occurred() != nullptr) return false;
  if (!(seconds > 0) || std::isinf(seconds) || PyBool_Check(value)) {
    PyObject* shown = PyObject_Repr(value);
    if (shown == nullptr) return false;
    const char* text = PyUnicode_AsUTF8(shown);
    set_python_error(invalid_argument("timeout", text != nullptr ? text : "?",
                                      "a positive number of seconds, or None"));
    Py_DECREF(shown);
    return false;
  }
  out = static_cast<Duration>(std::min(seconds * 1e9, 9e18));
  return true;
}

bool read_row_type(PyObject* value, std::optional<RowType>& out) {
  if (value == Py_None) return true;
  if (PyUnicode_Check(value)) {
    if (same_name(value, value_tuple)) return out = RowType::kTuple, true;
    if (same_name(value, value_named)) return out = RowType::kNamed, true;
    if (same_name(value, value_dict)) return out = RowType::kDict, true;
  }
  PyObject* shown = PyObject_Repr(value);
  if (shown == nullptr) return false;
  const char* text = PyUnicode_AsUTF8(shown);
  set_python_error(
      invalid_argument("row_type", text != nullptr ? text : "?", "'tuple', 'named' or 'dict'"));
  Py_DECREF(shown);
  return false;
}

bool read_keyword(PyObject* name, PyObject* value, Kind kind, Arguments& out) {
  const bool fetches = kind != Kind::kExecute && kind != Kind::kMany;
  if (same_name(name, name_timeout)) return read_timeout(value, out.timeout_ns);
  if (same_name(name, name_params)) return out.params = value, true;
  if (same_name(name, name_sql)) return out.sql = value, true;
  if (fetches && same_name(name, name_cache)) {
    const int truth = PyObject_IsTrue(value);
    out.cache = truth == 1;
    return truth >= 0;
  }
  if (fetches && same_name(name, name_row_type)) return read_row_type(value, out.row_type);
  PyErr_Format(PyExc_TypeError, "unexpected keyword argument '%U'", name);
  return false;
}

bool read_arguments(Kind kind, PyObject* const* args, Py_ssize_t count, PyObject* names,
                    Arguments& out) {
  if (count > 2) {
    PyErr_Format(PyExc_TypeError,
                 "expected sql and params, got %zd positional arguments: params is one sequence or "
                 "mapping",
                 count);
    return false;
  }
  if (count > 0) out.sql = args[0];
  if (count > 1) out.params = args[1];
  const Py_ssize_t keywords = names != nullptr ? PyTuple_GET_SIZE(names) : 0;
  for (Py_ssize_t i = 0; i < keywords; ++i) {
    if (!read_keyword(PyTuple_GET_ITEM(names, i), args[count + i], kind, out)) return false;
  }
  if (out.sql == nullptr || !PyUnicode_Check(out.sql)) {
    PyErr_Format(PyExc_TypeError, "sql: expected a str, not %.200s",
                 out.sql == nullptr ? "nothing" : Py_TYPE(out.sql)->tp_name);
    return false;
  }
  if (out.params == nullptr) {
    if (kind == Kind::kMany) {
      PyErr_SetString(PyExc_TypeError, "executemany: expected a sequence of parameters");
      return false;
    }
    out.params = empty_tuple;
  }
  return true;
}

// ---- the worker's side ----

struct AnswerPayload final : CompletionPayload {
  Answer answer;
  std::exception_ptr failure;
  // A connection that the statement moved its lease to.
  Slot* upgraded = nullptr;
  std::weak_ptr<Pool> pool;
  ~AnswerPayload() override {
    if (upgraded == nullptr) return;
    if (const auto alive = pool.lock()) alive->end_lease(*upgraded);
  }
};

class StatementJob final : public sqlite::Job, private sqlite::RowSink {
 public:
  StatementJob(std::shared_ptr<Pool> pool, Access access, OperationPtr operation, Request request,
               bool upgrades, std::shared_ptr<CompletionQueue> queue, std::uint64_t id)
      : Job(access, operation),
        shared_operation_(std::move(operation)),
        pool_(pool),
        raw_pool_(*pool),
        request_(std::move(request)),
        upgrades_(upgrades),
        queue_(std::move(queue)),
        id_(id) {}

  After run(Slot& slot) override {
    try {
      payload_->answer = raw_pool_.execute(slot, request_, operation(), 0,
                                           request_.first_row_only ? nullptr : this);
    } catch (const sqlite::NeedsWriter&) {
      if (!may_upgrade_) throw;  // the pool sends it to the writer, or it is an error
      raw_pool_.submit(std::make_unique<StatementJob>(
          pool_.lock(), Access::kWrite, shared_operation_, std::move(request_), true, queue_, id_));
      handed_over_ = true;
      return After::kLease;
    }
    if (!upgrades_) return keeps_lease_ ? After::kLease : After::kRelease;
    payload_->pool = pool_;
    payload_->upgraded = &slot;
    return After::kLease;
  }
  void finish(std::exception_ptr failure) noexcept override {
    if (handed_over_) return;
    payload_->failure = std::move(failure);
    queue_->push({id_, std::move(payload_), true});
  }
  [[nodiscard]] bool expects_long() const noexcept override {
    return request_.many || !request_.profile->fits_inline(kMillisecond);
  }
  // Runs on a leased connection; if it turns out to write, the lease may move to the writer.
  void keep_lease(bool may_upgrade) noexcept {
    keeps_lease_ = true;
    may_upgrade_ = may_upgrade;
  }

 private:
  void take(RowBlock&& block, const std::shared_ptr<const sqlite::ColumnNames>& names) override {
    auto part = std::make_unique<AnswerPayload>();
    part->answer.rows = std::move(block);
    part->answer.names = names;
    queue_->push({id_, std::move(part), false});
  }

  const OperationPtr shared_operation_;
  const std::weak_ptr<Pool> pool_;
  Pool& raw_pool_;  // it joins its workers before it goes
  Request request_;
  const bool upgrades_;
  bool keeps_lease_ = false;
  bool may_upgrade_ = false;
  bool handed_over_ = false;  // to another job, on the writer
  const std::shared_ptr<CompletionQueue> queue_;
  const std::uint64_t id_;
  std::unique_ptr<AnswerPayload> payload_ = std::make_unique<AnswerPayload>();
};

// ---- the caller's side ----

// What a statement needs to become a result. Shared by all ways to run it.
struct Delivery {
  Kind kind;
  RowType row_type;
  std::string cache_key;  // empty: not to be kept
  bool leads = false;     // others may wait for this result
};

// Wakes a caller that waited for another's result.
class FollowerConversion final : public Conversion {
 public:
  Progress resume(Completion&, Instant, PyObject*& result) override {
    result = Py_NewRef(Py_None);
    return Progress::kDone;
  }
};

void keep_result(PoolState& state, const Delivery& delivery, const Answer& answer,
                 std::size_t bytes, PyObject* result) {
  if (delivery.cache_key.empty() || !answer.cacheable) return;
  PyObject* kept = to_kept(delivery.kind, delivery.row_type, result);
  if (kept == nullptr) {
    PyErr_Clear();
    return;
  }
  try {
    state.cache.put(delivery.cache_key, kept, bytes, answer.seen, answer.dependencies);
  } catch (const std::bad_alloc&) {
    // Then it is not kept.
  }
  Py_DECREF(kept);
}

class StatementConversion final : public Conversion {
 public:
  StatementConversion(Endpoint* endpoint, Delivery delivery)
      : endpoint_(endpoint),
        delivery_(std::move(delivery)),
        collector_(delivery_.kind, delivery_.row_type, endpoint->pool_state()->converters) {
    Py_INCREF(endpoint_);
  }
  ~StatementConversion() override {
    land();
    Py_DECREF(endpoint_);
  }

  Progress resume(Completion& completion, Instant deadline, PyObject*& result) override {
    auto& payload = static_cast<AnswerPayload&>(*completion.payload);
    if (payload.upgraded != nullptr) adopt(payload);
    if (payload.failure) {
      set_python_error_from(payload.failure);
      return Progress::kError;
    }
    const Instant start = now_precise();
    const auto step = collector_.add(payload.answer.rows, payload.answer.names, deadline);
    converted_ns_ += now_precise() - start;
    if (step == Collector::Step::kError) return Progress::kError;
    if (step == Collector::Step::kYield) return Progress::kYield;
    if (!completion.last) return Progress::kNext;
    result = collector_.result(payload.answer.changes);
    if (result == nullptr) return Progress::kError;
    if (payload.answer.figures != nullptr) payload.answer.figures->add_conversion(converted_ns_);
    keep_result(*endpoint_->pool_state(), delivery_, payload.answer, collector_.bytes(), result);
    return Progress::kDone;
  }

 private:
  // Wakes whoever waited for this result, come or not: they look in the cache, and one of them
  // runs the statement if it is not there.
  void land() {
    PoolState* state = endpoint_->pool_state();
    if (!delivery_.leads || state == nullptr) return;
    auto flight = state->flights.extract(delivery_.cache_key);
    if (flight.empty()) return;
    for (PoolState::Follower& follower : flight.mapped()) {
      follower.queue->push({follower.id, nullptr, true});
    }
  }

  // The lease goes on, on the writer.
  void adopt(AnswerPayload& payload) {
    Lease& lease = **endpoint_->lease;
    Slot* slot = std::exchange(payload.upgraded, nullptr);
    lease.end();
    lease.slot = slot;
  }

  Endpoint* const endpoint_;
  Delivery delivery_;
  Collector collector_;
  Duration converted_ns_ = 0;
};

class StatementAction final : public Action {
 public:
  StatementAction(Endpoint* endpoint, Kind kind, const Arguments& arguments)
      : endpoint_(endpoint), kind_(kind), arguments_(arguments) {
    Py_INCREF(endpoint_);
    Py_INCREF(arguments_.sql);
    Py_INCREF(arguments_.params);
  }
  ~StatementAction() override {
    Py_DECREF(endpoint_);
    Py_DECREF(arguments_.sql);
    Py_DECREF(arguments_.params);
  }
  StatementAction(const StatementAction&) = delete;
  StatementAction& operator=(const StatementAction&) = delete;

  int traverse(visitproc visit, void* arg) override {
    Py_VISIT(endpoint_);
    Py_VISIT(arguments_.params);
    return 0;
  }

  Outcome try_now(PyObject*& result) override {
    try {
      if (!prepare()) return Outcome::kError;
      if ((result = cached()) != nullptr) return Outcome::kDone;
      if (PyErr_Occurred() != nullptr) return Outcome::kError;
      return try_inline(result);
    } catch (...) {
      set_python_error_from(std::current_exception());
      return Outcome::kError;
    }
  }

  [[nodiscard]] bool wants_retry() const noexcept override { return follows_; }

  bool start(std::shared_ptr<CompletionQueue> queue, std::uint64_t id,
             OperationPtr operation) override {
    try {
      if (follows_) {
        endpoint_->pool_state()->flights[key_].push_back({std::move(queue), id});
        return true;
      }
      PoolState& state = *endpoint_->pool_state();
      Pool& pool = state.pool();
      Lease* lease = endpoint_->lease != nullptr ? endpoint_->lease->get() : nullptr;
      const bool reads = request_.profile->access() == sqlite::Profile::Access::kRead;
      const bool upgrades = lease != nullptr && !lease->transaction && writes_on_reader(*lease);
      request_.submitted = now_precise();
      auto job = std::make_unique<StatementJob>(
          state.current, reads || assumes_read() ? Access::kRead : Access::kWrite,
          std::move(operation), std::move(request_), upgrades, std::move(queue), id);
      if (lease != nullptr && !upgrades) {
        job->keep_lease(!lease->transaction);
        pool.submit_leased(*lease->slot, std::move(job));
      } else {
        pool.submit(std::move(job));
      }
      return true;
    } catch (...) {
      set_python_error_from(std::current_exception());
      return false;
    }
  }

  std::unique_ptr<Conversion> conversion() override {
    Delivery mine = delivery();
    follows_ = false;
    if (!mine.cache_key.empty() && is_cacheable()) {
      const auto [flight, first] = endpoint_->pool_state()->flights.try_emplace(mine.cache_key);
      follows_ = !first;
      if (follows_) return std::make_unique<FollowerConversion>();
      mine.leads = true;
    }
    return std::make_unique<StatementConversion>(endpoint_, std::move(mine));
  }

  void cancel(const OperationPtr& operation) override {
    PoolState& state = *endpoint_->pool_state();
    if (state.generation == process_generation() && state.current != nullptr) {
      state.current->cancel(operation);
    }
  }

  [[nodiscard]] Duration timeout() const noexcept override { return arguments_.timeout_ns; }

  // Lets transaction() blocks run SAVEPOINT inside a transaction of the pool.
  void allow_control() noexcept { request_.may_control_transaction = true; }

  PyObject* run_blocking() override {
    try {
      if (!prepare()) return nullptr;
      if (PyObject* hit = cached()) return hit;
      if (PyErr_Occurred() != nullptr) return nullptr;
      PyObject* result = nullptr;
      switch (try_inline(result)) {
        case Outcome::kDone:
          return result;
        case Outcome::kError:
          return nullptr;
        default:
          return wait_for_result();
      }
    } catch (...) {
      set_python_error_from(std::current_exception());
      return nullptr;
    }
  }

 private:
  // Reads what the call said. False with an exception set.
  bool prepare() {
    if (request_.profile != nullptr) return true;  // after a yield
    PoolState& state = *endpoint_->pool_state();
    Pool& pool = state.pool();
    if (pool.closed()) throw Error(ErrorKind::kPoolClosed, "the pool is closed");
    if (endpoint_->lease != nullptr && !(*endpoint_->lease)->open()) {
      throw Error(ErrorKind::kPoolClosed, "the connection was given back to its pool");
    }
    ProfilePtr profile = state.profile_of(arguments_.sql);
    if (profile == nullptr) return false;
    if (kind_ == Kind::kMany ? !pack_batch(state.adapters)
                             : !pack_params(arguments_.params, state.adapters, request_.params)) {
      return false;
    }
    row_type_ = arguments_.row_type.value_or(state.row_type);
    request_.first_row_only = kind_ == Kind::kRow || kind_ == Kind::kValue;
    request_.want_rows = kind_ != Kind::kExecute && kind_ != Kind::kMany;
    request_.many = kind_ == Kind::kMany;
    request_.may_control_transaction |=
        endpoint_->lease != nullptr && !(*endpoint_->lease)->transaction;
    request_.profile = std::move(profile);
    return true;
  }

  bool pack_batch(PyObject* adapters) {
    PyObject* iterator = PyObject_GetIter(arguments_.params);
    if (iterator == nullptr) return false;
    bool good = true;
    while (PyObject* params = PyIter_Next(iterator)) {
      request_.batch.emplace_back();
      good = pack_params(params, adapters, request_.batch.back());
      Py_DECREF(params);
      if (!good) break;
    }
    Py_DECREF(iterator);
    return good && PyErr_Occurred() == nullptr;
  }

  [[nodiscard]] bool on_pool() const noexcept { return endpoint_->lease == nullptr; }
  [[nodiscard]] bool fetches() const noexcept { return request_.want_rows; }
  [[nodiscard]] bool may_use_cache() const {
    const PoolState& state = *endpoint_->pool_state();
    return arguments_.cache && on_pool() && fetches() && state.cache.enabled() &&
           state.keeps_results && request_.profile->access() != sqlite::Profile::Access::kWrite;
  }

  [[nodiscard]] bool is_cacheable() const {
    const auto dependencies = request_.profile->dependencies();
    return dependencies != nullptr && dependencies->cacheable;
  }

  // Where a statement goes that nobody has prepared yet: a fetch is taken for a read.
  [[nodiscard]] bool assumes_read() const {
    return request_.profile->access() == sqlite::Profile::Access::kUnknown && fetches();
  }
  [[nodiscard]] bool writes_on_reader(const Lease& lease) const {
    return lease.slot->role == sqlite::Role::kReader && endpoint_->pool_state()->options.size > 1 &&
           request_.profile->access() != sqlite::Profile::Access::kRead && !assumes_read();
  }

  [[nodiscard]] Delivery delivery() const {
    return {kind_, row_type_, may_use_cache() ? key_ : std::string()};
  }

  // A result from the cache, nullptr without one.
  PyObject* cached() {
    if (!may_use_cache()) return nullptr;
    make_key();
    PoolState& state = *endpoint_->pool_state();
    PyObject* kept = state.cache.find(key_, state.pool().freshness());
    sqlite::Figures& figures = *request_.profile->figures();
    if (kept == nullptr) {
      figures.count_miss();
      return nullptr;
    }
    figures.count_hit();
    return from_kept(kind_, row_type_, kept);
  }

  void make_key() {
    const std::string_view params = request_.params.bytes();
    key_.clear();
    key_.reserve(sizeof(std::uint64_t) + 2 + params.size());
    const std::uint64_t id = request_.profile->id;
    key_.append(reinterpret_cast<const char*>(&id), sizeof id);
    key_.push_back(static_cast<char>(kind_));
    key_.push_back(static_cast<char>(row_type_));
    key_.append(params);
  }

  // Runs a short read on this thread, with the interpreter lock, within the budget.
  Outcome try_inline(PyObject*& result) {
    PoolState& state = *endpoint_->pool_state();
    Pool& pool = state.pool();
    const Duration budget = state.options.inline_budget_ns;
    if (budget == 0 || kind_ == Kind::kExecute || kind_ == Kind::kMany ||
        request_.profile->access() != sqlite::Profile::Access::kRead ||
        !request_.profile->fits_inline(budget)) {
      return Outcome::kWait;
    }
    Lease* lease = on_pool() ? nullptr : endpoint_->lease->get();
    Slot* slot = nullptr;
    if (lease == nullptr) {
      slot = pool.try_take_reader();
    } else if (lease->slot->connection != nullptr && pool.try_take_leased(*lease->slot)) {
      slot = lease->slot;
    }
    if (slot == nullptr) return Outcome::kWait;
    const auto give_back = [&] {
      if (lease == nullptr)
        pool.give_back(*slot);
      else
        pool.give_back_leased(*slot);
    };
    static const Operation unlimited;
    std::optional<Answer> answer;
    try {
      answer = pool.execute(*slot, request_, unlimited, budget, nullptr);
    } catch (const Stopped&) {
      give_back();
      return Outcome::kWait;
    } catch (const sqlite::NeedsWriter&) {
      give_back();
      return Outcome::kWait;
    } catch (...) {
      give_back();
      throw;
    }
    give_back();
    result = convert(*answer);
    return result != nullptr ? Outcome::kDone : Outcome::kError;
  }

  PyObject* convert(const Answer& answer) {
    Collector collector(kind_, row_type_, endpoint_->pool_state()->converters);
    const Instant start = now_precise();
    for (;;) {
      const auto step = collector.add(
          answer.rows, answer.names, endpoint_->blocking ? now_precise() + kTickBudget_ns : kNever);
      if (step == Collector::Step::kError) return nullptr;
      if (step == Collector::Step::kDone) break;
      const GilRelease others;  // a loop in another thread need not wait for all of it
    }
    PyObject* result = collector.result(answer.changes);
    if (answer.figures != nullptr) answer.figures->add_conversion(now_precise() - start);
    if (result != nullptr) {
      keep_result(*endpoint_->pool_state(), delivery(), answer, collector.bytes(), result);
    }
    return result;
  }

  PyObject* wait_for_result() {
    PoolState& state = *endpoint_->pool_state();
    const std::shared_ptr<Pool> pool = (state.pool(), state.current);
    Operation operation(arguments_.timeout_ns > 0 ? now_precise() + arguments_.timeout_ns : kNever);
    operation.set_poll(check_signals);
    Lease* lease = on_pool() ? nullptr : endpoint_->lease->get();
    std::optional<Answer> answer;
    std::exception_ptr failure;
    request_.submitted = now_precise();
    {
      const GilRelease unlocked;
      try {
        answer = lease != nullptr ? run_on_lease(*pool, *lease, operation)
                                  : run_on_pool(*pool, operation);
      } catch (...) {
        failure = std::current_exception();
      }
    }
    if (failure) {
      if (PyErr_Occurred() == nullptr) set_python_error_from(failure);  // else a signal's
      return nullptr;
    }
    return convert(*answer);
  }

  Answer run_on_pool(Pool& pool, const Operation& operation) {
    bool reads = request_.profile->access() == sqlite::Profile::Access::kRead || assumes_read();
    for (;;) {
      Slot& slot = pool.take(reads ? Access::kRead : Access::kWrite, operation);
      try {
        pool.connect(slot, operation);
        Answer answer = pool.execute(slot, request_, operation, 0, nullptr);
        pool.give_back(slot);
        return answer;
      } catch (const sqlite::NeedsWriter&) {
        pool.give_back(slot);
        reads = false;
      } catch (...) {
        pool.give_back(slot);
        throw;
      }
    }
  }

  Answer run_on_lease(Pool& pool, Lease& lease, const Operation& operation) {
    try {
      return run_on_slot(pool, lease, operation);
    } catch (const sqlite::NeedsWriter&) {
      return run_on_slot(pool, lease, operation);  // known to write now
    }
  }

  Answer run_on_slot(Pool& pool, Lease& lease, const Operation& operation) {
    if (!lease.transaction && writes_on_reader(lease)) {
      Slot& writer = pool.take(Access::kWrite, operation);
      pool.lease(writer);
      lease.end();
      lease.slot = &writer;
    }
    if (!pool.try_take_leased(*lease.slot)) {
      throw Error(ErrorKind::kDatabase, "the connection is in use by another thread");
    }
    try {
      pool.connect(*lease.slot, operation);
      Answer answer = pool.execute(*lease.slot, request_, operation, 0, nullptr);
      pool.give_back_leased(*lease.slot);
      return answer;
    } catch (...) {
      pool.give_back_leased(*lease.slot);
      throw;
    }
  }

  Endpoint* const endpoint_;
  const Kind kind_;
  const Arguments arguments_;
  Request request_;
  RowType row_type_ = RowType::kTuple;
  bool follows_ = false;  // waits for the same result of another caller
  std::string key_;
};

template <Kind kind>
PyObject* run_method(Endpoint* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  Arguments arguments;
  if (!read_arguments(kind, args, count, names, arguments)) return nullptr;
  if (self->pool_state() == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "the pool was not initialised");
    return nullptr;
  }
  if (self->blocking) return StatementAction(self, kind, arguments).run_blocking();
  try {
    return make_awaitable(std::make_unique<StatementAction>(self, kind, arguments));
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

template <Kind kind>
PyCFunction method() {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&run_method<kind>));
}

}  // namespace

PyMethodDef query_methods[] = {
    {"fetch", method<Kind::kFetch>(), METH_FASTCALL | METH_KEYWORDS,
     "fetch(sql, params=(), *, timeout=None, cache=True, row_type=None)\n--\n\n"
     "Run *sql* and return all of its rows, a new list each time.\n\n"
     "Args:\n"
     "    sql: one statement, with ``?`` or ``:name`` for parameters.\n"
     "    params: a sequence, or a mapping from names.\n"
     "    timeout: seconds for everything: waiting for a connection, for locks, running.\n"
     "    cache: whether a kept result may answer, and the result may be kept.\n"
     "    row_type: ``'tuple'``, ``'named'`` or ``'dict'``; ``None``: the pool's.\n\n"
     "Raises:\n"
     "    PoolTimeout: no connection came free, or the statement did not end, in time.\n"
     "    QueryError: SQLite refused the statement; ``.code`` is its extended result code.\n"
     "    IntegrityError: a constraint failed.\n"
     "    DatabaseCorrupt: the file is not a sound database.\n"
     "    PoolClosed: the pool is closed.\n"
     "    TypeError, OverflowError: a parameter that SQLite cannot hold."},
    {"fetchrow", method<Kind::kRow>(), METH_FASTCALL | METH_KEYWORDS,
     "fetchrow(sql, params=(), *, timeout=None, cache=True, row_type=None)\n--\n\n"
     "Run *sql* and return its first row, or ``None``. Arguments and errors as for ``fetch``."},
    {"fetchval", method<Kind::kValue>(), METH_FASTCALL | METH_KEYWORDS,
     "fetchval(sql, params=(), *, timeout=None, cache=True, row_type=None)\n--\n\n"
     "Run *sql* and return the first value of its first row, or ``None``. Arguments and errors as "
     "for ``fetch``."},
    {"execute", method<Kind::kExecute>(), METH_FASTCALL | METH_KEYWORDS,
     "execute(sql, params=(), *, timeout=None)\n--\n\n"
     "Run *sql*, in a transaction of its own unless one is open, and return the number of rows "
     "that "
     "it changed. For the key of a new row use ``RETURNING`` with ``fetchval``. Errors as for "
     "``fetch``."},
    {"executemany", method<Kind::kMany>(), METH_FASTCALL | METH_KEYWORDS,
     "executemany(sql, params, *, timeout=None)\n--\n\n"
     "Run *sql* once for each item of *params*, all in one transaction, and return the number of "
     "rows changed. Errors as for ``fetch``; after one nothing of it is in the database."},
    {nullptr, nullptr, 0, nullptr},
};

PyObject* run_control(Endpoint* endpoint, PyObject* sql) {
  Arguments arguments;
  arguments.sql = sql;
  arguments.params = empty_tuple;
  auto action = std::make_unique<StatementAction>(endpoint, Kind::kExecute, arguments);
  action->allow_control();
  if (endpoint->blocking) return action->run_blocking();
  return make_awaitable(std::move(action));
}

void bind_query(pybind11::module_&) {
  const auto intern = [](const char* text) { return PyUnicode_InternFromString(text); };
  name_sql = intern("sql");
  name_params = intern("params");
  name_timeout = intern("timeout");
  name_cache = intern("cache");
  name_row_type = intern("row_type");
  value_tuple = intern("tuple");
  value_named = intern("named");
  value_dict = intern("dict");
  empty_tuple = PyTuple_New(0);
}

}  // namespace mcp::python

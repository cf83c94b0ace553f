// statement.h: one call of fetch, fetchrow, fetchval, execute or executemany.
//
// REQUIRES: the interpreter lock.
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bindings/base/errors.h"
#include "bindings/base/ref.h"
#include "bindings/loop/budget.h"
#include "bindings/sqlite/action.h"
#include "bindings/sqlite/arguments.h"
#include "bindings/sqlite/delivery.h"
#include "bindings/sqlite/endpoint.h"
#include "bindings/sqlite/holders.h"
#include "bindings/sqlite/pack_params.h"
#include "bindings/sqlite/result.h"
#include "bindings/sqlite/snapshots.h"
#include "bindings/sqlite/statement_run.h"
#include "sqlite/byte_buffer.h"

namespace mcp::python {

using sqlite::Answer;
using sqlite::OperationPtr;
using sqlite::Pool;
using sqlite::ProfilePtr;
using sqlite::Request;

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
    Py_VISIT(rows_.get());
    return 0;
  }

  Outcome try_now(PyObject*& result, bool leave_to_worker) override {
    try {
      if (copy_) return go_on_copying(result);
      if (!prepare()) return Outcome::kError;
      if (rows_ && !pack_batch(end_of_tick())) {
        return PyErr_Occurred() != nullptr ? Outcome::kError : Outcome::kTurn;
      }
      if (find_kept()) return go_on_copying(result);
      if (PyErr_Occurred() != nullptr) return Outcome::kError;
      return leave_to_worker ? Outcome::kWait : try_inline(result);
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
        endpoint_->pool_state()->flights[std::string(key_.view())].push_back(
            {std::move(queue), id});
        return true;
      }
      PoolState& state = *endpoint_->pool_state();
      Pool& pool = state.pool();
      const HeldLease* held = endpoint_->held;
      const sqlite::Route route = route_of(state, endpoint_->lease(), request_, false);
      request_.submitted = now_precise();
      request_.share_snapshot = false;  // on this thread only
      sqlite::submit_statement(pool, held != nullptr ? held->lease : nullptr, route,
                               std::move(operation), std::move(request_), {std::move(queue), id});
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
      // A caller with a deadline of its own does not wait for a statement that may run longer.
      follows_ = !first && arguments_.timeout_ns == 0;
      if (follows_) return std::make_unique<FollowerConversion>();
      mine.leads = first;
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

  // In three steps, for a batch. A result that is at hand leaves no run. False with an exception
  // set.
  bool begin(std::optional<StatementRun>& run, PyObject*& result) {
    if (!prepare() || !pack_batch(kNever)) return false;
    if (find_kept()) {
      result = whole_copy();
      return result != nullptr;
    }
    if (PyErr_Occurred() == nullptr) {
      run.emplace(*endpoint_->pool_state(), nullptr, arguments_.timeout_ns, request_);
    }
    return PyErr_Occurred() == nullptr;
  }
  PyObject* result_of(StatementRun& run) {
    const Answer* answer = run.answer();
    return answer != nullptr ? convert(*answer) : nullptr;
  }

  // Lets transaction() blocks run SAVEPOINT inside a transaction of the pool.
  void allow_control() noexcept { request_.may_control_transaction = true; }

  PyObject* run_blocking() override {
    try {
      if (!prepare()) return nullptr;
      while (!pack_batch(end_of_tick())) {
        if (PyErr_Occurred() != nullptr) return nullptr;
        const GilRelease others;
      }
      if (find_kept()) return whole_copy();
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
  // Reads what the call said, but for the rows of a batch. False with an exception set.
  bool prepare() {
    PoolState& state = *endpoint_->pool_state();
    Pool& pool = state.pool();
    if (pool.closed()) throw Error(ErrorKind::kPoolClosed, "the pool is closed");
    std::optional<sqlite::Standing> lease;
    if (!on_pool()) lease = endpoint_->lease()->standing();
    moved_ = on_pool() && pool.file_moved();
    if (moved_) {
      state.cache.clear();
      state.cache.drop_dead();
    }
    if (request_.profile != nullptr) return true;  // after a yield
    ProfilePtr profile = state.profile_of(arguments_.sql);
    if (profile == nullptr) return false;
    if (kind_ == Kind::kMany) {
      rows_ = rows_of(arguments_.params);
      if (!rows_) return false;
    } else if (!pack_params(arguments_.params, profile->placeholders, state.adapters,
                            request_.params)) {
      return false;
    }
    row_type_ = arguments_.row_type.value_or(state.row_type);
    request_.first_row_only = kind_ == Kind::kRow || kind_ == Kind::kValue;
    request_.want_rows = kind_ != Kind::kExecute && kind_ != Kind::kMany;
    request_.many = kind_ == Kind::kMany;
    request_.may_control_transaction |= lease && !lease->in_transaction;
    request_.profile = std::move(profile);
    request_.want_proof = may_use_cache();
    return true;
  }

  // Reads rows of a batch until the deadline. True: all are there. False without an exception set:
  // there may be more.
  bool pack_batch(Instant deadline) {
    PyObject* const adapters = endpoint_->pool_state()->adapters;
    while (rows_) {
      for (int i = 0; i < kRowsALook; ++i) {
        const Ref params = Ref::steal(PyIter_Next(rows_.get()));
        if (!params) {
          rows_ = {};
          return PyErr_Occurred() == nullptr;
        }
        if (!pack_params(params.get(), request_.profile->placeholders, adapters,
                         request_.batch.row(), static_cast<Py_ssize_t>(request_.batch.size()))) {
          return false;
        }
        request_.batch.end_row();
      }
      if (now_precise() >= deadline) return false;
    }
    return true;
  }

  [[nodiscard]] bool on_pool() const noexcept { return endpoint_->held == nullptr; }
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

  [[nodiscard]] Delivery delivery() const {
    return {kind_, row_type_, may_use_cache() ? std::string(key_.view()) : std::string()};
  }

  // True: the cache has the result, and copy_ makes it.
  bool find_kept() {
    if (moved_ || !may_use_cache()) return false;
    make_key();
    PoolState& state = *endpoint_->pool_state();
    PyObject* kept = state.cache.find(key_.view(), state.pool().freshness());
    sqlite::Figures& figures = *request_.profile->figures();
    if (kept == nullptr) {
      figures.count_miss();
      state.cache.drop_dead();
      return false;
    }
    figures.count_hit();
    copy_.emplace(kind_, row_type_, kept);
    return true;
  }

  Outcome go_on_copying(PyObject*& result) {
    result = copy_->advance();
    if (result != nullptr) return Outcome::kDone;
    return PyErr_Occurred() != nullptr ? Outcome::kError : Outcome::kTurn;
  }

  PyObject* whole_copy() {
    for (;;) {
      PyObject* result = copy_->advance();
      if (result != nullptr || PyErr_Occurred() != nullptr) return result;
      const GilRelease others;
    }
  }

  void make_key() {
    const std::string_view params = request_.params.bytes();
    const std::uint64_t id = request_.profile->id;
    key_.clear();
    char* const place = key_.extend(sizeof id + 2 + params.size());
    std::memcpy(place, &id, sizeof id);
    place[sizeof id] = static_cast<char>(kind_);
    place[sizeof id + 1] = static_cast<char>(row_type_);
    std::memcpy(place + sizeof id + 2, params.data(), params.size());
  }

  // Runs a short read on this thread, with the interpreter lock, within the budget.
  Outcome try_inline(PyObject*& result) {
    PoolState& state = *endpoint_->pool_state();
    const Duration budget = state.options.inline_budget_ns;
    if (moved_ || !sqlite::may_run_inline(request_, budget)) return Outcome::kWait;
    request_.share_snapshot = on_pool() && !endpoint_->blocking && is_later_in_tick();
    const std::optional<Answer> answer =
        sqlite::try_statement_here(state.pool(), endpoint_->lease(), request_, budget);
    if (!answer) return Outcome::kWait;
    if (answer->left_snapshot) drop_snapshots_after_tick(state.current);
    result = convert(*answer);
    return result != nullptr ? Outcome::kDone : Outcome::kError;
  }

  PyObject* convert(const Answer& answer) {
    PoolState& state = *endpoint_->pool_state();
    const Delivery mine = answer.cacheable ? delivery() : Delivery{kind_, row_type_, {}};
    Collector collector(kind_, row_type_, state.converters,
                        answer.cacheable ? mine.most_kept(state) : 0);
    for (;;) {
      const auto step =
          collector.add(answer.rows, answer.names, endpoint_->blocking ? end_of_tick() : kNever);
      if (step == Collector::Step::kError) return nullptr;
      if (step == Collector::Step::kDone) break;
      const GilRelease others;  // a loop in another thread need not wait for all of it
    }
    PyObject* result = collector.result(answer.changes);
    if (answer.figures != nullptr) answer.figures->add_conversion(now_precise() - answer.ended);
    if (result != nullptr && answer.cacheable) {
      keep_result(state, mine, answer, collector, result);
      state.cache.drop_dead();
    }
    return result;
  }

  PyObject* wait_for_result() {
    StatementRun run(*endpoint_->pool_state(), endpoint_->lease(), arguments_.timeout_ns, request_);
    run.answer_signals();
    {
      const GilRelease unlocked;
      run.run();
    }
    return result_of(run);
  }

  static constexpr int kRowsALook = 16;  // at the clock

  Endpoint* const endpoint_;
  const Kind kind_;
  const Arguments arguments_;
  Request request_;
  Ref rows_;  // of a batch, an iterator, until all are read
  RowType row_type_ = RowType::kTuple;
  std::optional<KeptCopy> copy_;
  bool moved_ = false;    // the database file was replaced: a worker opens the new one
  bool follows_ = false;  // waits for the same result of another caller
  sqlite::ByteBuffer key_;
};

}  // namespace mcp::python

// lease.h: a connection that one caller keeps from statement to statement: a block.
//
// A lease begins empty, gets a connection, moves to the writer where it has to write and may, and
// ends: its connection goes back, and what was left open on it is rolled back. Whoever asks an
// ended lease for its connection is told that it was given back.
//
// Safe from any thread. One runs on the connection at a time: a thread that finds another there is
// refused, jobs wait for their turn. mutex_ is held for bookkeeping only, never while a job's own
// code runs, and taken before Pool::mutex_ and Freshness::mutex_. A lease that moves while streams
// are open leaves them to a second one, whose mutex_ is taken under its own.
// Invariants: the slot of a lease is leased to it alone, and is null before it begins and after it
// has ended; what has ended never begins again. One move is under way at a time: jobs that come
// meanwhile wait for its end, for a second one would wait for the writer that the first has got. In
// a forked child the lease of the parent has ended, and nothing of it is touched.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/fork.h"
#include "base/mutex.h"
#include "sqlite/pool.h"
#include "sqlite/routing.h"

namespace mcp::sqlite {

// A leased slot on its way to its lease. It goes back to the pool if it does not get there.
class PendingSlot {
 public:
  PendingSlot() = default;
  PendingSlot(std::weak_ptr<Pool> pool, Slot& slot) : pool_(std::move(pool)), slot_(&slot) {}
  ~PendingSlot() { give_back(); }
  PendingSlot(PendingSlot&& other) noexcept
      : pool_(std::move(other.pool_)), slot_(std::exchange(other.slot_, nullptr)) {}
  PendingSlot& operator=(PendingSlot&& other) noexcept {
    if (this == &other) return *this;
    give_back();
    pool_ = std::move(other.pool_);
    slot_ = std::exchange(other.slot_, nullptr);
    return *this;
  }

  explicit operator bool() const noexcept { return slot_ != nullptr; }
  // The slot is the caller's to give back.
  [[nodiscard]] Slot* release() noexcept { return std::exchange(slot_, nullptr); }

 private:
  void give_back() noexcept {
    Slot* slot = release();
    if (slot == nullptr) return;
    if (const auto alive = pool_.lock()) alive->end_lease(*slot);
  }

  std::weak_ptr<Pool> pool_;
  Slot* slot_ = nullptr;
};

class Lease {
 public:
  Lease(std::shared_ptr<Pool> pool, bool in_transaction);
  ~Lease() { end(); }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  // It begins with this connection. False: it has ended, and the connection has gone back.
  bool begin(PendingSlot slot) noexcept;
  // Idempotent. Jobs that wait for their turn have it before the connection goes back.
  void end() noexcept;

  [[nodiscard]] bool open() const noexcept;
  [[nodiscard]] bool has_writer() const noexcept;
  // Whether a transaction is open on its connection, whoever began it.
  [[nodiscard]] bool in_transaction() const noexcept;
  // Throws Error when it is not open, as do all below.
  [[nodiscard]] Standing standing() const;

  // For the caller's thread, until it is put back. Throws Error when somebody is there. The pool's
  // terminate() stops `operation`.
  [[nodiscard]] Slot& take(const Operation& operation) { return take(operation, false); }
  // The same for a moment; null when somebody is there.
  [[nodiscard]] Slot* try_take();
  void put_back(Slot& slot) noexcept { pool_->give_back_leased(slot); }
  void put_back_last(Slot& slot) noexcept {
    pool_->give_back_leased(slot);
    pool_->end_lease(slot);
  }
  // The same for the last time: the lease has ended, and put_back_last() gives the connection back.
  // Where somebody else is there the lease ends too, and Error is thrown.
  [[nodiscard]] Slot& take_for_end(const Operation& operation);

  // kMine: the caller takes the writer for it, and says end_move(). kDone: it has the writer.
  // Throws Error also where a stream is open that a commit of the writer would wait for.
  enum class Move { kMine, kUnderWay, kDone };
  [[nodiscard]] Move begin_move();
  // It goes on with the writer. The connection that it had goes back, at the end of the lease if
  // streams are open on it; without a writer it stays. False: it has ended, and the writer has gone
  // back.
  bool end_move(PendingSlot writer) noexcept;

  // Where the stream's next portion runs: another lease if the stream began before the move.
  [[nodiscard]] Lease& place_of(const Cursor& cursor);
  // The job is the stream's next portion. One that has begun need not wait for a move.
  void submit_portion(Cursor& cursor, std::unique_ptr<Job> job);

  // A job's turn, after the move that is under way.
  void submit(std::unique_ptr<Job> job);
  // The last one, which gives the connection back.
  void submit_end(std::unique_ptr<Job> job);

  [[nodiscard]] const std::shared_ptr<Pool>& pool() const noexcept { return pool_; }

 private:
  [[nodiscard]] Slot& take(const Operation& operation, bool ends);
  [[nodiscard]] Slot& slot() const REQUIRES(mutex_);
  [[nodiscard]] Pool::Turn try_take_slot(const Operation* operation) REQUIRES(mutex_);
  [[nodiscard]] bool of_parent() const noexcept { return generation_ != process_generation(); }

  const std::shared_ptr<Pool> pool_;
  const bool in_transaction_;
  const std::uint32_t generation_ = process_generation();
  mutable Mutex mutex_;
  Slot* slot_ GUARDED_BY(mutex_) = nullptr;
  bool ended_ GUARDED_BY(mutex_) = false;
  bool moving_ GUARDED_BY(mutex_) = false;
  // Has the connection of before the move, for the streams that are open on it. Made by the move.
  std::unique_ptr<Lease> streaming_ GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Job>> after_move_ GUARDED_BY(mutex_);
};

}  // namespace mcp::sqlite

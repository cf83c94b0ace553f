// lease.cpp: who has a lease's connection, and when it goes back.
#include "sqlite/lease.h"

#include "sqlite/pool_errors.h"

namespace mcp::sqlite {

Lease::Lease(std::shared_ptr<Pool> pool, bool in_transaction)
    : pool_(std::move(pool)), in_transaction_(in_transaction) {}

Slot& Lease::slot() const {
  if (slot_ == nullptr) throw given_back();
  return *slot_;
}

Pool::Turn Lease::try_take_slot(const Operation* operation) {
  Slot& mine = slot();
  return moving_ ? Pool::Turn::kInUse : pool_->try_take_leased(mine, operation);
}

bool Lease::begin(PendingSlot slot) noexcept {
  if (of_parent()) return false;
  const MutexLock lock(mutex_);
  if (ended_) return false;
  slot_ = slot.release();
  return true;
}

void Lease::end() noexcept {
  if (of_parent()) return;
  Slot* last = nullptr;
  std::vector<std::unique_ptr<Job>> late;
  {
    const MutexLock lock(mutex_);
    ended_ = true;
    last = std::exchange(slot_, nullptr);
    late.swap(after_move_);
    if (streaming_ != nullptr) streaming_->end();
  }
  if (last != nullptr) pool_->end_lease(*last);
  for (const auto& job : late) job->finish(std::make_exception_ptr(given_back()));
}

Lease::Move Lease::begin_move() {
  if (of_parent()) throw given_back();
  const MutexLock lock(mutex_);
  if (slot().role == Role::kWriter) return Move::kDone;
  if (moving_) return Move::kUnderWay;
  if (slot_->streams.load() > 0 && pool_->freshness().mode() != Freshness::Mode::kWalIndex) {
    throw stream_is_open();
  }
  if (streaming_ == nullptr) streaming_ = std::make_unique<Lease>(pool_, false);
  moving_ = true;
  return Move::kMine;
}

bool Lease::end_move(PendingSlot writer) noexcept {
  if (of_parent()) return false;
  Slot* before = nullptr;
  std::vector<std::unique_ptr<Job>> refused;
  {
    const MutexLock lock(mutex_);
    moving_ = false;
    if (ended_) return false;
    if (writer) before = std::exchange(slot_, writer.release());
    if (before != nullptr && before->streams.load() > 0) {
      streaming_->begin(PendingSlot(pool_, *std::exchange(before, nullptr)));
    }
    for (auto& job : after_move_) {
      if (!pool_->queue_leased(*slot_, job)) refused.push_back(std::move(job));
    }
    after_move_.clear();
  }
  if (before != nullptr) pool_->end_lease(*before);
  for (const auto& job : refused) job->finish(std::make_exception_ptr(pool_closed()));
  return true;
}

bool Lease::open() const noexcept {
  if (of_parent()) return false;
  const MutexLock lock(mutex_);
  return slot_ != nullptr;
}

Standing Lease::standing() const {
  if (of_parent()) throw given_back();
  const MutexLock lock(mutex_);
  return {in_transaction_, slot().role};
}

bool Lease::has_writer() const noexcept {
  if (of_parent()) return false;
  const MutexLock lock(mutex_);
  return slot_ != nullptr && slot_->role == Role::kWriter;
}

bool Lease::in_transaction() const noexcept {
  if (of_parent()) return false;
  const MutexLock lock(mutex_);
  return slot_ != nullptr && pool_->in_transaction(*slot_);
}

Slot& Lease::take(const Operation& operation, bool ends) {
  for (;;) {
    if (of_parent()) throw given_back();
    {
      const MutexLock lock(mutex_);
      Slot& mine = slot();
      switch (try_take_slot(&operation)) {
        case Pool::Turn::kTaken:
          if (ends) {
            ended_ = true;
            slot_ = nullptr;
            if (streaming_ != nullptr) streaming_->end();
          }
          return mine;
        case Pool::Turn::kInUse:
          throw in_use_elsewhere();
        case Pool::Turn::kClosed:
          throw pool_closed();
        case Pool::Turn::kPaused:
          break;
      }
    }
    pool_->wait_for_fork();
  }
}

Slot* Lease::try_take() {
  if (of_parent()) throw given_back();
  const MutexLock lock(mutex_);
  return try_take_slot(nullptr) == Pool::Turn::kTaken ? slot_ : nullptr;
}

Slot& Lease::take_for_end(const Operation& operation) {
  try {
    return take(operation, true);
  } catch (const Error&) {
    end();
    throw;
  }
}

Lease& Lease::place_of(const Cursor& cursor) {
  if (of_parent()) throw given_back();
  const MutexLock lock(mutex_);
  const bool moved = cursor.place() != nullptr && cursor.place() != slot_ && streaming_ != nullptr;
  return moved && streaming_->open() ? *streaming_ : *this;
}

void Lease::submit_portion(Cursor& cursor, std::unique_ptr<Job> job) {
  if (of_parent()) throw given_back();
  Lease* elsewhere = nullptr;
  {
    const MutexLock lock(mutex_);
    Slot& mine = slot();
    if (cursor.place() == nullptr && moving_) {
      after_move_.push_back(std::move(job));
      return;
    }
    if (cursor.place() == nullptr) {
      cursor.set_place(mine);
      mine.streams.fetch_add(1);
    }
    if (cursor.place() != &mine)
      elsewhere = streaming_.get();
    else if (pool_->queue_leased(mine, job))
      return;
  }
  if (elsewhere != nullptr)
    elsewhere->submit(std::move(job));
  else
    job->finish(std::make_exception_ptr(pool_closed()));
}

void Lease::submit(std::unique_ptr<Job> job) {
  if (of_parent()) throw given_back();
  {
    const MutexLock lock(mutex_);
    Slot& mine = slot();
    if (moving_) {
      after_move_.push_back(std::move(job));
      return;
    }
    if (pool_->queue_leased(mine, job)) return;
  }
  job->finish(std::make_exception_ptr(pool_closed()));
}

void Lease::submit_end(std::unique_ptr<Job> job) {
  if (of_parent()) throw given_back();
  {
    const MutexLock lock(mutex_);
    Slot& mine = slot();
    ended_ = true;
    slot_ = nullptr;
    if (streaming_ != nullptr) streaming_->end();
    if (pool_->queue_leased(mine, job, true)) return;
    pool_->end_lease(mine);
  }
  job->finish(std::make_exception_ptr(pool_closed()));
}

}  // namespace mcp::sqlite

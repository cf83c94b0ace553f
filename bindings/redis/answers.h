// answers.h: an outcome of the Redis client on its way to its caller.
#pragma once

#include <memory>
#include <utility>

#include "base/completion_queue.h"
#include "redis/client.h"

namespace mcp::python {

// An outcome on its way to its caller. A fill that nobody takes over ends with it. Free of the
// interpreter: it may be destroyed on any thread.
class HeldOutcome final : public CompletionPayload {
 public:
  HeldOutcome(redis::Outcome outcome, std::shared_ptr<redis::Client> client)
      : outcome_(std::move(outcome)), client_(std::move(client)) {}
  ~HeldOutcome() override {
    if (outcome_.fill != redis::kNoFill) client_->abandon(outcome_.fill);
  }
  [[nodiscard]] redis::Outcome& outcome() noexcept { return outcome_; }
  [[nodiscard]] const std::shared_ptr<redis::Client>& client() const noexcept { return client_; }
  [[nodiscard]] redis::FillId take_fill() noexcept {
    return std::exchange(outcome_.fill, redis::kNoFill);
  }

 private:
  redis::Outcome outcome_;
  std::shared_ptr<redis::Client> client_;
};

}  // namespace mcp::python

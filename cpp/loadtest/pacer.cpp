// pacer.cpp: arrivals of an open model, even or by Poisson.
#include "loadtest/pacer.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/error.h"

namespace mcp::loadtest {

Pacer::Pacer(Ramp rate, Arrivals arrivals, std::uint64_t seed, std::uint64_t shares,
             std::uint64_t share)
    : rate_(std::move(rate)), arrivals_(arrivals), random_(seed), shares_(shares), skip_(share) {
  if (shares == 0 || share >= shares) {
    throw invalid_argument("share", std::to_string(share), "less than shares");
  }
}

double Pacer::next_arrival() noexcept {
  const std::uint64_t index = arrived_++;
  if (arrivals_ == Arrivals::kUniform) return static_cast<double>(index);
  area_ += -std::log1p(-random_.unit());
  return area_;
}

Duration Pacer::next() noexcept {
  while (skip_ > 0) {
    (void)next_arrival();
    --skip_;
  }
  skip_ = shares_ - 1;
  const double arrival = next_arrival();
  // The area that a ramp has at its end belongs to the next stage, not to a request of this one.
  const Duration due = rate_.time_of_area(arrival);
  if (due == kNever || due >= rate_.length()) return kNever;
  last_ = std::max(last_, due);
  return last_;
}

}  // namespace mcp::loadtest

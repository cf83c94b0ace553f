"""Stalls of the target, and percentiles with the requests that they kept from being sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .._core import LoadHistogram
from ._stats import Percentiles

__all__ = ["Gap", "Stall", "Standing", "corrected_percentiles", "find_stalls", "find_standing", "stood_still"]

# (start, length, requests that waited for its end), seconds
Gap = tuple[float, float, int]
# (second of the run, seconds)
Stall = tuple[float, float]

_SHORTEST = 0.1
_TIMES_P99 = 10
# A target whose every hundredth request is slow is slow, and does not stall.
_MOST_SHARE = 0.01
_MOST_AT_LEAST = 5


@dataclass(frozen=True, slots=True)
class Standing:
    """Requests that took as long as a stall while others of their kind were answered: of single connections,
    or users. ``parts`` are seconds, and how many took so long."""

    parts: tuple[tuple[float, int], ...] = ()
    users: int = 1
    elapsed: float = 0.0

    @property
    def count(self) -> int:
        return sum(count for _, count in self.parts)

    @property
    def longest(self) -> float:
        return max((length for length, _ in self.parts), default=0.0)

    @property
    def seconds(self) -> float:
        return sum(length * count for length, count in self.parts)

    @property
    def share(self) -> float:
        """Of the users' time."""
        return min(1.0, self.seconds / (self.users * self.elapsed)) if self.elapsed > 0 else 0.0


def find_standing(kinds: Mapping[str, LoadHistogram], users: int, elapsed: float) -> Standing:
    """What stood still in a run of *users* that send one request after the other; *kinds* are their times."""
    parts = [
        ((low + high) / 2, count)
        for times in kinds.values()
        for low, high, count in times.slots()
        if times.count and low > max(_SHORTEST, _TIMES_P99 * times.percentile(99))
    ]
    return Standing(tuple(parts), users, elapsed)


def find_stalls(gaps: Sequence[Gap], times: LoadHistogram, *, answered: bool) -> list[Gap]:
    """Those of *gaps* that are longer than 100 ms and than ten times the P99 of *times*.

    The P99 is that of the requests that no stall caught: a stall cannot hide behind its own victims.
    *answered* is False where no request succeeded, so that there is nothing to compare with.
    """
    longest = sorted(gaps, key=lambda gap: -gap[1])
    most = max(_MOST_AT_LEAST, int(_MOST_SHARE * times.count))
    for count in range(min(most, len(longest)), 0, -1):
        caught = sum(gap[2] for gap in longest[:count])
        if longest[count - 1][1] > max(_SHORTEST, _TIMES_P99 * _p99_without(times, caught, answered)):
            return sorted(longest[:count])
    return []


def _p99_without(times: LoadHistogram, caught: int, answered: bool) -> float:
    """The P99 of all but the *caught* longest times."""
    rest = times.count - caught
    if rest <= 0:
        return float("inf") if answered else 0.0
    return times.percentile(99 * rest / times.count)


def stood_still(times: LoadHistogram) -> int:
    """Requests that took as long as a stall, whatever others did meanwhile: single connections, or users."""
    return times.count - times.count_at_most(max(_SHORTEST, _TIMES_P99 * times.percentile(99)))


def corrected_percentiles(
    times: LoadHistogram, stalls: Sequence[Gap], elapsed: float, standing: Standing | None = None
) -> Percentiles:
    """Percentiles of *times* and of what would have been sent during *stalls*, or by users that stood still.

    Requests come at the rate that the run, or a user, had otherwise, and each waits for the end of what holds
    it up. Those that did wait are in *times* already.
    """
    if not stalls:
        return Percentiles.of(times if standing is None else _moving(times, standing))
    outside = elapsed - sum(length for _, length, _ in stalls)
    sent = times.count - sum(caught for _, _, caught in stalls)
    rate = max(0, sent) / outside if outside > 0 else 0.0
    filled = times.copy()
    for _, length, caught in stalls:
        filled.add_waits(length, max(0, round(rate * length) - caught))
    return Percentiles.of(filled)


def _moving(times: LoadHistogram, standing: Standing) -> LoadHistogram:
    """*times*, with what the users of *standing* would have sent meanwhile."""
    moved = standing.users * standing.elapsed - standing.seconds
    rate = (times.count - standing.count) / moved if moved > 0 else 0.0
    filled = times.copy()
    for length, count in standing.parts:
        filled.add_waits(length, max(0, round((rate * length - 1) * count)))
    return filled

"""How much a load test sends, and when: the checked arguments of a run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .._base._checks import MAX_DURATION, choice, integer, number, request_timeout, several
from ..errors import ConfigurationError

Arrivals: TypeAlias = Literal["uniform", "poisson"]

__all__ = ["MAX_RATE", "MAX_USERS", "RunOptions", "Stage", "check_run", "think_times"]

_LONGEST_SETUP, _SHORTEST_SETUP = 60.0, 2.0
_LAST_WORDS = 0.3

MAX_RATE = 1_000_000.0
"""Highest arrival rate that a run accepts, requests a second."""
MAX_USERS = 100_000
"""Most users (and with them connections) that a run accepts."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A piece of a load profile: within *duration* seconds the load moves in a straight line to its target.

    A *duration* of 0 jumps. Give *users* (closed model) or *rate* (open model, requests a second).
    """

    duration: float
    users: float | None = None
    rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The arguments of one run. Times in seconds."""

    requests: int | None
    users: int
    duration: float | None
    rate: float | None
    stages: tuple[tuple[float, float], ...] | None
    stage_users: float
    batch_size: int
    warmup: float
    timeout: float
    drain: float
    think: tuple[float, float]
    poisson: bool
    seed: int
    shares: int = 1
    """Of a run that several processes make together: how many of them,"""
    share: int = 0
    """and which one this is."""

    def part(self, share: int, shares: int) -> RunOptions:
        """What process *share* of *shares* does, of which there are no more than users, or requests."""

        def mine(total: int) -> int:
            return total // shares + (share < total % shares)

        return dataclasses.replace(
            self,
            users=mine(self.users),
            requests=None if self.requests is None else mine(self.requests),
            shares=shares,
            share=share,
        )

    @property
    def open_model(self) -> bool:
        return self.rate is not None

    @property
    def planned(self) -> float | None:
        """Seconds from the end of the warm-up to the planned end; None where only requests say when."""
        of_stages = None if self.stages is None else sum(piece for piece, _ in self.stages)
        ends = [end for end in (self.duration, of_stages) if end is not None]
        return min(ends) if ends else None

    def before(self, usual: float) -> float:
        """Seconds that what comes before the run may take, *usual* at most: where users, sessions or apps are
        never ready, the run has failed by the time at which it would have ended.
        """
        if self.planned is None:
            return min(usual, _LONGEST_SETUP)
        return min(usual, max(_SHORTEST_SETUP, self.warmup + self.planned + self.drain))

    def afterwards(self, elapsed: float) -> float:
        """Seconds that what comes after the run may take when *elapsed* have passed since its begin.

        They are what is left of its time and of the drain time.
        """
        if self.planned is None:
            return max(_LAST_WORDS, self.drain)
        left = self.warmup + self.planned + self.drain - elapsed
        return max(_LAST_WORDS, min(left, self.drain))

    def native(self) -> dict[str, Any]:
        """The keywords that both native runs take."""
        return {
            "users": self.users,
            "batch_size": self.batch_size,
            "requests": self.requests,
            "duration": MAX_DURATION if self.duration is None else self.duration,
            "warmup": self.warmup,
            "timeout": self.timeout,
            "drain": self.drain,
            "think": self.think,
            "rate": self.rate,
            "poisson": self.poisson,
            "stages": list(self.stages) if self.stages else None,
            "stage_users": self.stage_users,
            "seed": self.seed,
            "shares": self.shares,
            "share": self.share,
            "relays": self.shares > 1,
        }


def think_times(value: float | tuple[float, float] | None) -> tuple[float, float]:
    if value is None:
        return (0.0, 0.0)
    pair = value if isinstance(value, tuple) else (value, value)
    if len(pair) != 2:
        raise ConfigurationError(f"think_time={value!r}: expected one time, or the shortest and the longest")
    low, high = pair
    low = number("think_time", low, 0, MAX_DURATION)
    high = number("think_time", high, 0, MAX_DURATION)
    if high < low:
        raise ConfigurationError(f"think_time={value!r}: expected the shorter one first")
    return (low, high)


def _stages(
    stages: Sequence[Stage | tuple[float, float]] | None, rate: float | None
) -> tuple[tuple[tuple[float, float], ...] | None, bool]:
    """The stages as (seconds, target), and whether they are rates."""
    if stages is None:
        return None, rate is not None
    stages = list(several("stages", stages, "stages, or pairs of seconds and a target"))
    if not stages:
        raise ConfigurationError("stages=[]: expected at least one stage")
    pieces: list[tuple[float, float]] = []
    kinds = set()
    for stage in stages:
        if not isinstance(stage, Stage):
            if not isinstance(stage, tuple | list) or len(stage) != 2:
                raise TypeError(f"stages: {stage!r}: expected a Stage, or a pair of seconds and a target")
            seconds, target = stage
            stage = Stage(seconds, rate=target) if rate is not None else Stage(seconds, users=target)
        if (stage.users is None) == (stage.rate is None):
            raise ConfigurationError(f"stages={stage!r}: expected either users or rate")
        kinds.add(stage.rate is not None)
        seconds = number("stages.duration", stage.duration, 0, MAX_DURATION)
        if stage.rate is not None:
            target = number("stages.rate", stage.rate, 0, MAX_RATE)
        else:
            target = number("stages.users", stage.users, 0, MAX_USERS)
        pieces.append((seconds, target))
    if len(kinds) > 1 or (rate is not None and kinds == {False}):
        raise ConfigurationError(f"stages={stages!r}: expected all of them in users or all in rates")
    if sum(seconds for seconds, _ in pieces) == 0:
        raise ConfigurationError(f"stages={stages!r}: expected a stage that takes time")
    return tuple(pieces), kinds == {True}


def check_run(
    num_requests: int | None,
    concurrent_users: int,
    *,
    duration: float | None,
    rate: float | None,
    stages: Sequence[Stage | tuple[float, float]] | None,
    batch_size: int,
    warmup: float | None,
    timeout: float | None,
    drain: float,
    think_time: float | tuple[float, float] | None,
    arrivals: str,
    seed: int,
) -> RunOptions:
    """The checked options of a run. Raises :class:`ConfigurationError` or ``TypeError``."""
    users = integer("concurrent_users", concurrent_users, 1, MAX_USERS)
    rate = None if rate is None else number("rate", rate, 0, MAX_RATE, above=stages is None)
    pieces, open_model = _stages(stages, rate)
    if pieces is not None:
        if warmup:
            raise ConfigurationError(
                f"warmup={warmup!r}: expected none with stages, whose start is the warm-up"
            )
        if open_model:
            rate = 0.0 if rate is None else rate
        else:
            users = max(1, math.ceil(max(target for _, target in pieces)))
    batch = integer("batch_size", batch_size, 1, MAX_USERS)
    if batch > 1 and open_model:
        raise ConfigurationError(
            f"batch_size={batch}: expected 1 with rate=, whose requests are due one by one"
        )
    if users * batch > MAX_USERS:
        raise ConfigurationError(f"batch_size={batch}: expected at most {MAX_USERS} requests in flight")
    choice("arrivals", arrivals, ("uniform", "poisson"))
    if think_time and open_model:
        raise ConfigurationError(f"think_time={think_time!r}: expected none with rate=, which sets the pace")
    if num_requests is None and duration is None and pieces is None:
        raise ConfigurationError("num_requests=None: expected a number, or a duration")
    return RunOptions(
        requests=None if num_requests is None else integer("num_requests", num_requests, 1, 10**12),
        users=users,
        duration=None if duration is None else number("duration", duration, 0, MAX_DURATION, above=True),
        rate=rate,
        stages=pieces,
        stage_users=0.0 if pieces is None or open_model else pieces[0][1] if pieces[0][0] == 0 else 0.0,
        batch_size=batch,
        warmup=0.0 if warmup is None else number("warmup", warmup, 0, MAX_DURATION),
        timeout=request_timeout(timeout),
        drain=number("drain", drain, 0, MAX_DURATION),
        think=think_times(think_time),
        poisson=arrivals == "poisson",
        seed=integer("seed", seed, 0, 2**63 - 1),
    )

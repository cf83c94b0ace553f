"""The parts of a result: figures of one second, and of one kind of request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._core import LoadHistogram

__all__ = ["Percentiles", "RequestStats", "SecondStats"]


@dataclass(frozen=True, slots=True)
class Percentiles(Mapping[str, float]):
    """Percentiles of response times, seconds, by attribute and by name."""

    p50: float
    p95: float
    p99: float
    p999: float
    max: float

    @classmethod
    def of(cls, histogram: LoadHistogram) -> Percentiles:
        return cls(
            histogram.percentile(50),
            histogram.percentile(95),
            histogram.percentile(99),
            histogram.percentile(99.9),
            histogram.max,
        )

    def __getitem__(self, name: str) -> float:
        if name not in self.__dataclass_fields__:
            raise KeyError(name)
        value: float = getattr(self, name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dataclass_fields__)

    def __len__(self) -> int:
        return len(self.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class SecondStats:
    """One second of a run; times in seconds.

    ``seconds`` is how long it was: less than 1 for the last one of a run that ended within it. The
    last second of a run of planned length has what ended after it, too.
    """

    second: int
    successful: int
    failed: int
    bytes: int
    p50: float
    p95: float
    p99: float
    max: float
    seconds: float = 1.0

    @property
    def partial(self) -> bool:
        return self.seconds < 1


@dataclass(frozen=True, slots=True)
class RequestStats:
    """The figures of one kind of request of a scenario; times in seconds.

    ``bytes`` is what was received for them, by failed ones and by redirects that were followed too.
    """

    name: str
    successful: int
    failed: int
    bytes: int
    avg: float
    p50: float
    p95: float
    p99: float
    max: float
    p999: float = 0.0

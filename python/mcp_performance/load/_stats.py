"""The parts of a result: figures of one second, and of one kind of request."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .._core import LoadHistogram

__all__ = ["Percentiles", "RequestStats", "SecondStats", "fields_of", "highest", "plain", "response_times"]


def response_times(histogram: LoadHistogram) -> dict[str, float]:
    """The figures of a run that are times; nan, for which no comparison holds, where nothing was answered."""
    if not histogram.count:
        return dict.fromkeys(("avg_response_time", "p50", "p95", "p99", "p999", "max"), math.nan)
    return {"avg_response_time": histogram.mean, **Percentiles.of(histogram)}


def highest(values: Iterable[float]) -> float:
    """The highest of *values* that are numbers, nan where none is."""
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def fields_of(item: Any) -> dict[str, Any]:
    """The fields of a dataclass as plain values, for JSON: what is no number is None."""
    return {name: plain(getattr(item, name)) for name in item.__dataclass_fields__}


def plain(value: Any) -> Any:
    """*value*, and None for nan."""
    return None if isinstance(value, float) and math.isnan(value) else value


@dataclass(frozen=True, slots=True)
class Percentiles(Mapping[str, float]):
    """Percentiles of response times, seconds, by attribute and by name; nan where there are no times."""

    p50: float
    p95: float
    p99: float
    p999: float
    max: float

    @classmethod
    def of(cls, histogram: LoadHistogram) -> Percentiles:
        """Those of the times that *histogram* has counted."""
        if not histogram.count:
            return cls(math.nan, math.nan, math.nan, math.nan, math.nan)
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
    """One second of a run; times in seconds, nan where nothing was answered.

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
        """Whether it is no whole second, as the last one of a run may be."""
        return self.seconds < 1


@dataclass(frozen=True, slots=True)
class RequestStats:
    """The figures of one kind of request of a scenario; times in seconds, nan where none was answered.

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

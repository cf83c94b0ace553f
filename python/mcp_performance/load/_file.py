"""Results in files.

The format is JSON (docs in :func:`save_result`): figures that add up, and histograms as counts of
slots, so that merging files loses nothing: a percentile of the merged run is that of all its requests.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._base._checks import file_name
from .._core import LoadHistogram
from ..errors import LoadTestError
from ._stats import Percentiles, RequestStats, SecondStats

if TYPE_CHECKING:
    from ._result import LoadTestResult

__all__ = ["load_result", "save_result"]

FORMAT = "mcp-performance/load-test"
VERSION = 2
_TIMES = (
    *("avg_response_time", "p50", "p95", "p99", "p999", "max"),
    *("service_avg", "service_p50", "service_p95", "service_p99"),
)


def _histogram_to_plain(histogram: LoadHistogram) -> dict[str, Any]:
    digits, highest, total, low, high, slots = histogram.state()
    return {
        "digits": digits,
        "highest_ns": highest,
        "sum_ns": total,
        "min_ns": low,
        "max_ns": high,
        "slots": [list(slot) for slot in slots],
    }


def _histogram_from_plain(plain: dict[str, Any]) -> LoadHistogram:
    slots = [(int(slot), int(count)) for slot, count in plain["slots"]]
    return LoadHistogram.from_state(
        (
            plain["digits"],
            plain["highest_ns"],
            float(plain["sum_ns"]),
            plain["min_ns"],
            plain["max_ns"],
            slots,
        )
    )


def save_result(result: LoadTestResult, path: str | Path) -> None:
    """Write *result* to *path*.

    One JSON object: ``format`` and ``version``; ``result``, which is :meth:`LoadTestResult.to_dict`
    without its histogram; and ``histograms`` with ``response`` and ``service``. A histogram has
    ``digits`` and ``highest_ns`` (its layout, that of HdrHistogram: buckets that double, each cut
    into equal slots), ``sum_ns``, ``min_ns``, ``max_ns`` and ``slots``, pairs of slot and samples.
    """
    plain = result.to_dict()
    del plain["histogram"]
    document = {
        "format": FORMAT,
        "version": VERSION,
        "result": plain,
        "histograms": {
            "response": _histogram_to_plain(result.histogram),
            "service": _histogram_to_plain(result.service_histogram),
        },
    }
    Path(file_name("path", path)).write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")


def load_result(kind: type[LoadTestResult], path: str | Path) -> LoadTestResult:
    """The *kind* that :func:`save_result` wrote. Raises :class:`LoadTestError` for anything else."""
    file = Path(file_name("path", path))
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["format"] != FORMAT or document["version"] != VERSION:
            raise LoadTestError(f"{path}: not a load test result of version {VERSION}")
        return _from_document(kind, document)
    except (KeyError, TypeError, ValueError) as error:
        raise LoadTestError(f"{path}: not a load test result: {error!r}") from error


def _from_document(kind: type[LoadTestResult], document: dict[str, Any]) -> LoadTestResult:
    plain = dict(document["result"])
    histograms = {name: _histogram_from_plain(value) for name, value in document["histograms"].items()}
    plain["notes"] = tuple(plain["notes"])
    plain["stalls"] = [(second, length) for second, length in plain["stalls"]]
    plain.update({name: math.nan for name in _TIMES if plain[name] is None})
    plain["corrected"] = _numbers(Percentiles, plain["corrected"])
    plain["series"] = tuple(_numbers(SecondStats, second) for second in plain["series"])
    plain["tags"] = {name: _numbers(RequestStats, stats) for name, stats in plain.get("tags", {}).items()}
    plain["requests"] = {name: _numbers(RequestStats, stats) for name, stats in plain["requests"].items()}
    plain["bottleneck"] = None  # it was about a process that is gone
    return kind(**plain, histogram=histograms["response"], service_histogram=histograms["service"])


def _numbers(kind: Callable[..., Any], fields: Mapping[str, Any]) -> Any:
    """A *kind* of *fields*, in which None stands for what is no number."""
    return kind(**{name: math.nan if value is None else value for name, value in fields.items()})

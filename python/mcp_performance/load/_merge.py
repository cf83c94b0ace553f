"""Runs of several generators as one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._base._checks import several
from .._core import LoadHistogram
from ..errors import ConfigurationError
from ._make import times_of
from ._result import LoadTestResult
from ._stats import Percentiles, RequestStats, SecondStats, highest

__all__ = ["merge_results"]

_ADD_UP = ("total_requests", "successful", "failed", "waited_for_user", "not_sent", "abandoned")
_ADD_UP_TOO = ("reconnects", "warmup_requests", "bytes_received", "bytes_sent", "concurrent_users", "workers")

_TIMES = ("p50", "p95", "p99", "max")


def _result_of(item: LoadTestResult | str | Path) -> LoadTestResult:
    if isinstance(item, LoadTestResult):
        return item
    if not isinstance(item, str | Path):
        raise TypeError(f"results: {item!r}: expected a LoadTestResult, or the file of one")
    return LoadTestResult.load(item)


def merge_results(results: Sequence[LoadTestResult | str | Path]) -> LoadTestResult:
    """One result from runs, or files of runs, that several generators made at the same time.

    Counts, rates and users add up and histograms merge exactly. A second's percentiles, and those of
    one kind of request, cannot be had from their parts: each is the highest of them, which the true
    one does not exceed.

    Raises:
        ConfigurationError: no results, or an open and a closed model among them.
        LoadTestError: a file is not a result.
    """
    given = several("results", results, "several results, or the files of some")
    runs = [_result_of(item) for item in given]
    if not runs:
        raise ConfigurationError("results=[]: expected at least one")
    if len({run.model for run in runs}) > 1:
        raise ConfigurationError("results: expected runs of one model, open or closed")
    first = runs[0]
    response, service = first.histogram.copy(), first.service_histogram.copy()
    for run in runs[1:]:
        response.merge(run.histogram)
        service.merge(run.service_histogram)
    sums = {name: sum(getattr(run, name) for run in runs) for name in (*_ADD_UP, *_ADD_UP_TOO)}
    errors: dict[str, int] = {}
    for run in runs:
        for kind, count in run.errors.items():
            errors[kind] = errors.get(kind, 0) + count
    invalid = [run for run in runs if not run.valid]
    rates = [run.target_rate for run in runs if run.target_rate is not None]
    times: dict[str, Any] = times_of(response, service)
    return dataclasses.replace(
        first,
        **sums,
        target=" + ".join(dict.fromkeys(run.target for run in runs)),
        requests_per_second=sum(run.requests_per_second for run in runs),
        success_rate=sums["successful"] / sums["total_requests"] if sums["total_requests"] else 0.0,
        **times,
        first_byte_p50=_highest(run.first_byte_p50 for run in runs),
        first_byte_p99=_highest(run.first_byte_p99 for run in runs),
        connect_avg=_highest(run.connect_avg for run in runs),
        errors=dict(sorted(errors.items(), key=lambda item: -item[1])),
        valid=not invalid,
        verdict=invalid[0].verdict if invalid else first.verdict,
        reason="; ".join(dict.fromkeys(run.reason for run in invalid)) or first.reason,
        examples={kind: text for run in reversed(runs) for kind, text in run.examples.items()},
        stalls=sorted({stall for run in runs for stall in run.stalls}),
        corrected=_merge_corrected(runs, response),
        notes=tuple(dict.fromkeys(note for run in runs for note in run.notes)),
        elapsed=max(run.elapsed for run in runs),
        target_rate=sum(rates) if rates else None,
        send_lag_p99=max(run.send_lag_p99 for run in runs),
        interrupted=any(run.interrupted for run in runs),
        generator_cpu=_highest(run.generator_cpu for run in runs),
        loop_lag_p99=_highest(run.loop_lag_p99 for run in runs),
        thresholds={},
        requests=_merge_requests([run.requests for run in runs]),
        tags=_merge_requests([run.tags for run in runs]),
        series=_merge_series(runs),
        bottleneck=None,
        histogram=response,
        service_histogram=service,
        exceptions={},
    )


def _merge_corrected(runs: Sequence[LoadTestResult], response: LoadHistogram) -> Percentiles:
    """Exact where no run stalled, and otherwise the highest, which the true ones do not exceed."""
    if not any(run.stalls for run in runs):
        return Percentiles.of(response)
    return Percentiles(
        *(highest(run.corrected[name] for run in runs) for name in Percentiles.__dataclass_fields__)
    )


def _highest(values: Any) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _merge_series(runs: Sequence[LoadTestResult]) -> tuple[SecondStats, ...]:
    merged = []
    for second in range(max(len(run.series) for run in runs)):
        parts = [run.series[second] for run in runs if second < len(run.series)]
        merged.append(
            SecondStats(
                second,
                successful=sum(part.successful for part in parts),
                failed=sum(part.failed for part in parts),
                bytes=sum(part.bytes for part in parts),
                **{name: highest(getattr(part, name) for part in parts) for name in _TIMES},
                seconds=max(part.seconds for part in parts),
            )
        )
    return tuple(merged)


def _merge_requests(runs: Sequence[Mapping[str, RequestStats]]) -> dict[str, RequestStats]:
    merged: dict[str, RequestStats] = {}
    for name in dict.fromkeys(name for run in runs for name in run):
        parts = [run[name] for run in runs if name in run]
        successful = sum(part.successful for part in parts)
        average = math.nan
        if successful:
            average = sum(part.avg * part.successful for part in parts if part.successful) / successful
        merged[name] = RequestStats(
            name,
            successful,
            sum(part.failed for part in parts),
            sum(part.bytes for part in parts),
            average,
            *(highest(getattr(part, name) for part in parts) for name in (*_TIMES, "p999")),
        )
    return merged

"""From what a run recorded to its result."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from .._core import LoadHistogram
from ._bottleneck import find_bottleneck
from ._options import RunOptions
from ._result import LoadTestResult
from ._stalls import Gap, Standing, corrected_percentiles, find_stalls, find_standing
from ._stats import RequestStats, SecondStats, response_times
from ._supervision import Driven
from ._targets import Target
from ._thresholds import Threshold
from ._verdict import Evidence, judge

__all__ = ["make_result", "times_of"]

_EXAMPLE_CHARACTERS = 200


def make_result(
    target: Target,
    options: RunOptions,
    driven: Driven,
    null_cost: float | None,
    conditions: Sequence[Threshold],
    threads: int,
) -> LoadTestResult:
    """The figures of a run that has ended, what they are worth, and whether *conditions* hold."""
    report = driven.report
    stalls = find_stalls(
        report["gaps"],
        report["service"] if options.open_model else report["response"],
        answered=report["successful"] > 0,
    )
    standing = Standing() if options.open_model or stalls else _standing(report, options)
    figures = LoadTestResult(
        **_figures(report, options, driven, target.tags),
        **_times(report, options, stalls, standing),
        target=target.name,
        generator_cpu=report["generator_cpu"] / report["elapsed"]
        if target.http and report["elapsed"]
        else None,
        valid=False,
        verdict="ok",
        reason="",
    )
    evidence = Evidence(
        open_model=options.open_model,
        http=target.http,
        apart=target.apart,
        users=options.users * options.batch_size,
        threads=threads,
        null_cost=null_cost,
        late=driven.late,
        late_total=driven.late_total,
        cpu=driven.cpu,
        foreign=driven.foreign,
        throttled=driven.ended.throttled,
        never_suspended=driven.suspensions == 0,
        think=options.think[1] > 0,
        ramp=options.stages is not None,
        stalls=stalls,
        standing=standing,
        interrupted=driven.ended.interrupted,
        aborted=driven.ended.aborted,
        lost=driven.ended.lost,
        failures_allowed=any(condition.allows_failures(figures) for condition in conditions),
    )
    judgement = judge(report, evidence)
    return dataclasses.replace(
        figures,
        valid=judgement.valid,
        verdict=judgement.verdict,
        reason=judgement.reason,
        notes=(*judgement.notes, *driven.notes),
        failures_allowed=evidence.failures_allowed,
        thresholds={condition.expression: condition.holds(figures) for condition in conditions},
    )


def _figures(
    report: dict[str, Any], options: RunOptions, driven: Driven, tags: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    total = report["successful"] + report["failed"]
    lag = driven.loop_lag.percentile(99) if driven.loop_lag is not None and driven.loop_lag.count else None
    return {
        "model": "open" if options.open_model else "closed",
        "concurrent_users": options.users,
        "workers": driven.workers,
        "total_requests": total,
        "successful": report["successful"],
        "failed": report["failed"],
        "requests_per_second": _throughput(report, options, driven),
        "success_rate": report["successful"] / total if total else 0.0,
        "errors": dict(sorted(report["errors"].items(), key=lambda item: -item[1])),
        "examples": _examples(report["examples"], driven.exceptions),
        "elapsed": report["elapsed"],
        "target_rate": options.rate,
        "waited_for_user": report["waited_for_user"],
        "not_sent": report["not_sent"],
        "abandoned": report["abandoned"],
        "warmup_requests": report["warmup"],
        "interrupted": driven.ended.interrupted,
        "bytes_received": report["bytes_received"],
        "bytes_sent": report["bytes_sent"],
        "reconnects": report["reconnects"],
        "loop_lag_p99": lag,
        "requests": _by_name(report["kinds"]),
        "tags": _by_tag(report, tags),
        "series": _series(report, options),
        "exceptions": driven.exceptions,
        "bottleneck": None if driven.witness is None else find_bottleneck(driven.witness, report, lag),
    }


def _standing(report: dict[str, Any], options: RunOptions) -> Standing:
    kinds = {name: kind[3] for name, kind in _merged(report["kinds"]).items()}
    return find_standing(kinds, options.users * options.batch_size, report["elapsed"])


def _times(
    report: dict[str, Any], options: RunOptions, stalls: Sequence[Gap], standing: Standing
) -> dict[str, Any]:
    response = report["response"]
    service = report["service"] if options.open_model else response
    first_byte = report["first_byte"]
    return {
        **times_of(response, service),
        "first_byte_p50": first_byte.percentile(50) if first_byte.count else None,
        "first_byte_p99": first_byte.percentile(99) if first_byte.count else None,
        "connect_avg": report["connect"].mean if report["connect"].count else None,
        "send_lag_p99": report["send_lag"].percentile(99),
        "stalls": [(start, length) for start, length, _ in stalls],
        # With an arrival rate, what was due in a stall was sent, and has waited.
        "corrected": corrected_percentiles(
            response, () if options.open_model else stalls, report["elapsed"], standing
        ),
        "histogram": response,
        "service_histogram": service,
    }


def times_of(response: LoadHistogram, service: LoadHistogram) -> dict[str, float]:
    """The times of a run by the names that its result has for them."""
    of_service = response_times(service)
    return {
        **response_times(response),
        "service_avg": of_service["avg_response_time"],
        **{f"service_{name}": of_service[name] for name in ("p50", "p95", "p99")},
    }


def _throughput(report: dict[str, Any], options: RunOptions, driven: Driven) -> float:
    """Successes a second. Of a run that came to its planned end, those by then: a straggler, or the time
    in which it is waited for, does not stretch the run."""
    elapsed = report["elapsed"]
    stopped = driven.ended.interrupted or driven.ended.aborted
    if options.duration is not None and not stopped and options.duration <= elapsed:
        return float(report["in_time"] / options.duration)
    return report["successful"] / elapsed if elapsed else 0.0


def _examples(texts: Mapping[str, str], exceptions: Mapping[str, BaseException]) -> dict[str, str]:
    found = {kind: _one_line(str(error) or repr(error)) for kind, error in exceptions.items()}
    return {**found, **{kind: _one_line(text) for kind, text in texts.items()}}


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_EXAMPLE_CHARACTERS]


def _series(report: dict[str, Any], options: RunOptions) -> tuple[SecondStats, ...]:
    """The seconds of a run, the last one as long as it was."""
    end = report["elapsed"] if options.planned is None else min(report["elapsed"], options.planned)
    points = report["series"]
    if len(points) > max(1, math.ceil(end)):
        end = float(len(points))  # the run went on into a second in which nothing ended
    seconds = []
    for second, (good, bad, size, *times) in enumerate(points):
        p50, p95, p99, longest = times if times[-1] > 0 else [math.nan] * 4
        length = max(1e-9, min(1.0, end - second))
        seconds.append(SecondStats(second, good, bad, size, p50, p95, p99, longest, seconds=length))
    return tuple(seconds)


def _merged(kinds: Sequence[tuple[str, int, int, int, Any]]) -> dict[str, tuple[int, int, int, Any]]:
    merged: dict[str, tuple[int, int, int, Any]] = {}
    for name, successful, failed, size, histogram in kinds:
        if name in merged:
            before = merged[name]
            before[3].merge(histogram)
            merged[name] = (before[0] + successful, before[1] + failed, before[2] + size, before[3])
        else:
            merged[name] = (successful, failed, size, histogram.copy())
    return merged


def _by_tag(report: dict[str, Any], tags: Mapping[str, Sequence[str]]) -> dict[str, RequestStats]:
    """*tags* are those of names; a report of users has those of each kind."""
    kinds = report["kinds"]
    of_kinds = report.get("kind_tags") or [tags.get(kind[0], ()) for kind in kinds]
    return _by_name(
        [
            (tag, *kind[1:])
            for kind, words in zip(kinds, of_kinds, strict=True)
            for tag in dict.fromkeys(words)
        ]
    )


def _by_name(kinds: Sequence[tuple[str, int, int, int, Any]]) -> dict[str, RequestStats]:
    found = {}
    for name, (successful, failed, size, histogram) in _merged(kinds).items():
        times = response_times(histogram)
        found[name] = RequestStats(
            name,
            successful,
            failed,
            size,
            times["avg_response_time"],
            *(times[of] for of in ("p50", "p95", "p99", "max", "p999")),
        )
    return found

"""What a load test found out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

from .._base._checks import file_name, instance, integer, number
from .._base._durations import short
from .._core import LoadHistogram
from ..errors import ConfigurationError
from ._bottleneck import Bottleneck
from ._compare import Comparison, compare
from ._export import csv_text, junit_text
from ._file import load_result, save_result
from ._plot import plot_result
from ._report import html_fragment, html_page
from ._stats import Percentiles, RequestStats, SecondStats, fields_of
from ._verdict import Verdict, nothing_answered

__all__ = ["LoadTestResult"]


@dataclass(frozen=True, kw_only=True)
class LoadTestResult:
    """The figures of one run. Times are seconds, ratios 0..1.

    Response times are those of requests that were answered, and of timeouts at the timeout; other
    failures are counted in :attr:`errors` and have no part in them. Where there are none they are nan
    (null in JSON), for which no threshold holds. With an arrival rate they count
    from the moment a request was due (:attr:`model` is ``"open"``), so a target that stalls shows in
    them, and :attr:`service_p50` and its kin hold the time from the actual start. Without a rate
    (``"closed"``) both are the same: the time under :attr:`concurrent_users` users.

    Throughput counts successes only. :attr:`verdict` says in a word what the numbers are worth, and
    :attr:`reason` why, in a sentence; :attr:`valid` is False for all words but the first:

    ``"ok"``
        they are about the target.
    ``"stalled"``
        nothing was answered for a while although users waited: :attr:`stalls` says when and for how
        long; or single users waited for a tenth of the time of all or more, while others were answered.
        :attr:`corrected` has the percentiles with the requests that could not be sent then.
    ``"failures"``
        more than 1 % of the requests failed, and no threshold that holds allows it; or all of them.
    ``"generator-limited"``
        the generator added too much to the times, or could not make the load that was asked for.
    ``"partial"``
        the run was ended early, by Ctrl-C or by a threshold.
    """

    target: str
    model: str
    concurrent_users: int
    workers: int = 1
    """Processes that made the run together."""
    total_requests: int
    successful: int
    failed: int
    requests_per_second: float
    success_rate: float
    avg_response_time: float
    p50: float
    p95: float
    p99: float
    p999: float
    max: float
    service_avg: float
    service_p50: float
    service_p95: float
    service_p99: float
    first_byte_p50: float | None
    first_byte_p99: float | None
    connect_avg: float | None
    errors: Mapping[str, int]
    examples: Mapping[str, str] = field(default_factory=dict)
    """What the first error of a kind looked like: the exception's text, or the start of the body."""
    valid: bool
    verdict: Verdict
    reason: str
    stalls: list[tuple[float, float]] = field(default_factory=list)
    """The second of the run and the seconds of each stall."""
    corrected: Percentiles
    failures_allowed: bool = False
    notes: tuple[str, ...] = ()
    elapsed: float
    target_rate: float | None
    send_lag_p99: float
    waited_for_user: int
    not_sent: int
    abandoned: int
    warmup_requests: int
    interrupted: bool
    bytes_received: int
    bytes_sent: int
    reconnects: int = 0
    """Requests that went out on a new connection because the server had closed the kept one without
    announcing it; over HTTP/2, also what it had not processed. No failures, and part of the times."""
    generator_cpu: float | None
    loop_lag_p99: float | None
    thresholds: Mapping[str, bool] = field(default_factory=dict)
    requests: Mapping[str, RequestStats] = field(default_factory=dict)
    tags: Mapping[str, RequestStats] = field(default_factory=dict)
    """The figures of requests that have a tag, by the tag."""
    series: tuple[SecondStats, ...] = ()
    bottleneck: Bottleneck | None = None
    histogram: LoadHistogram = field(repr=False)
    service_histogram: LoadHistogram = field(repr=False)
    made: Mapping[str, str] = field(default_factory=dict)
    """When, where and by what the run was made: ``date``, ``version``, ``machine``, ``command``."""
    exceptions: Mapping[str, BaseException] = field(default_factory=dict, repr=False, compare=False)

    @property
    def passed(self) -> bool:
        """Whether every threshold held."""
        return all(self.thresholds.values())

    def interval(self, percent: float, *, confidence: float = 0.95) -> tuple[float, float]:
        """Between which response times, seconds, the *percent*-th percentile lies with *confidence*.

        By order statistics: no shape of the distribution is assumed, and requests are taken to be
        independent of each other, which under queueing they are not quite. ``(0, inf)`` ends where the
        samples are too few to say.

        Raises:
            ConfigurationError: *percent* or *confidence* is out of range.
        """
        number("percent", percent, 0, 100)
        number("confidence", confidence, 0, 0.999999, above=True)
        count, share = self.histogram.count, percent / 100
        spread = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(count * share * (1 - share))
        low, high = math.floor(count * share - spread), math.ceil(count * share + spread) + 1
        return (
            self.histogram.percentile(100 * low / count) if low >= 1 else 0.0,
            self.histogram.percentile(100 * high / count) if high <= count else math.inf,
        )

    def corrected_by(self, interval: float) -> LoadHistogram:
        """Response times with those added that a closed loop did not take while it waited.

        A user that was to send every *interval* seconds and waited for an answer instead has left out
        the requests that would have waited as well (coordinated omission): each time above *interval*
        stands for itself and for those, shorter by one, two, ... intervals.

        Raises:
            ConfigurationError: *interval* is not positive, or far below the longest time; or the model
                is open, whose times count from when requests were due and have nothing to correct.
        """
        if self.model == "open":
            raise ConfigurationError(
                f"interval={interval!r}: expected no correction of an open model, which needs none"
            )
        number("interval", interval, 0, 3600, above=True)
        if self.max / interval > 1e6:
            raise ConfigurationError(
                f"interval={interval!r}: expected more than a millionth of the longest time"
            )
        return self.histogram.corrected(interval)

    def to_dict(self) -> dict[str, Any]:
        """Every figure as plain values, None for times that there are none of; histograms as slots
        ``[low, high, count]``."""
        apart = {"histogram", "service_histogram", "exceptions", "requests", "tags", "series", "bottleneck"}
        plain = {name: value for name, value in fields_of(self).items() if name not in apart}
        plain["errors"] = dict(self.errors)
        plain["made"] = dict(self.made)
        plain["examples"] = dict(self.examples)
        plain["stalls"] = [list(stall) for stall in self.stalls]
        plain["corrected"] = fields_of(self.corrected)
        plain["thresholds"] = dict(self.thresholds)
        plain["notes"] = list(self.notes)
        plain["requests"] = {name: fields_of(stats) for name, stats in self.requests.items()}
        plain["tags"] = {name: fields_of(stats) for name, stats in self.tags.items()}
        plain["series"] = [fields_of(point) for point in self.series]
        plain["bottleneck"] = None if self.bottleneck is None else self.bottleneck.to_dict()
        plain["histogram"] = [list(slot) for slot in self.histogram.slots()]
        return plain

    def to_json(self, path: str | Path | None = None, *, indent: int | None = 2) -> str:
        """:meth:`to_dict` as JSON text, also written to *path* if one is given."""
        if indent is not None:
            integer("indent", indent, 0, 100)
        return _written(json.dumps(self.to_dict(), indent=indent, ensure_ascii=False), path)

    def to_csv(self, path: str | Path | None = None) -> str:
        """:attr:`series` as CSV with a header line, also written to *path* if one is given."""
        return _written(csv_text(self), path)

    def to_html(self, path: str | Path | None = None, *, baseline: LoadTestResult | None = None) -> str:
        """A report as one HTML page, also written to *path* if one is given.

        With a *baseline*, it says how this run differs from that one, and whether by more than chance.
        """
        if baseline is not None:
            instance("baseline", baseline, LoadTestResult, "a LoadTestResult or None")
        return _written(html_page(self, baseline), path)

    def to_junit(self, path: str | Path | None = None) -> str:
        """JUnit XML: one test case for :attr:`valid` and one for each threshold."""
        return _written(junit_text(self), path)

    def save(self, path: str | Path) -> None:
        """Write everything to *path*, for :meth:`load` and :func:`merge_results`."""
        save_result(self, path)

    @staticmethod
    def load(path: str | Path) -> LoadTestResult:
        """The result that :meth:`save` wrote to *path*. Raises :class:`LoadTestError` for anything else."""
        return load_result(LoadTestResult, path)

    def compare(self, other: LoadTestResult, *, min_effect: float = 0.05, alpha: float = 0.05) -> Comparison:
        """Whether *other* differs from this run by more than chance and by more than *min_effect*.

        See :class:`Comparison` for the test that is used.
        """
        instance("other", other, LoadTestResult, "a LoadTestResult")
        return compare(self, other, min_effect=min_effect, alpha=alpha)

    def plot(self) -> Any:
        """A matplotlib figure: throughput and percentiles over time, and the distribution.

        Raises:
            LoadTestError: matplotlib is not installed (``pip install 'mcp-performance[notebook]'``).
        """
        return plot_result(self)

    def summary(self) -> str:
        """A few lines of text for a terminal."""
        return "\n".join(f"{name:<22}{value}" for name, value in self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        word = self.verdict if self.valid else f"INVALID, {self.verdict}"
        rows = [
            ("target", self.target),
            ("verdict", f"{word}: {self.reason.removeprefix(self.verdict + ': ')}"),
            (
                "requests",
                f"{self.total_requests:,} ({self.failed:,} failed), success rate {self.success_rate:.2%}",
            ),
        ]
        if self.workers > 1:
            rows.append(("workers", f"{self.workers} processes"))
        if self.warmup_requests:
            rows.append(("warm-up", f"{self.warmup_requests:,} requests more, which count nowhere"))
        rows.append(
            (
                "throughput",
                f"{self.requests_per_second:,.1f} requests/s over {self.elapsed:.2f} s "
                f"(n = {self.successful:,})",
            )
        )
        rows.extend(self._time_rows())
        for kind, count in self.errors.items():
            example = self.examples.get(kind)
            rows.append(("errors", f"{kind}: {count:,}" + (f", such as {example!r}" if example else "")))
        for expression, held in self.thresholds.items():
            rows.append(("threshold", f"{expression}  {'held' if held else 'FAILED'}"))
        if self.bottleneck is not None and self.successful:
            rows.append(("bottleneck", self.bottleneck.verdict))
        rows.extend(("note", note) for note in self.notes)
        return rows

    def _time_rows(self) -> Iterator[tuple[str, str]]:
        if not self.successful:
            none = "no request was answered" if nothing_answered(self.errors) else "no request succeeded"
            yield ("response time", none)
            return
        yield (
            "response time",
            f"mean {short(self.avg_response_time)}  p50 {short(self.p50)}  p95 {short(self.p95)}  "
            f"p99 {short(self.p99)}  p99.9 {short(self.p999)}  max {short(self.max)}  "
            f"(n = {self.histogram.count:,})",
        )
        for second, seconds in self.stalls:
            yield ("stall", f"{short(seconds)} from second {second:.1f} on")
        if self.verdict == "stalled" and self.model == "closed":
            times = self.corrected
            yield (
                "with what it held up",
                f"p50 {short(times.p50)}  p95 {short(times.p95)}  p99 {short(times.p99)}  "
                f"p99.9 {short(times.p999)}  max {short(times.max)}",
            )
        if self.histogram.count:
            yield ("95 % intervals", "  ".join(self._intervals()) or "too few samples")
        if self.model == "open":
            yield (
                "service time",
                f"mean {short(self.service_avg)}  p50 {short(self.service_p50)}  "
                f"p95 {short(self.service_p95)}  p99 {short(self.service_p99)}  "
                f"(n = {self.service_histogram.count:,})",
            )

    def _intervals(self) -> Iterator[str]:
        for name, percent in (("p50", 50.0), ("p95", 95.0), ("p99", 99.0), ("p99.9", 99.9)):
            low, high = self.interval(percent)
            if math.isfinite(high):
                yield f"{name} {short(low)} .. {short(high)}"

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return html_fragment(self)


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        Path(file_name("path", path)).write_text(text, encoding="utf-8")
    return text

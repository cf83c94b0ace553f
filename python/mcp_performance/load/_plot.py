"""Figures of load tests. matplotlib is imported only here, when a plot is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..errors import LoadTestError

if TYPE_CHECKING:
    from ._result import LoadTestResult
    from ._scalability import Scalability

__all__ = ["plot_result", "plot_scalability"]


def _figure(columns: int) -> tuple[Any, Any]:
    try:
        figures = importlib.import_module("matplotlib.figure")
    except ImportError:
        raise LoadTestError("plot() needs matplotlib: pip install 'mcp-performance[notebook]'") from None
    figure = figures.Figure(figsize=(5.2 * columns, 3.6), layout="constrained")
    return figure, figure.subplots(1, columns)


def plot_result(result: LoadTestResult) -> Any:
    """Throughput over time, percentiles over time, and the distribution up to the tail."""
    figure, (rate, times, tail) = _figure(3)
    # A second that the run ended in is as narrow as it was, and its bar as high as its rate.
    seconds = [point.second for point in result.series]
    widths = [0.9 * point.seconds for point in result.series]
    succeeded = [point.successful / point.seconds for point in result.series]
    rate.bar(seconds, succeeded, width=widths, align="edge", label="successful")
    failed = [point.failed / point.seconds for point in result.series]
    if any(failed):
        rate.bar(
            seconds, failed, width=widths, align="edge", bottom=succeeded, color="tab:red", label="failed"
        )
        rate.legend()
    rate.set(title="Requests a second", xlabel="second", ylim=(0, None))
    for name in ("p50", "p95", "p99"):
        times.plot(seconds, [getattr(point, name) * 1e3 for point in result.series], marker=".", label=name)
    times.set(title="Response time", xlabel="second", ylabel="ms", ylim=(0, None))
    times.legend()
    quantiles = [1 - 10 ** (-i / 20) for i in range(int(20 * _nines(result)) + 1)]
    tail.plot(
        [1 / (1 - q) for q in quantiles], [result.histogram.percentile(100 * q) * 1e3 for q in quantiles]
    )
    tail.set(title="Distribution", xlabel="percentile", ylabel="ms", xscale="log", ylim=(0, None))
    ticks = [(2, "50"), (10, "90"), (100, "99"), (1000, "99.9"), (10_000, "99.99")]
    shown = [(at, label) for at, label in ticks if at <= 10 ** _nines(result)]
    tail.set_xticks([at for at, _ in shown], [label for _, label in shown])
    tail.minorticks_off()
    if not result.valid:
        figure.suptitle(f"INVALID, {result.verdict}: {result.reason}", color="tab:red", fontsize=9)
    return figure


def _nines(result: LoadTestResult) -> float:
    """How far into the tail the number of samples carries."""
    count = result.histogram.count
    return 4 if count >= 36_880 else 3 if count >= 3_688 else 2 if count >= 368 else 1


def plot_scalability(scalability: Scalability) -> Any:
    """Measured throughput, the fitted law, and its peak."""
    figure, axis = _figure(1)
    users = [level.users for level in scalability.levels]
    axis.plot(users, [level.throughput for level in scalability.levels], "o", label="measured")
    end = max(max(users), min(scalability.peak_users * 1.3, 4 * max(users)))
    grid = [1 + (end - 1) * i / 200 for i in range(201)]
    axis.plot(grid, [scalability.predict(n) for n in grid], label="Universal Scalability Law")
    if scalability.peak_users <= end:
        axis.axvline(
            scalability.peak_users, linestyle=":", color="gray", label=f"peak at {scalability.peak_users:.0f}"
        )
    axis.set(title="Throughput", xlabel="users", ylabel="requests/s", ylim=(0, None), xlim=(0, None))
    axis.legend()
    return figure

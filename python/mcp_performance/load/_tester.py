"""The load tester: one run against one target, and the studies made of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._base._checks import choice, flag, integer, texts
from ._bottleneck import find_bottleneck
from ._drive import Driven, ProgressCallback, supervise
from ._live import shown
from ._options import RunOptions, Stage, check_run
from ._result import LoadTestResult
from ._scenario import Request
from ._stats import RequestStats, SecondStats
from ._study import (
    Capacity,
    Scalability,
    find_capacity,
    measure_scalability,
)
from ._targets import Target, TargetOptions, make_target
from ._thresholds import Threshold, check_thresholds, hopeless
from ._verdict import Evidence, judge

__all__ = ["LoadTester"]

_INTERVAL = 0.25


class LoadTester:
    """Sends load to a target and says how it did, and whether the numbers mean anything.

    Args:
        target: a URL (``http``, ``https``, or ``http+unix://%2Frun%2Fapp.sock/path``), an ASGI app
            (called in this process, without sockets), an async or a sync callable without arguments,
            or None for the built-in sample service: an ASGI app in this process whose request is one
            point SELECT and one cached function.
        headers: sent with every request.
        scenario: requests to send, on top of the URL's path; without one it is ``GET`` of the URL.
        order: ``"weighted"`` draws requests by their weights, the same ones in every run with the same
            seed; ``"sequential"`` sends them in the given order, round and round.
        think_time: seconds that a user pauses between requests, or the shortest and the longest pause.
        verify: whether to check the certificate; or the path of a PEM file to check it with.
        unix_socket: path of the socket through which to reach the URL's host.
        allow_hosts: names that may be tested although they are neither loopback nor private;
            ``"*.example.org"`` allows everything below.
        http2: speaks HTTP/2 to a URL: with ``https`` as agreed in the TLS handshake, with ``http`` from
            the first byte (prior knowledge). Needs a build that found libnghttp2.
        streams: with *http2*, requests in flight that share a connection at most (h2load's ``-m``):
            users are spread over as few connections as that takes, of each thread. 1 gives each its own.
        follow_redirects: to the same scheme, host and port. Others are failures.
        max_body: bytes of a decoded response beyond which it is a failure.
        threads: generator threads for a URL. One drives a web server that fills a core.
        seed: of the choice of requests. ``{uuid}`` values depend on it as well when it is given, and
            differ between testers otherwise.

    Raises:
        ConfigurationError: an argument has a bad value.
        TypeError: *target* is something else.
    """

    def __init__(
        self,
        target: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        scenario: Sequence[Request] | None = None,
        order: str = "weighted",
        think_time: float | tuple[float, float] | None = None,
        verify: bool | str = True,
        unix_socket: str | None = None,
        allow_hosts: Sequence[str] = (),
        http2: bool = False,
        streams: int = 100,
        follow_redirects: bool = True,
        max_body: int = 64 << 20,
        threads: int = 1,
        seed: int | None = None,
    ) -> None:
        choice("order", order, ("weighted", "sequential"))
        self._seed = 0 if seed is None else integer("seed", seed, 0, 2**63 - 1)
        self._threads = integer("threads", threads, 1, 256)
        self._think_time = think_time
        self._target: Target = make_target(
            target,
            TargetOptions(
                headers=dict(headers or {}),
                scenario=scenario,
                order=order,
                verify=verify,
                unix_socket=unix_socket,
                allow_hosts=tuple(texts("allow_hosts", allow_hosts)),
                http2=flag("http2", http2),
                streams=integer("streams", streams, 1, 100_000),
                follow_redirects=flag("follow_redirects", follow_redirects),
                max_body=integer("max_body", max_body, 1, 2**62),
                threads=self._threads,
                seed=seed,
            ),
        )
        self.last_result: LoadTestResult | None = None
        """Of the latest run, also of one that was cancelled."""

    async def run_load_test(
        self,
        num_requests: int | None = None,
        concurrent_users: int = 10,
        *,
        duration: float | None = None,
        rate: float | None = None,
        stages: Sequence[Stage | tuple[float, float]] | None = None,
        batch_size: int = 1,
        warmup: float | None = None,
        timeout: float | None = 30.0,  # noqa: ASYNC109 - of each request
        thresholds: Sequence[str] | None = None,
        progress: ProgressCallback | bool | None = None,
        arrivals: str = "uniform",
    ) -> LoadTestResult:
        """Run one load test.

        Without *rate* the model is closed: each user sends, waits for the answer, and goes on. With
        it the model is open: requests are due at that rate whatever the target does, at most
        *concurrent_users* are in flight, and one that has to wait for its turn has waited.

        Args:
            num_requests: how many; 1000 unless a duration or stages say when to end.
            concurrent_users: users, or with *rate* the most requests in flight.
            duration: seconds.
            rate: requests a second.
            stages: a load profile; pairs are (seconds, users), or (seconds, rate) when *rate* is given
                as the rate to start from.
            batch_size: requests that each user sends together.
            warmup: seconds before the measurement, whose requests count nowhere.
            timeout: seconds that a request may take; None for no limit.
            thresholds: conditions such as ``"p99<50ms"`` or ``"success_rate>=0.999"``, which end the
                run early once they cannot hold any more.
            progress: called four times a second with a :class:`Progress`; True shows it in the terminal.
            arrivals: ``"uniform"`` or ``"poisson"``.

        Ctrl-C ends the run and returns the results so far.

        Raises:
            ConfigurationError: an argument has a bad value.
            TargetRefused: the target is neither local nor private, and not in ``allow_hosts``.
            LoadTestError: the run could not be made.
        """
        if num_requests is None and duration is None and stages is None:
            num_requests = 1000
        options = check_run(
            num_requests,
            concurrent_users,
            duration=duration,
            rate=rate,
            stages=stages,
            batch_size=batch_size,
            warmup=warmup,
            timeout=timeout,
            think_time=self._think_time,
            arrivals=arrivals,
            seed=self._seed,
        )
        conditions = check_thresholds(thresholds or ())
        null_cost = await self._target.null_cost()
        with shown(progress, self._target.name) as callback:

            async def supervisor(run: Any, work: Any, stop: Callable[[], None]) -> bool:
                watch = (lambda report: hopeless(conditions, report)) if conditions else None
                return await supervise(
                    run, work, stop, options, progress=callback, watch=watch, interval=_INTERVAL
                )

            driven = await self._target.drive(options, supervisor)
        self.last_result = _result(self._target, options, driven, null_cost, conditions, self._threads)
        return self.last_result

    async def find_capacity(
        self,
        slo: str | Sequence[str] = ("p99<100ms", "success_rate>=99.9%"),
        *,
        start: float | None = None,
        duration: float = 2.0,
        tolerance: float = 0.05,
        max_in_flight: int = 256,
        timeout: float | None = 30.0,  # noqa: ASYNC109 - of each request
    ) -> Capacity:
        """The highest arrival rate at which *slo* holds.

        Open model throughout: the rate doubles until the objective is missed, is bisected to
        *tolerance*, and confirmed by a run of twice the *duration*. A rate that is not held, or that
        needs more than *max_in_flight* requests in flight, misses it too. Ctrl-C ends the search with what
        it has found.

        Args:
            slo: thresholds, as of :meth:`run_load_test`.
            start: rate to begin with; by default what one user reaches.
            duration: seconds of a step.
            tolerance: relative width at which the search ends.
            max_in_flight: most requests in flight.
            timeout: seconds that a request may take.
        """
        return await find_capacity(
            self.run_load_test,
            slo,
            start=start,
            duration=duration,
            tolerance=tolerance,
            max_in_flight=max_in_flight,
            timeout=timeout,
        )

    async def scalability(
        self,
        users: Sequence[int] = (1, 2, 4, 8, 16, 32),
        *,
        duration: float | None = None,
        rounds: int = 60,
        timeout: float | None = 30.0,  # noqa: ASYNC109 - of each request
        progress: Callable[[str], None] | None = None,
    ) -> Scalability:
        """Throughput under growing numbers of users, and the Universal Scalability Law through it.

        Many short runs tell more than a few long ones: with the defaults, which take 40 s, all
        three parameters of a system whose throughput varies by 5 % from run to run are found within 10 %
        in 95 of 100 studies, if it is near its peak at the highest level. Ctrl-C ends the study with what
        it has, if those are four levels or more.

        Args:
            users: at least four numbers; six or more make a good fit.
            duration: seconds of each run; by default a tenth, or longer where requests take more than
                2 ms, for as long as a user needs for 50 of them.
            rounds: how often every level is run, in turns.
            timeout: seconds that a request may take.
            progress: called with a line of text before each run.
        """
        return await measure_scalability(
            self.run_load_test, users, duration=duration, rounds=rounds, timeout=timeout, progress=progress
        )


def _result(
    target: Target,
    options: RunOptions,
    driven: Driven,
    null_cost: float | None,
    conditions: Sequence[Threshold],
    threads: int,
) -> LoadTestResult:
    report = driven.report
    lag = driven.loop_lag.percentile(99) if driven.loop_lag is not None and driven.loop_lag.count else None
    users = options.users * options.batch_size
    evidence = Evidence(
        open_model=options.open_model,
        http=target.http,
        users=users,
        threads=threads,
        null_cost=null_cost,
        loop_lag_p99=lag,
        lag_is_ours=target.lag_is_ours,
        never_suspended=driven.suspensions == 0,
        think=options.think[1] > 0,
        ramp=options.stages is not None,
    )
    valid, verdict, notes = judge(report, evidence)
    response = report["response"]
    service = report["service"] if options.open_model else response
    total = report["successful"] + report["failed"]
    elapsed = report["elapsed"]
    # With a planned end, throughput is what was done by then; a straggler does not stretch the run.
    within = options.duration if options.duration is not None and not driven.interrupted else None
    rate = (
        report["in_time"] / within
        if within is not None and within <= elapsed
        else report["successful"] / elapsed
        if elapsed
        else 0.0
    )
    result = LoadTestResult(
        target=target.name,
        model="open" if options.open_model else "closed",
        concurrent_users=options.users,
        total_requests=total,
        successful=report["successful"],
        failed=report["failed"],
        requests_per_second=rate,
        success_rate=report["successful"] / total if total else 0.0,
        avg_response_time=response.mean,
        p50=response.percentile(50),
        p95=response.percentile(95),
        p99=response.percentile(99),
        p999=response.percentile(99.9),
        max=response.max,
        service_avg=service.mean,
        service_p50=service.percentile(50),
        service_p95=service.percentile(95),
        service_p99=service.percentile(99),
        first_byte_p50=report["first_byte"].percentile(50) if report["first_byte"].count else None,
        first_byte_p99=report["first_byte"].percentile(99) if report["first_byte"].count else None,
        connect_avg=report["connect"].mean if report["connect"].count else None,
        errors=dict(sorted(report["errors"].items(), key=lambda item: -item[1])),
        valid=valid,
        verdict=verdict,
        notes=notes,
        elapsed=elapsed,
        target_rate=options.rate,
        send_lag_p99=report["send_lag"].percentile(99),
        waited_for_user=report["waited_for_user"],
        not_sent=report["not_sent"],
        abandoned=report["abandoned"],
        warmup_requests=report["warmup"],
        interrupted=driven.interrupted,
        bytes_received=report["bytes_received"],
        bytes_sent=report["bytes_sent"],
        reconnects=report["reconnects"],
        generator_cpu=report["generator_cpu"] / elapsed if target.http and elapsed else None,
        loop_lag_p99=lag,
        requests=_by_name(report["kinds"]),
        series=tuple(SecondStats(i, *point) for i, point in enumerate(report["series"])),
        histogram=response,
        service_histogram=service,
        exceptions=driven.exceptions,
        bottleneck=None if driven.witness is None else find_bottleneck(driven.witness, report, lag),
        thresholds={},
    )
    object.__setattr__(result, "thresholds", {c.expression: c.holds(result) for c in conditions})
    return result


def _by_name(kinds: Sequence[tuple[str, int, int, int, Any]]) -> dict[str, RequestStats]:
    merged: dict[str, tuple[int, int, int, Any]] = {}
    for name, successful, failed, size, histogram in kinds:
        if name in merged:
            before = merged[name]
            histogram.merge(before[3])
            merged[name] = (before[0] + successful, before[1] + failed, before[2] + size, histogram)
        else:
            merged[name] = (successful, failed, size, histogram)
    return {
        name: RequestStats(
            name,
            successful,
            failed,
            size,
            h.mean,
            h.percentile(50),
            h.percentile(95),
            h.percentile(99),
            h.max,
        )
        for name, (successful, failed, size, h) in merged.items()
    }

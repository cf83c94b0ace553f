"""The load tester: one run against one target, and the studies made of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

from .._base._checks import flag, integer, mapping, text
from ._capacity import Capacity, find_capacity
from ._circumstances import circumstances
from ._crowd import Feed, UserStep
from ._keywords import TargetKeywords
from ._live import shown
from ._make import make_result
from ._options import Arrivals, RunOptions, Stage, check_run, think_times
from ._result import LoadTestResult
from ._scalability import Scalability, measure_scalability
from ._scenario import Order, Request
from ._supervision import Driven, ProgressCallback, Supervision, nothing_driven
from ._targets import McpCall, Target, TargetOptions, WebSocketCall, make_target, split_url
from ._thresholds import check_thresholds, hopeless
from ._workers import drive_workers

__all__ = ["LoadTester"]


class LoadTester:
    """Sends load to a target and says how it did, and whether the numbers mean anything.

    Args:
        target: a URL (``http``, ``https``, or ``http+unix://%2Frun%2Fapp.sock/path``), an ASGI app
            (called in this process, without sockets; a request takes until the app has returned, with what it
            does after its answer), an async or a sync callable without arguments
            (among them :class:`McpTool` and :class:`Command`), an async function of one argument, a
            :class:`User` whose requests are then the load test's, or None for the built-in sample service:
            an ASGI app in this process whose request is one point SELECT and one cached function.
        headers: sent with every request.
        scenario: requests to send, on top of the URL's path; without one it is ``GET`` of the URL.
        order: ``"weighted"`` draws requests by their weights, the same ones in every run with the same
            seed; ``"sequential"`` sends them in the given order, round and round, and users that have
            something of their own each by itself. By default sequential where requests save values or
            *cookies* are kept, and no weights are given.
        url: where the paths that a function of a user asks for begin.
        cookies: whether each user keeps the cookies that it is given. Users that are functions always do.
        data: rows, or the path of a CSV or JSON file: user *i* is given row *i*, from the first again after
            the last, and ``{column}`` stands for its values.
        setup: async function, called with each :class:`User` before the run. What it puts into the user, and
            the cookies it is given, are there in the run.
        teardown: async function, called with each user after the run.
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
        workers: processes that make each run together, forked from this one when it begins. Users, requests
            and arrivals are dealt out to them in turn, and their histograms are added slot by slot, so
            percentiles are those of one generator. Functions and apps use more than one core so; each
            process has its own copy of them. One that is killed makes the run ``"partial"``.
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
        order: Order | None = None,
        url: str | None = None,
        cookies: bool = False,
        data: Feed = None,
        setup: UserStep | None = None,
        teardown: UserStep | None = None,
        think_time: float | tuple[float, float] | None = None,
        verify: bool | str = True,
        unix_socket: str | None = None,
        allow_hosts: Sequence[str] = (),
        http2: bool = False,
        streams: int = 100,
        follow_redirects: bool = True,
        max_body: int = 64 << 20,
        threads: int = 1,
        workers: int = 1,
        seed: int | None = None,
    ) -> None:
        options = TargetOptions.checked(
            headers=headers,
            scenario=scenario,
            order=order,
            url=url,
            cookies=cookies,
            data=data,
            setup=setup,
            teardown=teardown,
            verify=verify,
            unix_socket=unix_socket,
            allow_hosts=allow_hosts,
            http2=http2,
            streams=streams,
            follow_redirects=follow_redirects,
            max_body=max_body,
            threads=threads,
            seed=seed,
        )
        self._seed = options.seed_number
        self._threads = options.threads
        self._workers = integer("workers", workers, 1, 256)
        think_times(think_time)
        self._think_time = think_time
        self._target: Target = make_target(target, options)
        self._stop: Callable[[], None] | None = None
        self.last_result: LoadTestResult | None = None
        """Of the latest run, also of one that was cancelled."""

    @classmethod
    def mcp(
        cls,
        url: str | Sequence[str],
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        **options: Unpack[TargetKeywords],
    ) -> LoadTester:
        """Calls of one tool of an MCP server.

        Each user has a session of its own, which is opened before the run (``initialize``) and closed after
        it. A request is one ``tools/call``; an error of the protocol, and a result that says it is one
        (``isError``), are failures.

        Args:
            url: of a server that speaks streamable HTTP; or the command of one that speaks over its standard
                input and output, as a list or as ``"stdio:python server.py"``, which is run once a user.
            tool: its name.
            arguments: of every call. Over HTTP they may have the placeholders of :class:`Request`.
            options: those of :class:`LoadTester`.
        """
        return cls(McpCall(url, text("tool", tool), dict(mapping("arguments", arguments))), **options)

    @classmethod
    def websocket(
        cls, url: str, message: str | bytes, *, expect: str | bytes = b"", **options: Unpack[TargetKeywords]
    ) -> LoadTester:
        """Messages over WebSockets: each user connects once, before the run; a request is a round trip.

        Args:
            url: ``ws://`` or ``wss://``.
            message: that every request sends; bytes as a binary message.
            expect: text that the answer of a success, the next message of the server, contains.
            options: those of :class:`LoadTester`.
        """
        return cls(WebSocketCall(url, message, expect), **options)

    @classmethod
    def sse(cls, url: str, events: int = 1, **options: Unpack[TargetKeywords]) -> LoadTester:
        """Streams of server-sent events: a request is over after so many events, and its time is that
        to the last of them.

        Args:
            url: ``http://`` or ``https://``.
            events: of each stream.
            options: those of :class:`LoadTester`.
        """
        base, path = split_url(url)
        headers = {"Accept": "text/event-stream"}
        return cls(base, scenario=[Request("GET", path, headers=headers, events=events)], **options)

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
        drain: float = 5.0,
        thresholds: Sequence[str] | None = None,
        abort_on_fail: bool = False,
        progress: ProgressCallback | bool | None = None,
        arrivals: Arrivals = "uniform",
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
            drain: seconds after the planned end in which requests under way may still be answered. Those
                that are not have failed, whatever their *timeout*: a run ends within a second of it.
            thresholds: conditions such as ``"p99<50ms"`` or ``"success_rate>=0.999"``; of the requests of
                one name, ``"p99{GET /login}<50ms"``, or tag, ``"p99{tag:checkout}<50ms"``; of some
                seconds, ``"p99[10s..30s]<50ms"``, which a time meets when every second's does. One on
                failures that holds allows them.
            abort_on_fail: end the run once a threshold cannot hold any more; the verdict is then
                ``"partial"``.
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
            drain=drain,
            think_time=self._think_time,
            arrivals=arrivals,
            seed=self._seed,
        )
        conditions = check_thresholds(
            thresholds or (),
            self._target.kinds,
            None
            if self._target.kinds is None
            else list(dict.fromkeys(tag for tags in self._target.tags.values() for tag in tags)),
            length=options.planned,
        )
        watched = conditions if flag("abort_on_fail", abort_on_fail) else []
        made = circumstances()
        with shown(progress, self._target.name) as callback:
            supervision = Supervision(
                options,
                progress=callback,
                watch=(lambda report: hopeless(watched, report)) if watched else None,
            )
            self._stop = supervision.end
            try:
                driven, null_cost = await self._conduct(options, supervision)
            finally:
                self._stop = None
        result = make_result(self._target, options, driven, null_cost, conditions, self._threads)
        self.last_result = dataclasses.replace(result, made=made)
        return self.last_result

    async def _conduct(self, options: RunOptions, supervision: Supervision) -> tuple[Driven, float | None]:
        """The run, and what calling nothing costs."""
        null_cost: float | None = None

        async def drive() -> Driven:
            nonlocal null_cost
            null_cost = await self._target.null_cost()
            return await drive_workers(self._target, options, supervision, self._workers)

        driven = await supervision.conduct(drive())
        return driven or nothing_driven(options), null_cost

    def stop(self) -> None:
        """End the run under way, from any thread: it returns its results so far, as with Ctrl-C.

        Before the requests begin there are none, and set-ups, sessions and an app's startup are given up.
        After the last one it has all results, and what would still come is given up.
        """
        stop = self._stop
        if stop is not None:
            stop()

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

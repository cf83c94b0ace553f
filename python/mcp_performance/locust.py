"""Locust's master and workers, our engine: a Locust user whose requests the native engine sends.

Locust is not needed by anything else in this package: ``pip install locust`` for this module. A locustfile::

    from mcp_performance import Request
    from mcp_performance.locust import EngineUser

    class Visitor(EngineUser):
        host = "http://127.0.0.1:8000"
        concurrent_users = 50
        scenario = [Request("GET", "/board"), Request("POST", "/bookings", json={"seat": 7})]

and ``locust -f locustfile.py --headless -u 2 --master``, ``locust -f locustfile.py --worker``: Locust
starts, spreads and stops its users and adds up their figures; each of its users is one generator thread
with ``concurrent_users`` users of ours. Figures reach Locust by its ``request`` event, one for each
request, once a second.
"""

from __future__ import annotations

import importlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ._base._checks import MAX_DURATION
from .errors import ConfigurationError
from .load._options import check_run
from .load._scenario import Order, Request
from .load._targets import HttpTarget, TargetOptions

__all__ = ["EngineUser"]

try:
    _locust = importlib.import_module("locust")
    _gevent = importlib.import_module("gevent")
    _threadpool = importlib.import_module("gevent.threadpool")
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"mcp_performance.locust needs {missing.name}: pip install locust", name=missing.name
    ) from None

_INTERVAL = 1.0
_EVENTS_BETWEEN_YIELDS = 500
_numbers = itertools.count()


class EngineUser(_locust.User):  # type: ignore[misc, name-defined]
    """One generator thread under Locust's control. Subclass it and set ``host`` and what else differs.

    Response times reach Locust with three significant digits, and failures without one, but for
    timeouts. When several kinds of requests fail within a second, which of them failed how is not
    told apart: the counts of each kind and of each error are right.
    """

    abstract = True
    wait_time = _locust.constant(1)  # after a run that could not be made

    concurrent_users: int = 10
    """Users, or with *rate* the most requests in flight."""
    rate: float | None = None
    """Requests a second of each Locust user (the open model: times count from when a request was due)."""
    scenario: Sequence[Request] | None = None
    headers: Mapping[str, str] = {}
    think_time: float | tuple[float, float] | None = None
    batch_size: int = 1
    timeout: float | None = 30.0
    order: Order = "weighted"
    verify: bool | str = True
    unix_socket: str | None = None
    allow_hosts: Sequence[str] = ()
    http2: bool = False
    streams: int = 100
    follow_redirects: bool = True
    seed: int = 0

    def make_run(self) -> Any:
        """The native run of this user. Raises what :class:`mcp_performance.LoadTester` raises."""
        if not self.host:
            raise ConfigurationError(f"host={self.host!r}: expected the URL of the target")
        number = next(_numbers)
        target = HttpTarget(
            self.host,
            TargetOptions.checked(
                headers=self.headers,
                scenario=self.scenario,
                order=self.order,
                verify=self.verify,
                unix_socket=self.unix_socket,
                allow_hosts=self.allow_hosts,
                http2=self.http2,
                streams=self.streams,
                follow_redirects=self.follow_redirects,
                seed=None,
            ),
        )
        options = check_run(
            None,
            self.concurrent_users,
            duration=MAX_DURATION,
            rate=self.rate,
            stages=None,
            batch_size=self.batch_size,
            warmup=None,
            timeout=self.timeout,
            drain=MAX_DURATION,
            think_time=self.think_time,
            arrivals="uniform",
            seed=self.seed + number,
        )
        return target.make_run(options, 1, live_kinds=True)

    @_locust.task  # type: ignore[untyped-decorator, unused-ignore]
    def drive(self) -> None:
        """Run the engine until Locust stops this user."""
        run = self.make_run()
        reporter = _Reporter(self.environment.events.request.fire, self.context())
        pool = _threadpool.ThreadPool(1)
        ended = pool.spawn(run.run)
        try:
            while not ended.ready():
                ended.wait(_INTERVAL)
                reporter.report(run.report())
        finally:
            run.stop()
            ended.get()
            reporter.report(run.report())
            pool.kill()


class _Reporter:
    """Says to Locust what has ended since the last report."""

    def __init__(self, fire: Callable[..., None], context: Mapping[str, Any]) -> None:
        self._fire = fire
        self._context = context
        self._seen: dict[tuple[str, int], Counter[float]] = {}
        self._counts: dict[tuple[str, int], tuple[int, int, int]] = {}
        self._errors: Counter[str] = Counter()

    def report(self, report: Mapping[str, Any]) -> None:
        errors = Counter(report["errors"])
        failures = (errors - self._errors).elements()
        self._errors = errors
        sent = 0
        for position, (name, successful, failed, size, histogram) in enumerate(report["kinds"]):
            for event in self._events((name, position), (successful, failed, size), histogram, failures):
                self._fire(**event)
                sent += 1
                if sent % _EVENTS_BETWEEN_YIELDS == 0:
                    _gevent.sleep(0)

    def _events(
        self,
        key: tuple[str, int],
        counts: tuple[int, int, int],
        histogram: Any,
        failures: Iterator[str],
    ) -> Iterator[dict[str, Any]]:
        before = self._counts.get(key, (0, 0, 0))
        successful, failed, size = (now - then for now, then in zip(counts, before, strict=True))
        self._counts[key] = counts
        slots = Counter({(low + high) / 2: count for low, high, count in histogram.slots()})
        times = (slots - self._seen.get(key, Counter())).elements()  # ascending; timeouts are the longest
        self._seen[key] = slots
        method, name = _method_and_name(key[0])
        event = {"request_type": method, "name": name, "context": self._context, "exception": None}
        length = size // successful if successful else 0
        for _ in range(successful):
            yield {**event, "response_time": next(times) * 1e3, "response_length": length}
        for _ in range(failed):
            error = RuntimeError(next(failures, "failed"))
            seconds = next(times, None)
            took = None if seconds is None else seconds * 1e3
            yield {**event, "response_time": took, "response_length": 0, "exception": error}


def _method_and_name(label: str) -> tuple[str, str]:
    """``GET /board`` as Locust keeps it: the method and the name."""
    method, _, name = label.partition(" ")
    return (method, name) if method.isupper() and name.startswith("/") else ("HTTP", label)

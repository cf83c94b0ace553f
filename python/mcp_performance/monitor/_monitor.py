"""The monitor: every figure of this process, and the advice that follows from them."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .. import _core, config
from .._base import _registry
from .._base._checks import file_name, flag, instance, integer, number, several
from ..query import QueryAnalyzer
from ._advising import advice_on
from ._exemplars import Exemplars
from ._history import STEPS, History
from ._loop_lag import LoopLag
from ._observed import observe, observe_pools, queries_of
from ._process_window import ProcessWindow
from ._prometheus import exposition
from ._recommend import Recommendation, Thresholds, recommend
from ._sampler import Sampler
from ._service import Service
from ._spans import Spans
from ._workers import add_up, queries_of_rows, rows_of

__all__ = ["PerformanceMonitor", "checked_monitor", "monitor_or_new"]

_ADVICE_SECONDS = 60.0
_DAY = 86_400.0
_SLOW_QUERIES = 20
_numbers = itertools.count()


class PerformanceMonitor:
    """Reads every cache, pool and tier of this process, its CPU, memory and files, and the requests that
    a :class:`PerformanceMiddleware` hands it.

    Safe from any thread. Starts nothing by itself; the middleware starts a timer in its event loop that
    measures how late the loop runs, and a thread that keeps the figures of each second (:attr:`history`).
    CPU and memory are the container's where its cgroups (v1 and v2) set limits, the machine's otherwise.

    In a service of several workers (see ``workers`` of the middleware) all figures are sums over the workers
    that there are and were, of which each process can tell. Requests and operations are exact whenever a
    worker ends, and however, and so is what caches and pools (the 40 busiest of each) had counted by the end
    of the worker's last request. Of what came later, of single statements, tiers and the process, a worker
    that is killed takes at most a second along.

    Args:
        caches: the caches to report on; ``None`` for all that are alive.
        pools: the :class:`SQLitePool` objects to report on; ``None`` for all that are alive.
        tiers: the :class:`RedisTier` objects to report on; ``None`` for all that are alive.
        analyzer: a :class:`QueryAnalyzer`; with it, slow queries come with the index that would help.
        database: the SQLite file that ``POST /analyze`` explains statements against; without it, that of
            the only pool.
        high_cpu: percent of the cores that this process may use, above which to advise.
        high_memory: percent of the memory that it may use, above which to advise.
        low_cache_hit: hit ratio (0 to 1) below which to advise.
        slow_query: seconds above which a statement is slow.

    Raises:
        ConfigurationError: a threshold is out of its range; the message names it.
    """

    def __init__(
        self,
        *,
        caches: Iterable[Any] | None = None,
        pools: Iterable[Any] | None = None,
        tiers: Iterable[Any] | None = None,
        analyzer: Any = None,
        database: str | os.PathLike[str] | None = None,
        high_cpu: float | None = None,
        high_memory: float | None = None,
        low_cache_hit: float | None = None,
        slow_query: float | None = None,
    ) -> None:
        self._caches = None if caches is None else list(several("caches", caches))
        self._pools = None if pools is None else list(several("pools", pools))
        self._tiers = None if tiers is None else list(several("tiers", tiers))
        if analyzer is not None and not callable(getattr(analyzer, "advise", None)):
            raise TypeError(f"analyzer={analyzer!r}: expected a QueryAnalyzer")
        self._analyzer = analyzer
        self._database = None if database is None else file_name("database", database)

        def chosen(name: str, value: float | None, default: float, high: float) -> float:
            return number(name, default if value is None else value, 0, high)

        self.thresholds = Thresholds(
            cpu_percent=chosen("high_cpu", high_cpu, config.HIGH_CPU_THRESHOLD, 100),
            memory_percent=chosen("high_memory", high_memory, config.HIGH_MEMORY_THRESHOLD, 100),
            hit_rate=chosen("low_cache_hit", low_cache_hit, config.LOW_CACHE_HIT_THRESHOLD, 1),
            slow_query_seconds=chosen("slow_query", slow_query, config.SLOW_QUERY_THRESHOLD, _DAY),
        )
        self._requests = _core.RequestMetrics()
        self._process = ProcessWindow()
        self._lag = LoopLag(self._tick)
        self._history = History()
        self._sampler = Sampler(self, self._history)
        self._service = Service(self._requests)
        self._advice: tuple[float, list[Any]] = (-math.inf, [])
        self._tried: tuple[float, dict[str, Any] | None] = (-math.inf, None)
        self.mark = f"mcp_performance.counted.{next(_numbers)}"
        """The key in an ASGI scope or a WSGI environ under which what counts a request is found."""
        self.exemplars = Exemplars(_core.REQUEST_BUCKETS)
        """Traces of single requests, where there are :attr:`spans`."""
        self.spans: Spans | None = None
        """What makes spans of requests and operations, see :func:`integrations.opentelemetry.instrument`."""

    def _tick(self, lag_seconds: float) -> None:
        self._requests.record_lag(lag_seconds)
        self._process.note()

    def _sources(self, given: list[Any] | None, alive: Callable[[], list[Any]]) -> list[Any]:
        return alive() if given is None else given

    @property
    def requests(self) -> _core.RequestMetrics:
        """Where requests are recorded."""
        return self._requests

    @property
    def loop_lag(self) -> LoopLag:
        """The timer that measures the event loop."""
        return self._lag

    def join(self, workers: str = "auto") -> None:
        """Count together with the other workers of a service: ``"auto"`` for those that the same process
        started, or the service's name. Done once a process; middlewares do it at their first request."""
        self._service.join(workers)

    def _publish(self, own: dict[str, Any], sources: dict[str, dict[str, Any]]) -> None:
        queries = queries_of(self._sources(self._pools, _registry.pools))
        for row in rows_of(own, queries, sources):
            self._requests.publish(*row)

    def _own(self, sources: dict[str, dict[str, Any]] | None = None) -> dict[str, Any]:
        """What is known of this process besides its requests; *sources* is told which object has which
        name."""
        named = {} if sources is None else sources
        caches, pools = named.setdefault("cache", {}), named.setdefault("pool", {})
        return {
            "process": self._process.look(),
            "gc": gc.get_stats(),
            "caches": observe("cache", self._sources(self._caches, _registry.caches), caches),
            "pools": observe_pools(self._sources(self._pools, _registry.pools), pools),
            "tiers": observe("tier", self._sources(self._tiers, _registry.tiers)),
        }

    def _look(self, each: bool) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
        """The requests of all workers, their other figures, and what is known of each worker."""
        flag("each", each)
        sources: dict[str, dict[str, Any]] = {}
        own = self._own(sources)
        if self._service.joined:
            self._publish(own, sources)
        requests = self._requests.snapshot(each)
        workers = requests.pop("workers")
        return requests, (add_up(workers, own) if self._service.joined else own), workers

    @property
    def history(self) -> History:
        """The figures of the last 24 hours, once :attr:`sampler` was started."""
        return self._history

    @property
    def sampler(self) -> Sampler:
        """What fills :attr:`history`; the middleware starts it with the first request."""
        return self._sampler

    def current(self) -> dict[str, Any]:
        """The parts ``process``, ``caches`` and ``pools`` of :meth:`metrics` that are read once a second; the
        other workers are told of this one's meanwhile."""
        if not self._service.joined:
            return {
                "process": self._process.look(),
                "caches": observe("cache", self._sources(self._caches, _registry.caches)),
                "pools": observe("pool", self._sources(self._pools, _registry.pools)),
            }
        _, others, _ = self._look(False)
        return {key: others[key] for key in ("process", "caches", "pools")}

    @property
    def database(self) -> str | None:
        """The SQLite file (or ``file:`` URI) that statements are explained against, or ``None``."""
        if self._database is not None:
            return self._database
        pools = self._sources(self._pools, _registry.pools)
        return str(pools[0].path) if len(pools) == 1 else None

    def metrics(self, *, each: bool = False) -> dict[str, Any]:
        """All figures, as plain dictionaries that :mod:`json` takes. Times are seconds, sizes bytes.

        Args:
            each: add the figures of each worker to ``workers``.

        Returns:
            ``process`` (``cpu_percent`` and ``cpu_used_cores`` over the last minute, ``cpu_seconds``,
            ``memory_percent``, ``resident_bytes``, ``open_fds``, ...), ``requests`` (``count``,
            ``mean_seconds``, ``p50_seconds``, ``p95_seconds``, ``p99_seconds``, ``max_seconds``,
            ``active``, ``errors``: status 500 and above, or the application raised, be it after the response
            had begun, unless the client had left; the same of the ``last_minute``, and there
            ``errors_by_route``, about, where :attr:`history` knows; ``routes``, one for each method, route
            template, status and ``error_type``; ``folded_series``, how many made room for others and are
            counted as ``_OTHER``), ``operations`` (tools and the like, one for each method, name and kind of
            error), ``loop_lag``, ``gc`` (one for each generation), ``caches``, ``pools`` and ``tiers`` (the
            fields of their ``stats()`` and a ``name``), ``service`` (its ``name`` and how many ``workers``
            are alive) and ``workers`` (``number``, ``pid`` and ``alive`` of each; the number -1 is all that
            have ended).
        """
        requests, others, workers = self._look(each)
        recent = self._history.sums(STEPS[0], "route", "errors", 60)
        requests["last_minute"]["errors_by_route"] = recent
        own = self._own() if each and not self._service.joined else others
        return {
            "time": time.time(),
            "service": {
                "name": self._service.name,
                "workers": sum(worker["alive"] for worker in workers),
                "segment_bytes": _core.SEGMENT_BYTES if self._service.joined else 0,
            },
            "loop_lag": requests.pop("loop_lag"),
            "operations": requests.pop("operations"),
            "requests": requests,
            **others,
            "workers": [self._describe(worker, own, each) for worker in workers],
        }

    def _describe(self, worker: dict[str, Any], own: dict[str, Any], each: bool) -> dict[str, Any]:
        named = {key: worker.pop(key) for key in ("number", "pid", "alive")}
        rows = worker.pop("rows")
        if not each:
            return named
        described = own
        if self._service.joined:
            described = add_up([{"rows": rows, "alive": named["alive"]}], own)
        parts = {key: worker.pop(key) for key in ("loop_lag", "operations")}
        return {**named, **parts, "requests": worker, **described}

    def cache_stats(self) -> dict[str, Any]:
        """The parts ``caches``, ``tiers`` and, of each pool, ``query_caches`` of :meth:`metrics`."""
        _, figures, _ = self._look(False)
        return {
            "caches": figures["caches"],
            "query_caches": [{"name": pool["name"], **pool["cache"]} for pool in figures["pools"]],
            "tiers": figures["tiers"],
        }

    def slow_queries(self, limit: int = _SLOW_QUERIES) -> list[Any]:
        """The statements that took longer than ``slow_query`` at least once.

        Args:
            limit: how many at most.

        Returns:
            ``list[QueryStats]``, those with the most time in total first. Values are not kept, only the
            shape of a statement.
        """
        integer("limit", limit, 1)
        return self._slow(self._queries())[:limit]

    def _queries(self) -> list[Any]:
        """All statements of the service, those with the most time first."""
        queries = queries_of(self._sources(self._pools, _registry.pools))
        if self._service.joined:
            _, _, workers = self._look(False)
            queries = queries_of_rows(workers, queries)
        return queries

    def _slow(self, queries: Iterable[Any]) -> list[Any]:
        return [query for query in queries if query.max_seconds > self.thresholds.slow_query_seconds]

    def recommendations(self) -> list[Recommendation]:
        """What the figures say should change, the critical and its causes first; empty when nothing does.

        Rules of rates and percentiles are silent on few samples: fewer than 100 lookups, requests or timers,
        20 calls, or 5 seconds of CPU use. With an ``analyzer`` this may take seconds: it tries indexes. Its
        advice is kept for a minute.
        """
        return self._recommendations(self.metrics(), self._queries())

    def _recommendations(self, metrics: dict[str, Any], queries: Sequence[Any]) -> list[Recommendation]:
        advice = self._index_advice(self._slow(queries)[:_SLOW_QUERIES])
        return recommend(metrics, queries, self.thresholds, advice)

    def _index_advice(self, slow: Sequence[Any]) -> list[Any]:
        if self._analyzer is None or not slow:
            return []
        made, advice = self._advice
        if time.monotonic() - made > _ADVICE_SECONDS:
            advice = self._analyzer.advise([(query.sample, float(query.calls)) for query in slow])
            self._advice = (time.monotonic(), advice)
        return advice

    def advice(self) -> dict[str, Any] | None:
        """Indexes for all statements that the pools saw, tried on a copy; ``None`` without a database.

        Takes up to 10 seconds of processor time; called again within a minute it says the same.

        Returns:
            ``advice``: the fields of :class:`Advice`; ``reports``: those of :class:`QueryReport` of the ten
            statements with the most time.

        Raises:
            QueryError: the database cannot be read.
        """
        made, found = self._tried
        if time.monotonic() - made <= _ADVICE_SECONDS:
            return found
        analyzer = self._analyzer
        if analyzer is None:
            database = self.database
            if database is None:
                return None
            analyzer = QueryAnalyzer(database)
        found = advice_on(analyzer, self._queries())
        self._tried = (time.monotonic(), found)
        return found

    def report(self, *, each: bool = False) -> dict[str, Any]:
        """:meth:`metrics`, and with it ``slow_queries``, ``recommendations`` and ``thresholds``."""
        metrics = self.metrics(each=each)
        queries = self._queries()
        return {
            **metrics,
            "slow_queries": [dataclasses.asdict(query) for query in self._slow(queries)[:_SLOW_QUERIES]],
            "recommendations": [item.to_dict() for item in self._recommendations(metrics, queries)],
            "thresholds": dataclasses.asdict(self.thresholds),
        }

    def prometheus(self, *, each: bool = False, openmetrics: bool = False) -> str:
        """:meth:`metrics` as Prometheus text (exposition format 0.0.4); with *each*, by ``worker``; with
        *openmetrics* in the format of OpenMetrics 1.0, which has exemplars: the trace of a request for each
        bucket, of those that this process answered (:attr:`spans`)."""
        exemplars = self.exemplars if flag("openmetrics", openmetrics) else None
        return exposition(self.metrics(each=each), each=each, exemplars=exemplars)


def checked_monitor(monitor: Any) -> PerformanceMonitor:
    """*monitor* if it is one."""
    return instance("monitor", monitor, PerformanceMonitor, "a PerformanceMonitor")


def monitor_or_new(monitor: Any) -> PerformanceMonitor:
    """*monitor*, or a new one for ``None``."""
    return PerformanceMonitor() if monitor is None else checked_monitor(monitor)

"""Rules about the process, its requests and its event loop."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .._base._durations import fixed
from ._advice import (
    MIN_CALLS,
    MIN_REQUESTS,
    Recommendation,
    Thresholds,
    as_bytes,
    as_percent,
    make,
)
from ._errors import CLIENT_LEFT

__all__ = ["cpu", "descriptors", "errors", "loop", "memory", "operations", "upstream", "workers"]

_OTHER = "_OTHER"
_MIN_WINDOW = 5.0  # seconds of CPU use
_LONG_WINDOW = 55.0  # before workers are said to be too many
_IDLE_SHARE = 0.3  # of the cores that the workers could use
_LATE_LOOP = 0.05  # seconds
_STUCK_LOOP = 0.5  # seconds, on average
_SOLID_LAG_SAMPLES = 100
_THROTTLED_SHARE = 0.01
_ERROR_SHARE = 0.01
_MIN_ERRORS = 5
_FD_SHARE = 0.8
_FULL_MEMORY = 95.0  # percent
_LONG_WAIT = 0.1  # seconds to the first byte
_WAITED_SHARE = 0.8  # of the time of requests


def _cpu_a_request(metrics: dict[str, Any]) -> float:
    """Seconds of CPU over the last minute by request; 0 where there were too few of them."""
    minute = metrics["requests"]["last_minute"]
    if minute["count"] < MIN_REQUESTS:
        return 0.0
    return float(metrics["process"]["cpu_used_cores"] * minute["length_seconds"] / minute["count"])


def _workers(metrics: dict[str, Any]) -> int:
    return max(1, int(metrics["service"]["workers"]))


def cpu(metrics: dict[str, Any], thresholds: Thresholds) -> Iterator[Recommendation]:
    """Quotas that hold back, cores that are full, interpreters that are."""
    process = metrics["process"]
    cores, used = process["cpu_cores"], process["cpu_used_cores"]
    window, samples, count = process["window_seconds"], process["samples"], _workers(metrics)
    if window < _MIN_WINDOW:
        return
    owner = "the process" if count == 1 else f"{count} workers"
    busy = f"{owner} used {used:.2f} of {cores:g} cores over {window:.0f} s"
    effects = ("loop-blocked", "waits-elsewhere", "pool-waits", "slow-query")
    throttled = process["throttled_share"]
    if throttled > _THROTTLED_SHARE:
        yield make(
            "cpu-throttled",
            "process",
            f"the container was held back by its CPU quota for {as_percent(throttled)} of {window:.0f} s",
            samples,
            f"raise the quota (cpu.max, now {cores:g} cores)",
            "the pauses go, and with them the tail they put on response times",
            f"docker run --cpus={math.ceil(cores) + 1}, or resources.limits.cpu of the pod",
            explains=(*effects, "high-cpu", "add-workers"),
            throttled_share=throttled,
        )
    if process["cpu_percent"] > thresholds.cpu_percent:
        yield make(
            "high-cpu",
            "process",
            f"{busy} ({process['cpu_percent']:.0f} %)",
            samples,
            "give it more cores or another machine, or spare work: " + _costliest(metrics),
            f"below {thresholds.cpu_percent:.0f} % the queueing that a busy processor adds stays small",
            "more replicas (replicas: of the deployment) or cores; @cached on what that route computes",
            explains=effects,
            cpu_percent=process["cpu_percent"],
        )
    elif cores >= count + 1 and used / count * 100 > thresholds.cpu_percent:
        more = math.floor(cores)
        yield make(
            "add-workers",
            "process",
            f"{busy}; one interpreter runs Python code on one core at a time",
            samples,
            f"run {more} worker processes",
            f"up to {more / max(used, 1.0):.1f} times the throughput while nothing else is shared",
            f"uvicorn --workers {more} (or gunicorn --workers {more})",
            explains=effects,
            cpu_used_cores=used,
        )


def workers(metrics: dict[str, Any], thresholds: Thresholds) -> Iterator[Recommendation]:
    """Workers that have nothing to do."""
    process, minute, count = metrics["process"], metrics["requests"]["last_minute"], _workers(metrics)
    used, window = process["cpu_used_cores"], process["window_seconds"]
    needed = max(2, math.ceil(used / (thresholds.cpu_percent / 100)) if thresholds.cpu_percent else count)
    if window < _LONG_WINDOW or minute["count"] < MIN_REQUESTS or needed >= count:
        return
    if used > _IDLE_SHARE * min(count, process["cpu_cores"]) or metrics["requests"]["active"] > needed:
        return
    saved = process["resident_bytes"] * (count - needed) / count
    yield make(
        "remove-workers",
        "process",
        f"{count} workers used {used:.2f} cores together over {window:.0f} s, for "
        f"{minute['count']:,} requests in the last minute",
        minute["count"],
        f"run {needed} of them",
        f"about {as_bytes(saved)} of memory, and fewer caches to fill",
        f"uvicorn --workers {needed} (or gunicorn --workers {needed})",
        cpu_used_cores=used,
        workers=count,
    )


def _costliest(metrics: dict[str, Any]) -> str:
    routes = sorted(metrics["requests"]["routes"], key=lambda route: route["sum_seconds"], reverse=True)
    if not routes:
        return "profile it"
    top = routes[0]
    total = fixed(top["sum_seconds"])
    return f"{top['method']} {top['route']} took {total} in total, the most of all routes"


def memory(metrics: dict[str, Any], thresholds: Thresholds) -> Iterator[Recommendation]:
    """The container's memory, or the machine's; a level, of which one reading is enough."""
    process = metrics["process"]
    if process["memory_percent"] <= thresholds.memory_percent:
        return
    owner = "container" if process["limited_by_cgroup"] else "machine"
    yield make(
        "high-memory",
        "process",
        f"the {owner} uses {as_bytes(process['memory_used_bytes'])} of "
        f"{as_bytes(process['memory_limit_bytes'])} ({process['memory_percent']:.0f} %), "
        f"{as_bytes(process['resident_bytes'])} of it this process",
        process["samples"],
        "lower the capacity of caches with few hits, or raise the limit",
        "room before the kernel ends the process",
        "Cache(maxsize=...), or docker run --memory, or resources.limits.memory of the pod",
        severity="critical" if process["memory_percent"] > _FULL_MEMORY else "warning",
        memory_percent=process["memory_percent"],
    )


def descriptors(metrics: dict[str, Any], _: Thresholds) -> Iterator[Recommendation]:
    """Open files near their limit; a level, of which one reading is enough."""
    process = metrics["process"]
    if process["open_fds"] <= _FD_SHARE * process["max_fds"]:
        return
    yield make(
        "file-descriptors",
        "process",
        f"{process['open_fds']:,} of {process['max_fds']:,} file descriptors are open",
        1,
        "raise the limit (ulimit -n), or look for connections that are never closed",
        "new connections are refused at the limit",
        f"ulimit -n {process['max_fds'] * 4}; ls -l /proc/<pid>/fd shows what is open",
        severity="critical",
        explains=("server-errors", "failing-operation"),
    )


def loop(metrics: dict[str, Any], _: Thresholds) -> Iterator[Recommendation]:
    """Timers that run late: something blocks, or there is simply too much to do."""
    lag = metrics["loop_lag"]
    # A loop that is blocked most of the time cannot run a hundred timers a minute.
    needed = MIN_CALLS if lag["mean_seconds"] >= _STUCK_LOOP else _SOLID_LAG_SAMPLES
    if lag["count"] < needed or lag["p99_seconds"] <= _LATE_LOOP:
        return
    # A late timer now and then is no cause of what all requests do.
    effects: tuple[str, ...] = (
        ("waits-elsewhere", "pool-waits") if lag["mean_seconds"] >= _LATE_LOOP / 5 else ()
    )
    action = "move what blocks out of coroutines (a thread, an awaitable call), or split it"
    if effects and _cpu_a_request(metrics) >= lag["p99_seconds"] / 2:
        # Single requests compute for that long; many short ones would only wait for each other.
        effects = (*effects, "high-cpu", "add-workers")
        apply = "a ProcessPoolExecutor for what computes, or @cached for what it computes again"
    else:
        apply = "await asyncio.to_thread(...), or an async client; PYTHONASYNCIODEBUG=1 logs what blocks"
    yield make(
        "loop-blocked",
        "event loop",
        f"timers of the event loop ran {fixed(lag['p99_seconds'])} late at the 99th percentile",
        lag["count"],
        action,
        "every other request stops waiting for it",
        apply,
        explains=effects,
        p99_seconds=lag["p99_seconds"],
    )


def errors(metrics: dict[str, Any], _: Thresholds) -> Iterator[Recommendation]:
    """Requests that failed within the last minute: of the route that fails most now."""
    minute = metrics["requests"]["last_minute"]
    failing = [route for route in metrics["requests"]["routes"] if route["errors"]]
    if minute["count"] < MIN_REQUESTS or minute["errors"] / minute["count"] <= _ERROR_SHARE or not failing:
        return
    recent = minute.get("errors_by_route", {})  # what failed long ago is no reason now
    worst = max(failing, key=lambda one: (recent.get(f"{one['method']} {one['route']}", 0.0), one["errors"]))
    kind = f" ({worst['error_type']})" if worst["error_type"] else ""
    name = f"{worst['method']} {worst['route']}"
    yield make(
        "server-errors",
        name,
        f"{minute['errors']:,} of the last minute's {minute['count']:,} requests failed",
        minute["count"],
        f"look at {name}: {worst['status']}{kind} {worst['count']:,} times so far",
        "failed requests are paid for and bring nothing",
        "the traceback is in the server's log; the route's error rate here shows when it is mended",
        severity="critical",
        errors=minute["errors"],
        error_type=worst["error_type"],
    )


def operations(metrics: dict[str, Any], _: Thresholds) -> Iterator[Recommendation]:
    """Tools, resources, prompts and tasks that fail."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in metrics["operations"]:
        if one["system"] == "websocket" or one["error_type"] in CLIENT_LEFT:
            continue
        if one["name"] == _OTHER:  # what was never declared, and what made room
            continue
        found.setdefault((one["method"], one["name"]), []).append(one)
    for (method, name), parts in found.items():
        failed = [one for one in parts if one["error_type"]]
        calls, count = (sum(one["count"] for one in some) for some in (parts, failed))
        if calls < MIN_CALLS or count < _MIN_ERRORS or count / calls <= _ERROR_SHARE:
            continue
        worst = max(failed, key=lambda one: one["count"])
        yield make(
            "failing-operation",
            f"{method} {name}",
            f"{count:,} of {calls:,} calls of {method} {name} failed, "
            f"{worst['count']:,} with {worst['error_type']}",
            calls,
            f"look at {name}: what raises {worst['error_type']}",
            f"up to {as_percent(count / calls)} of its calls, and the retries that they cause",
            "the traceback is in the server's log",
            severity="critical",
            errors=count,
            error_type=worst["error_type"],
        )


class _Waiting(NamedTuple):
    name: str
    times: int
    mean_seconds: float
    """To the first byte, or of the whole call."""

    @property
    def seconds(self) -> float:
        return self.times * self.mean_seconds


def _longest(waiting: Iterable[_Waiting]) -> tuple[_Waiting | None, float]:
    """What took the most time together, and what all took."""
    found = list(waiting)
    return max(found, key=lambda one: one.seconds, default=None), sum(one.seconds for one in found)


def upstream(metrics: dict[str, Any], _: Thresholds) -> Iterator[Recommendation]:
    """Requests, tools and tasks that wait for what is neither the processor nor a database."""
    route, of_routes = _longest(
        _Waiting(f"{one['method']} {one['route']}", one["count"], one["first_byte_mean_seconds"])
        for one in metrics["requests"]["routes"]
        if not one["errors"]
    )
    tool, of_tools = _longest(
        _Waiting(f"{one['method']} {one['name']}", one["count"], one["mean_seconds"])
        for one in metrics["operations"]
        if one["system"] in ("mcp", "task") and not one["error_type"] and one["name"] != _OTHER
    )
    # Tools are called by requests, of which each waits for its own.
    top = tool if tool is not None and (route is None or tool.seconds >= route.seconds / 2) else route
    total = max(of_routes, of_tools)
    known = (
        sum(one["queue_seconds"] + one["step_seconds"] + one["convert_seconds"] for one in metrics["pools"])
        + sum(one["sum_seconds"] for one in metrics["operations"] if one["system"] == "db")
        + metrics["process"]["cpu_seconds"]
    )
    if top is None or metrics["process"]["window_seconds"] < _MIN_WINDOW or total <= 0:
        return
    if top.times < MIN_REQUESTS or top.mean_seconds < _LONG_WAIT or known / total > 1 - _WAITED_SHARE:
        return
    took = f"{fixed(top.mean_seconds)} on average" + (" to its first byte" if top is route else "")
    what = "requests" if top is route else "calls"
    yield make(
        "waits-elsewhere",
        top.name,
        f"{top.name} took {took}, and no more than {as_percent(known / total)} of the time of {what} went "
        "into computing and the database",
        top.times,
        "keep, join or batch the calls that it waits for",
        f"up to {as_percent(1 - known / total)} of its time",
        "@cached(ttl=...) on the call, @batched for many small ones, asyncio.gather() for independent ones",
        share=1 - known / total,
    )

"""Figures over time: bounded, with gaps as gaps, and right from the first point on."""

from __future__ import annotations

import gc
import json
import threading
from typing import Any

import pytest

from mcp_performance import PerformanceMonitor, _core
from mcp_performance.monitor._history import MAX_SERIES, STEPS, Counters, History, Key, Step, step_of
from mcp_performance.monitor._sampler import Sampler

SECOND, TEN, MINUTE = STEPS
RATE = Key("requests", "", "rate", "1/s")


def values(history: History, key: Key, step: Step = SECOND) -> list[float | None]:
    for one in history.read(step)["series"]:
        if (one["group"], one["name"], one["figure"]) == (key.group, key.name, key.figure):
            found: list[float | None] = one["values"]
            return found
    return []


def test_a_day_is_kept_and_no_more() -> None:
    assert MINUTE.seconds * MINUTE.kept == 24 * 3600
    history = History()
    for number in range(3 * MINUTE.kept):
        history.put(MINUTE, number, {RATE: float(number)})
    found = history.read(MINUTE)
    assert len(found["time"]) == MINUTE.kept
    assert found["time"][-1] == (3 * MINUTE.kept - 1) * 60
    assert found["series"][0]["values"][0] == 2 * MINUTE.kept


def test_a_step_in_which_nobody_looked_is_a_gap() -> None:
    history = History()
    for number in (10, 11, 14):
        history.put(SECOND, number, {RATE: 1.0})
    assert history.read(SECOND)["time"] == [10, 11, 12, 13, 14]
    assert values(history, RATE) == [1.0, 1.0, None, None, 1.0]


def test_what_was_kept_a_whole_round_ago_does_not_show_in_a_gap() -> None:
    history = History()
    history.put(SECOND, 5, {RATE: 7.0})
    history.put(SECOND, 5 + SECOND.kept - 1, {RATE: 1.0})
    assert values(history, RATE)[0] == 7.0
    history.put(SECOND, 5 + SECOND.kept + 3, {RATE: 2.0})
    assert values(history, RATE) == [1.0, None, None, None, 2.0]


def test_since_gives_what_is_new() -> None:
    history = History()
    for number in range(5):
        history.put(SECOND, number, {RATE: float(number)})
    found = history.read(SECOND, since=2)
    assert found["time"] == [3, 4]
    assert found["newest"] == 4
    assert history.read(SECOND, since=4)["time"] == []


def test_a_series_that_comes_later_has_gaps_before_it() -> None:
    history = History()
    late = Key("cache", "users", "hit ratio", "1")
    history.put(SECOND, 1, {RATE: 1.0})
    history.put(SECOND, 2, {RATE: 1.0, late: 0.5})
    assert values(history, late) == [None, 0.5]


def test_the_number_of_series_is_bounded_and_what_is_left_out_is_counted() -> None:
    history = History()
    keys = [Key("cache", str(i), "hit ratio", "1") for i in range(MAX_SERIES + 5)]
    history.put(SECOND, 1, dict.fromkeys(keys, 0.5))
    found = history.read(SECOND)
    assert len(found["series"]) == MAX_SERIES
    assert found["left_out"] == 5


def test_series_that_are_gone_make_room() -> None:
    history = History()
    for i in range(2 * MAX_SERIES):
        history.put(SECOND, 4 * i, {Key("cache", str(i), "hit ratio", "1"): 0.5})
    assert history.read(SECOND)["left_out"] == 0


def test_a_clock_that_was_set_back_a_little_does_not_overwrite() -> None:
    history = History()
    history.put(SECOND, 10, {RATE: 1.0})
    history.put(SECOND, 9, {RATE: 99.0})
    assert values(history, RATE) == [1.0]


def test_an_unknown_step_is_refused() -> None:
    with pytest.raises(KeyError):
        step_of(7)


def test_a_history_is_json() -> None:
    history = History()
    history.put(SECOND, 10, {RATE: float("nan"), Key("route", "GET /", "p95", "s"): 1 / 3})
    assert json.loads(json.dumps(history.read(SECOND), allow_nan=False))["series"][0]["values"] == [0.333333]


def test_counters_that_shrank_began_anew_and_new_ones_say_nothing_yet() -> None:
    counters = Counters()
    assert counters.advance(("cache", "a"), {"hits": 100}) == {}
    assert counters.advance(("cache", "a"), {"hits": 130, "misses": 5}) == {"hits": 30}
    assert counters.advance(("cache", "a"), {"hits": 4, "misses": 6}) == {"hits": 4, "misses": 1}
    counters.forget_others(set())
    assert counters.advance(("cache", "a"), {"hits": 9, "misses": 9}) == {}


class Service:
    """Requests and figures as a test wants them."""

    def __init__(self) -> None:
        self.requests = _core.RequestMetrics()
        self.figures: dict[str, Any] = {
            "process": {
                "cpu_seconds": 0.0,
                "cpu_cores": 2.0,
                "memory_used_bytes": 5,
                "memory_limit_bytes": 0,
            },
            "caches": [],
            "pools": [],
        }

    def current(self) -> dict[str, Any]:
        return self.figures

    async def request(self, status: int = 200, times: int = 1) -> None:
        async def send(_: object) -> None: ...

        for _ in range(times):
            watch = self.requests.watch(send)
            await watch({"type": "http.response.start", "status": status, "headers": []})
            watch.finish({"method": "GET", "path": "/x", "scheme": "http"}, "", "", {}, lambda *_: "/x")


class Clock:
    now = 1000.25

    def __call__(self) -> float:
        return self.now


def sampling(service: Service) -> tuple[Sampler, History, Clock]:
    history, clock = History(), Clock()
    sampler = Sampler(service, history, clock=clock)
    sampler.sample()
    return sampler, history, clock


async def test_the_first_rate_is_that_of_the_time_watched() -> None:
    service = Service()
    await service.request(times=50)  # before it began: not of this second
    sampler, history, clock = sampling(service)
    await service.request(times=30)
    clock.now = 1001.0
    sampler.sample()
    assert values(history, RATE) == [pytest.approx(30 / 0.75)]
    assert history.read(SECOND)["time"] == [1000]


async def test_tools_and_statements_have_their_rates_times_and_errors() -> None:
    service = Service()
    sampler, history, clock = sampling(service)
    for name, error in (("add", ""), ("add", ""), ("add", "ToolError"), ("add", "CancelledError")):
        service.requests.operation("tools/call", name, "mcp", error, 0.25)
    clock.now = 1001.25
    sampler.sample()
    found = history.read(SECOND)
    figures = {one["figure"]: one["values"][-1] for one in found["series"] if one["group"] == "operation"}
    assert {one["name"] for one in found["series"] if one["group"] == "operation"} == {"tools/call add"}
    assert (figures["rate"], figures["errors"]) == (4.0, 1.0)
    assert figures["p95"] == pytest.approx(0.25, rel=0.02)


async def test_without_requests_the_rate_is_zero_and_response_times_are_a_gap() -> None:
    service = Service()
    sampler, history, clock = sampling(service)
    clock.now = 1001.0
    sampler.sample()
    await service.request(500)
    clock.now = 1002.0
    sampler.sample()
    assert values(history, RATE) == [0.0, 1.0]
    assert values(history, RATE._replace(figure="errors")) == [0.0, 1.0]
    assert values(history, Key("requests", "", "p95", "s"))[0] is None


async def test_a_process_that_stood_still_shows_a_gap_and_the_rate_over_it() -> None:
    service = Service()
    sampler, history, clock = sampling(service)
    clock.now = 1001.0
    sampler.sample()
    await service.request(times=40)
    clock.now = 1005.0
    sampler.sample()
    assert values(history, RATE) == [0.0, None, None, None, 10.0]


async def test_every_step_has_its_own_differences() -> None:
    service = Service()
    sampler, history, clock = sampling(service)
    clock.now = 1001.0
    for second in range(1001, 1081):
        await service.request(times=2)
        clock.now = float(second)
        sampler.sample()
    assert set(values(history, RATE)[1:]) == {2.0}
    assert values(history, RATE, TEN)[1:] == [pytest.approx(2.0)] * (len(values(history, RATE, TEN)) - 1)
    assert history.read(MINUTE)["time"] == [960, 1020][: len(history.read(MINUTE)["time"])]


async def test_ratios_are_of_the_step_and_not_since_the_start() -> None:
    service = Service()
    cache = {"name": "users", "hits": 1000, "misses": 0}
    service.figures["caches"] = [cache]
    sampler, history, clock = sampling(service)
    cache.update(hits=1001, misses=3)
    clock.now = 1001.0
    sampler.sample()
    clock.now = 1002.0
    sampler.sample()
    assert values(history, Key("cache", "users", "hit ratio", "1")) == [0.25, None]  # nobody asked


async def test_a_clock_set_back_begins_anew() -> None:
    service = Service()
    sampler, history, clock = sampling(service)
    clock.now = 1001.0
    sampler.sample()
    clock.now = 500.0
    sampler.sample()
    clock.now = 501.0
    sampler.sample()
    assert history.read(SECOND)["time"] == [500]


@pytest.mark.parametrize(
    ("jump", "times"),
    [
        (0.0, [1000, 1001, 1002, 1003]),
        (-0.4, [1000, 1001, 1002]),
        (-1.0, [1000, 1001, 1002]),
        (-2.0, [1000, 1001]),
        (-1000.0, [2, 3]),
        (0.3, [1000, 1001, 1002, 1003]),
        (3.0, [1000, 1001, 1004, 1005, 1006]),
        (1e6, [1001001, 1001002, 1001003]),
    ],
)
async def test_a_rate_is_that_of_the_time_that_passed_whatever_the_clock_was_set_to(
    jump: float, times: list[int]
) -> None:
    """Ten requests a second for four seconds, of which the clock is set after 2.5."""
    service, history, clock, steady = Service(), History(), Clock(), Clock()
    clock.now, steady.now = 1000.0, 7.0
    sampler = Sampler(service, history, clock=clock, steady=steady)
    sampler.sample()
    for tenth in range(1, 41):
        await service.request()
        clock.now = round(1000 + tenth / 10 + (jump if tenth > 25 else 0), 3)
        steady.now = 7 + tenth / 10
        sampler.sample()
    found = history.read(SECOND)
    known = {at: rate for at, rate in zip(found["time"], values(history, RATE), strict=True) if rate}
    assert known == {at: pytest.approx(10) for at in times}


def test_who_knows_times_to_come_is_told_all_there_is() -> None:
    history = History()
    for number in range(10):
        history.put(SECOND, number, {RATE: 1.0})
    history.rewind(SECOND, 5)
    assert history.newest(SECOND) == 4
    assert history.read(SECOND, 9)["time"] == [0, 1, 2, 3, 4]
    assert history.read(SECOND, 6)["time"] == []  # another worker's second
    history.put(SECOND, 5, {RATE: 2.0})
    assert history.read(SECOND, 4)["time"] == [5]
    assert values(history, RATE) == [1.0] * 5 + [2.0]
    history.rewind(SECOND, 0)
    assert (history.newest(SECOND), history.read(SECOND)["time"]) == (-1, [])


def samplers(before: set[threading.Thread]) -> list[threading.Thread]:
    """Those that were started since; monitors of earlier tests may not have been collected yet."""
    return [one for one in threading.enumerate() if one.name == "mcp-history" and one not in before]


def test_the_thread_ends_with_its_monitor() -> None:
    before = set(threading.enumerate())
    monitor = PerformanceMonitor(caches=[], pools=[], tiers=[])
    monitor.sampler.start()
    (thread,) = samplers(before)
    monitor.sampler.start()
    assert samplers(before) == [thread]
    del monitor
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


def test_stop_ends_it_and_start_begins_again() -> None:
    before = set(threading.enumerate())
    monitor = PerformanceMonitor(caches=[], pools=[], tiers=[])
    for _ in range(2):
        monitor.sampler.start()
        assert len(samplers(before)) == 1
        monitor.sampler.stop()
        assert samplers(before) == []


class _Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_second_without_requests_of_a_known_route_is_a_zero_and_its_times_are_a_gap() -> None:
    monitor, clock = PerformanceMonitor(caches=(), pools=(), tiers=()), _Clock()
    history = History()
    sampler = Sampler(monitor, history, clock=clock)
    sampler.sample()
    for asked in (True, False, True):
        if asked:
            monitor.requests.begin()
            monitor.requests.end("GET", "/a", "http", 500, "", 0.1, 0.1, 0.1)
            monitor.requests.operation("tools/call", "search", "mcp", "", 0.1)
        clock.now += 1
        sampler.sample()
    for group, name, failed in (("route", "GET /a", 1.0), ("operation", "tools/call search", 0.0)):
        assert values(history, Key(group, name, "rate", "1/s")) == [1.0, 0.0, 1.0]
        assert values(history, Key(group, name, "errors", "1/s")) == [failed, 0.0, failed]
        first, none, last = values(history, Key(group, name, "p95", "s"))
        assert (first is None, none, last is None) == (False, None, False)


def test_what_nobody_asks_for_any_more_is_forgotten() -> None:
    monitor, clock = PerformanceMonitor(caches=(), pools=(), tiers=()), _Clock()
    history = History()
    sampler = Sampler(monitor, history, clock=clock)
    sampler.sample()
    monitor.requests.operation("tools/call", "search", "mcp", "", 0.1)
    for _ in range(400):
        clock.now += 1
        sampler.sample()
    rate = values(history, Key("operation", "tools/call search", "rate", "1/s"))
    assert (rate[0], rate[-1]) == (1.0, None)
    assert 0.0 in rate


def test_the_errors_of_the_last_minute_are_known_by_route() -> None:
    history = History()
    for number in range(100):
        errors = 2.0 if number < 50 else 0.5
        history.put(SECOND, number, {Key("route", "GET /a", "errors", "1/s"): errors, RATE: 1.0})
        history.put(SECOND, number, {RATE: 1.0})
    assert history.sums(SECOND, "route", "errors", 60) == {"GET /a": pytest.approx(10 * 2.0 + 50 * 0.5)}
    assert history.sums(SECOND, "operation", "errors", 60) == {}
    assert history.sums(MINUTE, "route", "errors", 60) == {}

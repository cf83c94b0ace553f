"""Every parameter of everything public: what no option can be is a TypeError that names the option and shows
the value, and nothing that a caller passes comes back as an error from the inside."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib
import inspect
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mcp_performance as m
from mcp_performance import ConfigurationError

MODULES = (
    *("", ".batch", ".cache", ".config", ".errors", ".http_client", ".idempotency", ".jsonrpc", ".load"),
    *(
        ".middleware",
        ".monitor",
        ".query",
        ".sqlite",
        ".tiers",
        ".integrations.fastmcp",
        ".integrations.flask",
        ".integrations.logging",
    ),
    *(".integrations.mcp", ".integrations.opentelemetry", ".integrations.sqlalchemy", ".integrations.tasks"),
)

# Made by this package and handed out.
HANDED_OUT = {"Advice", "Batched", "BatchedFuture", "HttpReply", "LoadTestResult", "NamedRow", "User"}

# Whatever it is, it is right, or only its use can tell.
ANYTHING = {
    *("Cache.aget_or_load.key", "McpTool.session", "PerformanceMiddleware of mcp.server"),
    *("Request.json", "Stage.rate", "JsonRpcDispatcher.dispatch.message", "IdempotencyStore.unpack.result"),
    *("Cache.update.other", "TieredCache.update.other"),  # as dict's
}
KEYED = {"key", "value", "default"}
"""Of methods: whatever has a hash, or the codec can carry."""

# Not shown: they are secrets, or hold some.
SECRET = {"token", "signing_key", "url", "params", "sql", "message"}


class Odd:
    """What no option can be."""

    def __repr__(self) -> str:
        return "<odd>"


class Session:
    async def call_tool(self, name: str, arguments: Any) -> None:
        pass


async def _app(scope: Any, receive: Any, send: Any) -> None:
    pass


def _nothing() -> None:
    pass


def waited(call: Callable[..., Any]) -> Callable[..., Any]:
    """*call*, and what it returns awaited, entered or begun."""

    async def go(*places: Any, **given: Any) -> Any:
        made = call(*places, **given)
        if hasattr(made, "__aenter__"):
            async with made:
                return None
        if hasattr(made, "__anext__"):
            return await anext(made, None)
        return await made if isinstance(made, Awaitable) else made

    return lambda *places, **given: asyncio.run(go(*places, **given))


@dataclasses.dataclass
class Case:
    """A public callable, how it is called, and what it is given besides the option."""

    name: str
    call: Callable[..., Any]
    base: dict[str, Any]
    signature: Callable[..., Any]
    quick: bool = True
    """Whether calls that are right take no time to speak of."""

    @property
    def options(self) -> list[str]:
        known = inspect.signature(self.signature).parameters.values()
        named = [p.name for p in known if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        if self.name.startswith("cached"):  # declared by overloads
            named = list(inspect.signature(m.cache._options.Options.__init__).parameters)[1:]
            if self.name == "cached_method":
                named = [name for name in named if name not in ("cache", "as_function")]
        left = KEYED if "." in self.name else set()
        return [name for name in named if f"{self.name}.{name}" not in ANYTHING and name not in left]

    def make(self, **given: Any) -> Any:
        """The call, positional arguments by their place."""
        places = [
            p.name
            for p in inspect.signature(self.signature).parameters.values()
            if p.kind is p.POSITIONAL_ONLY
        ]
        last = max((i for i, name in enumerate(places) if name in given), default=-1)
        first = [given.pop(name, None) for name in places[: last + 1]]
        return self.call(*first, **given)


def decorated(decorator: Callable[..., Any]) -> Callable[..., Any]:
    return lambda **given: decorator(**given)(lambda x: x)


def _of_classes() -> Iterator[Case]:
    """Those that need no arguments stand in no table."""
    makers: dict[str, dict[str, Any]] = {
        "Command": {"arguments": ["true"]},
        "HttpClient": {"url": "http://127.0.0.1:1"},
        "IdempotencyMiddleware": {"app": _app},
        "LoadTester": {"target": "http://127.0.0.1:1/"},
        "McpTool": {"session": Session(), "name": "x"},
        "PerformanceMiddleware": {"app": _app},
        "QueryAnalyzer": {"pool_or_path": "a.db"},
        "RedisTier": {"url": "redis://127.0.0.1:1"},
        "SQLitePool": {"path": "b.db"},
        "SQLiteTier": {"url": "sqlite:///tier.db"},
        "TieredCache": {"url": "sqlite:///tier.db"},
    }
    for name in m.__all__:
        made = getattr(m, name)
        if name in makers or (_has_options(name, made) and inspect.isclass(made) and _needs_nothing(made)):
            yield Case(name, made, makers.get(name, {}), made)


def _has_options(name: str, thing: Any) -> bool:
    if name in HANDED_OUT or not callable(thing):
        return False
    return not inspect.isclass(thing) or not (
        issubclass(thing, BaseException | tuple) or dataclasses.is_dataclass(thing)
    )


def _needs_nothing(made: type) -> bool:
    parameters = inspect.signature(made).parameters.values()
    return all(one.default is not one.empty or one.kind is one.VAR_KEYWORD for one in parameters)


def _of_functions() -> Iterator[Case]:
    from mcp_performance.integrations import fastmcp, flask, logging, mcp, opentelemetry, sqlalchemy, tasks

    yield Case("cached", decorated(m.cached), {}, m.cached)
    yield Case("cached_method", decorated(m.cached_method), {}, m.cached_method)
    yield Case("batched", m.batched, {}, m.batched)
    yield Case("idempotent", decorated(m.idempotent), {"key": len}, m.idempotent)
    yield Case("mcp_request", m.mcp_request, {"name": "x"}, m.mcp_request)
    yield Case("performance_app", m.performance_app, {"monitor": m.PerformanceMonitor()}, m.performance_app)
    yield Case("read_workload", m.read_workload, {"path": "w"}, m.read_workload)
    yield Case(
        "analyze_untrusted",
        waited(m.analyze_untrusted),
        {"database": "missing.db", "sql": "SELECT 1", "max_bytes": 8},
        m.analyze_untrusted,
        quick=False,
    )
    yield Case("sse", m.LoadTester.sse, {"url": "http://127.0.0.1:1/"}, m.LoadTester.sse)
    yield Case(
        "websocket",
        m.LoadTester.websocket,
        {"url": "ws://127.0.0.1:1/", "message": "x"},
        m.LoadTester.websocket,
    )
    yield Case("mcp", m.LoadTester.mcp, {"url": "http://127.0.0.1:1/", "tool": "x"}, m.LoadTester.mcp)
    yield Case(
        "Request",
        lambda **given: m.LoadTester("http://127.0.0.1:1/", scenario=[m.Request(**given)]),
        {"method": "GET", "path": "/"},
        m.Request,
    )
    yield Case(
        "Stage",
        lambda **given: waited(m.LoadTester(_nothing).run_load_test)(stages=[m.Stage(**given)]),
        {"duration": 0.001, "users": 1},
        m.Stage,
        quick=False,
    )
    yield Case(
        "PerformanceMiddleware of fastmcp", fastmcp.PerformanceMiddleware, {}, fastmcp.PerformanceMiddleware
    )
    yield Case(
        "PerformanceMiddleware of flask",
        flask.PerformanceMiddleware,
        {"app": len},
        flask.PerformanceMiddleware,
    )
    yield Case("PerformanceMiddleware of mcp", mcp.PerformanceMiddleware, {}, mcp.PerformanceMiddleware)
    yield Case("instrument of opentelemetry", opentelemetry.instrument, {}, opentelemetry.instrument)
    yield Case(
        "instrument of sqlalchemy", sqlalchemy.instrument, {"engine": _engine()}, sqlalchemy.instrument
    )
    yield Case("JsonFormatter", logging.JsonFormatter, {}, logging.JsonFormatter)
    yield Case("timed", tasks.timed, {"monitor": m.PerformanceMonitor()}, tasks.timed)


def _engine() -> Any:
    import sqlalchemy

    return sqlalchemy.create_engine("sqlite://")


USUAL: dict[str, Any] = {
    **{"key": "k", "keys": ["k"], "value": 1, "items": {"k": 1}, "loader": str, "maxsize": 5, "other": {}},
    **{"sql": "SELECT 1", "params": (), "statements": [], "path": "d.db", "fn": len, "message": b"{}"},
    **{"seconds": 1.0, "workload": [], "result": 1, "name": "n", "function": _nothing, "limit": 1},
    **{"url": "/", "method": "GET", "requests": [], "request": "/", "claim": None, "item": 1},
}
"""What a method is given where nothing else is said: by the name of its parameter."""

# They run the user's own, end what was begun, or take no option.
NO_OPTIONS = {"close", "aclose", "run"}


def _methods(owner: Any) -> Iterator[str]:
    """The public methods of *owner* that take anything."""
    for name in dir(type(owner)):
        if name.startswith("_") or name in NO_OPTIONS or not callable(getattr(type(owner), name)):
            continue
        try:
            known = inspect.signature(getattr(owner, name)).parameters.values()
        except ValueError:  # a native one with overloads
            continue
        if any(p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in known):
            yield name


def _of_method(owner: Any, name: str) -> Case:
    method = getattr(owner, name)
    known = inspect.signature(method).parameters.values()
    base = {p.name: USUAL[p.name] for p in known if p.default is p.empty and p.kind.name[:3] != "VAR"}
    return Case(f"{type(owner).__name__}.{name}", used(method), base, method, quick=False)


def used(call: Callable[..., Any]) -> Callable[..., Any]:
    """*call*, and what it returns awaited, entered or begun, in the way of what it is."""

    def go(*places: Any, **given: Any) -> Any:
        made = call(*places, **given)
        if isinstance(made, contextlib.AbstractContextManager) and not isinstance(made, os.PathLike):
            with made:
                return None
        if isinstance(made, Iterator):
            return next(made, None)
        if any(hasattr(made, name) for name in ("__aenter__", "__anext__", "__await__")):
            return waited(lambda: made)()
        return made

    return go


def _of_methods() -> Iterator[Case]:
    cache, processor, store = m.Cache[Any, Any](16), m.BatchProcessor(2), m.IdempotencyStore()
    dispatcher, monitor, tester = m.JsonRpcDispatcher(), m.PerformanceMonitor(), m.LoadTester(_nothing)
    pool, analyzer, tier = m.SQLitePool("b.db"), m.QueryAnalyzer("b.db"), m.SQLiteTier("sqlite:///tier.db")
    tiered = m.TieredCache(m.Cache(), tier)
    result = asyncio.run(tester.run_load_test(5))
    one_item = {"fn": len, "items": ["x"]}
    methods: list[tuple[Any, str, dict[str, Any], bool]] = [
        (cache, "aget_or_load", {"key": 1, "loader": str}, True),
        (cache, "get_many", {"keys": [1]}, True),
        (cache, "set_many", {"items": {}}, True),
        (cache, "delete_many", {"keys": [1]}, True),
        (cache, "resize", {"maxsize": 16}, True),
        (processor, "map", one_item, True),
        (processor, "stream", one_item, True),
        (store, "begin", {"key": "k", "fingerprint": "f"}, False),
        (store, "abegin", {"key": "k", "fingerprint": "f"}, False),
        (dispatcher, "add", {"name": "n", "function": _nothing}, True),
        (monitor, "join", {"workers": "off"}, True),
        (monitor, "metrics", {}, True),
        (monitor, "report", {}, True),
        (monitor, "prometheus", {}, True),
        (monitor, "slow_queries", {}, True),
        (pool, "acquire", {}, True),
        (pool, "transaction", {}, True),
        (pool, "backup", {"path": "c.db"}, False),
        (pool, "close", {}, False),
        (pool, "connection", {}, True),
        (pool, "ensure_indexes", {"statements": []}, True),
        (analyzer, "analyze", {"sql": "SELECT 1"}, False),
        (analyzer, "advise", {"workload": []}, False),
        (analyzer, "record", {"sql": "SELECT 1", "seconds": 1}, False),
        (analyzer, "slow_queries", {}, True),
        (tester, "run_load_test", {"num_requests": 1}, False),
        (tester, "find_capacity", {}, False),
        (tester, "scalability", {}, False),
        (result, "compare", {"other": result}, True),
        (result, "interval", {"percent": 50}, True),
        (result, "corrected_by", {"interval": 1.0}, True),
        (result, "to_json", {}, False),
        (result, "to_csv", {}, False),
        (result, "to_html", {}, False),
        (result, "to_junit", {}, False),
        (result, "save", {"path": "r.json"}, False),
        (result, "load", {"path": "r.json"}, False),
    ]
    for owner, name, base, quick in methods:
        method = getattr(owner, name)
        plain = inspect.isfunction(method) or inspect.ismethod(method)
        sync = plain and not (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method))
        entered = name in ("acquire", "transaction")
        yield Case(
            f"{type(owner).__name__}.{name}",
            method if sync and not entered else waited(method),
            base,
            method,
            quick,
        )
    named = {(type(owner), name) for owner, name, _, _ in methods}
    client = m.HttpClient("http://127.0.0.1:1")
    for owner in (
        cache,
        tiered,
        tier,
        store,
        processor,
        dispatcher,
        monitor,
        pool,
        pool.blocking,
        analyzer,
        client,
    ):
        for name in _methods(owner):
            if (type(owner), name) not in named:
                yield _of_method(owner, name)
    yield Case("compare_runs", m.compare_runs, {"baseline": result, "candidate": result}, m.compare_runs)
    yield Case("merge_results", m.merge_results, {"results": [result]}, m.merge_results)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Case]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("options"))
        Path("w").write_text("SELECT 1;\n")
        yield {case.name: case for of in (_of_classes, _of_functions, _of_methods) for case in of()}


def outcome(case: Case, option: str, value: Any) -> BaseException | None:
    try:
        case.make(**{**case.base, option: value})
    except Exception as error:
        return error
    return None


def test_what_no_option_can_be_is_a_type_error_that_names_it(cases: dict[str, Case]) -> None:
    wrong = []
    for case in cases.values():
        for option in case.options:
            error = outcome(case, option, Odd())
            said = str(error)
            shown = "<odd>" in said or option in SECRET
            if type(error) is not TypeError or option not in said or not shown:
                wrong.append(f"{case.name}({option}=<odd>): {error!r}")
    assert not wrong, "\n".join(wrong)


HOSTILE = [
    10**400,
    -(10**400),
    float("nan"),
    float("inf"),
    -1,
    True,
    "",
    "\0",
    "\udc80",
    b"\xff",
    [],
    [1],
    {1: 2},
]


def test_nothing_that_is_passed_comes_back_as_an_error_from_the_inside(cases: dict[str, Case]) -> None:
    wrong = []
    for case in (case for case in cases.values() if case.quick):
        for option in case.options:
            for value in HOSTILE:
                error = outcome(case, option, value)
                if error is None or (
                    isinstance(error, m.Error) and not isinstance(error, ConfigurationError)
                ):
                    continue
                fits = type(error) is TypeError or isinstance(error, ConfigurationError)
                if not fits or option not in str(error):
                    wrong.append(f"{case.name}({option}={str(value)[:20]!r}): {error!r}")
    assert not wrong, "\n".join(wrong)


def _public() -> Iterator[tuple[str, Any]]:
    for name in MODULES:
        module = importlib.import_module("mcp_performance" + name)
        for exported in getattr(module, "__all__", []):
            yield exported, getattr(module, exported)


def test_nothing_public_is_left_out(cases: dict[str, Case]) -> None:
    """What takes options and is made by callers stands in the table above."""
    known = {case.signature for case in cases.values()}
    left = set()
    for name, thing in _public():
        if _has_options(name, thing) and thing not in known:
            left.add(name)
    # lru_cache raises what functools does; the others take no options.
    assert left == {"CacheBackend", "current_user", "fingerprint", "lru_cache"}

"""The native core of mcp_performance. Private: the public names are in the package's own modules.

Written by scripts/stubs.py from the module; a change belongs into the bindings."""

from asyncio import AbstractEventLoop, Future, Task
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from contextvars import Context, ContextVar
from types import GenericAlias
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar, final, overload

from ._base._stats import CacheInfo, CacheStats

__version__: str
_C = TypeVar("_C", bound=type[Any])
_D = TypeVar("_D")
_E = TypeVar("_E", bound=BaseException)
_K = TypeVar("_K")
_P = ParamSpec("_P")
_Q = ParamSpec("_Q")
_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)
_S = TypeVar("_S")
_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_V = TypeVar("_V")

# ---- base

def _close_gil_gate() -> None: ...
def _hold_thread_states_before_fork() -> None: ...
def _free_thread_states_after_fork() -> None: ...
def _after_fork_in_child() -> None: ...
def _own_exception(error: _E, /) -> _E:
    """A new exception like this one, for one of many who wait for it."""

@final
class NativeFunction:
    @property
    def __name__(self) -> str: ...
    @property
    def __qualname__(self) -> str: ...

def _wait_log(timeout_s: float) -> tuple[list[tuple[int, str, str]], int, bool]: ...
def _close_log() -> None: ...
def _reopen_log() -> None: ...
def _set_log_level(python_level: int) -> None: ...
def _log(room: str, python_level: int, message: str) -> None: ...

# ---- loop

@final
class LoopBridge:
    """Carries completions of native jobs into one event loop."""
    def __call__(self, *args: Any, **kwargs: Any) -> None: ...

def wake_up_times(count: int) -> list[Future[float]]: ...
def _set_slices(*, tick_ns: int, part_bytes: int, portion_bytes: int, look_bytes: int) -> dict[str, int]: ...

# ---- metrics

@final
class ResponseWatch:
    """Stands for the ASGI send channel of one response."""
    def __call__(self, message: Any, /) -> Awaitable[None]: ...
    def finish(
        self,
        scope: Any,
        root_path: str,
        error_type: str,
        known: dict[int, tuple[object, str]],
        resolve: Callable[[Any, str], str],
        /,
    ) -> None: ...
    def discard(self, /) -> None: ...
    @property
    def status(self) -> int: ...

@final
class RequestMetrics:
    """Counts and times the requests of one application."""
    def __new__(cls) -> Self: ...
    def watch(self, send: Callable[[Any], Awaitable[None]], /) -> ResponseWatch: ...
    def begin(self, /) -> None: ...
    def discard(self, /) -> None: ...
    def end(
        self,
        method: str,
        route: str,
        scheme: str,
        status: int,
        error_type: str,
        first_byte: float,
        last_byte: float,
        returned: float,
        /,
    ) -> None: ...
    def operation(self, method: str, name: str, system: str, error_type: str, seconds: float, /) -> None: ...
    def publish(
        self,
        kind: str,
        name: str,
        text: str,
        values: tuple[float, ...],
        counters: int,
        maxima: int,
        source: object,
        places: bytes,
        /,
    ) -> None: ...
    def join(self, path: str, /) -> int: ...
    def record_lag(self, seconds: float, /) -> None: ...
    def snapshot(self, each: bool = False, /) -> dict[str, Any]: ...

LABEL_OTHER: str

LABEL_UNMATCHED: str

CLIENT_LEFT: tuple[str, ...]

SEGMENT_BYTES: int

REQUEST_BUCKETS: tuple[float, ...]

SEGMENT_WORKERS: int

def sweep_segments(directory: str, prefix: str) -> None: ...
def counter_names(kind: str) -> tuple[Any, ...]: ...
def process_stats() -> dict[str, Any]: ...
def cpu_times() -> tuple[float, float]: ...

class RequestWindow:
    """What requests did between two looks at their figures."""
    def __init__(self) -> None: ...
    def advance(self, requests: RequestMetrics) -> dict[str, Any]:
        """The figures of the requests and operations that ended since the last call."""

# ---- cache

_KEYWORDS: object

class CacheBase(Generic[_K, _V]):
    """The native base of mcp_performance.Cache."""
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __getitem__(self, key: _K, /) -> _V: ...
    def __setitem__(self, key: _K, value: _V, /) -> None: ...
    def __delitem__(self, key: _K, /) -> None: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[_K]: ...
    def __contains__(self, key: object, /) -> bool: ...
    @overload
    def get(self, key: _K, default: None = None, /) -> _V | None:
        """The value, or *default* if there is none that lives."""

    @overload
    def get(self, key: _K, default: _V, /) -> _V: ...
    @overload
    def get(self, key: _K, default: _D, /) -> _V | _D: ...
    def set(self, key: _K, value: _V, *, ttl: Any = ..., tags: Iterable[str] = ()) -> None:
        """Store; without *ttl* for the cache's own."""

    @overload
    def setdefault(self: CacheBase[_K, _D | None], key: _K, default: None = None) -> _D | None:
        """The value; where there is none, *default* is stored first, without anybody between."""

    @overload
    def setdefault(self, key: _K, default: _V) -> _V: ...
    def delete(self, key: _K, /) -> bool:
        """Forget *key*; whether there was something to forget."""

    def clear(self, /) -> None:
        """Forget everything. Loads under way are not stored."""

    def touch(self, key: _K, *, ttl: Any = ...) -> bool:
        """Start the time to live anew; whether the key was there."""

    def expires_in(self, key: _K, /) -> float | None:
        """Seconds until *key* expires, None if it never does; KeyError if it is absent."""

    def invalidate_tags(self, /, *tags: str) -> int:
        """Forget every entry that carries one of them, in O(1); how many did."""

    def get_or_load(
        self, key: _K, loader: Callable[[_K], _V], *, ttl: Any = ..., wait_timeout: Any = None
    ) -> _V:
        """The value; a miss calls loader(key), once at a time. Who waits longer than *wait_timeout*
        seconds for the load of another gets LoadTimeout.
        """

    @overload
    def pop(self, key: _K, /) -> _V:
        """Take the value out; *default*, or KeyError, if there is none. A load under way is not stored."""

    @overload
    def pop(self, key: _K, /, default: _V) -> _V: ...
    @overload
    def pop(self, key: _K, /, default: _D) -> _V | _D: ...
    def _join(self, key: Any, /) -> tuple[int, Any]:
        """For _async.py."""

    def _settle(self, flight: Flight, value: Any, ttl: Any, seconds: float, /) -> None:
        """For _async.py."""

    def _settle_failure(self, flight: Flight, error: BaseException, seconds: float, /) -> tuple[Any] | None:
        """For _async.py."""

    def _fill(
        self,
        key: Any,
        value: Any,
        ttl_ns: int | None,
        stale_ns: int,
        longest_ns: int | None,
        load_ns: int,
        holds: Callable[[], bool],
        /,
    ) -> None:
        """For a tier: store what is behind."""

    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def _configure(
        self,
        maxsize: int | None,
        policy: str,
        ttl_ns: int | None,
        idle_ns: int | None,
        weigher: Callable[[_K, _V], int] | None,
        on_evict: Callable[[_K, _V, str], object] | None,
        clock: Callable[[], float] | None,
        /,
    ) -> None:
        """Settings, while the cache is empty."""

    def _list(self, pairs: bool, /) -> list[Any]:
        """The living keys, or (True) the pairs."""

    def _figures(self, /) -> dict[str, Any]:
        """The fields of CacheStats."""

    def _ttl_nanoseconds(self, /) -> int | None:
        """The default lifetime; None: for ever."""

    def _reset_figures(self, /) -> None:
        """Count from zero."""

    def _resize(self, maxsize: int | None, /) -> None:
        """A new capacity; None: no bound."""

    def _expire(self, budget: int, /) -> float | None:
        """Drop up to so many expired entries; seconds until there are more."""

    def _follow(self, feed: object | None, handler: Callable[[], object] | None, /) -> bool:
        """Call the handler before a hit when the feed has news; (None, None) ends that."""

    def _check_invariants(self, /) -> None:
        """Raise RuntimeError if the core is inconsistent."""

    def _memory_bytes(self, /) -> int:
        """Memory beyond what keys and values own."""

    @property
    def maxsize(self) -> int | None:
        """Capacity; None: no bound."""

    @property
    def currsize(self) -> int:
        """Entries that live, as iteration shows them."""

CACHE_POLICIES: tuple[str, ...]

def _set_ttl_parser(parse: Callable[[str, Any], int | None], /) -> None:
    """What reads a ttl that is no plain number."""

def _set_housekeeper(watch: Callable[[Any], object], /) -> None:
    """What watches caches whose entries expire."""

def _forget_loads_after_fork() -> None:
    """For the child of a fork."""

@final
class Flight:
    """A load under way, and those who wait for it."""
    def finish(self, value: Any, /) -> None:
        """Give everyone who waits this value."""

    def fail(self, exception: BaseException, /) -> None:
        """Give everyone who waits this exception, or let them try again."""

    def retry(self, was_cancelled: bool, /) -> None:
        """Let everyone who waits try again."""

    def abandon(self, /) -> None:
        """Let nobody join any more, and store nothing."""

    def add_waiter(self, future: Future[None], /) -> bool:
        """Complete this future when the load ends."""

    def remove_waiter(self, future: Future[None], /) -> int:
        """Take a future back; how many are left."""

    def result(self, leads: bool, /) -> tuple[bool, Any]:
        """(True, value), or (False, None): try again."""

    @property
    def done(self) -> bool:
        """Whether the load has ended."""

    @property
    def leader(self) -> Task[Any] | int | None:
        """The task, or the number of the thread, that loads; None once it has ended."""

    @property
    def cancelled(self) -> bool:
        """Whether the load's task was cancelled from outside."""

    @property
    def fenced(self) -> bool:
        """Whether something newer came: the result is not to be stored."""

    storing: bool
    """Whether the task of the load stores its result now."""

    loop: AbstractEventLoop | None
    """The loop that runs the load."""

    task: Task[Any] | None
    """The task that runs the load."""

_inside_load: ContextVar[Any]

def _set_load_hooks(
    wake: Callable[[list[Future[None]]], object],
    cancelled: type[BaseException],
    timeout: type[Exception],
    leads_here: Callable[[Any, bool], bool],
    /,
) -> None:
    """(wake, CancelledError, LoadTimeout, leads_here), from _async.py."""

@final
class CachedAnswer(Coroutine[Any, Any, _R_co]):
    """An awaitable that has its answer. Single-use."""
    def __await__(self) -> Generator[Any, None, _R_co]: ...
    def send(self, value: Any, /) -> Any:
        """Give the answer by raising StopIteration, as a coroutine does."""

    def throw(self, error: Any, value: Any = None, traceback: Any = None, /) -> Any:
        """Raise the exception here; the answer is dropped."""

    def close(self, /) -> None:
        """Drop the answer."""

    __name__: str

    __qualname__: str

    @property
    def cr_code(self) -> Any: ...
    @property
    def cr_await(self) -> None: ...
    @property
    def cr_frame(self) -> None: ...
    @property
    def cr_origin(self) -> None: ...
    @property
    def cr_running(self) -> bool: ...
    @property
    def cr_suspended(self) -> bool: ...

class CachedFunction(Generic[_P, _R_co]):
    """A function with a cache in front; made by cached() and lru_cache()."""

    __wrapped__: Callable[..., Any]
    __name__: str
    __qualname__: str
    name: str
    def __new__(
        cls,
        wrapped: Callable[_P, _R_co],
        cache: CacheBase[Any, Any],
        plan: tuple[Any, ...],
        terms: tuple[Any, ...],
        parameters: dict[str, Any],
        adapter: Any,
        is_async: bool,
        is_functools: bool,
        /,
    ) -> CachedFunction[_P, _R_co]: ...
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co: ...
    @overload
    def __get__(
        self: Callable[Concatenate[_C, _Q], _R], instance: object, owner: _C, /
    ) -> CachedFunction[_Q, _R]: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> CachedFunction[_P, _R_co]: ...
    @overload
    def __get__(
        self: Callable[Concatenate[_S, _Q], _R], instance: _S, owner: type | None = None, /
    ) -> CachedFunction[_Q, _R]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None, /) -> CachedFunction[_P, _R_co]: ...
    def cache_clear(self, /) -> None:
        """Forget every result and set the figures to zero."""

    def cache_info(self, /) -> CacheInfo:
        """CacheInfo(hits, misses, maxsize, currsize)."""

    def stats(self, /) -> CacheStats:
        """CacheStats of its cache."""

    def cache_parameters(self, /) -> dict[str, Any]:
        """The settings, as a new dict."""

    def _call(self, /, *steps: Any) -> Any:
        """For _async.py."""

    def _join(self, /, *steps: Any) -> Any:
        """For _async.py."""

    def _settle(self, /, *steps: Any) -> Any:
        """For _async.py."""

    def _settle_failure(self, /, *steps: Any) -> Any:
        """For _async.py."""

    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def __copy__(self, /) -> Self:
        """Itself, as functions are."""

    def __deepcopy__(self, memo: Any, /) -> Self:
        """Itself, as functions are."""

    @property
    def __code__(self) -> Any:
        """Of the wrapped function."""

    @property
    def __defaults__(self) -> Any:
        """Of the wrapped function."""

    @property
    def __kwdefaults__(self) -> Any:
        """Of the wrapped function."""

    @property
    def __globals__(self) -> Any:
        """Of the wrapped function."""

    @property
    def __closure__(self) -> Any:
        """Raises AttributeError, with what to do instead."""

    @property
    def cache(self) -> Any:
        """The Cache that holds the results."""

    @property
    def _is_method(self) -> bool:
        """Whether calls put an instance in front."""

    @property
    def _instance(self) -> Any:
        """Which calls put in front, or None."""

    @property
    def __signature__(self) -> Any:
        """Of a method that is bound to an instance; else whatever was assigned."""

    @property
    def _adapter(self) -> Any:
        """For _async.py."""

    @property
    def _wait(self) -> float | None:
        """For _async.py."""

    @property
    def _copy(self) -> Callable[[Any], Any] | None:
        """The copy= hook."""

    @property
    def _is_async(self) -> bool:
        """Whether calls return awaitables."""

    def cache_key(self, *args: _P.args, **kwargs: _P.kwargs) -> Any:
        """The key under which a call with these arguments is stored."""

    def cache_contains(self, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """Whether a call with these arguments would be a hit. Counts nothing."""

    def cache_invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """Forget the result for these arguments; whether there was one. A load under way is not stored."""

    def cache_refresh(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co:
        """Call the function now and store its result, whatever is cached."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[..., Any], /) -> Any:
        """The schema of a call of the function, which calls this."""

def _set_figure_types(info: type[Any], stats: type[Any], /) -> None:
    """CacheInfo and CacheStats."""

def _set_async_loader(load: Callable[..., Any], /) -> None:
    """What a miss of a coroutine function awaits."""

@final
class BoundFunction:
    """The function of a bound method, as one instance sees it."""
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def cache_key(self, *args: Any, **kwargs: Any) -> Any:
        """The key under which a call with these arguments is stored."""

    def cache_contains(self, *args: Any, **kwargs: Any) -> bool:
        """Whether a call with these arguments would be a hit. Counts nothing."""

    def cache_invalidate(self, *args: Any, **kwargs: Any) -> bool:
        """Forget the result for these arguments; whether there was one. A load under way is not stored."""

    def cache_refresh(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function now and store its result, whatever is cached."""

def _set_plain_maker(make: Callable[[Any], Any], /) -> None:
    """What makes a function of Python's that calls a cached one."""

def _set_call_refuser(refuse: Callable[[Any, tuple[Any, ...], dict[str, Any]], object], /) -> None:
    """What raises the TypeError of a call."""

@final
class CachedMethod(Generic[_P, _R_co]):
    """A method with a cache per instance; made by cached_method()."""

    __wrapped__: Callable[..., Any]
    __name__: str
    def __new__(
        cls, function: CachedFunction[..., Any], make_cache: Callable[[], CacheBase[Any, Any]], slot: str, /
    ) -> CachedMethod[..., Any]: ...
    def __call__(self, *args: Any, **kwargs: Any) -> _R_co: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> CachedMethod[_P, _R_co]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None, /) -> CachedFunction[_P, _R_co]: ...

KEY_NONE: int

KEY_ONE: int

KEY_FIXED: int

KEY_VARIADIC: int

KEY_FUNCTOOLS: int

KEY_CALLABLE: int

class FrontBase:
    """The native base of mcp_performance.TieredCache."""
    def get(self, key: Any, default: Any = None) -> Any:
        """The value of *key*, or *default*: from memory, else from the tier unless it is away.

        Raises:
            SerializationError: *key* cannot be shared.
        """

    def aget(self, key: Any, default: Any = None) -> Coroutine[Any, Any, Any]:
        """:meth:`get` without blocking the event loop."""

    def _serve(
        self,
        memory: CacheBase[Any, Any],
        behind: Callable[[Any, Any, Any], Any],
        abehind: Callable[[Any, Any, Any], Coroutine[Any, Any, Any]],
        /,
    ) -> None:
        """Answer from memory, and by the functions what it does not have."""

STEP_ANSWER: int

STEP_RAISE: int

STEP_LEAD: int

STEP_WAIT: int

STEP_INLINE: int

# ---- loadtest

class LoadHistogram:
    def __init__(self, *, digits: int = 3, highest: float = 60.0) -> None: ...
    def record(self, value: float) -> None: ...
    def merge(self, other: LoadHistogram) -> None: ...
    def copy(self) -> LoadHistogram: ...
    def state(self) -> tuple[int, int, float, int, int, list[tuple[int, int]]]: ...
    def __getstate__(self, /) -> tuple[int, int, float, int, int, list[tuple[int, int]]]: ...
    def __setstate__(self, arg0: tuple[int, int, float, int, int, Sequence[tuple[int, int]]], /) -> None: ...
    @staticmethod
    def from_state(state: tuple[int, int, float, int, int, Sequence[tuple[int, int]]]) -> LoadHistogram: ...
    def percentile(self, percent: float) -> float: ...
    def count_at_most(self, value: float) -> int: ...
    def corrected(self, interval: float) -> LoadHistogram: ...
    def add_waits(self, length: float, count: int) -> None: ...
    def slots(self) -> list[tuple[float, float, int]]: ...
    @property
    def count(self) -> int: ...
    @property
    def total(self) -> float: ...
    @property
    def mean(self) -> float: ...
    @property
    def stddev(self) -> float: ...
    @property
    def min(self) -> float: ...
    @property
    def max(self) -> float: ...
    @property
    def digits(self) -> int: ...
    @property
    def highest(self) -> float: ...

HTTP2_BUILT_IN: bool

class Cookies:
    def __init__(self) -> None: ...
    def set(self, name: str, value: str) -> None: ...
    def take(self, headers: Sequence[tuple[str, str]], target: str) -> None: ...
    def header(self, target: str, secure: bool) -> str: ...

class RequestPicker:
    def __init__(self, **kwargs: Any) -> None: ...
    def choose(self, number: int) -> tuple[int, int]: ...
    def judge(self, kind: int, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> str: ...
    def fill(self, text: bytes, number: int) -> bytes: ...

class HttpRun:
    def __init__(self, **kwargs: Any) -> None: ...
    def run(self) -> None: ...
    def stop(self) -> None: ...
    def report(self) -> dict[str, Any]: ...
    def take(self) -> tuple[list[tuple[int, int, int, LoadHistogram]], dict[str, int]]: ...
    def silence(self) -> tuple[list[tuple[int, int, int, int]], int, int]: ...
    @property
    def completed(self) -> int: ...
    @property
    def failures(self) -> int: ...

class CallRun:
    def __init__(self, **kwargs: Any) -> None: ...
    def stop(self) -> None: ...
    def finish(self) -> None: ...
    def cut_off(self) -> None: ...
    def cancel_calls(self) -> None: ...
    def close_calls(self) -> None: ...
    def expire(self) -> tuple[list[int], float | None]: ...
    def timer_fd(self) -> int: ...
    def wake_due(self) -> None: ...
    def next_turn(self, lane: int) -> tuple[str, float, bool]: ...
    def end_turn(
        self,
        lane: int,
        kind: int,
        intended: float,
        sent: float,
        done: float,
        first_byte: float,
        size: int,
        error: str | None,
        timed_out: bool,
    ) -> None: ...
    def abandon(self, count: int) -> None: ...
    def wake_at(self, at: float) -> None: ...
    def report(self) -> dict[str, Any]: ...
    def take(self) -> tuple[list[tuple[int, int, int, LoadHistogram]], dict[str, int]]: ...
    def silence(self) -> tuple[list[tuple[int, int, int, int]], int, int]: ...
    @property
    def lanes(self) -> int: ...
    @property
    def suspensions(self) -> int: ...
    @property
    def completed(self) -> int: ...
    @property
    def failures(self) -> int: ...

@final
class CallLane(Coroutine[Any, Any, None]):
    """One user of a run of calls."""
    def __new__(
        cls,
        run: CallRun,
        number: int,
        function: Callable[..., Any],
        examples: dict[str, BaseException],
        create_future: Callable[[], Any] | None,
        with_number: bool,
    ) -> Self: ...
    def __await__(self) -> Generator[Any]: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, error: Any, value: Any = None, traceback: Any = None, /) -> Any: ...
    def close(self, /) -> None: ...
    def run_thread(self, /) -> None: ...

    task: Any

    @property
    def in_request(self) -> bool: ...

class LoadTotals:
    def __init__(self, *, workers: int, highest: float, open_model: bool) -> None: ...
    def pour(
        self, worker: int, second: int, successful: int, failed: int, bytes: int, response: LoadHistogram
    ) -> None: ...
    def finish(
        self,
        worker: int,
        report: dict[str, Any],
        quiets: Sequence[tuple[int, int, int, int]],
        measure_from: int,
        closed_at: int,
    ) -> None: ...
    def lose(self, worker: int, elapsed: float, in_time: int, errors: Mapping[str, int]) -> None: ...
    def report(self) -> dict[str, Any]: ...

# ---- sqlite

@final
class Statement(Coroutine[Any, Any, Any]):
    """A statement that runs when it is awaited, once."""
    def __await__(self) -> Generator[Any, Any, Any]: ...
    def send(self, value: Any, /) -> Any:
        """As of a coroutine."""

    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any:
        """As of a coroutine; stops the statement."""

    def close(self, /) -> None:
        """As of a coroutine; stops the statement."""

class SQLiteEndpoint:
    """Runs statements on a pool, or on one of its connections."""
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def fetch(
        self,
        sql: str,
        params: Sequence[Any] | Mapping[str, Any] = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: Literal["tuple", "named", "dict"] | None = None,
    ) -> Any:
        """Run *sql* and return all of its rows, a new list each time.

        Args:
            sql: one statement, with ``?``, ``?1``, ``:name``, ``@name`` or ``$name`` for parameters. A
            text without a statement gives no rows.
            params: a sequence, which binds by position, named parameters too, or any mapping, which
            binds by name. Values are bound by sqlite3's rules, with its registered adapters after the
            pool's; scalars of NumPy as their numbers, NaN as NULL.
            timeout: seconds for everything: waiting for a connection, for locks, running.
            cache: whether a kept result may answer, and the result may be kept.
            row_type: ``'tuple'``, ``'named'`` or ``'dict'``; ``None``: the pool's.

        Raises:
            PoolTimeout: no connection came free, or the statement did not end, in time.
            QueryError: SQLite refused the statement; ``.code`` is its extended result code. Also when
            *sql* holds a NUL or a second statement, and when *params* are too few or too many.
            IntegrityError: a constraint failed.
            DatabaseCorrupt: the file is not a sound database.
            PoolClosed: the pool is closed.
            TypeError, OverflowError, UnicodeEncodeError: a parameter that SQLite cannot hold; the
            message names it.
        """

    def fetchrow(
        self,
        sql: str,
        params: Sequence[Any] | Mapping[str, Any] = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: Literal["tuple", "named", "dict"] | None = None,
    ) -> Any:
        """Run *sql* and return its first row, or ``None``. Arguments and errors as for ``fetch``."""

    def fetchval(
        self,
        sql: str,
        params: Sequence[Any] | Mapping[str, Any] = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: Literal["tuple", "named", "dict"] | None = None,
    ) -> Any:
        """Run *sql* and return the first value of its first row, or ``None``. Arguments and errors as for
        ``fetch``.
        """

    def execute(
        self, sql: str, params: Sequence[Any] | Mapping[str, Any] = (), *, timeout: float | None = None
    ) -> Any:
        """Run *sql*, in a transaction of its own unless one is open, and return the number of rows that it
        changed. For the key of a new row use ``RETURNING`` with ``fetchval``. Errors as for ``fetch``;
        after one in a transaction of its own nothing of it is in the database, also with ``OR FAIL``.
        """

    def executemany(
        self, sql: str, params: Iterable[Sequence[Any] | Mapping[str, Any]], *, timeout: float | None = None
    ) -> Any:
        """Run *sql* once for each item of *params*, all in one transaction, and return the number of rows
        changed. Errors as for ``fetch``; after one nothing of it is in the database, and a transaction
        that is open goes on.

        All items are read, and held as bytes, before the transaction begins: a slow iterable keeps no
        other writer waiting. Awaited, a millisecond at a time, with turns for other tasks in between:
        leave a list alone meanwhile. *timeout* starts when they are read.
        """

def _sqlite_configure(pool: SQLiteEndpoint, settings: dict[str, Any], /) -> None: ...
def _sqlite_attach(endpoint: SQLiteEndpoint, pool: SQLiteEndpoint, blocking: bool, /) -> None: ...
def _sqlite_counts(pool: SQLiteEndpoint, /) -> dict[str, Any]: ...
def _sqlite_query_totals(pool: SQLiteEndpoint, /) -> list[dict[str, Any]]: ...
def _sqlite_overall_totals(pool: SQLiteEndpoint, /) -> dict[str, Any]: ...
def _sqlite_slow(pool: SQLiteEndpoint, /) -> list[dict[str, Any]]: ...
def _sqlite_reset_stats(pool: SQLiteEndpoint, /) -> None: ...
def _sqlite_begin(endpoint: SQLiteEndpoint, kind: int, timeout: float | None, /) -> Any: ...
def _sqlite_end(endpoint: SQLiteEndpoint, commit: bool, /) -> Any: ...
def _sqlite_control(endpoint: SQLiteEndpoint, sql: str, /) -> Any: ...
def _sqlite_release(endpoint: SQLiteEndpoint, /) -> None: ...
def _sqlite_in_transaction(endpoint: SQLiteEndpoint, /) -> bool: ...
def _sqlite_open(pool: SQLiteEndpoint, /) -> Any: ...
def _sqlite_close(pool: SQLiteEndpoint, /) -> Any: ...
def _sqlite_close_blocking(pool: SQLiteEndpoint, timeout_s: float, /) -> bool: ...
def _sqlite_close_timeout(pool: SQLiteEndpoint, timeout: float | None, /) -> float: ...
def _sqlite_held_for(pool: SQLiteEndpoint, /) -> list[str]: ...
def _sqlite_expect(pool: SQLiteEndpoint, device: int, inode: int, /) -> None: ...
def _sqlite_era(pool: SQLiteEndpoint, /) -> int: ...
def _sqlite_delete_log_at_close(pool: SQLiteEndpoint, /) -> None: ...
def _sqlite_terminate(pool: SQLiteEndpoint, /) -> None: ...
def _sqlite_closed(pool: SQLiteEndpoint, /) -> bool: ...

class SQLiteStream:
    def next(self) -> Any: ...

def _sqlite_stream(
    endpoint: SQLiteEndpoint, sql: str, params: Sequence[Any] | Mapping[str, Any], row_type: str | None, /
) -> SQLiteStream: ...

class SQLiteNewConnection:
    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]: ...
    def create_function(
        self, name: str, arguments: int, function: Callable[..., Any], *, deterministic: bool = False
    ) -> None: ...
    def create_collation(self, name: str, order: Callable[[str, str], int]) -> None: ...

class _SQLiteWatch:
    def __init__(self, pool: SQLiteEndpoint) -> None: ...
    def arrived(self) -> int:
        """A number that has grown if anybody may have committed."""

    def feed(self) -> Any: ...

def _sqlite_backup(pool: SQLiteEndpoint, path: str, /) -> Any: ...

SQLITE_VERSION: str

SQLITE_ANY: int

SQLITE_READ: int

SQLITE_WRITE: int

SQLITE_READER: int

SQLITE_TUPLE: int

SQLITE_NAMED: int

SQLITE_DICT: int

def _sqlite_shared_with(path: str) -> bool: ...
def _sqlite_library_file() -> str: ...
def _sqlite_lend_database(pool: SQLiteEndpoint, /) -> str: ...

class _SQLiteForkHold:
    def __init__(self, path: bytes) -> None: ...

fingerprint: Callable[[str], tuple[str, str]]

# ---- query

def analyze(path: str, sql: object, params: object, pool: object) -> str: ...
def checked_sql(sql: object) -> str: ...
def params_fit(sql: str, params: object) -> bool: ...
def advise(
    path: str,
    workload: list[Any],
    pool: object,
    budget_s: float,
    most_indexes: int,
    most_bytes: int,
    progress: object,
) -> str: ...

class StatementLog:
    def __init__(self, slow_s: float) -> None: ...
    def record(self, sql: str, seconds: float, rows: int) -> None: ...
    def totals(self) -> list[dict[str, Any]]: ...
    def overall(self) -> dict[str, Any]: ...

# ---- http

@final
class HttpReply(tuple[int, list[tuple[str, str]], bytes]):
    """What a server answered to one request."""
    @property
    def status(self) -> int:
        """The status code."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """(name, value) pairs in their order, names in lower case."""

    @property
    def body(self) -> bytes:
        """The body, gzip and deflate undone."""

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """Fields that came behind the body, like headers; no element of the tuple."""

    n_sequence_fields: int
    n_fields: int
    n_unnamed_fields: int
    __match_args__: tuple[str, ...]

class HttpOrigin:
    def __init__(self, **kwargs: Any) -> None: ...
    def redirect(self, location: str, target: str) -> str | None: ...
    @property
    def addresses(self) -> list[str]: ...

class HttpLine:
    def __init__(self, origin: HttpOrigin) -> None: ...
    def begin(
        self, method: str, target: str, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> None: ...
    def advance(self) -> HttpReply | None: ...
    def close(self) -> None: ...
    @property
    def fd(self) -> int: ...
    @property
    def wants_to_write(self) -> bool: ...
    @property
    def is_up(self) -> bool: ...
    @property
    def up_at(self) -> float: ...
    @property
    def first_byte_at(self) -> float: ...
    @property
    def last_byte_at(self) -> float: ...
    @property
    def bytes_received(self) -> int: ...

class HttpService:
    def __init__(
        self,
        *,
        host: str,
        port: int,
        authority: str,
        unix_socket: str,
        prefix: str,
        tls: bool,
        verify: bool,
        ca_file: str,
        http2: bool,
        timeout_ns: int,
        body_limit: int,
        follow_redirects: bool,
        headers: Sequence[tuple[bytes, bytes]],
    ) -> None: ...
    def get(self) -> Callable[[str], HttpReply]: ...
    def send(self) -> Callable[[Any], HttpReply]: ...
    def close(self) -> None: ...

# ---- batch

class BatchJob:
    def add(self, items: Sequence[Any]) -> None: ...
    def close_input(self) -> None: ...
    def stop(self) -> None: ...
    def finish(self) -> None: ...
    def wait(self, finished: int) -> Future[None]: ...
    def take(self) -> list[tuple[int, Any, BaseException | None]]: ...
    def stats(self) -> tuple[int, int, int, float, float]: ...
    @property
    def results(self) -> list[Any]: ...
    @property
    def errors(self) -> dict[int, BaseException]: ...
    @property
    def ended(self) -> bool: ...
    @property
    def finished(self) -> int: ...

class BatchEngine:
    def __init__(self, max_workers: int) -> None: ...
    def start(
        self,
        function: Callable[[Any], Any],
        *,
        kind: int,
        concurrency: int,
        chunk_size: int,
        pending: object | None,
        context: Context,
    ) -> BatchJob: ...
    def close(self) -> None: ...
    @property
    def threads(self) -> int: ...

def _batch_prepare_fork() -> bool: ...
def _batch_after_fork_in_child() -> None: ...

BATCH_MEASURED: int

BATCH_CPU: int

BATCH_BLOCKING: int

@final
class BatchedFuture(Coroutine[Any, Any, _T_co]):
    """What a batched function returns: a future and a coroutine, as asyncio's functions take them.

    Await it, once or more, or give it to asyncio.create_task, TaskGroup, gather, wait_for, shield
    or ensure_future.
    """
    def __await__(self) -> Generator[Any, None, _T_co]: ...
    def result(self, /) -> _T_co:
        """The result.

        Raises:
            asyncio.CancelledError: it was cancelled.
            asyncio.InvalidStateError: it is not done.
            BaseException: the item's own error.
        """

    def exception(self, /) -> BaseException | None:
        """The item's own error, or None; raises as result() where it is not done or cancelled."""

    def done(self, /) -> bool:
        """Whether it has a result, failed, or was cancelled."""

    def cancelled(self, /) -> bool:
        """Whether it was cancelled."""

    def cancel(self, msg: Any | None = None) -> bool:
        """Wait no longer; False when it is done already. Others who wait for the item are left alone."""

    def add_done_callback(
        self, callback: Callable[[BatchedFuture[_T_co]], object], /, *, context: Context | None = None
    ) -> None:
        """Have callback(future) called on the loop, soon after it is done."""

    def remove_done_callback(self, callback: Callable[[BatchedFuture[_T_co]], object], /) -> int:
        """How many were removed."""

    def get_loop(self, /) -> AbstractEventLoop:
        """The loop that it belongs to."""

    def send(self, value: Any, /) -> Any:
        """One step, as of a coroutine."""

    def throw(self, error: Any, value: Any = None, traceback: Any = None, /) -> Any:
        """Raise the exception here, as a coroutine does; without others who wait, it is cancelled."""

    def close(self, /) -> None:
        """Without others who wait for it, it is cancelled."""

    def _make_cancelled_error(self, /) -> BaseException:
        """For asyncio.gather."""

    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    _asyncio_future_blocking: bool
    """asyncio's mark of a future."""

    @property
    def _cancel_message(self) -> Any:
        """For asyncio.gather."""

def _set_batch_error(error: type[Exception], /) -> None:
    """For _batched."""

def _batched_settle(futures: list[BatchedFuture[Any]], results: list[Any] | BaseException | None, /) -> None:
    """Give the callers of one call their results, and wake them."""

@final
class BatchedQueue:
    """What waits on one event loop for a call of a batched function."""
    def _time_is_up(self, /) -> None:
        """The oldest item has waited long enough."""

    def _ended(self, call: Task[None], /) -> None:
        """A call ended; others may start."""

def _set_batched_call(
    function: Callable[..., Task[None]],
    levels: ContextVar[Mapping[object, int]],
    none: Mapping[object, int],
    deepest: Callable[[Mapping[object, int], Mapping[object, int]], Mapping[object, int]],
    /,
) -> None:
    """For _batched."""

@final
class Batched(Generic[_T, _R]):
    """What batched() makes of a function: call it with one item, and await the result.

    Safe from any loop; each loop has a queue and calls of its own. On a method, each instance has
    queues of its own. Pickled by name, as functions are.
    """

    __wrapped__: Callable[
        [list[_T]],
        Awaitable[
            Iterable[_R | BaseException]
            | AsyncIterable[_R | BaseException]
            | Mapping[Any, _R | BaseException]
        ],
    ]
    __name__: str
    __qualname__: str
    def __new__(
        cls,
        function: Callable[
            [list[_T]],
            Awaitable[
                Iterable[_R | BaseException]
                | AsyncIterable[_R | BaseException]
                | Mapping[Any, _R | BaseException]
            ],
        ],
        /,
        *,
        max_size: int = 100,
        max_wait: float = 0.002,
        key: Callable[[_T], Hashable] | None = None,
        max_concurrency: int | None = None,
    ) -> Self: ...
    def __call__(self, item: _T) -> BatchedFuture[_R]: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> Batched[_T, _R]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None, /) -> Batched[_T, _R]: ...
    def __set_name__(self, owner: type, name: str, /) -> None:
        """Its name as a method."""

    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    @property
    def max_size(self) -> int:
        """Items in one call at most."""

    @property
    def max_wait(self) -> float:
        """Seconds an item waits at most."""

    @property
    def max_concurrency(self) -> int | None:
        """Calls at a time on each loop."""

    @property
    def _key(self) -> Callable[[_T], Hashable] | None:
        """What makes two items the same."""

def _set_batched_helpers(
    bind: Callable[[Batched[Any, Any], object, type | None], Batched[Any, Any]],
    prune: Callable[[MutableMapping[AbstractEventLoop, object]], None],
    /,
) -> None:
    """For _batched."""

# ---- redis

class RedisFill:
    def keep(self) -> bool: ...
    def holds(self) -> bool: ...

class PlainCodec:
    def __init__(self, prefix: bytes, is_plain: bool, largest: int, compress_above: int | None) -> None: ...
    def spell(self, key: Any) -> bytes | None: ...
    def spell_each(self, keys: Sequence[Any]) -> list[bytes | None]: ...
    def write_each(self, values: Sequence[Any]) -> list[bytes | None]: ...
    def read(self, record: bytes) -> tuple[Any] | None: ...

def _holds_buffers(value: Any) -> bool: ...

class RedisClient:
    def __init__(
        self,
        *,
        nodes: Sequence[tuple[str, int]],
        unix_path: str,
        username: str,
        password: str,
        database: int,
        tls: tuple[str, str, str, bool] | None,
        sentinel: tuple[str, str, str] | None,
        timeout_s: float,
        tracking: bool,
        ping_interval_s: float,
        max_in_flight: int,
        max_reply_bytes: int,
        news_channel: str = "",
        life_channel: str = "",
        ident: str = "",
        identity_key: str = "",
        identity: str = "",
        cluster: bool = False,
        feeder: RedisClient | None = None,
    ) -> None: ...
    def call(
        self,
        commands: Sequence[Sequence[bytes | str | int | float]],
        fill_key: bytes | None = None,
        changes: Sequence[bytes] = (),
    ) -> tuple[list[Any], RedisFill | None, float]: ...
    def start(
        self,
        commands: Sequence[Sequence[bytes | str | int | float]],
        fill_key: bytes | None = None,
        changes: Sequence[bytes] = (),
    ) -> Future[tuple[list[Any], RedisFill | None, float]]: ...
    def call_each(
        self, asks: Sequence[tuple[Sequence[Sequence[bytes | str | int | float]], bytes | None]]
    ) -> list[tuple[list[Any], RedisFill | None, float]]: ...
    def start_read(self, key: Any, codec: PlainCodec) -> Future[tuple[int, Any]] | None: ...
    def call_read(self, key: Any, codec: PlainCodec) -> tuple[int, Any] | None: ...
    def call_reads(
        self, names: list[bytes], codec: PlainCodec, missing: Any
    ) -> tuple[list[Any], list[tuple[int, bytes]]]: ...
    def start_reads(
        self, names: list[bytes], codec: PlainCodec, missing: Any
    ) -> Future[tuple[list[Any], list[tuple[int, bytes]]]]: ...
    def flush(self) -> None: ...
    def post(
        self, commands: Sequence[Sequence[bytes | str | int | float]], changes: Sequence[bytes] = ()
    ) -> None: ...
    def changed(self, key: bytes) -> None: ...
    def drop_all(self) -> None: ...
    def latest_server_time(self) -> int | None: ...
    def was_lost_within(self, seconds: float) -> bool: ...
    def has_life(self) -> bool: ...
    def hold(self, token: str, renewal: Sequence[Sequence[bytes | str | int | float]]) -> None: ...
    def let_go(self, token: str) -> None: ...
    def begin_away(self, key: bytes) -> RedisFill | None: ...
    def arrived(self) -> int: ...
    def take_news(self) -> tuple[bool, list[bytes]]: ...
    def feed(self) -> Any: ...
    def close(self) -> None: ...
    def stats(self) -> dict[str, Any]: ...

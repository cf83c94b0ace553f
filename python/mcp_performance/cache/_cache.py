"""The bounded mapping that everything else here is built on."""

from __future__ import annotations

from collections.abc import (
    Awaitable,
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    ValuesView,
)
from types import EllipsisType
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from .. import _core
from .._base import _registry
from .._base._checks import any_function, choice, function, mapping, optional_text, several, texts
from .._base._durations import nanoseconds, seconds
from .._base._stats import CacheStats, Ttl
from ..errors import ConfigurationError
from . import _async
from . import _housekeeping as _housekeeping  # before the first entry that expires

__all__ = ["Cache", "check_maxsize"]

K = TypeVar("K")
V = TypeVar("V")

Policy: TypeAlias = Literal["adaptive", "lru", "sieve"]
"""``adaptive`` has the best hit ratios; ``lru`` is exact; ``sieve`` moves nothing at a hit."""
_LARGEST = 2**62
_MISSING: Any = object()


class _Items(ItemsView[K, V]):
    """The entries that were alive when an iteration began, whatever leaves meanwhile."""

    __slots__ = ()
    _mapping: Cache[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return iter(self._mapping._list(True))


class _Values(ValuesView[V]):
    """The values that were alive when an iteration began, whatever leaves meanwhile."""

    __slots__ = ()
    _mapping: Cache[Any, V]

    def __iter__(self) -> Iterator[V]:
        return (value for _, value in self._mapping._list(True))

    def __contains__(self, value: object) -> bool:
        return any(held is value or held == value for held in self)


class Cache(_core.CacheBase[K, V], MutableMapping[K, V], Generic[K, V]):
    """A bounded mapping whose entries can expire.

    Compares and hashes by identity. Safe from any thread and any event loop. Keys compare as those of a
    ``dict`` do; values are kept as they are, so a caller who changes a mutable one changes it for
    everybody. Looking up counts in :meth:`stats`; ``in``, iteration and :meth:`expires_in` do not.
    Iterating walks a list of the keys that were alive when it began; ``len()``, ``bool()``,
    :attr:`currsize` and the figures of :meth:`stats` agree with it, and drop what has expired.
    ``pop()``, ``popitem()`` and ``setdefault()`` look and change in one step. No load that began before
    an entry was set, taken or invalidated is stored after, or joined.

    Args:
        maxsize: capacity in entries, or in weight with a *weigher*; ``None`` for no bound, 0 to store
            nothing.
        ttl: lifetime of entries that are stored without one: seconds, a ``timedelta``, ``"5m"``, or ``None``.
        idle_ttl: lifetime since the last read, likewise.
        policy: which entries make room: ``"adaptive"`` (best hit ratio), ``"lru"`` (exact) or ``"sieve"``
            (SIEVE: in order of arrival, but for what was read since the hand last passed).
        weigher: ``weigher(key, value) -> int``, the room an entry takes, at least 0. Failures that
            ``negative_ttl`` remembers weigh 1.
        on_evict: ``on_evict(key, value, cause)``, called after an entry or a value left, with *cause* one of
            ``"evicted"``, ``"expired"``, ``"replaced"``, ``"removed"``, ``"invalidated"`` (by a tag) and
            ``"cleared"``. It may use the cache. What it raises goes to :func:`sys.unraisablehook`.
        name: what reports call this cache.
        clock: ``clock() -> seconds``, never going back, instead of the monotonic clock (4 ms steps).

    Raises:
        ConfigurationError: an option is out of range; the message names it.
        TypeError: an option has the wrong type.
    """

    __slots__ = ("_name", "_policy")

    def __init__(
        self,
        maxsize: int | None = 1024,
        *,
        ttl: Ttl = None,
        idle_ttl: Ttl = None,
        policy: Policy = "adaptive",
        weigher: Callable[[K, V], int] | None = None,
        on_evict: Callable[[K, V, str], object] | None = None,
        name: str | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        choice("policy", policy, _core.CACHE_POLICIES)
        for option, hook in (("weigher", weigher), ("on_evict", on_evict), ("clock", clock)):
            if hook is not None:
                function(option, hook)
        self._name = optional_text("name", name)
        self._policy: Policy = policy
        self._configure(
            check_maxsize(maxsize),
            policy,
            nanoseconds("ttl", ttl),
            nanoseconds("idle_ttl", idle_ttl),
            weigher,
            on_evict,
            clock,
        )
        _registry.register_cache(self)

    def __hash__(self) -> int:
        return id(self) >> 4

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        named = "" if self._name is None else f" {self._name!r}"
        return f"<{type(self).__name__}{named} {self.currsize} of {self.maxsize}, policy {self._policy}>"

    @property
    def name(self) -> str | None:
        """What reports call this cache."""
        return self._name

    @property
    def policy(self) -> Policy:
        """Which entries make room."""
        return self._policy

    async def aget_or_load(
        self,
        key: K,
        loader: Callable[[K], V | Awaitable[V]],
        *,
        ttl: Ttl | EllipsisType = ...,
        wait_timeout: Ttl = None,
    ) -> V:
        """The value of *key*; a miss awaits ``loader(key)``, a sync or async function, once at a time.

        Cancelling one caller does not disturb the others. What the loader raises reaches every caller that
        waits, each as one of its own, unless a value has been set meanwhile; nothing is stored. A key that
        is deleted, set or cleared meanwhile stays as that left it.
        Who waits longer than *wait_timeout* for the load of another gets :class:`LoadTimeout`.
        """
        limit = seconds("wait_timeout", wait_timeout)
        value: Any = self.get(key, _MISSING)
        if value is _MISSING:
            any_function("loader", loader)
            value = await _async.load_key(self, key, loader, ttl, limit)
        result: V = value
        return result

    def popitem(self) -> tuple[K, V]:
        """Take some entry out.

        Raises:
            KeyError: there is none.
        """
        for key in self:
            value: Any = self.pop(key, _MISSING)
            if value is not _MISSING:
                return key, value
        raise KeyError("popitem(): the cache is empty")

    def items(self) -> ItemsView[K, V]:
        """A view of the entries; what leaves while it is walked through does no harm."""
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """A view of the values, likewise."""
        return _Values(self)

    def get_many(self, keys: Iterable[K]) -> dict[K, V]:
        """The keys among *keys* that are here, with their values."""
        found: dict[K, V] = {}
        for key in several("keys", keys, "several keys"):
            value: Any = self.get(key, _MISSING)
            if value is not _MISSING:
                found[key] = value
        return found

    def set_many(
        self, items: Mapping[K, V], *, ttl: Ttl | EllipsisType = ..., tags: Iterable[str] = ()
    ) -> None:
        """:meth:`set` for each of *items*."""
        if ttl is not ...:
            nanoseconds("ttl", ttl)
        labels = tuple(texts("tags", tags))
        for key, value in mapping("items", items, none=False).items():
            self.set(key, value, ttl=ttl, tags=labels)

    def delete_many(self, keys: Iterable[K]) -> int:
        """:meth:`delete` for each of *keys*; how many were here."""
        return sum(self.delete(key) for key in several("keys", keys, "several keys"))

    def resize(self, maxsize: int | None) -> None:
        """Change the capacity; entries that no longer fit are evicted."""
        self._resize(check_maxsize(maxsize))

    def stats(self) -> CacheStats:
        """Figures since the cache was made."""
        return CacheStats(**self._figures())


def check_maxsize(maxsize: Any) -> int | None:
    """*maxsize* if it is a capacity.

    Raises:
        ConfigurationError: it is negative or 2**62 and more.
        TypeError: it is no int.
    """
    if maxsize is None:
        return None
    if isinstance(maxsize, bool) or not isinstance(maxsize, int):
        if isinstance(maxsize, float):
            raise ConfigurationError(f"maxsize={maxsize!r}: expected a whole number, 0 or more, or None")
        raise TypeError(f"maxsize={maxsize!r}: expected an int or None")
    if not 0 <= maxsize < _LARGEST:
        raise ConfigurationError(f"maxsize={maxsize!r}: expected a whole number from 0 to 2**62 - 1, or None")
    return maxsize

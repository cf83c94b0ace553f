"""A cache in this process in front of a :class:`RedisTier`, kept true by what Redis announces."""

from __future__ import annotations

import os
import re
import threading
import warnings
import weakref
from collections.abc import Generator, Iterable
from typing import Any

from .. import _core
from .._base._durations import seconds
from .._base._registry import register_cache
from .._base._stats import CacheStats, Ttl
from ..cache import Cache
from ..errors import CacheError, ConfigurationError
from ._redis import UNSET, Commands, RedisTier, raise_errors

__all__ = ["TieredCache"]

_MISSING: Any = object()


class TieredCache:
    """A :class:`Cache` in this process in front of a :class:`RedisTier` that processes share.

    What is kept in memory stays true: Redis announces each change of a value that was read through here,
    by whatever client, and the entry is dropped before it is served again. When a connection is lost,
    everything kept is dropped. While Redis is away the memory serves alone, with a warning once, and
    deletions are made good before Redis is read again; entries then live for at most *memory_ttl*.

    ``@cached(cache=TieredCache(memory, shared))`` uses it, for sync and for coroutine functions.

    Args:
        memory: holds the values in this process. What this cache puts there belongs to it.
        shared: the server, and how values are written.
        ttl: of values that are stored without one; the tier's own if not given.
        memory_ttl: the longest that a value stays in memory, whatever Redis says.
        name: what reports call it.

    Values that come from Redis are fresh objects; those that come from memory are shared between callers.
    """

    _LONGEST_DEBT = 10_000

    def __init__(
        self,
        memory: Cache[Any, Any],
        shared: RedisTier,
        *,
        ttl: Ttl = UNSET,
        memory_ttl: Ttl = 60.0,
        name: str | None = None,
    ) -> None:
        if not isinstance(memory, Cache):
            raise TypeError(f"memory={memory!r}: expected a Cache")
        if not isinstance(shared, RedisTier):
            raise TypeError(f"shared={shared!r}: expected a RedisTier")
        self._memory = memory
        self._shared = shared
        self._ttl = shared._ttl if ttl is UNSET else seconds("ttl", ttl)
        self._memory_ttl = seconds("memory_ttl", memory_ttl)
        self._name = name
        self._client = shared._connect(tracking=True)
        self._keys: dict[bytes, Any] = {}  # of what may be in memory, by its name in Redis
        self._keys_limit = 1024
        self._news_seen = 0
        self._lock = threading.RLock()
        self._owed: dict[bytes, object] = {}  # names whose deletion Redis has not heard of
        self._owed_tags: dict[str, object] = {}
        self._owes_everything = False  # more deletions than could be remembered
        self._misses = self._shared_hits = 0
        self._warned = False
        if not memory._follow(self._client.feed(), self._catch_up):
            raise ConfigurationError(f"memory={memory!r}: expected a Cache that no other TieredCache uses")
        register_cache(self)
        _tiered.add(self)

    def __repr__(self) -> str:
        return f"<TieredCache {self._name or ''} of {self._memory!r} and {self._shared!r}>"

    @property
    def name(self) -> str | None:
        """What reports call this cache."""
        return self._name

    @property
    def ttl(self) -> float | None:
        """The lifetime of values that are stored without one, seconds; ``None`` for ever."""
        return self._ttl

    @property
    def memory(self) -> Cache[Any, Any]:
        """The cache in front."""
        return self._memory

    @property
    def shared(self) -> RedisTier:
        """The tier behind."""
        return self._shared

    def get(self, key: Any, default: Any = None) -> Any:
        """The value of *key*, or *default*: from memory, else from Redis unless it is away.

        Raises:
            SerializationError: *key* cannot be shared.
        """
        value = self._memory.get(key, _MISSING)
        if value is not _MISSING:
            return value
        found = self._look_behind(key, 0.0, 0.0)
        return default if found is None else found[0]

    async def aget(self, key: Any, default: Any = None) -> Any:
        """:meth:`get` without blocking the event loop."""
        value = self._memory.get(key, _MISSING)
        if value is not _MISSING:
            return value
        found = await self._alook_behind(key, 0.0, 0.0)
        return default if found is None else found[0]

    def set(self, key: Any, value: Any, *, ttl: Ttl = UNSET, tags: Iterable[str] = ()) -> None:
        """Store *value* in Redis, for *ttl* or the cache's own time to live; in memory while Redis is away.

        Memory takes the value with the next :meth:`get`, when Redis has said that it stands.

        Raises:
            SerializationError: *key* or *value* cannot be carried; nothing was sent or kept.
        """
        self._store_behind(key, value, self._lifetime(ttl), 0.0, tags, 0.0)

    async def aset(self, key: Any, value: Any, *, ttl: Ttl = UNSET, tags: Iterable[str] = ()) -> None:
        """:meth:`set` without blocking the event loop."""
        await self._astore_behind(key, value, self._lifetime(ttl), 0.0, tags, 0.0)

    def delete(self, key: Any) -> bool:
        """Forget *key* here and in Redis; whether there was something to forget.

        While Redis is away the deletion is owed, and made good before anything is read from it again.
        """
        name, here = self._forget(key)
        try:
            return bool((self._run([("DEL", name)]))[0]) or here
        except CacheError as error:
            self._warn(error)
            self._owe(name)
            return here
        finally:
            self._forget(key)  # also a load that has read Redis in between

    async def adelete(self, key: Any) -> bool:
        """:meth:`delete` without blocking the event loop."""
        name, here = self._forget(key)
        try:
            return bool((await self._arun([("DEL", name)]))[0]) or here
        except CacheError as error:
            self._warn(error)
            self._owe(name)
            return here
        finally:
            self._forget(key)  # also a load that has read Redis in between

    def invalidate_tags(self, *tags: str) -> int:
        """Forget every entry that carries one of *tags*; how many were known to. As :meth:`delete`."""
        if not tags:
            return 0
        command = self._shared._dropping(tags)
        self._memory.invalidate_tags(*tags)  # loads under way, and failures that are remembered
        try:
            names = self._run([command])[0]
        except CacheError as error:
            return self._owe_tags(tags, error)
        finally:
            self._memory.invalidate_tags(*tags)  # loads that have read Redis in between
        return self._drop(names)

    async def ainvalidate_tags(self, *tags: str) -> int:
        """:meth:`invalidate_tags` without blocking the event loop."""
        if not tags:
            return 0
        command = self._shared._dropping(tags)
        self._memory.invalidate_tags(*tags)
        try:
            names = (await self._arun([command]))[0]
        except CacheError as error:
            return self._owe_tags(tags, error)
        finally:
            self._memory.invalidate_tags(*tags)
        return self._drop(names)

    def stats(self) -> CacheStats:
        """Figures of both tiers together: a hit is a hit of either, a miss is one of both."""
        memory = self._memory.stats()
        hits = memory.hits + self._shared_hits
        asked = hits + self._misses
        return CacheStats(
            hits=hits,
            misses=self._misses,
            hit_rate=hits / asked if asked else 0.0,
            loads=memory.loads,
            load_errors=memory.load_errors,
            load_seconds=memory.load_seconds,
            evictions=memory.evictions,
            expirations=memory.expirations,
            invalidations=memory.invalidations,
            currsize=memory.currsize,
            maxsize=memory.maxsize,
            weight=memory.weight,
        )

    def close(self) -> None:
        """Close this cache's connections, and drop what is kept. The tier stays open."""
        self._client.close()
        self._catch_up()
        self._memory._follow(None, None)

    async def aclose(self) -> None:
        """:meth:`close`, for ``async`` callers; it does not wait on the network."""
        self.close()

    # -- For cached functions, which have looked in memory themselves

    def _look_behind(self, key: Any, stale: float, load: float) -> tuple[Any, bool] | None:
        """The value in Redis, and whether only *stale* seconds of its life are left; ``None`` for none.

        It is put into memory, where early refresh reckons with *load*, what making it takes.
        """
        name = self._shared._spell(key)
        try:
            self._pay()
            answer = self._client.call([("GET", name), ("PTTL", name)], name)
        except CacheError as error:
            self._miss_without_redis(error)
            return None
        return self._accept(key, name, answer, stale, load)

    async def _alook_behind(self, key: Any, stale: float, load: float) -> tuple[Any, bool] | None:
        name = self._shared._spell(key)
        try:
            await self._apay()
            answer = await self._client.start([("GET", name), ("PTTL", name)], name)
        except CacheError as error:
            self._miss_without_redis(error)
            return None
        return self._accept(key, name, answer, stale, load)

    def _store_behind(
        self, key: Any, value: Any, ttl: float | None, stale: float, tags: Iterable[str], load: float
    ) -> None:
        """Store *value* in Redis, to be fresh for *ttl* seconds and then stale for as many."""
        lifetime = None if ttl is None else ttl + stale
        name, commands = self._prepare(key, value, lifetime, tags)
        try:
            self._run(commands)
        except CacheError as error:
            self._keep_alone(key, name, value, lifetime, stale, load, error)
        else:
            self._owed.pop(name, None)

    async def _astore_behind(
        self, key: Any, value: Any, ttl: float | None, stale: float, tags: Iterable[str], load: float
    ) -> None:
        lifetime = None if ttl is None else ttl + stale
        name, commands = self._prepare(key, value, lifetime, tags)
        try:
            await self._arun(commands)
        except CacheError as error:
            self._keep_alone(key, name, value, lifetime, stale, load, error)
        else:
            self._owed.pop(name, None)

    # -- Memory

    def _catch_up(self) -> None:
        """Drop from memory what was announced as changed. Called before a hit when there is news."""
        with self._lock:
            arrived = self._client.arrived()
            if arrived == self._news_seen:
                return
            flush, names = self._client.take_news()
            self._drop(list(self._keys) if flush else names)
            self._news_seen = arrived

    def _drop(self, names: Iterable[bytes]) -> int:
        count = 0
        for name in names:
            count += 1
            key = self._keys.pop(name, _MISSING)
            if key is not _MISSING:
                self._memory.delete(key)
        return count

    def _forget(self, key: Any) -> tuple[bytes, bool]:
        name = self._shared._spell(key)
        self._keys.pop(name, None)
        return name, self._memory.delete(key)

    def _keep(
        self,
        key: Any,
        name: bytes,
        value: Any,
        lifetime: float | None,
        stale: float,
        load: float,
        fill: _core.RedisFill,
    ) -> None:
        """Put *value* in memory, unless news of *name* came since *fill* began."""
        self._catch_up()  # what was announced before says nothing about this value
        bounds = [bound for bound in (lifetime, self._memory_ttl) if bound is not None]
        fresh = None if lifetime is None else round((lifetime - stale) * 1e9)
        longest = round(min(bounds) * 1e9) if bounds else None
        self._keys[name] = key
        try:
            self._memory._fill(key, value, fresh, round(stale * 1e9), longest, round(load * 1e9))
        finally:
            if not fill.keep():
                self._forget(key)
        if len(self._keys) > self._keys_limit:
            for known, held in list(self._keys.items()):
                if held not in self._memory:
                    self._keys.pop(known, None)
            self._keys_limit = max(1024, 2 * len(self._keys))

    # -- Redis

    def _run(self, commands: Commands) -> list[Any]:
        return raise_errors(self._client.call(commands)[0])

    async def _arun(self, commands: Commands) -> list[Any]:
        return raise_errors((await self._client.start(commands))[0])

    def _accept(
        self, key: Any, name: bytes, answer: tuple[list[Any], Any, float], stale: float, load: float
    ) -> tuple[Any, bool] | None:
        (data, left_ms), fill, age = answer
        for reply in (data, left_ms):
            if isinstance(reply, CacheError):
                self._miss_without_redis(reply)
                return None
        value = self._shared._read(name, data, _MISSING)
        if value is _MISSING:
            self._misses += 1
            return None
        self._shared_hits += 1
        # -2: it expired between the two commands. -1: it never does.
        left = None if left_ms == -1 else left_ms / 1000 - age
        if fill is not None and (left is None or left > 0):
            self._keep(key, name, value, left, 0.0 if left is None else stale, load, fill)
        return value, left is not None and stale > 0 and left <= stale

    def _lifetime(self, ttl: Ttl) -> float | None:
        return self._ttl if ttl is UNSET else seconds("ttl", ttl)

    def _prepare(
        self, key: Any, value: Any, lifetime: float | None, tags: Iterable[str]
    ) -> tuple[bytes, Commands]:
        name = self._shared._spell(key)
        commands = self._shared._storing(name, value, lifetime, tags)
        self._forget(key)
        return name, commands

    # -- While Redis is away

    def _warn(self, error: CacheError) -> None:
        self._shared._unavailable += 1
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._shared!r} cannot be used, this process caches alone: {error}",
                RuntimeWarning,
                stacklevel=5,
            )

    def _miss_without_redis(self, error: CacheError) -> None:
        self._misses += 1
        self._warn(error)

    def _keep_alone(
        self,
        key: Any,
        name: bytes,
        value: Any,
        lifetime: float | None,
        stale: float,
        load: float,
        error: CacheError,
    ) -> None:
        self._warn(error)
        self._owe(name)  # Redis may hold an older value
        fill = self._client.begin_away(name)
        if fill is not None:
            self._keep(key, name, value, lifetime, stale, load, fill)

    def _owe(self, name: bytes) -> None:
        if len(self._owed) < self._LONGEST_DEBT:
            self._owed[name] = object()
        else:
            self._owes_everything = True

    def _owe_tags(self, tags: Iterable[str], error: CacheError) -> int:
        self._warn(error)
        if len(self._owed_tags) < self._LONGEST_DEBT:
            self._owed_tags.update((tag, object()) for tag in tags)
        else:
            self._owes_everything = True
        return self._drop(list(self._keys))  # which of them carry the tags, Redis alone knows

    def _pay(self) -> None:
        if not (self._owed or self._owed_tags or self._owes_everything):
            return
        steps = self._paying()
        commands = next(steps, None)
        while commands:
            commands = _send(steps, self._run(commands))

    async def _apay(self) -> None:
        if not (self._owed or self._owed_tags or self._owes_everything):
            return
        steps = self._paying()
        commands = next(steps, None)
        while commands:
            commands = _send(steps, await self._arun(commands))

    def _paying(self) -> Generator[Commands, list[Any], None]:
        """Yields the commands that make good what is owed; is sent their replies."""
        while self._owed:
            part = list(self._owed.items())[:_INSTALMENT]
            yield [("DEL", *(name for name, _ in part))]
            _strike(self._owed, part)
        while self._owed_tags:
            tags = list(self._owed_tags.items())[:_INSTALMENT]
            yield [self._shared._dropping(tag for tag, _ in tags)]
            _strike(self._owed_tags, tags)
        if self._owes_everything:
            pattern = re.sub(r"([*?\[\]\\^-])", r"\\\1", self._shared.namespace) + ":*"
            cursor: Any = b"0"
            while True:
                [[cursor, names]] = yield [("SCAN", cursor, "MATCH", pattern, "COUNT", _INSTALMENT)]
                if names:
                    yield [("DEL", *names)]
                if cursor == b"0":
                    break
            self._owes_everything = False

    # -- After a fork, in the child

    def _start_anew(self) -> None:
        """The child has no connection yet, so nobody told it what changed: nothing kept is true."""
        self._lock = threading.RLock()
        self._drop(list(self._keys))
        self._news_seen = 0
        self._memory._follow(self._client.feed(), self._catch_up)


def _send(steps: Generator[Commands, list[Any], None], replies: list[Any]) -> Commands | None:
    try:
        return steps.send(replies)
    except StopIteration:
        return None


def _strike(debt: dict[Any, object], paid: list[tuple[Any, object]]) -> None:
    """Remove what was *paid* from *debt*, but for what has been owed again since."""
    for item, token in paid:
        if debt.get(item) is token:
            del debt[item]


_INSTALMENT = 500
_tiered: weakref.WeakSet[TieredCache] = weakref.WeakSet()


def _start_all_anew() -> None:
    for tiered in list(_tiered):
        tiered._start_anew()


os.register_at_fork(after_in_child=_start_all_anew)

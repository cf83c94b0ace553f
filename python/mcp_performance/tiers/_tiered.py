"""A cache in this process in front of a :class:`RedisTier`, kept true by what Redis announces."""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Iterable
from typing import Any

from .. import _core
from .._base._callers import level_outside
from .._base._checks import instance, optional_text
from .._base._durations import seconds
from .._base._registry import register_cache
from .._base._stats import CacheStats, Ttl
from ..cache import Cache
from ..errors import CacheError, ConfigurationError
from ._bulk import FrontBulk
from ._codecs import Codec
from ._debts import Debts
from ._front import Memory
from ._keys import note_scope
from ._lease import Holder, Lease
from ._link import Answer, Ask, Asks, Steps
from ._loading import Found, Terms, look, look_again, store, take_back
from ._open import choose_tier
from ._records import FOREVER, MISSING, Value, before, stamp_of
from ._redis import UNSET, RedisTier

__all__ = ["TieredCache"]


class TieredCache(FrontBulk, _core.FrontBase):
    """A :class:`Cache` in this process in front of a tier that processes share: a :class:`RedisTier`, or a
    :class:`SQLiteTier`, which does what is said here of Redis.

    What is kept in memory stays true: Redis announces each change of a value that was read through here,
    by whatever client, and the entry is dropped before it is served again. When a connection is lost,
    everything kept is dropped. A change by this process ends what is kept before it returns.

    ``@cached(cache=TieredCache(memory, shared))`` uses it, for sync and for coroutine functions. A key that
    several processes miss is loaded by one; the others wait, and load it themselves if that one dies or
    fails. A load that began before its key was set, deleted or invalidated, by whomever, is stored nowhere.

    While Redis is away, or refuses to write, the memory serves alone, with a warning once, and entries live
    for at most *memory_ttl*. What is deleted or invalidated meanwhile is owed: nothing older is believed
    from then on, and Redis is told as soon as it takes it, without harm to what others stored later.
    Another process that reaches Redis may see the old values until then.

    Bounds: another process sees a change as soon as the server's announcement arrives, at once in good times;
    a connection over which nothing comes any more is noticed, and everything kept is dropped, within 3
    seconds, and so is ``SWAPDB``, which Redis does not announce, within one. With ``redis+sentinel://`` a new
    master is followed within a second of the sentinels' choice, and in a cluster with the first key that is
    asked for there. A node of a cluster does not say what it evicts (``maxmemory-policy``), or forgets to
    announce (``tracking-table-max-keys``), while it serves this process: of such keys the memory hears no
    more, and keeps them for *memory_ttl* at most.

    What Redis cannot promise: replication is asynchronous. A replica that takes over without the master's
    last writes has lost what they promised, deletions included, so that a value may come back that had been
    deleted or invalidated, and a write that was acknowledged may be gone; so may a restart from an older
    snapshot, and ``SWAPDB``. This cache drops all that it kept in memory whenever a connection was lost.
    What it has itself ended or set in the last 30 seconds (the last 10,000 times), it ends there again: it
    never believes what is older, and others see that until it has. What a process that has died since had
    ended, or what was ended longer ago, lives for its *ttl* at most. ``min-replicas-to-write`` bounds what
    is lost.

    ::

        cache = TieredCache(url="redis://cache.internal/0")
        cache = TieredCache(url="sqlite:///cache.db")
        cache = TieredCache(Cache(10_000), RedisTier("redis://cache.internal/0", codec="json"))

    Args:
        memory: holds the values in this process. What this cache puts there belongs to it. If not given, a
            :class:`Cache` of its own.
        shared: the server, and how values are written. Either this or *url* is given.
        url: of the server, or of a SQLite file; a tier of this cache alone is made, and closed with it.
        namespace, codec, timeout, signing_key: of that tier, as :class:`RedisTier` has them.
        max_bytes: of that tier, as :class:`SQLiteTier` has it.
        ttl: of values that are stored without one; the tier's own if not given.
        memory_ttl: the longest that a value stays in memory, whatever Redis says.
        name: what reports call it.

    Values that come from Redis are fresh objects; those that come from memory are shared between callers.
    """

    _LONGEST_DEBT = 10_000

    def __init__(
        self,
        memory: Cache[Any, Any] | None = None,
        shared: RedisTier | None = None,
        *,
        url: str | None = None,
        namespace: str = UNSET,
        codec: Codec = UNSET,
        timeout: float = UNSET,
        signing_key: bytes | None = UNSET,
        max_bytes: int = UNSET,
        ttl: Ttl = UNSET,
        memory_ttl: Ttl = 60.0,
        name: str | None = None,
    ) -> None:
        if memory is None:
            memory = Cache()
        instance("memory", memory, Cache, "a Cache")
        self._owns_shared = shared is None
        options = {"namespace": namespace, "codec": codec, "timeout": timeout, "signing_key": signing_key}
        options["max_bytes"] = max_bytes
        shared = choose_tier(shared, url, options)
        self._memory = memory
        self._shared = shared
        self._serve(memory, _get_behind, _aget_behind)
        self._ttl = shared._ttl if ttl is UNSET else seconds("ttl", ttl)
        self._name = optional_text("name", name)
        self._holder = Holder(shared._life_channel)
        self._client = shared._connect(self._holder)
        self._link = shared._link_to(self._client, self._holder)
        self._debts = Debts(shared, self._link, self._holder.ident, self._LONGEST_DEBT)
        longest = seconds("memory_ttl", memory_ttl)
        self._kept = Memory(memory, self._client, longest, shared._layout, self._debts)
        self._misses = self._shared_hits = 0
        self._warned = False
        if not memory._follow(self._client.feed(), self._kept.catch_up):
            raise ConfigurationError(f"memory={memory!r}: expected a Cache that no other TieredCache uses")
        shared._fronts.add(self)
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

    def set(self, key: Any, value: Any, *, ttl: Ttl = UNSET, tags: Iterable[str] = ()) -> None:
        """Store *value* in Redis, for *ttl* or the cache's own time to live; in memory while Redis is away.

        Memory takes the value with the next :meth:`get`, when Redis has said that it stands. *tags* are those
        of this value: tags that an older one was given are not.

        Raises:
            SerializationError: *key* or *value* cannot be carried; nothing was sent or kept.
        """
        self._link.run(self._set(key, value, ttl, tags))

    async def aset(self, key: Any, value: Any, *, ttl: Ttl = UNSET, tags: Iterable[str] = ()) -> None:
        """:meth:`set` without blocking the event loop."""
        await self._link.arun(self._set(key, value, ttl, tags))

    def delete(self, key: Any) -> bool:
        """Forget *key* here and in Redis; whether there was something to forget.

        While Redis is away the deletion is owed; nothing older is believed from now on.
        """
        return self._link.run(self._delete(key))

    async def adelete(self, key: Any) -> bool:
        """:meth:`delete` without blocking the event loop."""
        return await self._link.arun(self._delete(key))

    def invalidate_tags(self, *tags: str) -> int:
        """Forget every entry that carries one of *tags*; how many were known to. As :meth:`delete`."""
        return self._link.run(self._invalidate(tags)) if tags else 0

    async def ainvalidate_tags(self, *tags: str) -> int:
        """:meth:`invalidate_tags` without blocking the event loop."""
        return await self._link.arun(self._invalidate(tags)) if tags else 0

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
        """Close this cache's connections, and drop what is kept. A tier that was given stays open."""
        self._client.close()
        if self._owns_shared:
            self._shared.close()
        self._debts.close()
        self._shared._fronts.discard(self)
        self._kept.catch_up()
        self._memory._follow(None, None)

    async def aclose(self) -> None:
        """:meth:`close`, for ``async`` callers; it does not wait on the network."""
        self.close()

    def __enter__(self) -> TieredCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> TieredCache:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    # -- For cached functions, which have looked in memory themselves

    def _look_behind(self, key: Any, cause: int, stale: float, load: float) -> Found:
        """What is behind the memory, and the right to load what is not there.

        A value is put into memory, where early refresh reckons with *load*, what making it takes. One with
        only *stale* seconds of its life left is stale. *cause* is _core's: 0 for a miss, 1 for the renewal
        of what is there, 2 for a refresh that takes nothing but what it loads.
        """
        return self._link.run(look(self, key, cause, stale, load))

    async def _alook_behind(self, key: Any, cause: int, stale: float, load: float) -> Found:
        return await self._link.arun(look(self, key, cause, stale, load))

    def _look_again(self, key: Any, lease: Lease) -> tuple[bool, Any]:
        """What is behind the memory, fresh or stale, now that the load under *lease* has failed."""
        return self._link.run(look_again(self, key, lease))

    async def _alook_again(self, key: Any, lease: Lease) -> tuple[bool, Any]:
        return await self._link.arun(look_again(self, key, lease))

    def _store_behind(self, key: Any, value: Any, terms: Terms, lease: Lease, scope: str) -> None:
        """Store what was loaded under *lease*, to be ended with *scope*, unless something overtook it."""
        self._link.run(store(self, key, value, terms, lease, scope))

    async def _astore_behind(self, key: Any, value: Any, terms: Terms, lease: Lease, scope: str) -> None:
        await self._link.arun(store(self, key, value, terms, lease, scope))

    def _withdraw(self, key: Any, lease: Lease) -> None:
        """Take back what was stored under *lease*: it was overtaken in this process alone."""
        self._link.run(take_back(self, key, lease))

    async def _awithdraw(self, key: Any, lease: Lease) -> None:
        await self._link.arun(take_back(self, key, lease))

    def _begin_scope(self, scope: str) -> None:
        """A function called *scope* keeps its results here."""
        note_scope(scope)

    def _end_scope(self, scope: str) -> None:
        """Forget everything that was stored with *scope*, or under a key of its function by hand."""
        self._link.run(self._end_tags(self._shared._scope_everywhere(scope)))

    # -- Reading

    def _read_now(self, name: bytes) -> Steps[Value | None]:
        while True:
            payments = self._debts.payments
            answer: Answer = yield Ask([("GET", name)])
            value = yield from self._admit(name, self._shared._open(answer.replies[0]))
            if payments == self._debts.payments:
                return value

    def _find(self, key: Any) -> Steps[Any]:
        found = yield from self._find_behind(key, self._shared._spell(key))
        if found is MISSING:
            self._misses += 1
        else:
            self._shared_hits += 1
        return found

    def _find_behind(self, key: Any, name: bytes) -> Steps[Any]:
        try:
            while True:
                payments = self._debts.payments
                answer: Answer = yield Ask([("GET", name), ("PTTL", name)], name)
                record, left_ms = answer.replies
                value = yield from self._admit(name, self._shared._open(record))
                if payments == self._debts.payments:  # none was paid meanwhile
                    break
        except CacheError as error:
            self._warn(error)
            return MISSING
        made = self._shared._read(name, None if value is None else value.data, MISSING)
        if value is None or made is MISSING:
            return MISSING
        self._keep(key, name, made, value, answer, left_ms, 0.0, 0.0)
        return made

    def _take_in(self, key: Any, name: bytes, answer: Answer) -> Steps[Any]:
        """The value in *answer*, to ``GET`` and ``PTTL`` of *name*, put into memory; nothing is owed."""
        record, left_ms = answer.replies
        value = yield from self._admit(name, self._shared._open(record))
        made = self._shared._read(name, None if value is None else value.data, MISSING)
        if value is not None and made is not MISSING:
            self._keep(key, name, made, value, answer, left_ms, 0.0, 0.0)
        return made

    def _admit(self, name: bytes, value: Value | None) -> Steps[Value | None]:
        """*value*, if it is not one whose end is owed, or whose tags have ended."""
        self._kept.catch_up()  # also with what we have paid ourselves
        if value is None or self._debts.covers(name, value):
            return None
        for record in value.tags:
            end = self._kept.end_of(record)
            if end is None:
                answer: Answer = yield Ask([("GET", record)], record)
                end = answer.replies[0]
                self._kept.note_end(record, end, answer.fill)
            if end is None or end >= value.stamp:
                return None
        return value

    def _learn_ends(self, records: tuple[bytes, ...]) -> Steps[None]:
        """Ask for the *records* of tags that are not known: memory keeps no value without them."""
        asks = [Ask([("GET", record)], record) for record in records if self._kept.end_of(record) is None]
        if not asks:
            return
        try:
            answers: list[Any] = []
            if self._shared._plain is None:
                for ask in asks:
                    answers.append((yield ask))
            else:
                answers = yield Asks(asks)
        except CacheError as error:
            self._warn(error)
            return
        for ask, answer in zip(asks, answers, strict=True):
            if isinstance(answer, Answer) and ask.fill_key is not None:
                self._kept.note_end(ask.fill_key, answer.replies[0], answer.fill)

    def _keep(
        self,
        key: Any,
        name: bytes,
        made: Any,
        value: Value,
        answer: Answer,
        left_ms: int,
        stale: float,
        load: float,
    ) -> None:
        # -2: it expired between two commands. -1: it never does.
        left = None if left_ms == -1 else left_ms / 1000 - answer.age
        if answer.fill is not None and (left is None or left > 0):
            life = (left, 0.0 if left is None else stale, load)
            self._kept.keep(key, name, made, answer.fill, life=life, tags=value.tags, stamp=value.stamp)

    # -- Changing

    def _touch(self, records: list[bytes]) -> None:
        """Forget *records* of tags that this cache has changed: Redis does not announce that to us."""
        for record in records:
            self._kept.changed(record)

    def _set(self, key: Any, value: Any, ttl: Ttl, tags: Iterable[str]) -> Steps[None]:
        shared = self._shared
        lifetime = self._ttl if ttl is UNSET else seconds("ttl", ttl)
        name = shared._spell(key)
        spelled, scope = shared._spell_tags(tags, name), shared._spell_scope_of(key, name)
        command = shared._storing(self._link, name, value, lifetime, spelled, scope=scope)
        spelled += scope
        began = self._latest()
        self._kept.forget(key, name)
        try:
            try:
                answer: Answer = yield Ask([command], None, (name,))
                _, __, stamp, *touched = answer.replies[0]
                self._did(name, before(stamp))
                self._touch(touched)
                return
            except CacheError:
                raise
            except BaseException:
                self._client.post([("PING",)], spelled)
                raise
            finally:
                self._kept.forget(key, name)  # also what has read Redis in between
        except CacheError as error:
            self._warn(error)
            self._debts.owe(name, began)  # Redis may hold an older value
        try:
            yield from self._keep_alone(key, name, value, lifetime, spelled)
        finally:
            self._debts.pay()

    def _keep_alone(
        self, key: Any, name: bytes, value: Any, lifetime: float | None, tags: tuple[bytes, ...]
    ) -> Steps[None]:
        """Keep what Redis does not take in memory."""
        try:
            fill = self._client.begin_away(name)
            if fill is None:  # it is there, and refuses
                answer: Answer = yield Ask([("EXISTS", name)], name)
                fill = answer.fill
                yield from self._learn_ends(tags)  # and be told of them from here on
            if fill is not None:
                self._kept.keep(key, name, value, fill, life=(lifetime, 0.0, 0.0), tags=tags)
        except CacheError as error:
            self._warn(error)

    def _delete(self, key: Any) -> Steps[bool]:
        name = self._shared._spell(key)
        asked = self._latest()
        here = self._kept.forget(key, name)
        try:
            answer: Answer = yield Ask([self._dropping(name, FOREVER)], None, (name,))
            dropped, ended = answer.replies[0]
            self._did(name, ended)
            return bool(dropped) or here
        except CacheError as error:
            self._warn(error)
            self._debts.owe(name, asked)
            self._debts.pay()
            return here
        finally:
            self._kept.forget(key, name)  # also what has read Redis in between

    def _dropping(self, name: bytes, stamp: bytes) -> Any:
        return self._shared._dropping(self._link, {name: stamp}, self._holder.ident)

    def _invalidate(self, tags: tuple[str, ...]) -> Steps[int]:
        groups = self._shared._tags_everywhere(tags)
        self._memory.invalidate_tags(*tags)  # loads under way, and failures that are remembered
        try:
            return (yield from self._end_tags(groups))
        finally:
            self._memory.invalidate_tags(*tags)  # loads that have read Redis in between

    def _end_tags(self, groups: list[tuple[bytes, ...]]) -> Steps[int]:
        count = 0
        for records in groups:
            count += yield from self._end_records(records)
        return count

    def _end_records(self, records: tuple[bytes, ...]) -> Steps[int]:
        asked = self._latest()
        try:
            answer: Answer = yield Ask(
                [self._shared._ending(self._link, records, b"", self._holder.ident)], None, records
            )
        except CacheError as error:
            self._warn(error)
            for record in records:
                self._debts.owe_tag(record, asked)
            self._debts.pay()
            return 0
        finally:
            for record in records:
                self._kept.changed(record)
        for record in records:
            self._did(record, answer.replies[0][1], is_tag=True)
        try:
            return (yield from self._shared._reclaiming(self._link, records, answer))
        except CacheError:
            return int(answer.replies[0][0])

    def _did(self, name: bytes, stamp: bytes, *, is_tag: bool = False) -> None:
        """The server of now has acknowledged it: what is owed to one that may have lost it."""
        self._kept.catch_up()
        self._debts.did(name, stamp, is_tag=is_tag)

    def _did_each(self, names: Iterable[bytes], stamps: Iterable[bytes]) -> None:
        """:meth:`_did` for each of *names*, of which there may be thousands."""
        self._kept.catch_up()
        for name, stamp in zip(names, stamps, strict=False):
            self._debts.did(name, stamp)

    def _latest(self) -> bytes:
        """The stamp that nothing from before this moment exceeds."""
        return stamp_of(self._client.latest_server_time())

    def _changed(self, name: bytes) -> None:
        """The tier itself, in this process, changed what lies under *name*, or ended that tag."""
        self._kept.end(name)

    # -- While Redis is away

    def _warn(self, error: CacheError) -> None:
        self._shared._unavailable += 1
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._shared!r} cannot be used, this process caches alone: {error}",
                RuntimeWarning,
                stacklevel=level_outside(),
            )

    def _miss_without_redis(self, error: CacheError) -> None:
        self._misses += 1
        self._warn(error)

    # -- After a fork, in the child

    def _start_anew(self) -> None:
        self._kept.start_anew()
        self._debts.start_anew()
        self._memory._follow(self._client.feed(), self._kept.catch_up)


def _get_behind(cache: TieredCache, key: Any, default: Any) -> Any:
    value = cache._link.run(cache._find(key))
    return default if value is MISSING else value


async def _aget_behind(cache: TieredCache, key: Any, default: Any) -> Any:
    value = await cache._link.arun(cache._find(key))
    return default if value is MISSING else value


_aget_behind.__name__, _aget_behind.__qualname__ = "aget", "TieredCache.aget"


_tiered: weakref.WeakSet[TieredCache] = weakref.WeakSet()


def _start_all_anew() -> None:
    for tiered in list(_tiered):
        tiered._start_anew()


os.register_at_fork(after_in_child=_start_all_anew)

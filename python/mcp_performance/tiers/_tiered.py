"""A cache in this process in front of a :class:`RedisTier`, kept true by what Redis announces."""

from __future__ import annotations

import os
import time
import warnings
import weakref
from collections.abc import Iterable
from typing import Any

from .. import _core
from .._base._durations import seconds
from .._base._registry import register_cache
from .._base._stats import CacheStats, Ttl
from ..cache import Cache
from ..errors import CacheError, ConfigurationError
from ._codecs import Codec
from ._debts import Debts
from ._front import Memory
from ._lease import LEASE_MS, Holder, Lease, renewal_of
from ._link import Answer, Ask, Link, Pause, Steps
from ._open import choose_tier
from ._records import FOREVER, Value, holder_of, stamp_of
from ._redis import UNSET, RedisTier
from ._scripts import LOOK

__all__ = ["TieredCache"]

Found = tuple[bool, Any, bool, Lease | None]
"""Whether there is a value, the value, whether it is stale, and the right to load a newer one."""
Terms = tuple[float | None, float, tuple[str, ...], float]
"""For how long a value is fresh, and then stale, seconds; its tags; and how long its load took."""

_MISSING: Any = object()
_TURN = 0.001
"""How long a waiter sleeps between looks at the news, seconds."""
_AWAY_TURN = 0.005
"""The same, while a connection that was lost may come back."""
_TURNS_A_SIGN = 20
"""How often it asks whether the holder lives, in turns."""
_TURNS = 100
"""How long it believes the holder's lease without a look at it, in turns."""


class TieredCache(_core.FrontBase):
    """A :class:`Cache` in this process in front of a :class:`RedisTier` that processes share.

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
    asked for there.

    What Redis cannot promise: replication is asynchronous. A replica that takes over without the master's
    last writes has lost what they promised, deletions included, so that a value may come back that had been
    deleted or invalidated, and a write that was acknowledged may be gone. This cache drops all that it kept
    in memory whenever it changes servers, so that none believes what the new master does not know; what
    a lost deletion brings back lives for its *ttl* at most. ``min-replicas-to-write`` bounds what is lost.

    ::

        cache = TieredCache(url="redis://cache.internal/0")
        cache = TieredCache(Cache(10_000), RedisTier("redis://cache.internal/0", codec="json"))

    Args:
        memory: holds the values in this process. What this cache puts there belongs to it. If not given, a
            :class:`Cache` of its own.
        shared: the server, and how values are written. Either this or *url* is given.
        url: of the server; a tier of this cache alone is made for it, and closed with it.
        namespace, codec, timeout, signing_key: of that tier, as :class:`RedisTier` has them.
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
        ttl: Ttl = UNSET,
        memory_ttl: Ttl = 60.0,
        name: str | None = None,
    ) -> None:
        if memory is None:
            memory = Cache()
        elif not isinstance(memory, Cache):
            raise TypeError(f"memory={memory!r}: expected a Cache")
        self._owns_shared = shared is None
        options = {"namespace": namespace, "codec": codec, "timeout": timeout, "signing_key": signing_key}
        shared = choose_tier(shared, url, options)
        self._memory = memory
        self._shared = shared
        self._serve(memory, _get_behind, _aget_behind)
        self._ttl = shared._ttl if ttl is UNSET else seconds("ttl", ttl)
        self._name = name
        self._holder = Holder(shared._life_channel)
        self._client = shared._connect(self._holder)
        self._link = Link(self._client)
        self._kept = Memory(memory, self._client, seconds("memory_ttl", memory_ttl))
        self._debts = Debts(shared, self._link, self._holder.ident, self._LONGEST_DEBT)
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
        return self._link.run(self._look(key, cause, stale, load))

    async def _alook_behind(self, key: Any, cause: int, stale: float, load: float) -> Found:
        return await self._link.arun(self._look(key, cause, stale, load))

    def _look_again(self, key: Any, lease: Lease) -> tuple[bool, Any]:
        """What is behind the memory, fresh or stale, now that the load under *lease* has failed."""
        return self._link.run(self._looks_again(key, lease))

    async def _alook_again(self, key: Any, lease: Lease) -> tuple[bool, Any]:
        return await self._link.arun(self._looks_again(key, lease))

    def _store_behind(self, key: Any, value: Any, terms: Terms, lease: Lease, scope: str) -> None:
        """Store what was loaded under *lease*, to be ended with *scope*, unless something overtook it."""
        self._link.run(self._store(key, value, terms, lease, scope))

    async def _astore_behind(self, key: Any, value: Any, terms: Terms, lease: Lease, scope: str) -> None:
        await self._link.arun(self._store(key, value, terms, lease, scope))

    def _withdraw(self, key: Any, lease: Lease) -> None:
        """Take back what was stored under *lease*: it was overtaken in this process alone."""
        self._link.run(self._take_back(key, lease))

    async def _awithdraw(self, key: Any, lease: Lease) -> None:
        await self._link.arun(self._take_back(key, lease))

    def _end_scope(self, scope: str) -> None:
        """Forget everything that was stored with *scope*."""
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
        name = self._shared._spell(key)
        try:
            while True:
                payments = self._debts.payments
                answer: Answer = yield Ask([("GET", name), ("PTTL", name)], name)
                record, left_ms = answer.replies
                value = yield from self._admit(name, self._shared._open(record))
                if payments == self._debts.payments:  # none was paid meanwhile
                    break
        except CacheError as error:
            self._miss_without_redis(error)
            return _MISSING
        made = self._shared._read(name, None if value is None else value.data, _MISSING)
        if value is None or made is _MISSING:
            self._misses += 1
            return _MISSING
        self._shared_hits += 1
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

    # -- Loading

    def _look(self, key: Any, cause: int, stale: float, load: float) -> Steps[Found]:
        shared = self._shared
        name = shared._spell(key)
        names = (name, renewal_of(name), shared._layout.last_end(name))
        token = self._holder.token(self._link)
        stale_ms = round(stale * 1000)
        dead = b""
        try:
            while True:
                payments = self._debts.payments
                command = self._link.script(LOOK, names, token, LEASE_MS, cause, stale_ms, dead)
                answer: Answer = yield Ask([command], name)
                what, record, left_ms, time, *refused = answer.replies[0]
                if what == b"L":
                    dead = yield from self._wait(name, record, answer)
                    continue
                if what in (b"G", b"N"):
                    shared._open(record)
                    return self._begin(key, name, token, time, answer, refused)
                value = yield from self._admit(name, shared._open(record))
                if payments != self._debts.payments:
                    continue
                made = shared._read(name, None if value is None else value.data, _MISSING)
                if value is not None and made is not _MISSING:
                    break
                dead = record[2:18]
        except CacheError as error:
            self._miss_without_redis(error)
            return (
                False,
                None,
                False,
                Lease(self, key, name, token, b"", self._client.begin_away(name), alone=True),
            )
        self._shared_hits += 1
        lease = None
        if what == b"R":
            lease = Lease(self, key, name, token, time, None, alone=False)
            lease.seen = (value, made)
        if cause == 0:
            self._keep(key, name, made, value, answer, left_ms, stale, load)
        return cause != 2, made, lease is not None, lease

    def _looks_again(self, key: Any, lease: Lease) -> Steps[tuple[bool, Any]]:
        """Whether there is a value, and the value. What was announced or lost since the load began says
        nothing: a link that lags tells of what the load has seen. Where Redis cannot say what is true, what
        the load has seen there is the answer."""
        name = self._shared._spell(key)
        patience = time.monotonic() + self._shared._timeout
        while True:
            try:
                value = yield from self._read_now(name)
            except CacheError as error:
                left = patience - time.monotonic()
                if left > 0 and self._client.was_lost_within(self._shared._timeout):
                    yield Pause(_AWAY_TURN)
                    continue
                self._warn(error)
                value, made = lease.seen or (None, _MISSING)
                if value is None or self._debts.covers(name, value):
                    return False, None
                return True, made
            made = self._shared._read(name, None if value is None else value.data, _MISSING)
            return (False, None) if made is _MISSING else (True, made)

    def _begin(
        self, key: Any, name: bytes, token: bytes, time: bytes, answer: Answer, refused: list[bytes]
    ) -> Found:
        self._misses += 1
        if refused:
            self._warn(CacheError(f"redis answered: {refused[0].decode('ascii', 'replace')}"))
        lease = Lease(self, key, name, token, time, answer.fill, alone=bool(refused))
        return False, None, False, lease

    def _wait(self, name: bytes, record: bytes, answer: Answer) -> Steps[bytes]:
        """Wait while another process loads: its token if it died, ``b""`` when there is something to see."""
        holder = holder_of(record) or b""
        channel = self._holder.channel_of(holder)
        for turn in range(1, _TURNS + 1):
            yield Pause(_TURN)
            if answer.fill is None or not answer.fill.holds():
                return b""  # announced as changed
            if channel is not None and turn % _TURNS_A_SIGN == 0:
                sign: Answer = yield Ask([("PUBSUB", "NUMSUB", channel)], beside=name)
                if sign.replies[0][1] == 0:
                    return holder
        return b""

    def _store(self, key: Any, value: Any, terms: Terms, lease: Lease, scope: str) -> Steps[None]:
        ttl, stale, tags, load = terms
        shared = self._shared
        name = shared._spell(key)
        lifetime = None if ttl is None else ttl + stale
        spelled, scopes = shared._spell_tags(tags, name), (shared._spell_scope(scope, name),)
        command = shared._storing(
            self._link, name, value, lifetime, spelled, scope=scopes, token=lease.token, stamp=lease.stamp
        )
        fill, stamp = lease.fill, None
        if not lease.is_alone:
            try:
                answer: Answer = yield Ask([command], name, (name, *spelled, *scopes))
            except CacheError as error:
                self._warn(error)
                fill = None
            except BaseException:  # what is in memory may be older than what will be there
                self._client.post([("PING",)], [name, *spelled, *scopes])
                raise
            else:
                stored, _, stamp, *touched = answer.replies[0]
                self._touch(touched)
                fill = answer.fill if stored else None
        lease.used()
        if fill is not None:
            life = (lifetime, stale, load)
            self._kept.keep(key, name, value, fill, life=life, tags=spelled + scopes, stamp=stamp)

    def _touch(self, records: list[bytes]) -> None:
        """Forget *records* of tags that this cache has changed: Redis does not announce that to us."""
        for record in records:
            self._kept.changed(record)

    def _take_back(self, key: Any, lease: Lease) -> Steps[None]:
        name = self._shared._spell(key)
        self._kept.forget(key, name)
        if not lease.stamp:
            return
        try:
            yield Ask([self._dropping(name, lease.stamp)], None, (name,))
        except CacheError as error:
            self._warn(error)
            self._debts.owe(name, lease.stamp)
            self._debts.pay()

    # -- Changing

    def _set(self, key: Any, value: Any, ttl: Ttl, tags: Iterable[str]) -> Steps[None]:
        shared = self._shared
        lifetime = self._ttl if ttl is UNSET else seconds("ttl", ttl)
        name = shared._spell(key)
        spelled = shared._spell_tags(tags, name)
        command = shared._storing(self._link, name, value, lifetime, spelled)
        began = self._latest()
        self._kept.forget(key, name)
        try:
            try:
                answer: Answer = yield Ask([command], None, (name,))
                self._touch(answer.replies[0][3:])
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
            fill = self._client.begin_away(name)
            if fill is None:  # it is there, and refuses
                answer = yield Ask([("EXISTS", name)], name)
                fill = answer.fill
            if fill is not None:
                self._kept.keep(key, name, value, fill, life=(lifetime, 0.0, 0.0), tags=spelled)
        except CacheError as error:
            self._warn(error)
        finally:
            self._debts.pay()

    def _delete(self, key: Any) -> Steps[bool]:
        name = self._shared._spell(key)
        asked = self._latest()
        here = self._kept.forget(key, name)
        try:
            answer: Answer = yield Ask([self._dropping(name, FOREVER)], None, (name,))
            return bool(answer.replies[0]) or here
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
        try:
            return (yield from self._shared._reclaiming(self._link, records, answer))
        except CacheError:
            return int(answer.replies[0][0])

    def _latest(self) -> bytes:
        """The stamp that nothing from before this moment exceeds."""
        return stamp_of(self._client.latest_server_time())

    def _changed(self, name: bytes) -> None:
        """The tier itself, in this process, changed what lies under *name*."""
        self._kept.changed(name)

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

    # -- After a fork, in the child

    def _start_anew(self) -> None:
        self._kept.start_anew()
        self._debts.start_anew()
        self._memory._follow(self._client.feed(), self._kept.catch_up)


def _get_behind(cache: TieredCache, key: Any, default: Any) -> Any:
    value = cache._link.run(cache._find(key))
    return default if value is _MISSING else value


async def _aget_behind(cache: TieredCache, key: Any, default: Any) -> Any:
    value = await cache._link.arun(cache._find(key))
    return default if value is _MISSING else value


_aget_behind.__name__, _aget_behind.__qualname__ = "aget", "TieredCache.aget"


_tiered: weakref.WeakSet[TieredCache] = weakref.WeakSet()


def _start_all_anew() -> None:
    for tiered in list(_tiered):
        tiered._start_anew()


os.register_at_fork(after_in_child=_start_all_anew)

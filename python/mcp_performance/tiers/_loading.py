"""What a load of a tiered cache is made of: a look at what is behind the memory, and the store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..errors import CacheError
from ._lease import LEASE_MS, Lease, renewal_of
from ._link import Answer, Ask, Pause, Steps
from ._records import MISSING, holder_of
from ._scripts import LOOK

if TYPE_CHECKING:
    from ._tiered import TieredCache

__all__ = ["Found", "Terms", "look", "look_again", "store", "take_back"]

Found = tuple[bool, Any, bool, Lease | None]
"""Whether there is a value, the value, whether it is stale, and the right to load a newer one."""
Terms = tuple[float | None, float, tuple[str, ...], float]
"""For how long a value is fresh, and then stale, seconds; its tags; and how long its load took."""

_MOST_LOOKS = 100
"""How often what may be out of date already is looked at again, for those who have joined."""
_TURN = 0.001
"""How long a waiter sleeps between looks at the news, seconds."""
_AWAY_TURN = 0.005
"""The same, while a connection that was lost may come back."""
_TURNS_A_SIGN = 20
"""How often it asks whether the holder lives, in turns."""
_TURNS = 100
"""How long it believes the holder's lease without a look at it, in turns."""


def look(cache: TieredCache, key: Any, cause: int, stale: float, load: float) -> Steps[Found]:
    shared = cache._shared
    name = shared._spell(key)
    names = (name, renewal_of(name), shared._layout.last_end(name))
    token = cache._holder.token(cache._link)
    stale_ms = round(stale * 1000)
    dead = b""
    turns = _MOST_LOOKS
    try:
        while True:
            payments = cache._debts.payments
            cache._kept.begin_look(token, name)
            command = cache._link.script(LOOK, names, token, LEASE_MS, cause, stale_ms, dead)
            answer: Answer = yield Ask([command], name)
            what, record, left_ms, time, *refused = answer.replies[0]
            if what == b"L":
                dead = yield from _wait(cache, name, record, answer)
                continue
            if what in (b"G", b"N"):
                shared._open(record)
                cache._kept.catch_up()  # what was announced before says nothing about this load
                return _begin(cache, key, name, token, time, answer, refused)
            value = yield from cache._admit(name, shared._open(record))
            if payments != cache._debts.payments:
                continue
            made = shared._read(name, None if value is None else value.data, MISSING)
            if value is None or made is MISSING:
                dead = record[2:18]
            elif what == b"R" or cache._kept.end_look(token, key, name) or (turns := turns - 1) == 0:
                break
    except CacheError as error:
        cache._miss_without_redis(error)
        fill, stamp = yield from _begin_alone(cache, name)
        cache._kept.catch_up()
        return False, None, False, Lease(cache, key, name, token, stamp, fill, alone=True)
    finally:
        cache._kept.leave_look(token)
    cache._shared_hits += 1
    lease = None
    if what == b"R":
        lease = Lease(cache, key, name, token, time, None, alone=False)
        lease.seen = (value, made)
    if cause == 0:
        cache._keep(key, name, made, value, answer, left_ms, stale, load)
    return cause != 2, made, lease is not None, lease


def look_again(cache: TieredCache, key: Any, lease: Lease) -> Steps[tuple[bool, Any]]:
    """Whether there is a value, and the value. What was announced or lost since the load began says
    nothing: a link that lags tells of what the load has seen. Where Redis cannot say what is true, what
    the load has seen there is the answer."""
    name = cache._shared._spell(key)
    patience = time.monotonic() + cache._shared._timeout
    while True:
        try:
            value = yield from cache._read_now(name)
        except CacheError as error:
            left = patience - time.monotonic()
            if left > 0 and cache._client.was_lost_within(cache._shared._timeout):
                yield Pause(_AWAY_TURN)
                continue
            cache._warn(error)
            value, made = lease.seen or (None, MISSING)
            if value is None or cache._debts.covers(name, value):
                return False, None
            return True, made
        made = cache._shared._read(name, None if value is None else value.data, MISSING)
        return (False, None) if made is MISSING else (True, made)


def _begin_alone(cache: TieredCache, name: bytes) -> Steps[tuple[Any, bytes]]:
    """A fill without a lease, and when it begins, if Redis is there and refuses the lease alone."""
    fill = cache._client.begin_away(name)
    if fill is not None:
        return fill, b""
    try:
        seen: Answer = yield Ask([("EXISTS", name)], name)
        clock: Answer = yield Ask([("TIME",)], beside=name)
    except CacheError:
        return None, b""
    return seen.fill, b"%010d%06d" % tuple(map(int, clock.replies[0]))


def _begin(
    cache: TieredCache,
    key: Any,
    name: bytes,
    token: bytes,
    time: bytes,
    answer: Answer,
    refused: list[bytes],
) -> Found:
    cache._misses += 1
    if refused:
        cache._warn(CacheError(f"redis answered: {refused[0].decode('ascii', 'replace')}"))
    lease = Lease(cache, key, name, token, time, answer.fill, alone=bool(refused))
    return False, None, False, lease


def _wait(cache: TieredCache, name: bytes, record: bytes, answer: Answer) -> Steps[bytes]:
    """Wait while another process loads: its token if it died, ``b""`` when there is something to see."""
    holder = holder_of(record) or b""
    channel = cache._holder.channel_of(holder)
    for turn in range(1, _TURNS + 1):
        yield Pause(_TURN)
        cache._kept.catch_up()
        if answer.fill is None or not answer.fill.holds():
            return b""  # announced as changed
        if channel is not None and turn % _TURNS_A_SIGN == 0:
            sign: Answer = yield Ask([("PUBSUB", "NUMSUB", channel)], beside=name)
            if sign.replies[0][1] == 0:
                return holder
    return b""


def store(cache: TieredCache, key: Any, value: Any, terms: Terms, lease: Lease, scope: str) -> Steps[None]:
    ttl, stale, tags, load = terms
    shared = cache._shared
    name = shared._spell(key)
    lifetime = None if ttl is None else ttl + stale
    spelled, scopes = shared._spell_tags(tags, name), (shared._spell_scope(scope, name),)
    command = shared._storing(
        cache._link, name, value, lifetime, spelled, scope=scopes, token=lease.token, stamp=lease.stamp
    )
    fill, stamp = lease.fill, lease.stamp or None  # none if Redis was away
    if not lease.is_alone:
        try:
            answer: Answer = yield Ask([command], name, (name, *spelled, *scopes))
        except CacheError as error:
            cache._warn(error)
            fill = None
        except BaseException:  # what is in memory may be older than what will be there
            cache._client.post([("PING",)], [name, *spelled, *scopes])
            raise
        else:
            stored, _, stamp, *touched = answer.replies[0]
            cache._touch(touched)
            fill = answer.fill if stored else None
    lease.used()
    if fill is not None:
        if stamp is not None:
            yield from cache._learn_ends(spelled + scopes)
            cache._kept.catch_up()
            if lease.is_alone and lease.tag_news != cache._kept.tag_news:
                return  # which may have ended without a record, as Redis takes none
        life, records = (lifetime, stale, load), spelled + scopes
        alone = lease.is_alone
        cache._kept.keep(key, name, value, fill, life=life, tags=records, stamp=stamp, is_alone=alone)


def take_back(cache: TieredCache, key: Any, lease: Lease) -> Steps[None]:
    name = cache._shared._spell(key)
    cache._kept.forget(key, name)
    if not lease.stamp:
        return
    try:
        yield Ask([cache._dropping(name, lease.stamp)], None, (name,))
        cache._did(name, lease.stamp)
    except CacheError as error:
        cache._warn(error)
        cache._debts.owe(name, lease.stamp)
        cache._debts.pay()

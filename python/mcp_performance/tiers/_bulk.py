"""Many keys at a time, by the rules of single ones: fewer round trips, and plain keys and values natively."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, repeat
from operator import is_, is_not
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .._base._checks import mapping, several, texts
from .._base._durations import seconds
from .._base._stats import Ttl
from ..errors import CacheError
from ._lease import NOBODY
from ._link import Answer, Ask, Asks, Pause, Reads, Steps
from ._records import FOREVER, MISSING, Value, before, head_of
from ._scripts import STORE_MANY, Command

if TYPE_CHECKING:
    from ._redis import RedisTier
    from ._tiered import TieredCache

__all__ = ["FrontBulk", "TierBulk"]

_T = TypeVar("_T")
_UNSET: Any = ...
_PART = 1000
"""How many keys one command reads or writes: others have their turn between parts."""
_SCRIPTS = 250
"""How many values are stored together where each takes a script of its own."""
_FILLS = 250
"""How many reads with a fill of their own are sent together."""


class TierBulk:
    """What a tier does with many keys."""

    def get_many(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """The keys among *keys* whose values can be read, with their values. Raises as :meth:`get`."""
        tier = cast("RedisTier", self)
        return tier._do(_read_each(tier, keys))

    async def aget_many(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """:meth:`get_many` without blocking the event loop."""
        tier = cast("RedisTier", self)
        return await tier._ado(_read_each(tier, keys))

    def set_many(self, items: Mapping[Any, Any], *, ttl: Ttl = _UNSET, tags: Iterable[str] = ()) -> None:
        """:meth:`set` for each of *items*, which are not stored in one step. Raises as :meth:`set`; nothing
        was sent if one of them cannot be carried."""
        tier = cast("RedisTier", self)
        tier._do(_write_each(tier, items, ttl, tags))

    async def aset_many(
        self, items: Mapping[Any, Any], *, ttl: Ttl = _UNSET, tags: Iterable[str] = ()
    ) -> None:
        """:meth:`set_many` without blocking the event loop."""
        tier = cast("RedisTier", self)
        await tier._ado(_write_each(tier, items, ttl, tags))

    def delete_many(self, keys: Iterable[Any]) -> int:
        """:meth:`delete` for each of *keys*; how many there were."""
        tier = cast("RedisTier", self)
        return tier._do(_drop_each(tier, keys))

    async def adelete_many(self, keys: Iterable[Any]) -> int:
        """:meth:`delete_many` without blocking the event loop."""
        tier = cast("RedisTier", self)
        return await tier._ado(_drop_each(tier, keys))


class FrontBulk:
    """What a tiered cache does with many keys."""

    def get_many(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """The keys among *keys* that have a value, with their values, each as :meth:`get` finds it. Of what
        memory has not, it takes no more than it has room for."""
        cache = cast("TieredCache", self)
        return cache._link.run(_find_each(cache, keys))

    async def aget_many(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """:meth:`get_many` without blocking the event loop."""
        cache = cast("TieredCache", self)
        return await cache._link.arun(_find_each(cache, keys))

    def set_many(self, items: Mapping[Any, Any], *, ttl: Ttl = _UNSET, tags: Iterable[str] = ()) -> None:
        """:meth:`set` for each of *items*, which are not stored in one step.

        Raises:
            SerializationError: a key or a value cannot be carried; nothing was sent or kept.
        """
        cache = cast("TieredCache", self)
        cache._link.run(_set_each(cache, items, ttl, tags))

    async def aset_many(
        self, items: Mapping[Any, Any], *, ttl: Ttl = _UNSET, tags: Iterable[str] = ()
    ) -> None:
        """:meth:`set_many` without blocking the event loop."""
        cache = cast("TieredCache", self)
        await cache._link.arun(_set_each(cache, items, ttl, tags))

    def delete_many(self, keys: Iterable[Any]) -> int:
        """:meth:`delete` for each of *keys*; how many there were, in memory or in Redis."""
        cache = cast("TieredCache", self)
        return cache._link.run(_delete_each(cache, keys))

    async def adelete_many(self, keys: Iterable[Any]) -> int:
        """:meth:`delete_many` without blocking the event loop."""
        cache = cast("TieredCache", self)
        return await cache._link.arun(_delete_each(cache, keys))


def _several(keys: Iterable[Any]) -> Iterable[Any]:
    return several("keys", keys, "several keys")


def _batches(tier: RedisTier, names: list[bytes], size: int) -> Iterator[Sequence[int]]:
    """The indexes of *names*, so many at a time, of which all lie together."""
    if len(tier._layout.parts) == 1:
        for start in range(0, len(names), size):
            yield range(start, min(start + size, len(names)))
        return
    places: dict[bytes, list[int]] = {}
    for i, name in enumerate(names):
        places.setdefault(tier._layout.part_of(name), []).append(i)
    for together in places.values():
        for start in range(0, len(together), size):
            yield together[start : start + size]


def _those(items: list[_T], indexes: Sequence[int]) -> list[_T]:
    if isinstance(indexes, range):  # of one step
        return items[indexes.start : indexes.stop]
    return [items[i] for i in indexes]


def _moved(indexes: Sequence[int], by: int) -> Sequence[int]:
    if isinstance(indexes, range):
        return range(indexes.start + by, indexes.stop + by)
    return [i + by for i in indexes]


def _place(values: list[_T], indexes: Sequence[int], found: list[_T]) -> None:
    """Put what was *found* where it belongs among *values*."""
    if isinstance(indexes, range) and len(found) == len(indexes):
        values[indexes.start : indexes.stop] = found
        return
    for i, value in zip(indexes, found, strict=True):
        values[i] = value


def _known(keys: list[Any], values: list[Any]) -> dict[Any, Any]:
    return dict(compress(zip(keys, values, strict=True), map(is_not, values, repeat(MISSING))))


def _count_missing(values: list[Any]) -> int:
    """How many there are; values of the user are not asked what they equal."""
    return sum(map(is_, values, repeat(MISSING)))


def _spell_each(tier: RedisTier, keys: list[Any]) -> list[bytes]:
    if tier._plain is None:
        return list(map(tier._spell, keys))
    names = tier._plain.spell_each(keys)
    return [tier._spell(key) if name is None else name for key, name in zip(keys, names, strict=True)]


# -- A tier


def _read_each(tier: RedisTier, keys: Iterable[Any]) -> Steps[dict[Any, Any]]:
    asked = list(_several(keys))
    names = _spell_each(tier, asked)
    values: list[Any] = [MISSING] * len(asked)
    for batch in _batches(tier, names, _PART):
        _place(values, batch, (yield from _read_part(tier, _those(names, batch))))
    return _known(asked, values)


def _read_part(tier: RedisTier, names: list[bytes]) -> Steps[list[Any]]:
    """The values under *names*, by index."""
    values, others = yield from _read_names(tier, names)
    records = [(i, tier._open(record)) for i, record in others]
    tags = list(dict.fromkeys(tag for _, value in records if value is not None for tag in value.tags))
    ends: dict[bytes, bytes | None] = {}
    if tags:
        answer: Answer = yield Ask([("MGET", *tags)])
        ends = dict(zip(tags, answer.replies[0], strict=True))
    for i, value in records:
        if value is not None and _is_alive(value, ends):
            values[i] = tier._decode(names[i], value.data, MISSING)
    misses = _count_missing(values)
    tier._misses += misses
    tier._hits += len(values) - misses
    return values


def _is_alive(value: Value, ends: dict[bytes, bytes | None]) -> bool:
    return not any((end := ends[tag]) is None or end >= value.stamp for tag in value.tags)


def _read_names(tier: RedisTier, names: list[bytes]) -> Steps[tuple[list[Any], list[tuple[int, bytes]]]]:
    """As :class:`Reads` is answered."""
    if tier._plain is not None:
        values, others = yield Reads(names, tier._plain, MISSING)
        return values, others
    answer: Answer = yield Ask([("MGET", *names)])
    return [MISSING] * len(names), [(i, record) for i, record in enumerate(answer.replies[0]) if record]


class _Writing:
    """Values on their way to a tier, all of which it can carry."""

    def __init__(
        self, tier: RedisTier, items: Mapping[Any, Any], lifetime: float | None, tags: Iterable[str]
    ) -> None:
        checked = mapping("items", items, none=False)
        self.keys = list(checked)
        self.values = list(checked.values())
        self.names = _spell_each(tier, self.keys)
        self.lifetime = lifetime
        self.tags = tuple(texts("tags", tags))
        tier._spell_tags(self.tags, tier._layout.parts[0])  # refuses what is no tag
        self.scopes = [
            tier._spell_scope_of(key, name) for key, name in zip(self.keys, self.names, strict=True)
        ]
        self._tier = tier
        self._is_each = tier._plain is None or bool(self.tags) or any(self.scopes)
        encode = tier._codec.encode
        written: list[bytes | None] = [None] * len(self.keys)
        if tier._plain is not None:
            written = tier._plain.write_each(self.values)
        self._data = [
            encode(name, value) if data is None else data
            for name, value, data in zip(self.names, self.values, written, strict=True)
        ]

    def batches(self) -> Iterator[Sequence[int]]:
        """The indexes of what is stored together."""
        return _batches(self._tier, self.names, _SCRIPTS if self._is_each else _PART)

    def commands(self, link: Any, batch: Sequence[int]) -> list[Command]:
        """What stores the values of *batch*."""
        names, data, scopes = _those(self.names, batch), _those(self._data, batch), _those(self.scopes, batch)
        if self._is_each:
            spelled = self.spell_tags(names[0])
            return [
                self._tier._storing_data(link, name, value, self.lifetime, spelled, scope=scope)
                for name, value, scope in zip(names, data, scopes, strict=True)
            ]
        head = head_of(())
        milliseconds = 0 if self.lifetime is None else max(1, round(self.lifetime * 1000))
        return [link.script(STORE_MANY, tuple(names), milliseconds, *[head + value for value in data])]

    def spell_tags(self, name: bytes) -> tuple[bytes, ...]:
        """The records of the tags that lie beside *name*."""
        return self._tier._spell_tags(self.tags, name)


def _write_each(tier: RedisTier, items: Mapping[Any, Any], ttl: Ttl, tags: Iterable[str]) -> Steps[None]:
    writing = _Writing(tier, items, tier._lifetime(ttl), tags)
    for turn, batch in enumerate(writing.batches()):
        if turn:
            yield Pause(tier._turn)
        try:
            yield Ask(writing.commands(tier._link, batch))
        finally:
            tier._tell(*_those(writing.names, batch))


def _drop_each(tier: RedisTier, keys: Iterable[Any]) -> Steps[int]:
    names = list(dict.fromkeys(_spell_each(tier, list(_several(keys)))))
    count = 0
    for batch in _batches(tier, names, _PART):
        some = _those(names, batch)
        try:
            answer: Answer = yield Ask([tier._dropping(tier._link, dict.fromkeys(some, FOREVER), NOBODY)])
            count += answer.replies[0][0]
        finally:
            tier._tell(*some)
    return count


# -- A cache in front of it


def _find_each(cache: TieredCache, keys: Iterable[Any]) -> Steps[dict[Any, Any]]:
    asked = list(_several(keys))
    found: dict[Any, Any] = {}
    room = len(asked) if cache.memory.maxsize is None else cache.memory.maxsize
    for start in range(0, len(asked), _PART):
        some = asked[start : start + _PART]
        values = list(map(cache.memory.get, some, repeat(MISSING)))
        absent = [key for key, value in zip(some, values, strict=True) if value is MISSING]
        if absent:
            behind = iter((yield from _find_behind(cache, absent, room)))
            room = max(0, room - len(absent))
            values = [next(behind) if value is MISSING else value for value in values]
        found.update(_known(some, values))
        yield Pause(0)
    return found


def _find_behind(cache: TieredCache, keys: list[Any], room: int) -> Steps[list[Any]]:
    """The values of *keys* in the tier, by index; of the first, as many as *room* allows go into memory."""
    names = _spell_each(cache._shared, keys)
    values: list[Any] = [MISSING] * len(keys)
    try:
        for find, size, first, last in (
            (_find_and_keep, _FILLS, 0, room),
            (_find_only, _PART, room, len(keys)),
        ):
            for batch in _batches(cache._shared, names[first:last], size):
                places = _moved(batch, first)
                found = yield from find(cache, _those(keys, places), _those(names, places))
                _place(values, places, found)
    except CacheError as error:
        cache._warn(error)
    misses = _count_missing(values)
    cache._misses += misses
    cache._shared_hits += len(values) - misses
    return values


def _find_and_keep(cache: TieredCache, keys: list[Any], names: list[bytes]) -> Steps[list[Any]]:
    payments = cache._debts.payments
    asks = [Ask([("GET", name), ("PTTL", name)], name) for name in names]
    answers: list[Any] = []
    if cache._shared._plain is None:
        for ask in asks:
            answers.append((yield ask))
    else:
        answers = yield Asks(asks)
    values: list[Any] = []
    plain: list[tuple[Any, bytes, Any, Any, float | None]] = []
    for key, name, answer in zip(keys, names, answers, strict=True):
        if isinstance(answer, CacheError):  # of this key alone
            cache._warn(answer)
            values.append(MISSING)
        elif payments != cache._debts.payments or cache._debts:
            values.append((yield from cache._find_behind(key, name)))
        elif (read := _read_plain(cache, answer)) is not None:
            values.append(read[0])
            left = None if answer.replies[1] == -1 else answer.replies[1] / 1000 - answer.age
            if answer.fill is not None and (left is None or left > 0):
                plain.append((key, name, read[0], answer.fill, left))
        else:
            values.append((yield from cache._take_in(key, name, answer)))
    cache._kept.keep_plain(plain)
    return values


def _read_plain(cache: TieredCache, answer: Answer) -> tuple[Any] | None:
    """The value in *answer* that has no tags, in a tuple, if it is read natively."""
    codec, record = cache._shared._plain, answer.replies[0]
    read = None if codec is None or record is None else codec.read(record)
    if read is not None:
        cache._shared._hits += 1
    return read


def _find_only(cache: TieredCache, keys: list[Any], names: list[bytes]) -> Steps[list[Any]]:
    tier = cache._shared
    payments = cache._debts.payments
    values, others = yield from _read_names(tier, names)
    cache._kept.catch_up()
    if payments != cache._debts.payments or cache._debts:  # what is read has to be dated
        values = []
        for key, name in zip(keys, names, strict=True):
            values.append((yield from cache._find_behind(key, name)))
        return values
    for i, record in others:
        value = yield from cache._admit(names[i], tier._open(record))
        if value is not None:
            values[i] = tier._decode(names[i], value.data, MISSING)
    misses = _count_missing(values)
    tier._misses += misses
    tier._hits += len(values) - misses
    return values


def _set_each(cache: TieredCache, items: Mapping[Any, Any], ttl: Ttl, tags: Iterable[str]) -> Steps[None]:
    lifetime = cache._ttl if ttl is _UNSET else seconds("ttl", ttl)
    writing = _Writing(cache._shared, items, lifetime, tags)
    cache._kept.forget_each(writing.keys, writing.names)
    for turn, batch in enumerate(writing.batches()):
        if turn:
            yield Pause(cache._shared._turn)
        yield from _set_batch(cache, writing, batch)


def _set_batch(cache: TieredCache, writing: _Writing, batch: Sequence[int]) -> Steps[None]:
    keys, names = _those(writing.keys, batch), _those(writing.names, batch)
    spelled = writing.spell_tags(names[0])
    began = cache._latest()
    try:
        try:
            answer: Answer = yield Ask(writing.commands(cache._link, batch), None, tuple(names))
            _note_stored(cache, names, answer.replies)
            return
        except CacheError:
            raise
        except BaseException:
            cache._client.post([("PING",)], spelled)
            raise
        finally:
            cache._kept.forget_each(keys, names)  # also what has read Redis in between
    except CacheError as error:
        cache._warn(error)
        for name in names:
            cache._debts.owe(name, began)
    values = zip(keys, names, _those(writing.values, batch), _those(writing.scopes, batch), strict=True)
    for key, name, value, scope in values:
        yield from cache._keep_alone(key, name, value, writing.lifetime, spelled + scope)
    cache._debts.pay()


def _note_stored(cache: TieredCache, names: list[bytes], replies: list[Any]) -> None:
    """The *replies* to what :meth:`_Writing.commands` made for *names*: one for each, or one for all."""
    for reply in replies:
        if isinstance(reply, list):
            cache._touch(reply[3:])
    if isinstance(replies[0], list):
        cache._did_each(names, [before(reply[2]) for reply in replies])
    else:
        cache._did_each(names, repeat(before(replies[0])))


def _delete_each(cache: TieredCache, keys: Iterable[Any]) -> Steps[int]:
    asked = list(dict.fromkeys(_several(keys)))
    names = _spell_each(cache._shared, asked)
    count = 0
    for batch in _batches(cache._shared, names, _PART):
        some, called = _those(asked, batch), _those(names, batch)
        since = cache._latest()
        held = sum(key in cache.memory for key in some)
        cache._kept.forget_each(some, called)
        try:
            stamps = dict.fromkeys(called, FOREVER)
            command = cache._shared._dropping(cache._link, stamps, cache._holder.ident)
            answer: Answer = yield Ask([command], None, tuple(called))
            dropped, ended = answer.replies[0]
            count += max(dropped, held)
            cache._did_each(called, repeat(ended))
        except CacheError as error:
            cache._warn(error)
            for name in called:
                cache._debts.owe(name, since)
            cache._debts.pay()
            count += held
        finally:
            cache._kept.forget_each(some, called)
    return count

"""What one process keeps in memory of what lies in Redis, and by which names it is dropped again."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

from .. import _core
from ..cache import Cache
from ._cluster import Client
from ._debts import Debts
from ._layout import ENDED, Layout

__all__ = ["Memory"]

_MISSING: Any = object()
_LATER = b":"
"""Later than any stamp: of a tag that is not known."""
_MOST_FOUND = 64
"""How many loads may have found a value, and not yet given it to those who wait for it."""


class Memory:
    """A :class:`Cache`, with the names in Redis of what may be in it. Safe from any thread.

    An entry is put in while its fill holds, and has its names before and after that: whoever takes a name
    away takes the entry too, and whoever changes a key ends its fills first.
    """

    def __init__(
        self,
        cache: Cache[Any, Any],
        client: Client,
        longest: float | None,
        layout: Layout,
        debts: Debts,
    ) -> None:
        """*debts* are told when the server may be one that does not know all that was done."""
        self.tag_news = 0
        """Grows with each announcement that may be of a tag's end."""
        self._layout = layout
        self._debts = debts
        self._cache = cache
        self._client = client
        self._longest = longest
        self._keys: dict[bytes, Any] = {}
        self._tagged: dict[bytes, set[bytes]] = {}  # names of what bears a tag, by the name of its record
        self._ends: dict[bytes, bytes] = {}  # what lies in those records
        self._loading: dict[bytes, tuple[bytes, Any]] = {}  # loads under way, by token: name and key
        self._looking: dict[bytes, bytes] = {}  # names that loads ask for before they begin, by token
        self._found: deque[tuple[bytes, Any]] = deque(maxlen=_MOST_FOUND)  # of the last that need not begin
        self._limit = 1024
        self._news_seen = 0
        self._lock = threading.RLock()

    def catch_up(self) -> None:
        """Drop what was announced as changed. Called before a hit when there is news."""
        with self._lock:
            arrived = self._client.arrived()
            if arrived == self._news_seen:
                return
            flush, names = self._client.take_news()
            if flush:
                self._debts.recall()
                self.drop_all()
                self._looking.clear()
                self._end_loads(name for name, _ in [*self._loading.values(), *self._found])
            else:
                self.tag_news += sum(map(self._layout.is_tag, names))
                self.drop(names)
                self._end_loads(names)
            self._news_seen = arrived
        if flush:
            self._debts.pay()

    def drop(self, names: Iterable[bytes]) -> None:
        """Drop what lies under *names* in Redis; with the name of a tag's record, all that bears the tag."""
        for name in names:
            self._ends.pop(name, None)
            key = self._keys.pop(name, _MISSING)
            if key is not _MISSING:
                self._cache.delete(key)
            for bearer in list(self._tagged.pop(name, ())):
                self.changed(bearer)

    def _end_loads(self, names: Iterable[bytes]) -> None:
        """Nobody who comes later joins the loads of *names* that are under way, or of what bears a tag that
        one of them says to have ended; they are not kept."""
        ended = set(names)
        records = [record for name in ended if (record := self._layout.end_in(name)) is not None]
        tags = {record: self._layout.tag_of(record) for record in records}
        if records:
            self._looking.clear()  # of which it is not known what they bear
            self._cache.invalidate_tags(*(tag for tag in tags.values() if tag is not None))
        others = [record for record, tag in tags.items() if tag is None]
        for token, name in list(self._looking.items()):
            if name in ended:
                self._looking.pop(token, None)
        for name, key in [*self._loading.values(), *self._found]:
            if name in ended or any(self._layout.may_bear(record, key) for record in others):
                self._cache.delete(key)

    def drop_all(self) -> None:
        """Drop everything."""
        self._ends.clear()
        self.drop(list(self._keys))
        self._tagged.clear()

    def end(self, name: bytes) -> None:
        """This process changed what lies under *name*, past this cache: :meth:`changed`, loads included."""
        self.changed(name)
        self._end_loads((name, name + ENDED))

    def changed(self, name: bytes) -> None:
        """This process changed what lies under *name*: end its fills, and drop it."""
        self._client.changed(name)
        self.drop((name,))

    def forget(self, key: Any, name: bytes) -> bool:
        """:meth:`changed`, also of an entry or a load that has no name as yet; whether there was an entry."""
        self._client.changed(name)
        self._release(name, key)
        return self._cache.delete(key)

    def forget_each(self, keys: Iterable[Any], names: list[bytes]) -> int:
        """:meth:`forget` for each of *keys*, which *names* spell; how many entries there were."""
        asked = list(keys)
        for key, name in zip(asked, names, strict=True):
            self._client.changed(name)
            self._release(name, key)
        return sum(map(self._cache.delete, asked))

    def _call(self, name: bytes, key: Any) -> None:
        """From here on *key* is the caller's word for *name*, which is never without one."""
        held = self._keys.get(name, key)
        self._keys[name] = key
        self._part(held, key)

    def _release(self, name: bytes, key: Any) -> None:
        """Forget who is called *name*."""
        self._part(self._keys.pop(name, key), key)

    def _part(self, held: Any, key: Any) -> None:
        """*held* has no name any more, *key* has it. They are spelled alike; if they are not equal, as two
        NaN are not, or members of a class that was made anew, what was kept of the former goes."""
        if held is not key and held != key:
            self._cache.delete(held)

    def end_of(self, record: bytes) -> bytes | None:
        """What lies in the *record* of a tag, if that is known."""
        return self._ends.get(record)

    def note_end(self, record: bytes, end: bytes | None, fill: _core.RedisFill | None) -> None:
        """Remember what lies in the *record* of a tag, unless news of it came since *fill* began."""
        if fill is None:
            return
        self._ends[record] = _LATER if end is None else end
        if not fill.keep():
            self._ends.pop(record, None)

    def begin_look(self, token: bytes, name: bytes) -> None:
        """A load asks for *name*. Who comes later joins it."""
        self._looking[token] = name

    def end_look(self, token: bytes, key: Any, name: bytes) -> bool:
        """It has found a value; whether nobody who has joined it was told that this may be out of date."""
        self._found.append((name, key))  # who is told from here on joins it no more
        return self._looking.pop(token, None) is not None

    def leave_look(self, token: bytes) -> None:
        """It is over, however."""
        self._looking.pop(token, None)

    def expect(self, token: bytes, key: Any, name: bytes) -> None:
        """A load of *key* begins: news of *name* ends it for those who come later."""
        self._loading[token] = name, key

    def expect_no_more(self, token: bytes) -> None:
        """That load is over."""
        self._loading.pop(token, None)

    def name_failure(self, key: Any, name: bytes, fill: _core.RedisFill | None) -> None:
        """A failure of *key* may be remembered; it must not be where news of it came since *fill* began."""
        self._call(name, key)
        if fill is None or not fill.holds():
            self.forget(key, name)

    def keep(
        self,
        key: Any,
        name: bytes,
        value: Any,
        fill: _core.RedisFill,
        *,
        life: tuple[float | None, float, float],
        tags: tuple[bytes, ...] = (),
        stamp: bytes | None = None,
        is_alone: bool = False,
    ) -> None:
        """Put *value* in, unless news of *name* or of one of *tags* came since *fill* began.

        Args:
            key: the caller's word for *name*.
            life: seconds that are left in all, the last of them stale, and what a load takes.
            stamp: from when *value* speaks; tags that ended then or later, or are not known, keep it out.
                ``None`` if nobody but this process can end them.
            is_alone: tags of which there is no record have not ended: Redis takes none.
        """
        self.catch_up()  # what was announced before says nothing about this value
        lifetime, stale, load = life
        bounds = [bound for bound in (lifetime, self._longest) if bound is not None]
        fresh = None if lifetime is None else round((lifetime - stale) * 1e9)
        longest = round(min(bounds) * 1e9) if bounds else None
        self._call(name, key)
        for tag in tags:
            self._tagged.setdefault(tag, set()).add(name)
        if stamp is not None and any(self._has_ended(tag, stamp, is_alone) for tag in tags):
            return
        try:
            self._cache._fill(key, value, fresh, round(stale * 1e9), longest, round(load * 1e9), fill.holds)
        finally:
            self._call(name, key)
            if not fill.keep():
                self.forget(key, name)
        if len(self._keys) > self._limit:
            self._prune()

    def _has_ended(self, tag: bytes, stamp: bytes, is_alone: bool) -> bool:
        end = self._ends.get(tag)
        if end == _LATER and is_alone:
            return False
        return end is None or end >= stamp

    def keep_plain(self, entries: Iterable[tuple[Any, bytes, Any, _core.RedisFill, float | None]]) -> None:
        """:meth:`keep` for many: key, name, value, fill and seconds that are left of values without tags."""
        self.catch_up()
        keys, put = self._keys, self._cache._fill
        bound = None if self._longest is None else round(self._longest * 1e9)
        for key, name, value, fill, left in entries:
            fresh = None if left is None else round(left * 1e9)
            longest = fresh if bound is None or (fresh is not None and fresh < bound) else bound
            self._call(name, key)
            try:
                put(key, value, fresh, 0, longest, 0, fill.holds)
            finally:
                self._call(name, key)
                if not fill.keep():
                    self.forget(key, name)
        if len(keys) > self._limit:
            self._prune()

    def start_anew(self) -> None:
        """In a forked child, which nobody told what changed: nothing kept is true."""
        self._lock = threading.RLock()
        self._loading.clear()
        self._looking.clear()
        self._found.clear()
        self.drop_all()
        self._news_seen = 0

    def _prune(self) -> None:
        for known, held in list(self._keys.items()):
            if held not in self._cache:
                self._keys.pop(known, None)
        for tag, names in list(self._tagged.items()):
            if not any(name in self._keys for name in list(names)):
                self._ends.pop(tag, None)
                self._tagged.pop(tag, None)
        self._limit = max(1024, 2 * len(self._keys))

"""Deletions that Redis has not heard of, or may have lost: made good in the background, and reckoned with
until then."""

from __future__ import annotations

import re
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING

from ..errors import CacheError
from ._link import Answer, Ask, Link, Steps
from ._records import FOREVER, Value

if TYPE_CHECKING:
    from ._redis import RedisTier

__all__ = ["Debts"]

_INSTALMENT = 500
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0
REMEMBERED = 30.0
"""For how long a server may turn out not to have kept what it has acknowledged, seconds."""


class Debts:
    """What is owed, each with the stamp of the moment when it was asked for. Safe from any thread.

    A server that comes back, or takes over, may not know what another one has acknowledged shortly before: a
    replica that lacked the last writes, a snapshot, a database that was swapped. So what was done in the last
    :data:`REMEMBERED` seconds is owed again when :meth:`recall` says that the server may be such a one.

    Nothing that speaks from before that moment is believed meanwhile, and nothing from after it is harmed.
    What was read while something was paid is read again: :attr:`payments` has changed then. A thread pays,
    and ends when all is paid; an operation of the cache never waits for it.
    """

    def __init__(self, tier: RedisTier, link: Link, ident: str, most: int) -> None:
        self._tier = tier
        self._ident = ident
        self._link = link
        self._most = most
        self._lock = threading.Lock()
        self._payer: threading.Thread | None = None
        self._wake = threading.Event()
        self.names: dict[bytes, bytes] = {}
        self._told: set[bytes] = set()  # those of which others have been told
        self.tags: dict[bytes, bytes] = {}
        self._done: deque[tuple[float, bool, bytes, bytes]] = deque(maxlen=most)  # when, a tag's, name, stamp
        self.payments = 0
        """How often something was paid."""
        self.everything: bytes | None = None
        """The stamp from which on the namespace is believed; more was owed than could be remembered."""

    def __bool__(self) -> bool:
        return bool(self.names or self.tags or self.everything is not None)

    def owe(self, name: bytes, stamp: bytes) -> None:
        """The deletion of what lies under *name*; :meth:`pay` has it paid."""
        self._told.discard(name)
        self._note(self.names, name, stamp)

    def owe_tag(self, record: bytes, stamp: bytes) -> None:
        """The end of a tag; likewise."""
        self._note(self.tags, record, stamp)

    def did(self, name: bytes, stamp: bytes, *, is_tag: bool = False) -> None:
        """The server has acknowledged that what lies under *name* is not older than *stamp*, or that the tag
        of this record ended then."""
        if stamp < FOREVER:
            self._done.append((time.monotonic(), is_tag, name, stamp))

    def recall(self) -> None:
        """What was done of late is owed again; :meth:`pay` has it paid."""
        since = time.monotonic() - REMEMBERED
        for when, is_tag, name, stamp in list(self._done):
            if when < since:
                continue
            if not is_tag and name not in self.names:
                self._told.add(name)
            self._note(self.tags if is_tag else self.names, name, stamp)

    def pay(self) -> None:
        """Have everything paid in the background."""
        with self._lock:
            if self and self._payer is None:
                thread = threading.Thread(
                    target=_pay, args=(weakref.ref(self),), name="mcp-redis-debts", daemon=True
                )
                thread.start()  # may fail: the next call tries again
                self._payer = thread

    def covers(self, name: bytes, value: Value) -> bool:
        """Whether *value* should be gone, but for what is owed."""
        if not self:
            return False
        if value.stamp <= self.names.get(name, b""):
            return True
        if self.everything is not None and value.stamp <= self.everything:
            return True
        return any(value.stamp <= self.tags.get(record, b"") for record in value.tags)

    def start_anew(self) -> None:
        """In a forked child, where no thread pays yet."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._payer = None
        self.pay()

    def close(self) -> None:
        """Owe nothing any more."""
        with self._lock:
            self.names.clear()
            self.tags.clear()
            self._done.clear()
            self.everything = None
            self._wake.set()

    # -- Paying

    def _note(self, debt: dict[bytes, bytes], item: bytes, stamp: bytes) -> None:
        with self._lock:
            if item in debt or len(debt) < self._most:
                debt[item] = max(stamp, debt.get(item, b""))
            else:
                self.everything = max(stamp, self.everything or b"")

    def _pay(self) -> bool:
        """Try to pay; whether nothing is left, and the thread ends."""
        try:
            self._link.run(self._paying())
        except CacheError:
            return False
        with self._lock:
            if self:
                return False
            self._payer = None
            return True

    def _paying(self) -> Steps[None]:
        tier = self._tier
        while self.names:
            owed = dict(list(self.names.items())[:_INSTALMENT])
            for together in tier._layout.by_part(owed):
                for is_news in (True, False):
                    part = [(name, owed[name]) for name in together if (name in self._told) is not is_news]
                    if part:
                        yield self._dropping(dict(part), is_news=is_news)
                        self._strike(self.names, part)
        while self.tags:
            for record, stamp in list(self.tags.items()):
                yield Ask([tier._ending(self._link, (record,), stamp, self._ident)], None, (record,))
                self._strike(self.tags, [(record, stamp)])
        if self.everything is not None:
            stamp = self.everything
            for place in tier._layout.parts:
                yield from self._drop_part(place, stamp)
            with self._lock:
                self.payments += 1
                if self.everything == stamp:
                    self.everything = None

    def _drop_part(self, part: bytes, stamp: bytes) -> Steps[None]:
        pattern = re.sub(rb"([*?\[\]\\^-])", rb"\\\1", part) + b"*"
        cursor: bytes | str = b"0"
        while True:
            scan = ("SCAN", cursor, "MATCH", pattern, "COUNT", _INSTALMENT)
            answer: Answer = yield Ask([scan], beside=part)
            cursor, found = answer.replies[0]
            names = {name: stamp for name in found if self._tier._layout.is_entry(name)}
            if names:
                yield self._dropping(names)
            if cursor == b"0":
                return

    def _dropping(self, stamps: dict[bytes, bytes], *, is_news: bool = True) -> Ask:
        """Ends what is being read of these names. Memory has nothing of them, or what was set instead: with a
        fill of its own, the command lets it stand."""
        names = tuple(stamps)
        command = self._tier._dropping(self._link, stamps, self._ident, is_news=is_news)
        return Ask([command], names[0], names)

    def _strike(self, debt: dict[bytes, bytes], paid: list[tuple[bytes, bytes]]) -> None:
        """Remove what was *paid*, but for what has been owed again since."""
        with self._lock:
            self.payments += 1
            for item, stamp in paid:
                if debt.get(item) == stamp:
                    del debt[item]
                    self._told.discard(item)
                    self.did(item, stamp, is_tag=debt is self.tags)


def _pay(owner: weakref.ref[Debts]) -> None:
    pause = _FIRST_PAUSE
    while True:
        debts = owner()
        if debts is None or debts._pay():
            return
        wake = debts._wake
        del debts
        wake.wait(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)

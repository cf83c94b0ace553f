"""Deletions that Redis has not heard of: made good in the background, and reckoned with until then."""

from __future__ import annotations

import re
import threading
import weakref
from typing import TYPE_CHECKING

from ..errors import CacheError
from ._link import Answer, Ask, Link, Steps
from ._records import Value

if TYPE_CHECKING:
    from ._redis import RedisTier

__all__ = ["Debts"]

_INSTALMENT = 500
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0


class Debts:
    """What is owed, each with the stamp of the moment when it was asked for. Safe from any thread.

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
        self.tags: dict[bytes, bytes] = {}
        self.payments = 0
        """How often something was paid."""
        self.everything: bytes | None = None
        """The stamp from which on the namespace is believed; more was owed than could be remembered."""

    def __bool__(self) -> bool:
        return bool(self.names or self.tags or self.everything is not None)

    def owe(self, name: bytes, stamp: bytes) -> None:
        """The deletion of what lies under *name*; :meth:`pay` has it paid."""
        self._note(self.names, name, stamp)

    def owe_tag(self, record: bytes, stamp: bytes) -> None:
        """The end of a tag; likewise."""
        self._note(self.tags, record, stamp)

    def pay(self) -> None:
        """Have everything paid in the background."""
        with self._lock:
            if self and self._payer is None:
                self._payer = threading.Thread(
                    target=_pay, args=(weakref.ref(self),), name="mcp-redis-debts", daemon=True
                )
                self._payer.start()

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
                part = [(name, owed[name]) for name in together]
                yield self._dropping(dict(part))
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

    def _dropping(self, stamps: dict[bytes, bytes]) -> Ask:
        """Ends what is being read of these names. Memory has nothing of them, or what was set instead: with a
        fill of its own, the command lets it stand."""
        names = tuple(stamps)
        return Ask([self._tier._dropping(self._link, stamps, self._ident)], names[0], names)

    def _strike(self, debt: dict[bytes, bytes], paid: list[tuple[bytes, bytes]]) -> None:
        """Remove what was *paid*, but for what has been owed again since."""
        with self._lock:
            self.payments += 1
            for item, stamp in paid:
                if debt.get(item) == stamp:
                    del debt[item]


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

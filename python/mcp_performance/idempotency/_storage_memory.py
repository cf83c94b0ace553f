"""Records in this process's memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ._storage import Claimed, Record

__all__ = ["MemoryStorage"]


class MemoryStorage:
    """Records of this process. Bounded: past either bound the oldest results are forgotten."""

    needs_bytes = False
    is_shared = False

    def __init__(self, clock: Callable[[], float], max_entries: int, max_bytes: int) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._claims: dict[str, tuple[str, str, float]] = {}  # fingerprint, owner, lapses at
        self._results: OrderedDict[str, tuple[str, Any, float, int]] = OrderedDict()  # oldest first
        self._bytes = 0
        self.evicted = 0

    def era(self) -> int:
        return 0

    def claim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record:
        with self._lock:
            now = self._clock()
            self._expire(now)
            found = self._results.get(key)
            if found is not None:
                return Record(found[0], True, found[1])
            claim = self._claims.get(key)
            if claim is not None and now < claim[2]:
                return Record(claim[0], False)
            self._claims[key] = (fingerprint, owner, now + lease)
            return Claimed()

    def renew(self, key: str, fingerprint: str, owner: str, lease: float) -> bool:
        with self._lock:
            claim = self._claims.get(key)
            if claim is None or claim[1] != owner:
                return False
            self._claims[key] = (claim[0], owner, self._clock() + lease)
            return True

    def complete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool:
        with self._lock:
            claim = self._claims.get(key)
            if claim is None or claim[1] != owner:
                return False
            del self._claims[key]
            size = len(key) + (len(result) if isinstance(result, bytes) else 0)
            self._results[key] = (fingerprint, result, self._clock() + ttl, size)
            self._bytes += size
            while self._results and (len(self._results) > self._max_entries or self._bytes > self._max_bytes):
                self._forget_oldest()
                self.evicted += 1
            return True

    def release(self, key: str, owner: str) -> None:
        with self._lock:
            claim = self._claims.get(key)
            if claim is not None and claim[1] == owner:
                del self._claims[key]

    async def aclaim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record:
        return self.claim(key, fingerprint, owner, lease)

    async def acomplete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool:
        return self.complete(key, fingerprint, owner, result, ttl)

    async def arelease(self, key: str, owner: str) -> None:
        self.release(key, owner)

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def count(self) -> int | None:
        return len(self._results) + len(self._claims)

    def start_anew(self) -> None:
        """In a forked child: the lock may have been held by a thread that does not exist here."""
        self._lock = threading.Lock()

    def _expire(self, now: float) -> None:
        """Forget results past their time: the oldest, since all live equally long."""
        while self._results and next(iter(self._results.values()))[2] <= now:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, (_, _, _, size) = self._results.popitem(last=False)
        self._bytes -= size

"""Where an :class:`IdempotencyStore` keeps its records: memory, a SQLite file, or Redis.

A record is first a claim, with an owner and the time when it lapses, then a result with the time when it
is forgotten. Every storage decides between rivals for a key in one atomic step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import ProtocolError

__all__ = ["TRIES", "Claimed", "Record", "Storage", "contended"]

TRIES = 10  # of a claim that others take and give up meanwhile


@dataclass(frozen=True, slots=True)
class Claimed:
    """The key is the caller's."""


@dataclass(frozen=True, slots=True)
class Record:
    """Somebody else's record: a claim, or a result if *done*."""

    fingerprint: str
    done: bool
    result: Any = None


class Storage(Protocol):
    """The steps, each for threads and for event loops. Times are seconds on the storage's clock."""

    needs_bytes: bool
    """Whether results must be ``bytes``."""
    is_shared: bool
    """Whether other processes claim keys here too, and answers can be lost on their way: then a claim lapses,
    and is renewed. An owner that claims, or completes, what it has claimed or completed already is answered
    as at first. Who renews or completes a claim that is gone (it lapsed, or the storage has lost it) has it
    again, unless somebody else has."""

    def era(self) -> int: ...  # another number once claims that were acknowledged may be missing
    def claim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record: ...
    async def aclaim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record: ...
    def renew(self, key: str, fingerprint: str, owner: str, lease: float) -> bool: ...
    def complete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool: ...
    async def acomplete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool: ...
    def release(self, key: str, owner: str) -> None: ...
    async def arelease(self, key: str, owner: str) -> None: ...
    def close(self) -> None: ...
    async def aclose(self) -> None: ...
    def count(self) -> int | None: ...
    @property
    def evicted(self) -> int: ...


def contended(key: str) -> ProtocolError:
    return ProtocolError(f"the record of idempotency key {key} came and went {TRIES} times")

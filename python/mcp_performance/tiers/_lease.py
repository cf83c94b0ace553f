"""The right to load one key for all processes, while a load holds it."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any

from .. import _core
from ._link import Link
from ._records import Value
from ._scripts import GIVE_UP, RENEW

if TYPE_CHECKING:
    from ._tiered import TieredCache

__all__ = ["LEASE_MS", "NOBODY", "Holder", "Lease", "renewal_of"]

LEASE_MS = 2000
"""How long a lease lasts without being renewed, milliseconds: four times the interval of renewals."""
NOBODY = "n" * 8
"""The ident of who has no channel to live on."""


def renewal_of(name: bytes) -> bytes:
    """The key that holds the lease of who renews the value under *name*."""
    return name + b"~"


class Holder:
    """This process as a holder of leases: its tokens say whose they are, and by which channel to tell
    that it lives."""

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self.ident = secrets.token_hex(4)

    @property
    def life_channel(self) -> str:
        """Where the process listens for as long as it lives."""
        return f"{self._channel}{self.ident}"

    def token(self, link: Link) -> bytes:
        """A token that no other lease has."""
        ident = self.ident if link.client.has_life() else NOBODY
        return f"{ident}{secrets.token_hex(8)}".encode()

    def channel_of(self, token: bytes) -> str | None:
        """Where the holder of *token* listens while it lives; ``None`` if it does not say."""
        ident = token[:8].decode("ascii", "replace")
        return None if ident == NOBODY else f"{self._channel}{ident}"


class Lease:
    """One load's lease. It ends with the object, unless the value is stored before."""

    __slots__ = (
        "_is_used",
        "_key",
        "_name",
        "_owner",
        "_pid",
        "fill",
        "is_alone",
        "seen",
        "stamp",
        "tag_news",
        "token",
    )

    def __init__(
        self,
        owner: TieredCache,
        key: Any,
        name: bytes,
        token: bytes,
        stamp: bytes,
        fill: _core.RedisFill | None,
        *,
        alone: bool,
    ) -> None:
        self._owner = owner
        self._is_used = False
        self._key = key
        self._name = name
        self._pid = os.getpid()
        self.token = token
        self.stamp = stamp
        """When the load began, as the server's clock has it; empty if Redis was away."""
        self.fill = fill
        """For a value, or a failure, that Redis does not take; ``None`` for the renewal of a value."""
        self.is_alone = alone
        """Redis could give none: what is loaded is kept in this process at most."""
        self.tag_news = owner._kept.tag_news
        """What was heard of tags when the load began."""
        self.seen: tuple[Value, Any] | None = None
        """What the load is to renew: as it lies in Redis, and as it was read."""
        owner._kept.expect(token, key, name)
        if not alone:
            renewal = owner._link.script(RENEW, self._names, token, LEASE_MS)
            owner._client.hold(token.decode(), [renewal])

    @property
    def _names(self) -> tuple[bytes, ...]:
        return (self._name, renewal_of(self._name))

    def used(self) -> None:
        """The value was stored, or refused: there is nothing to give up."""
        self._is_used = True
        if not self.is_alone:
            self._owner._client.let_go(self.token.decode())

    def __del__(self) -> None:
        owner = getattr(self, "_owner", None)
        if owner is None or self._pid != os.getpid():
            return
        owner._kept.expect_no_more(self.token)
        if self._is_used:
            return
        if self.fill is not None:
            owner._kept.name_failure(self._key, self._name, self.fill)
        if not self.is_alone:
            owner._client.let_go(self.token.decode())
            owner._client.post([owner._link.script(GIVE_UP, self._names, self.token)])

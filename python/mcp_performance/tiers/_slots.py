"""Which node of a cluster has which slot, and what a node's refusal means. No sockets, no clock."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from ._layout import SLOTS

__all__ = ["Node", "Redirection", "SlotMap", "redirection_in"]

Node = tuple[str, int]
"""Host and port."""

_REDIRECTED = re.compile(r"redis answered: (MOVED|ASK) (\d{1,5}) (\S*):(\d{1,5})(?:@\d+)?\b")
_REFUSED = re.compile(r"redis answered: (?:-?)(TRYAGAIN|CLUSTERDOWN)\b")


class SlotMap:
    """Who serves each slot, as one node had it, and as others have corrected it since."""

    def __init__(self, owners: list[Node | None]) -> None:
        self._owners = owners

    @classmethod
    def read(cls, reply: Any, host: str) -> SlotMap | None:
        """What the node at *host* answered to ``CLUSTER SLOTS``; ``None`` if it names no server."""
        owners: list[Node | None] = [None] * SLOTS
        try:
            for first, last, master, *_ in reply:
                if not (0 <= first <= last < SLOTS and 0 < master[1] < 65536):
                    return None
                named = bytes(master[0] or b"").decode("ascii")
                owners[first : last + 1] = [(named or host, int(master[1]))] * (last + 1 - first)
        except (TypeError, ValueError, IndexError):
            return None
        return cls(owners) if any(owners) else None

    def owner(self, slot: int) -> Node | None:
        """The node that has *slot*; ``None`` while nobody does."""
        return self._owners[slot]

    def move(self, slot: int, node: Node) -> bool:
        """*slot* is at *node*, as another node says; whether that is news."""
        if self._owners[slot] == node:
            return False
        self._owners[slot] = node
        return True

    def masters(self) -> list[Node]:
        """Each node that has a slot."""
        return list(dict.fromkeys(node for node in self._owners if node is not None))


@dataclass(frozen=True, slots=True)
class Redirection:
    """Why a node did not do what it was asked."""

    kind: Literal["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"]
    slot: int = -1
    node: Node = ("", 0)


def redirection_in(replies: list[Any], host: str) -> Redirection | None:
    """The first among *replies* of the node at *host*."""
    for reply in replies:
        if not isinstance(reply, Exception):
            continue
        text = str(reply)
        if found := _REDIRECTED.match(text):
            slot, port = int(found[2]), int(found[4])
            if slot < SLOTS and 0 < port < 65536:
                kind: Literal["MOVED", "ASK"] = "MOVED" if found[1] == "MOVED" else "ASK"
                return Redirection(kind, slot, (found[3] or host, port))
        elif refused := _REFUSED.match(text):
            return Redirection("TRYAGAIN" if refused[1] == "TRYAGAIN" else "CLUSTERDOWN")
    return None

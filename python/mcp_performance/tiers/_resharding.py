"""Commands of several keys, as several of one key: what a cluster does while keys are on their way.

A slot that moves to another node has some of its keys here and some there, and neither node does what needs
both (TRYAGAIN). One key is always in one place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._scripts import DROP, END_TAGS, LOOK, STORE_MANY, Command, digest_of

__all__ = ["Split", "split"]

_REFUSAL = b"TRYAGAIN keys of the slot are on their way to another node"


@dataclass(frozen=True, slots=True)
class Split:
    """A command in parts, in the order in which they are taken."""

    parts: list[tuple[bytes, list[Command]]]
    """The key of each, and what is asked."""
    join: Callable[[list[list[Any]]], Any]
    """The reply to the whole, from those to the parts."""


def split(command: Command) -> Split | None:
    """*command* in parts; ``None`` if it has to be done at once."""
    if command[0] == "MGET":
        return Split(
            [(_bytes(name), [("GET", name)]) for name in command[1:]],
            lambda replies: [reply[0] for reply in replies],
        )
    if command[0] not in ("EVAL", "EVALSHA"):
        return None
    digest = str(command[1]) if command[0] == "EVALSHA" else digest_of(str(command[1]))
    make = _SCRIPTS.get(digest)
    if make is None:
        return None
    count = int(command[2])
    names = [_bytes(name) for name in command[3 : 3 + count]]
    return make(_Script(command[:2], names, command[3 + count :]))


@dataclass(frozen=True, slots=True)
class _Script:
    run: Command
    names: list[bytes]
    arguments: Command

    def of(self, name: bytes, *arguments: bytes | str | int) -> tuple[bytes, list[Command]]:
        """The same script for *name* alone."""
        return name, [(*self.run, 1, name, *arguments)]


def _drop(script: _Script) -> Split:
    channel, ident, *stamps, own = script.arguments
    return Split(
        [
            script.of(name, channel, ident, stamp, own)
            for name, stamp in zip(script.names, stamps, strict=True)
        ],
        _join_drops,
    )


def _store_many(script: _Script) -> Split:
    lifetime, *values, own = script.arguments
    return Split(
        [script.of(name, lifetime, value, own) for name, value in zip(script.names, values, strict=True)],
        _earliest,
    )


def _end_tags(script: _Script) -> Split:
    """The tags first: who does not wait for a load any more must find them ended."""
    last, *records = script.names
    return Split([script.of(name, *script.arguments) for name in (*records, last)], _join_ends)


def _join_ends(replies: list[list[Any]]) -> list[Any]:
    ended = [reply[0] for reply in replies]
    indexes = [index for _, _, *named in ended for index in named]
    return [sum(count for count, *_ in ended), max(time for _, time, *_ in ended), *indexes]


def _look(script: _Script) -> Split:
    """A look that takes no lease: two keys at once have none."""
    name, dead = script.names[0], script.arguments[4]

    def join(replies: list[list[Any]]) -> list[Any]:
        record, left, (seconds, microseconds) = replies[0]
        time = b"%010d%06d" % (int(seconds), int(microseconds))
        if record is not None and record[:2] == b"\xc1V" and record[2:18] != dead:
            return [b"V", record, left, time]
        return [b"N", record, -2, time, _REFUSAL]

    return Split([(name, [("GET", name), ("PTTL", name), ("TIME",)])], join)


def _join_drops(replies: list[list[Any]]) -> list[Any]:
    return [sum(reply[0][0] for reply in replies), max(reply[0][1] for reply in replies)]


def _earliest(replies: list[list[Any]]) -> bytes:
    """The stamp that none of what was stored is older than."""
    return min(bytes(reply[0]) for reply in replies)


def _bytes(name: bytes | str | int) -> bytes:
    return name if isinstance(name, bytes) else str(name).encode()


_SCRIPTS: dict[str, Callable[[_Script], Split]] = {
    DROP.digest: _drop,
    STORE_MANY.digest: _store_many,
    END_TAGS.digest: _end_tags,
    LOOK.digest: _look,
}

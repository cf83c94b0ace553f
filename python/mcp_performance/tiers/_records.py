"""How records are spelled in Redis. See ``_scripts.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import SerializationError

__all__ = ["FOREVER", "MISSING", "Value", "before", "head_of", "holder_of", "read_value", "stamp_of"]

MISSING: Any = object()
"""Stands for no value."""
FOREVER = b"9" * 16
"""A stamp later than any."""
_VALUE = b"\xc1V"
_LEASE = b"\xc1L"
_HEAD = 24
_MOST_TAG_BYTES = 0xFFFFFF
_MOST_NAME_BYTES = 0xFFFF


@dataclass(frozen=True, slots=True)
class Value:
    """A value as it lies in Redis."""

    stamp: bytes
    """The moment from which it speaks: when it was set, or when its load began."""
    tags: tuple[bytes, ...]
    """The names of its tags' records."""
    data: bytes
    """What the codec wrote."""


def head_of(tags: tuple[bytes, ...]) -> bytes:
    """What stands between the stamp and the data of a value with *tags*."""
    listed = b"".join(b"%04x%s" % (len(name), name) for name in tags)
    if len(listed) > _MOST_TAG_BYTES or any(len(name) > _MOST_NAME_BYTES for name in tags):
        raise SerializationError(f"{len(tags)} tags: more than a value can carry")
    return b"%06x%s" % (len(listed), listed)


def read_value(record: bytes) -> Value | None:
    """The value in *record*; ``None`` if it holds none, or something that no tier wrote."""
    if record[:2] != _VALUE or len(record) < _HEAD:
        return None
    try:
        end = _HEAD + int(record[18:_HEAD], 16)
        tags: list[bytes] = []
        place = _HEAD
        while place < end:
            size = int(record[place : place + 4], 16)
            tags.append(record[place + 4 : place + 4 + size])
            place += 4 + size
    except ValueError:
        return None
    if place != end or end > len(record):
        return None
    return Value(record[2:18], tuple(tags), record[end:])


def holder_of(record: bytes) -> bytes | None:
    """The token of the lease in *record*, if it is one."""
    return record[18:42] if record[:2] == _LEASE else None


def before(stamp: bytes) -> bytes:
    """The last stamp before *stamp*."""
    return b"%016d" % (int(stamp) - 1)


def stamp_of(microseconds: int | None) -> bytes:
    """The stamp of a moment; :data:`FOREVER` for one that is not known."""
    return FOREVER if microseconds is None else b"%016d" % microseconds

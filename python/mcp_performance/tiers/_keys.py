"""How keys are spelled in Redis: the same in every process, and never two keys alike.

A part is a letter for its type, its length in bytes, a colon and its bytes; tuples hold their parts. For
caches, what a ``dict`` takes for one key (``1``, ``1.0`` and ``True``; one moment in two time zones) has one
spelling, so that memory and Redis agree on which keys there are. A key that becomes long is replaced by its
BLAKE2b digest.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import hashlib
import re
import uuid
from collections.abc import Callable
from typing import Any

from .. import _core
from ..errors import SerializationError

__all__ = [
    "KEY_VERSION",
    "encode_equal",
    "encode_key",
    "is_encoded",
    "note_scope",
    "scope_of",
    "shortened",
    "spell",
]

KEY_VERSION = "1"
_LONGEST = 256
_head = re.compile(rb"[a-z](\d+):").match
_DIGEST = 65
_LARGEST_EXPONENT = 400
_MARK = _core._KEYWORDS
"""What stands between positional and keyword arguments in a key."""

Spelling = tuple[str, bytes]
Speller = Callable[[Any], bytes]


def _number(value: Any) -> Spelling:
    """One spelling for what is equal: as an integer, else as a float, else as what it is."""
    if type(value) is complex:
        if value.imag:
            return "j", repr(complex(value.real + 0.0, value.imag)).encode()
        value = value.real
    if type(value) is decimal.Decimal and value.is_finite():
        if value.adjusted() > _LARGEST_EXPONENT:
            return "d", str(value.normalize(decimal.Context(prec=decimal.MAX_PREC))).encode()
        if value == value.to_integral_value():
            value = int(value)
        elif float(value) == value:
            value = float(value)
        else:
            return "d", str(
                value.normalize(decimal.Context(prec=max(1, len(value.as_tuple().digits))))
            ).encode()
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is int:
        return "i", b"%x" % value
    return "f", float(value).hex().encode()


def _moment(value: datetime.datetime) -> Spelling:
    offset = value.utcoffset()
    if offset is None:
        return "m", value.replace(fold=0).isoformat().encode()
    day = datetime.timedelta(days=value.toordinal())
    return "z", _spelled(day + _since_midnight(value) - offset).encode()


def _time_of_day(value: datetime.time) -> Spelling:
    offset = value.utcoffset()
    if offset is None:
        return "h", value.replace(fold=0).isoformat().encode()
    return "y", _spelled(_since_midnight(value) - offset).encode()


_MIXED: tuple[tuple[type, Any], ...] = (
    (int, int.__int__),
    (float, float.__float__),
    (str, str.__str__),
    (bytes, lambda key: bytes(memoryview(key))),
)


def _since_midnight(value: datetime.datetime | datetime.time) -> datetime.timedelta:
    return datetime.timedelta(
        hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond
    )


def _spelled(span: datetime.timedelta) -> str:
    return f"{span.days},{span.seconds},{span.microseconds}"


# By type, what is spelled as it is; the second argument spells what is inside.
_PLAIN: dict[type, Callable[[Any, Speller], Spelling]] = {
    str: lambda value, _: ("s", value.encode("utf-8", "surrogatepass")),
    bytes: lambda value, _: ("b", value),
    bool: lambda value, _: ("o", b"1" if value else b"0"),
    int: lambda value, _: ("i", b"%x" % value),
    # 0.0 is added because -0.0 is the same key as 0.0.
    float: lambda value, _: ("f", (value + 0.0).hex().encode()),
    type(None): lambda value, _: ("n", b""),
    tuple: lambda value, inner: ("t", b"".join(map(inner, value))),
    frozenset: lambda value, inner: ("x", b"".join(sorted(map(inner, value)))),
    complex: lambda value, _: ("j", repr(value).encode()),
    decimal.Decimal: lambda value, _: ("d", str(value).encode()),
    uuid.UUID: lambda value, _: ("u", value.bytes),
    datetime.datetime: lambda value, _: ("m", f"{value.isoformat()}|{value.fold}".encode()),
    datetime.date: lambda value, _: ("a", value.isoformat().encode()),
    datetime.time: lambda value, _: ("h", f"{value.isoformat()}|{value.fold}".encode()),
    datetime.timedelta: lambda value, _: (
        "l",
        f"{value.days},{value.seconds},{value.microseconds}".encode(),
    ),
}
# The same, where what is equal is spelled alike.
_EQUAL = _PLAIN | {
    bool: lambda value, _: _number(int(value)),
    int: lambda value, _: _number(value),
    float: lambda value, _: _number(value),
    complex: lambda value, _: _number(value),
    decimal.Decimal: lambda value, _: _number(value),
    datetime.datetime: lambda value, _: _moment(value),
    datetime.time: lambda value, _: _time_of_day(value),
}


def encode_key(key: Any) -> bytes:
    """*key* in bytes; two keys are spelled alike only if they are equal and of the same types.

    Raises:
        SerializationError: a part of it is of a type that has no spelling which all processes share.
    """
    spelling = _PLAIN.get(type(key))
    return _join(*(_spell_other(key, encode_key) if spelling is None else spelling(key, encode_key)))


def encode_equal(key: Any) -> bytes:
    """*key* in bytes; two keys are spelled alike exactly if a ``dict`` takes them for one. Raises as
    :func:`encode_key`."""
    spelling = _EQUAL.get(type(key))
    if spelling is not None:
        return _join(*spelling(key, encode_equal))
    if isinstance(key, enum.Enum):
        for plain, value_of in _MIXED:  # a member that is also a plain value equals that
            if isinstance(key, plain):
                return encode_equal(value_of(key))
    return _join(*_spell_other(key, encode_equal))


def _join(letter: str, body: bytes) -> bytes:
    return b"%s%d:%s" % (letter.encode(), len(body), body)


def _spell_other(key: Any, inner: Speller) -> Spelling:
    if isinstance(key, enum.Enum):
        return "e", inner((_name_of(type(key)), key.name))
    if isinstance(key, type):
        return "c", _name_of(key).encode()
    if key is _MARK:
        return "k", b""
    raise SerializationError(
        f"a key of type {type(key).__qualname__} cannot be shared between processes;"
        " pass key= to make one of plain values"
    )


def spell(namespace: str, kind: str, encoded: bytes) -> bytes:
    """The name in Redis of what is encoded so, and is no part of a :class:`Layout`."""
    return f"{namespace}:{KEY_VERSION}:{kind}".encode() + shortened(encoded)


def shortened(encoded: bytes) -> bytes:
    """*encoded*, or the digest of what is too long for a name."""
    if len(encoded) <= _LONGEST:
        return encoded
    return b"#" + hashlib.blake2b(encoded, digest_size=32).hexdigest().encode()


_scopes: set[str] = set()


def note_scope(name: str) -> None:
    """A cached function of this process is called *name*: its keys are tuples that begin with it."""
    _scopes.add(name)


def scope_of(key: Any) -> str | None:
    """The name of the cached function of which *key* is a key, if it is one of this process."""
    if type(key) is tuple and key and type(key[0]) is str and key[0] in _scopes:
        return key[0]
    return None


def is_encoded(text: bytes) -> bool:
    """Whether *text* is what :func:`spell` writes for a key, to the last byte."""
    if text[:1] == b"#":
        return len(text) == _DIGEST
    found = _head(text)
    return found is not None and len(text) == found.end() + int(found[1])


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"

"""How keys are spelled in Redis: the same in every process, and never two keys alike.

A part is a letter for its type, its length in bytes, a colon and its bytes; tuples hold their parts. A
key that becomes long is replaced by its BLAKE2b digest.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import hashlib
import uuid
from typing import Any

from .. import _core
from ..errors import SerializationError

__all__ = ["KEY_VERSION", "encode_key", "spell"]

KEY_VERSION = "1"
_LONGEST = 256
_MARK = _core._KEYWORDS
"""What stands between positional and keyword arguments in a key."""

_PLAIN: dict[type, Any] = {
    str: lambda value: ("s", value.encode("utf-8", "surrogatepass")),
    bytes: lambda value: ("b", value),
    bool: lambda value: ("o", b"1" if value else b"0"),
    int: lambda value: ("i", b"%x" % value),
    # 0.0 is added because -0.0 is the same key as 0.0.
    float: lambda value: ("f", (value + 0.0).hex().encode()),
    type(None): lambda value: ("n", b""),
    tuple: lambda value: ("t", b"".join(map(encode_key, value))),
    frozenset: lambda value: ("x", b"".join(sorted(map(encode_key, value)))),
    complex: lambda value: ("j", repr(value).encode()),
    decimal.Decimal: lambda value: ("d", str(value).encode()),
    uuid.UUID: lambda value: ("u", value.bytes),
    datetime.datetime: lambda value: ("m", f"{value.isoformat()}|{value.fold}".encode()),
    datetime.date: lambda value: ("a", value.isoformat().encode()),
    datetime.time: lambda value: ("h", f"{value.isoformat()}|{value.fold}".encode()),
    datetime.timedelta: lambda value: ("l", f"{value.days},{value.seconds},{value.microseconds}".encode()),
}


def encode_key(key: Any) -> bytes:
    """*key* in bytes; two keys are spelled alike only if they are equal and of the same types.

    Raises:
        SerializationError: a part of it is of a type that has no spelling which all processes share.
    """
    spelling = _PLAIN.get(type(key))
    if spelling is not None:
        letter, body = spelling(key)
    elif isinstance(key, enum.Enum):
        letter, body = "e", encode_key((_name_of(type(key)), key.name))
    elif isinstance(key, type):
        letter, body = "c", _name_of(key).encode()
    elif key is _MARK:
        letter, body = "k", b""
    else:
        raise SerializationError(
            f"a key of type {type(key).__qualname__} cannot be shared between processes;"
            " pass key= to make one of plain values"
        )
    return b"%s%d:%s" % (letter.encode(), len(body), body)


def spell(namespace: str, kind: str, encoded: bytes) -> bytes:
    """The name in Redis of what is encoded so: entries have *kind* ``""``, tags ``"@"``."""
    if len(encoded) > _LONGEST:
        encoded = b"#" + hashlib.blake2b(encoded, digest_size=32).hexdigest().encode()
    return f"{namespace}:{KEY_VERSION}:{kind}".encode() + encoded


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"

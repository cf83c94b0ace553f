"""Values on their way to Redis and back. What comes back is not trusted.

A stored value is a header of four bytes (a mark, the version, the codec's letter, flags) and a body.
Which codec reads is decided by the tier's configuration: a value that another one wrote is unreadable.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import hmac
import json
import pickle
import uuid
import zlib
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, cast

import msgpack  # type: ignore[import-untyped]

from .. import _core
from .._base._checks import choice
from ..errors import ConfigurationError, SerializationError

__all__ = ["UnreadableValue", "ValueCodec"]

_MARK = 0xC1  # never the first byte of a msgpack or JSON document
_VERSION = 1
_COMPRESSED = 1
_HEADER = 4
_SIGNATURE = 32
_SHORTEST_KEY = 16


class UnreadableValue(Exception):
    """Bytes that this codec did not write, or not for this key. Counted as a miss, never raised to users."""


# -- msgpack: the plain types, and these


def _iso(value: Any) -> bytes:
    zone = getattr(value, "tzinfo", None)
    if zone is not None and type(zone) is not datetime.timezone:
        raise TypeError("of time zones, only fixed offsets come back as they were")
    text: str = value.isoformat()
    return text.encode()


_EXTENSIONS: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    tuple: (1, lambda value: _pack(list(value))),
    set: (2, lambda value: _pack(list(value))),
    frozenset: (3, lambda value: _pack(list(value))),
    datetime.datetime: (4, lambda value: b"%d" % value.fold + _iso(value)),
    datetime.date: (5, _iso),
    datetime.time: (6, lambda value: b"%d" % value.fold + _iso(value)),
    datetime.timedelta: (7, lambda value: _pack([value.days, value.seconds, value.microseconds])),
    decimal.Decimal: (8, lambda value: str(value).encode()),
    uuid.UUID: (9, lambda value: value.bytes),
    int: (10, lambda value: b"%x" % value),  # outside 64 bits
    complex: (11, lambda value: _pack([value.real, value.imag])),
}
_READERS: dict[int, Callable[[bytes], Any]] = {
    1: lambda data: tuple(_unpack(data)),
    2: lambda data: set(_unpack(data)),
    3: lambda data: frozenset(_unpack(data)),
    4: lambda data: datetime.datetime.fromisoformat(data[1:].decode()).replace(fold=int(data[:1])),
    5: lambda data: datetime.date.fromisoformat(data.decode()),
    6: lambda data: datetime.time.fromisoformat(data[1:].decode()).replace(fold=int(data[:1])),
    7: lambda data: datetime.timedelta(*_unpack(data)),
    8: lambda data: decimal.Decimal(data.decode()),
    9: lambda data: uuid.UUID(bytes=data),
    10: lambda data: int(data, 16),
    11: lambda data: complex(*_unpack(data)),
    12: bytearray,
}


def _extend(value: Any) -> msgpack.ExtType:
    code, write = _EXTENSIONS.get(type(value), (0, None))
    if write is None:
        raise TypeError(f"{type(value).__qualname__} is not a type that msgpack carries")
    return msgpack.ExtType(code, write(value))


def _read_extension(code: int, data: bytes) -> Any:
    return _READERS[code](data)


def _pack(value: Any) -> bytes:
    packed = cast(bytes, msgpack.packb(value, default=_extend, strict_types=True))
    if _core._holds_buffers(value):  # which were packed as bytes; in tuples and sets for themselves
        return cast(bytes, msgpack.packb(_spell_buffers(value), default=_extend, strict_types=True))
    return packed


def _spell_buffers(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return {_spell_buffers(key): _spell_buffers(one) for key, one in value.items()}
    if kind is list:
        return [_spell_buffers(one) for one in value]
    if kind is bytearray:
        return msgpack.ExtType(12, bytes(value))
    if kind is memoryview:
        raise TypeError("memoryview is not a type that msgpack carries")
    return value


def _unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, ext_hook=_read_extension, strict_map_key=False)


# -- JSON: nothing that would come back as something else


def _to_json(value: Any) -> bytes:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if type(part) is dict:
            if any(type(key) is not str for key in part):
                raise TypeError("JSON carries dicts with keys of type str only")
            waiting.extend(part.values())
        elif type(part) is list:
            waiting.extend(part)
        elif type(part) not in (str, int, float, bool, type(None)):
            raise TypeError(f"{type(part).__qualname__} is not a type that JSON carries")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


Codec: TypeAlias = Literal["msgpack", "json", "pickle"]

_CODECS: dict[str, tuple[int, Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "msgpack": (ord("m"), _pack, _unpack),
    "json": (ord("j"), _to_json, json.loads),
    "pickle": (
        ord("p"),
        lambda value: pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL),
        pickle.loads,
    ),
}


class ValueCodec:
    """One tier's way to write values.

    Args:
        name: ``"msgpack"``, ``"json"`` or ``"pickle"``.
        namespace: the tier's; part of what is signed.
        signing_key: at least 16 secret bytes; required by pickle, whose data could run code. Values are
            signed with HMAC-SHA256 over namespace, key and value, each with its length in front, and
            nothing is unpickled before its signature holds.
        max_value_bytes: the largest value that is written, read or unfolded from a compressed one, bytes.
        compress_above: the body size from which on values are compressed with zlib, bytes; ``None``: never.
    """

    def __init__(
        self,
        name: str,
        *,
        namespace: str,
        signing_key: bytes | None,
        max_value_bytes: int,
        compress_above: int | None,
    ) -> None:
        choice("codec", name, _CODECS)
        if name == "pickle" and signing_key is None:
            raise ConfigurationError("codec='pickle': expected a signing_key as well")
        if signing_key is not None and not isinstance(signing_key, bytes):
            raise TypeError(f"signing_key: expected bytes, not {type(signing_key).__name__}")
        if signing_key is not None and len(signing_key) < _SHORTEST_KEY:
            raise ConfigurationError(
                f"signing_key of {len(signing_key)} bytes: expected {_SHORTEST_KEY} or more"
            )
        self._letter, self._write, self._read = _CODECS[name]
        self._name = name
        self._namespace = namespace.encode()
        self._signing_key = signing_key
        self._max_value_bytes = max_value_bytes
        self._compress_above = compress_above

    def encode(self, key: bytes, value: Any) -> bytes:
        """The bytes to store under *key*.

        Raises:
            SerializationError: the codec cannot carry *value*, or it is too large.
        """
        try:
            body = self._write(value)
        except Exception as error:
            raise SerializationError(f"{self._name} cannot carry this value: {error}") from error
        if len(body) > self._max_value_bytes:
            raise SerializationError(
                f"a value of {len(body)} bytes: max_value_bytes={self._max_value_bytes} is the most allowed"
            )
        flags = 0
        if self._compress_above is not None and len(body) > self._compress_above:
            packed = zlib.compress(body, 1)
            if len(packed) < len(body):
                body, flags = packed, _COMPRESSED
        header = bytes((_MARK, _VERSION, self._letter, flags))
        return header + self._sign(key, header, body) + body

    def decode(self, key: bytes, data: bytes) -> Any:
        """The value that :meth:`encode` was given.

        Raises:
            UnreadableValue: *data* is not what :meth:`encode` makes for *key*.
        """
        try:
            return self._decode(key, data)
        except UnreadableValue:
            raise
        except Exception as error:  # hostile bytes may fail a reader in any way
            raise UnreadableValue(str(error)) from error

    def _decode(self, key: bytes, data: bytes) -> Any:
        if len(data) < _HEADER or len(data) > self._max_value_bytes + _HEADER + _SIGNATURE:
            raise UnreadableValue("of a size that no value has")
        header = data[:_HEADER]
        if header[:3] != bytes((_MARK, _VERSION, self._letter)) or header[3] not in (0, _COMPRESSED):
            raise UnreadableValue("of another codec or version")
        body = data[_HEADER:]
        if self._signing_key is not None:
            signature, body = body[:_SIGNATURE], body[_SIGNATURE:]
            if not hmac.compare_digest(signature, self._sign(key, header, body)):
                raise UnreadableValue("not signed with this key")
        if header[3] == _COMPRESSED:
            unfolding = zlib.decompressobj()
            body = unfolding.decompress(body, self._max_value_bytes)
            if not unfolding.eof or unfolding.unused_data:
                raise UnreadableValue("compressed badly, or into more than max_value_bytes")
        return self._read(body)

    def _sign(self, key: bytes, header: bytes, body: bytes) -> bytes:
        if self._signing_key is None:
            return b""
        signature = hmac.new(self._signing_key, digestmod=hashlib.sha256)
        for part in (self._namespace, key, header + body):
            signature.update(len(part).to_bytes(8, "big"))
            signature.update(part)
        return signature.digest()

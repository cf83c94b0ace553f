"""Values and keys on their way to Redis: what comes back, and what is refused."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import enum
import os
import pickle
import uuid
import zlib
from collections import namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_performance import ConfigurationError, SerializationError
from mcp_performance.tiers._codecs import UnreadableValue, ValueCodec
from mcp_performance.tiers._keys import encode_key, spell

SECRET = b"0123456789abcdef"


def codec(name: str = "msgpack", **options: Any) -> ValueCodec:
    settings = {
        "namespace": "test",
        "signing_key": SECRET if name == "pickle" else None,
        "max_value_bytes": 1 << 20,
        "compress_above": 1 << 14,
    }
    return ValueCodec(name, **{**settings, **options})


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner)
    ),
    max_leaves=20,
)


@given(plain)
def test_msgpack_gives_back_what_it_took(value: Any) -> None:
    back = codec().decode(b"k", codec().encode(b"k", value))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        (1, (2, [3, (4,)])),
        {1, 2},
        frozenset({"a"}),
        dt.datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=dt.UTC, fold=1),
        dt.date(2026, 2, 3),
        dt.time(1, 2, 3, 4),
        dt.timedelta(days=-1, microseconds=5),
        decimal.Decimal("1.10"),
        uuid.UUID(int=7),
        -(1 << 200),
        1 - 2j,
        {(1, 2): "tuple key"},
        bytearray(b"a"),
        [b"a", bytearray(b"b" * 300), {"in": (bytearray(b""), [bytearray(b"c" * 70_000)])}],
    ],
)
def test_msgpack_carries_the_usual_types_as_they_are(value: Any) -> None:
    back = codec().decode(b"k", codec().encode(b"k", value))
    assert back == value
    assert type(back) is type(value)
    assert str(back) == str(value)


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("msgpack", object()),
        ("msgpack", Point(1, 2)),
        ("msgpack", deep(100_000)),
        ("msgpack", "\ud800"),
        ("msgpack", lambda: None),
        ("msgpack", memoryview(b"a")),
        ("msgpack", {"in": [(memoryview(b"a"),)]}),
        ("msgpack", {memoryview(b"a"): 1}),
        ("msgpack", b"x" * (1 << 21)),
        ("json", (1, 2)),
        ("json", {1: 2}),
        ("json", b"bytes"),
        ("json", deep(100_000)),
        ("pickle", lambda: None),
    ],
)
def test_what_a_codec_cannot_carry_is_a_serialization_error(name: str, value: Any) -> None:
    with pytest.raises(SerializationError):
        codec(name).encode(b"k", value)


@pytest.mark.parametrize("name", ["msgpack", "json", "pickle"])
def test_no_part_of_a_value_and_no_changed_byte_is_taken_for_a_value(name: str) -> None:
    known = {"name": "value", "numbers": [1, 2, 3]}
    data = codec(name).encode(b"k", known)
    assert codec(name).decode(b"k", data) == known
    for cut in range(len(data)):
        with pytest.raises(UnreadableValue):
            codec(name).decode(b"k", data[:cut])
    for at in range(4):  # mark, version, codec, flags
        changed = bytearray(data)
        changed[at] ^= 0x55
        with pytest.raises(UnreadableValue):
            codec(name).decode(b"k", bytes(changed))


@given(st.binary(max_size=200))
def test_hostile_bytes_are_unreadable_and_nothing_else(data: bytes) -> None:
    for name, letter in (("msgpack", b"m"), ("json", b"j"), ("pickle", b"p")):
        for candidate in (data, b"\xc1\x01" + letter + b"\0" + data, b"\xc1\x01" + letter + b"\1" + data):
            # A few bytes may well be a number in msgpack or JSON; no signature comes by chance.
            expected = pytest.raises if name == "pickle" else contextlib.suppress
            with expected(UnreadableValue):
                codec(name).decode(b"k", candidate)


def test_a_bomb_is_never_unpickled() -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os._exit, (3,)

    body = pickle.dumps(Bomb())
    for forged in (bytes(32), SECRET + SECRET):
        with pytest.raises(UnreadableValue):
            codec("pickle").decode(b"k", b"\xc1\x01p\0" + forged + body)


@pytest.mark.parametrize(
    "other",
    [
        ("other key", {}),
        ("k", {"namespace": "elsewhere"}),
        ("k", {"signing_key": b"another key of 16"}),
    ],
)
def test_a_signature_holds_for_one_key_namespace_and_secret(other: tuple[str, dict[str, Any]]) -> None:
    key, options = other
    data = codec("pickle").encode(b"k", 1)
    with pytest.raises(UnreadableValue):
        codec("pickle", **options).decode(key.encode(), data)


def test_signed_msgpack_refuses_what_it_did_not_sign() -> None:
    data = codec(signing_key=SECRET).encode(b"k", [1])
    assert codec(signing_key=SECRET).decode(b"k", data) == [1]
    with pytest.raises(UnreadableValue):
        codec(signing_key=SECRET).decode(b"k", data[:-1] + b"\x02")


def test_large_values_are_compressed_and_unfold_within_the_bound() -> None:
    value = "x" * 100_000
    data = codec().encode(b"k", value)
    assert len(data) < 1000
    assert codec().decode(b"k", data) == value
    bomb = b"\xc1\x01m\1" + zlib.compress(b"\xc6" + (1 << 26).to_bytes(4, "big") + bytes(1 << 26))
    with pytest.raises(UnreadableValue):
        codec().decode(b"k", bomb)


@pytest.mark.parametrize(
    "options", [{"name": "yaml"}, {"name": "pickle", "signing_key": None}, {"signing_key": b"short"}]
)
def test_a_bad_codec_is_a_configuration_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        codec(**options)


class Colour(enum.Enum):
    RED = 1


HOSTILE_KEYS: list[Any] = [
    *(
        ("f", value)
        for value in (1, 1.0, True, "1", b"1", None, (1,), (), -1, 1 << 70, float("inf"), 1j, int)
    ),
    *(("f", value) for value in ("a:b", "a\r\nb", "a\0b", "\ud800", "s1:a", Colour.RED, frozenset({1}))),
    *(
        ("f", value)
        for value in (decimal.Decimal(1), uuid.UUID(int=1), dt.date(1, 1, 1), dt.datetime(1, 1, 1))
    ),
    *(("f", "x" * (1 << 20) + end) for end in ("", "y")),
    ("f",),
    ("f", "a", "b"),
    ("f", ("a", "b")),
    ("f", "a", ""),
    ("fa", ""),
]


def test_different_keys_have_different_names() -> None:
    names = {spell("mcp", "", encode_key(key)) for key in HOSTILE_KEYS}
    assert len(names) == len(HOSTILE_KEYS)
    assert max(map(len, names)) < 300


def test_a_name_does_not_depend_on_the_process() -> None:
    assert spell("mcp", "", encode_key(("f", 255, "é"))) == b"mcp:1:t14:s1:fi2:ffs2:\xc3\xa9"
    assert encode_key(frozenset({1, 2, 3})) == encode_key(frozenset({3, 2, 1}))
    assert encode_key(-0.0) == encode_key(0.0)


def test_an_argument_without_a_common_spelling_is_refused() -> None:
    with pytest.raises(SerializationError, match="object"):
        encode_key(("f", object()))

"""What is spelled, written and read natively is as Python spells, writes and reads it, to the byte."""

from __future__ import annotations

import datetime
import enum
import math
import random
from typing import Any

import pytest

from mcp_performance import _core
from mcp_performance.tiers._codecs import ValueCodec
from mcp_performance.tiers._keys import encode_equal, spell
from mcp_performance.tiers._records import head_of

PATIENT = 20.0
LARGEST = 1 << 20


def codec(*, compress_above: int | None = 16 << 10, is_plain: bool = True) -> _core.PlainCodec:
    return _core.PlainCodec(b"mcp:1:", is_plain, LARGEST, compress_above)


def in_python(value: Any, compress_above: int | None = 16 << 10) -> bytes:
    writer = ValueCodec(
        "msgpack", namespace="mcp", signing_key=None, max_value_bytes=LARGEST, compress_above=compress_above
    )
    return writer.encode(b"", value)


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    __slots__ = ()


PLAIN: list[Any] = [
    None,
    True,
    False,
    *(
        sign * (2**bits + step)
        for bits in (0, 4, 5, 7, 8, 15, 16, 31, 32, 62)
        for step in (-1, 0, 1)
        for sign in (1, -1)
    ),
    2**63 - 1,
    -(2**63),
    0.0,
    -0.0,
    1.5,
    math.inf,
    -math.inf,
    *("ä" * size for size in (0, 1, 15, 16, 127, 128, 200, 32767, 32768)),
    *(b"\xff" * size for size in (0, 1, 255, 256, 65535, 65536)),
    "\U0001f600 and \0",
]
OTHERS: list[Any] = [
    2**63,
    -(2**63) - 1,
    "\ud800",
    [1],
    {"a": 1},
    (1,),
    Level.LOW,
    Text("a"),
    bytearray(b"a"),
    datetime.date(2020, 1, 1),
]


@pytest.mark.parametrize("compress_above", [None, 100])
def test_values_are_written_and_read_as_by_the_codec(compress_above: int | None) -> None:
    native = codec(compress_above=compress_above)
    for value in PLAIN:
        (written,) = native.write_each([value])
        expected = in_python(value, compress_above)
        is_large = (compress_above is not None and len(expected) > 104) or (
            isinstance(value, (str, bytes)) and len(value) > 104
        )
        assert written == expected or (is_large and written is None), value
        found = native.read(b"\xc1V" + b"1" * 16 + head_of(()) + expected)
        assert found == (value,) or (is_large and found is None), value
        if found is not None:
            assert type(found[0]) is type(value)
            assert repr(found[0]) == repr(value)


def test_what_is_not_plain_is_left_to_python() -> None:
    native = codec()
    for value in OTHERS:
        assert native.write_each([value]) == [None]
    assert codec(is_plain=False).write_each(PLAIN) == [None] * len(PLAIN)
    for value in OTHERS[3:6] + OTHERS[9:]:
        assert native.read(b"\xc1V" + b"1" * 16 + head_of(()) + in_python(value)) is None
    record = b"\xc1V" + b"1" * 16 + head_of(()) + in_python("value")
    assert codec(is_plain=False).read(record) is None
    assert native.read(b"\xc1V" + b"1" * 16 + head_of((b"tag",)) + in_python("value")) is None
    assert native.write_each(["x" * (LARGEST + 1)]) == [None]


def test_hostile_bytes_are_left_to_python_or_read_as_it_reads_them() -> None:
    native = codec(compress_above=None)
    reader = ValueCodec(
        "msgpack", namespace="mcp", signing_key=None, max_value_bytes=LARGEST, compress_above=None
    )
    rng = random.Random(7)
    head = b"\xc1V" + b"1" * 16 + head_of(())
    for value in PLAIN[:80]:
        data = in_python(value, None)
        for _ in range(40):
            broken = bytearray(data)
            for _ in range(rng.randrange(3)):
                broken[rng.randrange(len(broken))] = rng.randrange(256)
            broken = broken[: rng.randrange(len(broken) + 1)] if rng.random() < 0.3 else broken
            found = native.read(head + bytes(broken))
            if found is not None:
                assert repr(reader.decode(b"", bytes(broken))) == repr(found[0])


KEYS: list[Any] = [
    *(key for key in PLAIN if not isinstance(key, float)),
    ("f", 1, "a", b"b", None, True),
    ("f", (1, (2, ()))),
    (),
    "k" * 250,
    "k" * 256,
]


def test_keys_are_spelled_as_in_python() -> None:
    native = codec()
    assert native.spell_each(KEYS) == [native.spell(key) for key in KEYS]
    for key in KEYS:
        spelled, expected = native.spell(key), spell("mcp", "", encode_equal(key))
        assert spelled == expected or (spelled is None and b"#" in expected), key
    others: list[Any] = [1.0, 1.5, Level.LOW, Text("a"), frozenset((1,)), "\ud800", 2**64, ("f", 1.0)]
    for key in others:
        assert native.spell(key) is None, key
    deep: Any = ()
    for _ in range(100_000):
        deep = (deep,)
    assert native.spell(deep) is None

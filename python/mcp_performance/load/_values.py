"""Values of answers: where they are, what they should be, and the names under which users keep them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from .._base._checks import integer
from ..errors import ConfigurationError

__all__ = ["NativeSource", "Variables", "native_checks", "native_value", "source", "statuses"]

NativeSource: TypeAlias = tuple[str, str, tuple[str, ...]]
NativeValue: TypeAlias = tuple[str, str]

_MOST_VARIABLES = 10_000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXPECTED = "expected json:PATH, header:NAME or regex:PATTERN"


def source(option: str, text: str) -> NativeSource:
    """What *text*, of the argument *option*, asks for, as the native core takes it.

    ``json:user.items.0.id`` and ``json:/user/items/0/id`` (a JSON pointer) are the same place.
    """
    if not isinstance(text, str):
        raise TypeError(f"{option}={text!r}: expected a str")
    kind, colon, rest = text.partition(":")
    if not colon or not rest or kind not in ("json", "header", "regex"):
        raise ConfigurationError(f"{option}={text!r}: {_EXPECTED}")
    if kind != "json":
        return (text, kind, (rest,))
    if rest.startswith("/"):
        path = [step.replace("~1", "/").replace("~0", "~") for step in rest[1:].split("/")]
    else:
        path = rest.split(".")
    return (text, kind, tuple(path))


def statuses(expected: int | tuple[int, int] | None) -> tuple[int, int]:
    """The lowest and the highest status of a success."""
    if expected is None:
        return 100, 399
    pair = expected if isinstance(expected, tuple) else (expected, expected)
    if len(pair) != 2:
        raise ConfigurationError(f"expect_status={expected!r}: expected a status or a pair of them")
    low, high = (integer("expect_status", status, 100, 599) for status in pair)
    if low > high:
        raise ConfigurationError(f"expect_status={expected!r}: expected the lower one first")
    return low, high


def native_value(value: Any) -> NativeValue:
    """*value* as text and, unless it is a string, as JSON."""
    if isinstance(value, str):
        return (value, "")
    text = json.dumps(value, separators=(",", ":"))
    return (text, text)


def native_checks(checks: Mapping[str, Any]) -> tuple[tuple[NativeSource, NativeValue | None], ...]:
    """*checks*, from places to the values that are expected there; ``...`` for any."""
    found: list[tuple[NativeSource, NativeValue | None]] = []
    for text, expected in checks.items():
        place = source("check", text)
        if expected is ...:
            found.append((place, None))
        elif place[1] != "json":
            found.append((place, (str(expected), "")))
        else:
            try:
                found.append((place, native_value(expected)))
            except TypeError as error:
                raise TypeError(f"check[{text!r}]={expected!r}: {error}") from None
    return tuple(found)


class Variables:
    """The names under which users keep values, numbered in the order in which they were met.

    Args:
        names: that are known.
        any_name: whether others become known where they are asked for, because a set-up may give them.
    """

    def __init__(self, names: Iterable[str] = (), *, any_name: bool = False) -> None:
        self._numbers: dict[str, int] = {}
        self._any = any_name
        for name in names:
            self.number(name)

    @property
    def names(self) -> list[str]:
        return list(self._numbers)

    def number(self, name: str) -> int:
        """The number of *name*, which is known from here on."""
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise ConfigurationError(f"save={name!r}: expected names made of letters, digits and _")
        if len(self._numbers) >= _MOST_VARIABLES:
            raise ConfigurationError(f"save={name!r}: expected at most {_MOST_VARIABLES} names")
        return self._numbers.setdefault(name, len(self._numbers))

    def marker(self, name: str, encoding: str, *, needed: bool = False) -> str | None:
        """What stands for the value of *name* in a message (cpp/loadtest/message_template.h), if there is
        one. *needed*: nothing else can be meant."""
        if name not in self._numbers and not (needed and self._any):
            return None
        return f"\x01v{self.number(name):04}{encoding}\x01"

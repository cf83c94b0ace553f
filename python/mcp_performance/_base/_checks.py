"""What an option may be: the one place that decides, and says so, for every public function.

A value of the wrong type is a ``TypeError``, a wrong value of the right type a ``ConfigurationError``
(a ``ValueError``); both name the option and the value. ``True`` is no number and 1 is no flag. Each check
returns the value, so that it stands where the value is used.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from ..errors import ConfigurationError
from ._async_functions import returns_value

__all__ = [
    "MAX_DURATION",
    "any_function",
    "choice",
    "content",
    "file_name",
    "flag",
    "function",
    "instance",
    "integer",
    "mapping",
    "number",
    "optional_text",
    "request_timeout",
    "several",
    "text",
    "texts",
]

MAX_DURATION = 86_400.0
"""The longest that a request or a load test may take, seconds."""

_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")


def integer(name: str, value: Any, low: int = 0, high: int = 2**63 - 1) -> int:
    """*value* if it is a whole number from *low* to *high*."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r}: expected a whole number")
    if not low <= value <= high:
        span = f"{low} or more" if high >= 2**62 else f"from {low} to {high}"
        raise ConfigurationError(f"{name}={value!r}: expected a whole number {span}")
    return value


def number(
    name: str,
    value: Any,
    low: float = 0.0,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
    unit: str = "",
) -> float:
    """*value* if it is a number from *low* (or *above* it) to *high* (or *below* it).

    Infinity is one where *high* is; what is not a number never is.
    """
    of = f" of {unit}" if unit else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}={value!r}: expected a number{of}")
    inside = (low < value if above else low <= value) and (value < high if below else value <= high)
    if value != value or not inside:  # math.isnan() takes no whole number beyond any float
        if high == math.inf:
            span = f"above {low:g}" if above else f"{low:g} or more"
        else:
            span = f"{'above' if above else 'from'} {low:g} {'and below' if below else 'to'} {high:g}"
        raise ConfigurationError(f"{name}={value!r}: expected a number{of} {span}")
    try:
        return float(value)
    except OverflowError:  # a whole number beyond any float, where infinity is allowed
        return math.inf


def file_name(name: str, value: Any) -> str:
    """*value* if it is the name of a file, or a ``file:`` URI, that C takes whole.

    C ends a name at a NUL, SQLite a URI at ``%00``: another file would be opened.
    """
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise TypeError(f"{name}={value!r}: expected the name of a file")
    if not path:
        raise ConfigurationError(f"{name}={value!r}: expected the name of a file")
    cut = path.find("\0")
    if cut < 0 and path.startswith("file:"):
        cut = path.find("%00")
    if cut >= 0:
        raise ConfigurationError(f"{name}={value!r}: expected a name without the NUL at position {cut}")
    _refuse_surrogates(name, path)
    return path


def _refuse_surrogates(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"{name}={value!r}: expected UTF-8, without the surrogate at position {error.start}"
        ) from None


def content(name: str, value: Any) -> bytes:
    """*value* as bytes if it is such, or text that UTF-8 can carry; ``None`` is empty."""
    if value is None or isinstance(value, bytes):
        return value or b""
    return text(name, value, "bytes, text or None", fits=lambda _: True).encode()


def flag(name: str, value: Any) -> bool:
    """*value* if it is ``True`` or ``False``."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: expected True or False")
    return value


def text(
    name: str, value: Any, expected: str = "text, not empty", *, fits: Callable[[str], bool] = bool
) -> str:
    """*value* if it is a ``str`` that *fits* and UTF-8 can carry; *expected* says what would."""
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r}: expected {expected}")
    _refuse_surrogates(name, value)
    if not fits(value):
        raise ConfigurationError(f"{name}={value!r}: expected {expected}")
    return value


def optional_text(name: str, value: Any) -> str | None:
    """*value* if it is a ``str`` or ``None``."""
    return None if value is None else text(name, value, "text or None", fits=lambda _: True)


def several(name: str, value: Iterable[_T], expected: str = "several values") -> Iterable[_T]:
    """*value* if it can be walked through and is no text; *expected* says of what."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise TypeError(f"{name}={value!r}: expected {expected}")
    return value


def texts(name: str, value: Any) -> list[str]:
    """*value* as a list if it is an iterable of ``str`` and not one ``str``."""
    found = list(several(name, value, "a list of texts"))
    for item in found:
        if not isinstance(item, str):
            raise TypeError(f"{name}={found!r}: expected a list of texts, not {item!r}")
    return found


def mapping(name: str, value: Any, expected: str = "a mapping", *, none: bool = True) -> Mapping[Any, Any]:
    """*value* if it is a mapping; an empty one for ``None``, if *none* is one."""
    if value is None and none:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}={value!r}: expected {expected}")
    return value


def instance(name: str, value: Any, kind: type[_T], expected: str) -> _T:
    """*value* if it is a *kind*; *expected* says what that is."""
    if not isinstance(value, kind):
        raise TypeError(f"{name}={value!r}: expected {expected}")
    return value


def choice(name: str, value: Any, choices: Collection[str]) -> str:
    """*value* if it is one of *choices*."""
    expected = "one of " + ", ".join(map(repr, choices))
    return text(name, value, expected, fits=lambda one: one in choices)


def function(name: str, value: _F, *, makes_many: bool = False) -> _F:
    """*value* if it can be called, and its calls need not be awaited.

    Args:
        makes_many: what it returns is iterated, so that it may be a generator function.
    """
    if not callable(value):
        raise TypeError(f"{name}={value!r}: expected a function")
    if not returns_value(value, makes_many=makes_many):
        raise TypeError(f"{name}={value!r}: must return its value, not an awaitable or a generator")
    return value


def any_function(name: str, value: _F, expected: str = "a function") -> _F:
    """*value* if it can be called, async or not."""
    if not callable(value):
        raise TypeError(f"{name}={value!r}: expected {expected}")
    return value


def request_timeout(value: Any) -> float:
    """The seconds that a request may take; a day where *value* is ``None``."""
    return (
        MAX_DURATION
        if value is None
        else number("timeout", value, 0, MAX_DURATION, above=True, unit="seconds")
    )

"""Python types that SQLite has none for: how they are stored, and how they come back."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Literal

from .._base._checks import texts
from ..errors import ConfigurationError

__all__ = ["AdapterName", "chosen_adapters"]

AdapterName = Literal["bool", "date", "datetime", "decimal", "decimal_text", "json", "uuid"]

_KEPT_DIGITS = 15  # of a text that SQLite converts to a float
_LOWEST, _HIGHEST = -290, 300  # exponents for which that holds
_FLOATS_THAT_TURN_INTEGER = (2**53, 2**63)  # and may not be the integer that was meant


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _short_decimal(value: decimal.Decimal) -> str:
    """A text that columns of every affinity keep the digits of."""
    if not value.is_finite() or not value:
        return str(value)
    digits = len("".join(map(str, value.as_tuple().digits)).strip("0"))
    if digits > _KEPT_DIGITS or not _LOWEST <= value.adjusted() <= _HIGHEST:
        raise ValueError(
            f"{value!s:.40} has more than {_KEPT_DIGITS} digits, or an exponent outside of {_LOWEST} to "
            f"{_HIGHEST}: a column of NUMERIC, INTEGER or REAL affinity would lose some; use the adapter "
            "'decimal_text' and a column of the type DECIMAL_TEXT"
        )
    low, high = _FLOATS_THAT_TURN_INTEGER
    if low <= abs(value) < high:
        return format(value.to_integral_value(), "f")
    return str(value)


def _short_decimal_from(value: Any) -> decimal.Decimal:
    # A float holds 15 decimal digits, as SQLite's own conversion to a text says them.
    return _parsed(format(value, f".{_KEPT_DIGITS}g") if isinstance(value, float) else value)


def _parsed(value: Any) -> decimal.Decimal:
    try:
        return decimal.Decimal(value if isinstance(value, str) else str(value))
    except decimal.InvalidOperation:
        raise ValueError(f"{value!r:.80} is no decimal number") from None


def _decimal_from(value: Any) -> decimal.Decimal:
    if not isinstance(value, str):
        raise ValueError(
            f"{value!r} comes from a DECIMAL or NUMERIC column that keeps numbers, and may have lost digits: "
            "the adapter 'decimal_text' expects columns of the type DECIMAL_TEXT"
        )
    return _parsed(value)


# What comes out is what SQLite keeps: BOOL, DATE, JSON and UUID have NUMERIC affinity, so a text that
# looks like a number is one. What cannot be told is refused: bool("false") is true.


def _bool_from(value: Any) -> bool:
    if isinstance(value, int | float):
        return bool(value)
    known = {"true": True, "false": False}
    if not isinstance(value, str) or value.lower() not in known:
        raise ValueError(f"{value!r:.80} is neither a number nor 'true' nor 'false'")
    return known[value.lower()]


def _iso_from(kind: type[datetime.date]) -> Callable[[Any], datetime.date]:
    def convert(value: Any) -> datetime.date:
        if not isinstance(value, str):
            raise ValueError(f"{value!r:.80} is no text in ISO 8601")
        return kind.fromisoformat(value)

    return convert


def _json_from(value: Any) -> Any:
    return value if isinstance(value, int | float) else json.loads(value)


def _uuid_from(value: Any) -> uuid.UUID:
    if isinstance(value, bytes) and len(value) == 16:
        return uuid.UUID(bytes=value)
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.80} is neither a text nor 16 bytes")
    return uuid.UUID(value)


# By name: what goes in, by type, and what comes out, by the first word of a column's declared type.
_KNOWN: dict[str, tuple[dict[type, Callable[[Any], Any]], dict[str, Callable[[Any], Any]]]] = {
    "bool": ({bool: int}, {"BOOL": _bool_from, "BOOLEAN": _bool_from}),
    "date": ({datetime.date: datetime.date.isoformat}, {"DATE": _iso_from(datetime.date)}),
    "datetime": (
        {datetime.datetime: lambda value: value.isoformat(" ")},
        {"DATETIME": _iso_from(datetime.datetime), "TIMESTAMP": _iso_from(datetime.datetime)},
    ),
    "decimal": (
        {decimal.Decimal: _short_decimal},
        {"DECIMAL": _short_decimal_from, "NUMERIC": _short_decimal_from},
    ),
    "decimal_text": (
        {decimal.Decimal: str},
        {"DECIMAL": _decimal_from, "NUMERIC": _decimal_from},
    ),
    "json": ({dict: _json, list: _json}, {"JSON": _json_from}),
    "uuid": ({uuid.UUID: str}, {"UUID": _uuid_from}),
}


def chosen_adapters(names: Iterable[str]) -> dict[str, Any]:
    """The settings of a pool for these adapters.

    Raises:
        ConfigurationError: a name that is not known, or two for one type.
    """
    adapters: dict[type, Callable[[Any], Any]] = {}
    converters: dict[str, Callable[[Any], Any]] = {}
    chosen = [names] if isinstance(names, str) else texts("adapters", names)
    for name in chosen:
        if name not in _KNOWN:
            raise ConfigurationError(f"adapters={name!r}: expected some of {', '.join(sorted(_KNOWN))}")
        inward, outward = _KNOWN[name]
        if chosen.count(name) == 1 and not adapters.keys().isdisjoint(inward):
            raise ConfigurationError(f"adapters={chosen!r}: expected one of decimal and decimal_text")
        adapters.update(inward)
        converters.update(outward)
    return {
        "adapters": adapters or None,
        "converters": converters or None,
        "keeps_results": "json" not in chosen,
    }

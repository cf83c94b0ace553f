"""Python types that SQLite has none for: how they are stored, and how they come back."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Literal

from .._base._checks import texts
from ..errors import ConfigurationError, QueryError

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
    return decimal.Decimal(format(value, f".{_KEPT_DIGITS}g") if isinstance(value, float) else str(value))


def _decimal_from(value: Any) -> decimal.Decimal:
    if not isinstance(value, str):
        raise QueryError(
            f"{value!r} comes from a DECIMAL or NUMERIC column that keeps numbers, and may have lost digits: "
            "the adapter 'decimal_text' expects columns of the type DECIMAL_TEXT"
        )
    return decimal.Decimal(value)


# By name: what goes in, by type, and what comes out, by the first word of a column's declared type.
_KNOWN: dict[str, tuple[dict[type, Callable[[Any], Any]], dict[str, Callable[[Any], Any]]]] = {
    "bool": ({bool: int}, {"BOOL": bool, "BOOLEAN": bool}),
    "date": ({datetime.date: datetime.date.isoformat}, {"DATE": datetime.date.fromisoformat}),
    "datetime": (
        {datetime.datetime: lambda value: value.isoformat(" ")},
        {"DATETIME": datetime.datetime.fromisoformat, "TIMESTAMP": datetime.datetime.fromisoformat},
    ),
    "decimal": (
        {decimal.Decimal: _short_decimal},
        {"DECIMAL": _short_decimal_from, "NUMERIC": _short_decimal_from},
    ),
    "decimal_text": (
        {decimal.Decimal: str},
        {"DECIMAL": _decimal_from, "NUMERIC": _decimal_from},
    ),
    "json": ({dict: _json, list: _json}, {"JSON": json.loads}),
    "uuid": ({uuid.UUID: str}, {"UUID": uuid.UUID}),
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

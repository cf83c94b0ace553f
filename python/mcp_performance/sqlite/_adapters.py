"""Python types that SQLite has none for: how they are stored, and how they come back."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Literal

from ..errors import ConfigurationError

__all__ = ["AdapterName", "chosen_adapters"]

AdapterName = Literal["bool", "date", "datetime", "decimal", "json", "uuid"]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# By name: what goes in, by type, and what comes out, by the first word of a column's declared type.
_KNOWN: dict[str, tuple[dict[type, Callable[[Any], Any]], dict[str, Callable[[Any], Any]]]] = {
    "bool": ({bool: int}, {"BOOL": bool, "BOOLEAN": bool}),
    "date": ({datetime.date: datetime.date.isoformat}, {"DATE": datetime.date.fromisoformat}),
    "datetime": (
        {datetime.datetime: lambda value: value.isoformat(" ")},
        {"DATETIME": datetime.datetime.fromisoformat, "TIMESTAMP": datetime.datetime.fromisoformat},
    ),
    "decimal": (
        {decimal.Decimal: str},
        {
            "DECIMAL": lambda value: decimal.Decimal(str(value)),
            "NUMERIC": lambda value: decimal.Decimal(str(value)),
        },
    ),
    "json": ({dict: _json, list: _json}, {"JSON": json.loads}),
    "uuid": ({uuid.UUID: str}, {"UUID": uuid.UUID}),
}


def chosen_adapters(names: Iterable[str]) -> dict[str, Any]:
    """The settings of a pool for these adapters.

    Raises:
        ConfigurationError: a name that is not known.
    """
    adapters: dict[type, Callable[[Any], Any]] = {}
    converters: dict[str, Callable[[Any], Any]] = {}
    chosen = [names] if isinstance(names, str) else list(names)
    for name in chosen:
        if name not in _KNOWN:
            raise ConfigurationError(f"adapters={name!r}: expected some of {', '.join(sorted(_KNOWN))}")
        inward, outward = _KNOWN[name]
        adapters.update(inward)
        converters.update(outward)
    return {
        "adapters": adapters or None,
        "converters": converters or None,
        "keeps_results": "json" not in chosen,
    }

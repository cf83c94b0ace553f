"""Rows that answer by column name too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, ClassVar

__all__ = ["NamedRow", "row_class"]


class NamedRow(tuple[Any, ...]):
    """A tuple whose items can be had by position and by column name: ``row[0]``, ``row["id"]``.

    It compares, hashes and unpacks as the plain tuple. Where two columns share a name, the name means
    the first. Names are compared as SQLite returns them, case included.
    """

    __slots__ = ()

    _names: ClassVar[tuple[str, ...]] = ()
    _positions: ClassVar[dict[str, int]] = {}

    def __getitem__(self, key: Any) -> Any:
        """The item at a position, a slice of plain items, or the item of the column *key*."""
        if isinstance(key, str):
            return tuple.__getitem__(self, self._positions[key])
        return tuple.__getitem__(self, key)

    def keys(self) -> tuple[str, ...]:
        """The column names, in order."""
        return self._names

    def items(self) -> Iterator[tuple[str, Any]]:
        """Pairs of column name and value, in order."""
        return zip(self._names, self, strict=True)

    def as_dict(self) -> dict[str, Any]:
        """A new dict of the row."""
        return dict(self.items())

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._names, tuple(self))

    def __repr__(self) -> str:
        return f"Row({', '.join(f'{name}={value!r}' for name, value in self.items())})"


@lru_cache(maxsize=512)
def row_class(names: tuple[str, ...]) -> type[NamedRow]:
    """The row class for a result with these columns."""
    positions: dict[str, int] = {}
    for position, name in enumerate(names):
        positions.setdefault(name, position)
    return type("Row", (NamedRow,), {"__slots__": (), "_names": names, "_positions": positions})


def _restore(names: tuple[str, ...], values: tuple[Any, ...]) -> NamedRow:
    return row_class(names)(values)


# Pickles of rows name this path, which stays.
_restore.__module__ = "mcp_performance.sqlite"

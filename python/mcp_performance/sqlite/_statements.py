"""The methods that run statements. They are native, and the same for both kinds; the types are in the stub.

The type of a row comes from the call's ``row_type``, or else from the pool's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from .. import _core

__all__ = ["AsyncStatements", "BlockingStatements", "Params", "Row", "RowTypeName"]

Row = TypeVar("Row")
Params: TypeAlias = Sequence[Any] | Mapping[str, Any]
RowTypeName: TypeAlias = Literal["tuple", "named", "dict"]


class AsyncStatements(_core.SQLiteEndpoint, Generic[Row]):
    """What runs statements and gives their results to await."""

    def stream(
        self, sql: str, params: Params = (), *, row_type: RowTypeName | None = None
    ) -> AsyncGenerator[Any, None]:
        """The rows of *sql*, read in portions of about 64 KiB as they are consumed, from one snapshot.

        A reader is taken until the end, or the connection's own. To leave early, close the iterator
        (``contextlib.aclosing``).

        Raises:
            QueryError: SQLite refused *sql*, or it writes.
        """
        return self._stream(sql, params, row_type)

    def _stream(self, sql: str, params: Params, row_type: RowTypeName | None) -> AsyncGenerator[Any, None]:
        raise NotImplementedError


class BlockingStatements(_core.SQLiteEndpoint, Generic[Row]):
    """What runs statements and gives their results at once."""

    def stream(
        self, sql: str, params: Params = (), *, row_type: RowTypeName | None = None
    ) -> Generator[Any, None, None]:
        """The rows of *sql*, read in portions of about 64 KiB as they are consumed, from one snapshot.

        A reader is taken until the end, or the connection's own. To leave early, close the iterator
        (``contextlib.closing``).

        Raises:
            QueryError: SQLite refused *sql*, or it writes.
        """
        return self._stream(sql, params, row_type)

    def _stream(self, sql: str, params: Params, row_type: RowTypeName | None) -> Generator[Any, None, None]:
        raise NotImplementedError

"""What a type checker sees of the methods that run statements: they are native, and the same for both kinds.

The type of a row comes from the call's ``row_type``, or else from the pool's.
"""

from collections.abc import AsyncGenerator, Coroutine, Generator, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeAlias, overload

from typing_extensions import TypeVar

from .. import _core
from ._rows import NamedRow

__all__ = ["AsyncStatements", "BlockingStatements", "Params", "Row", "RowTypeName"]

Row = TypeVar("Row", default=Any)

Params: TypeAlias = Sequence[Any] | Mapping[str, Any]
RowTypeName: TypeAlias = Literal["tuple", "named", "dict"]

class AsyncStatements(_core.SQLiteEndpoint, Generic[Row]):
    """What runs statements and gives their results to await; rows are *Row* unless a call says otherwise."""

    @overload
    def fetch(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: None = None,
    ) -> Coroutine[Any, Any, list[Row]]: ...
    @overload
    def fetch(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: Literal["tuple"],
    ) -> Coroutine[Any, Any, list[tuple[Any, ...]]]: ...
    @overload
    def fetch(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: Literal["named"],
    ) -> Coroutine[Any, Any, list[NamedRow]]: ...
    @overload
    def fetch(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: Literal["dict"],
    ) -> Coroutine[Any, Any, list[dict[str, Any]]]: ...
    @overload
    def fetch(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: RowTypeName | None = None,
    ) -> Coroutine[Any, Any, list[Any]]: ...
    @overload
    def fetchrow(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: None = None,
    ) -> Coroutine[Any, Any, Row | None]: ...
    @overload
    def fetchrow(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: Literal["tuple"],
    ) -> Coroutine[Any, Any, tuple[Any, ...] | None]: ...
    @overload
    def fetchrow(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: Literal["named"],
    ) -> Coroutine[Any, Any, NamedRow | None]: ...
    @overload
    def fetchrow(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: Literal["dict"],
    ) -> Coroutine[Any, Any, dict[str, Any] | None]: ...
    @overload
    def fetchrow(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: RowTypeName | None = None,
    ) -> Coroutine[Any, Any, Any | None]: ...
    def fetchval(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: RowTypeName | None = None,
    ) -> Coroutine[Any, Any, Any]: ...
    def execute(
        self, sql: str, params: Params = (), *, timeout: float | None = None
    ) -> Coroutine[Any, Any, int]: ...
    def executemany(
        self, sql: str, params: Iterable[Params], *, timeout: float | None = None
    ) -> Coroutine[Any, Any, int]: ...
    @overload
    def stream(self, sql: str, params: Params = (), *, row_type: None = None) -> AsyncGenerator[Row]: ...
    @overload
    def stream(
        self, sql: str, params: Params = (), *, row_type: Literal["tuple"]
    ) -> AsyncGenerator[tuple[Any, ...]]: ...
    @overload
    def stream(
        self, sql: str, params: Params = (), *, row_type: Literal["named"]
    ) -> AsyncGenerator[NamedRow]: ...
    @overload
    def stream(
        self, sql: str, params: Params = (), *, row_type: Literal["dict"]
    ) -> AsyncGenerator[dict[str, Any]]: ...
    @overload
    def stream(
        self, sql: str, params: Params = (), *, row_type: RowTypeName | None = None
    ) -> AsyncGenerator[Any]: ...

class BlockingStatements(_core.SQLiteEndpoint, Generic[Row]):
    """What runs statements and gives their results at once; rows are *Row* unless a call says otherwise."""

    @overload
    def fetch(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: None = None,
    ) -> list[Row]: ...
    @overload
    def fetch(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: Literal["tuple"],
    ) -> list[tuple[Any, ...]]: ...
    @overload
    def fetch(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: Literal["named"],
    ) -> list[NamedRow]: ...
    @overload
    def fetch(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: Literal["dict"],
    ) -> list[dict[str, Any]]: ...
    @overload
    def fetch(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: RowTypeName | None = None,
    ) -> list[Any]: ...
    @overload
    def fetchrow(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: None = None,
    ) -> Row | None: ...
    @overload
    def fetchrow(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: Literal["tuple"],
    ) -> tuple[Any, ...] | None: ...
    @overload
    def fetchrow(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: Literal["named"],
    ) -> NamedRow | None: ...
    @overload
    def fetchrow(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: Literal["dict"],
    ) -> dict[str, Any] | None: ...
    @overload
    def fetchrow(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: RowTypeName | None = None,
    ) -> Any | None: ...
    def fetchval(
        self,
        sql: str,
        params: Params = (),
        *,
        timeout: float | None = None,
        cache: bool = True,
        row_type: RowTypeName | None = None,
    ) -> Any: ...
    def execute(self, sql: str, params: Params = (), *, timeout: float | None = None) -> int: ...
    def executemany(self, sql: str, params: Iterable[Params], *, timeout: float | None = None) -> int: ...
    @overload
    def stream(self, sql: str, params: Params = (), *, row_type: None = None) -> Generator[Row]: ...
    @overload
    def stream(
        self, sql: str, params: Params = (), *, row_type: Literal["tuple"]
    ) -> Generator[tuple[Any, ...]]: ...
    @overload
    def stream(self, sql: str, params: Params = (), *, row_type: Literal["named"]) -> Generator[NamedRow]: ...
    @overload
    def stream(
        self, sql: str, params: Params = (), *, row_type: Literal["dict"]
    ) -> Generator[dict[str, Any]]: ...
    @overload
    def stream(
        self, sql: str, params: Params = (), *, row_type: RowTypeName | None = None
    ) -> Generator[Any]: ...

"""``POST /analyze``: statements from outside, within limits."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from .._base._asgi import BodyTooLarge, Disconnected, Receive, Scope, read_body
from ..errors import ConfigurationError, DatabaseCorrupt, QueryError
from ..query import analyze_untrusted
from ._admission import Refusal

__all__ = ["Analyses"]

_MAX_BYTES = 64 << 10
_SECONDS = 5.0
_AT_ONCE = 2

# SQLite quotes the piece of the statement that it stumbled over; a literal stays with its sender.
_QUOTED_LITERAL = re.compile(r"(near |unrecognized token: )\"(?!\w+\").*", re.DOTALL)


def _statement(body: bytes) -> str:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(422, 'the body is not JSON: expected {"sql": "..."}') from None
    sql = given.get("sql") if isinstance(given, dict) else None
    if not isinstance(sql, str) or not sql.strip():
        raise Refusal(422, 'expected {"sql": "..."} with one statement')
    return sql


class Analyses:
    """At most two at once; the others are told to come back."""

    def __init__(self) -> None:
        self._running = 0

    async def answer(self, database: str | None, scope: Scope, receive: Receive) -> dict[str, Any]:
        """What the analyzer says of the statement in the request's body.

        Raises:
            Refusal: 404 without a database, 408 when the body takes its time, 413 above 64 KiB, 415 for
                anything but JSON, 422 for a statement that SQLite or the analyzer refuses, 429 while two
                others are analyzed, 503 for a database that cannot be read.
        """
        if database is None:
            raise Refusal(404, "the monitor has no database to explain statements against")
        content = dict(scope["headers"]).get(b"content-type", b"").partition(b";")[0].strip().lower()
        if content != b"application/json":
            raise Refusal(415, "expected content-type: application/json")
        if self._running >= _AT_ONCE:
            raise Refusal(429, "too many analyses at once", [(b"retry-after", b"1")])
        self._running += 1
        try:
            try:
                body = await asyncio.wait_for(read_body(scope, receive, _MAX_BYTES), _SECONDS)
            except TimeoutError:
                raise Refusal(408, "the body took too long") from None
            except BodyTooLarge:
                raise Refusal(413, f"a body of at most {_MAX_BYTES} bytes is taken") from None
            except Disconnected:
                raise Refusal(400, "the request ended early") from None
            return await _analyze(database, _statement(body))
        finally:
            self._running -= 1


async def _analyze(database: str, sql: str) -> dict[str, Any]:
    try:
        return await analyze_untrusted(database, sql, timeout=_SECONDS, max_bytes=_MAX_BYTES)
    except DatabaseCorrupt:
        raise Refusal(503, "the database cannot be read") from None
    except (QueryError, ConfigurationError, UnicodeEncodeError) as refused:
        raise Refusal(422, _QUOTED_LITERAL.sub(r"\1a literal", str(refused))) from None

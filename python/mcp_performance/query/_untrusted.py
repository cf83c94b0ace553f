"""Analysis of statements that nobody vouches for, in a process that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
from pathlib import Path
from typing import Any

from .. import _core
from .._base._checks import MAX_DURATION, file_name, integer, number
from ..errors import ConfigurationError, DatabaseCorrupt, QueryError
from ._report import report_from

__all__ = ["analyze_untrusted"]

_HELPER = Path(_core.__file__).with_name("mcp_analyze")
_MEMORY = 256 << 20
_INTERRUPTED = 9  # SQLITE_INTERRUPT
_MOST_BYTES = 1 << 20


def _encoded(sql: str, max_bytes: int) -> bytes:
    integer("max_bytes", max_bytes, 1, _MOST_BYTES)
    # A character is a byte at least: a long text is refused before it is encoded.
    size = len(sql) if isinstance(sql, str) else 0
    if size <= max_bytes:
        encoded = _core.checked_sql(sql).encode()
        size = len(encoded)
        if size <= max_bytes:
            return encoded
    raise ConfigurationError(f"sql of {size} characters or bytes: expected at most {max_bytes} bytes")


async def analyze_untrusted(
    database: str | os.PathLike[str],
    sql: str,
    *,
    timeout: float = 5.0,  # noqa: ASYNC109 - until the helper is killed
    max_bytes: int = 65536,
) -> dict[str, object]:
    """Analyze *sql* as :meth:`QueryAnalyzer.analyze` does, wherever it comes from.

    A helper process does the work, limited in CPU time and memory, over a read-only connection that lets
    nothing by but reading and changing ordinary tables; the statement is compiled, never run. Compiling a
    few hundred bytes can take SQLite many seconds, and nothing in the process can stop it: at the deadline
    the helper is killed. The database's bytes never change.

    Args:
        database: the file, or a ``file:`` URI.
        sql: one SELECT, INSERT, UPDATE or DELETE.
        timeout: seconds until the helper is killed.
        max_bytes: the longest statement taken, in bytes of UTF-8; at most 1 MiB.

    Returns:
        The fields of :class:`QueryReport`, ready for JSON.

    Raises:
        ConfigurationError: *sql* is too long, or an argument is bad; nothing was started.
        UnicodeEncodeError: *sql* holds a lone surrogate.
        QueryError: *sql* holds a NUL, or SQLite or the rules above refused it; ``.code`` is 9 (interrupted)
            when the time or the memory ran out.
        DatabaseCorrupt: the file is not a sound database.
    """
    number("timeout", timeout, 0, MAX_DURATION, above=True, unit="seconds")
    statement = _encoded(sql, max_bytes)
    helper = await asyncio.create_subprocess_exec(
        _HELPER,
        file_name("database", database),
        str(math.ceil(timeout)),
        str(_MEMORY),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
    )
    try:
        output, _ = await asyncio.wait_for(helper.communicate(statement), timeout)
    except TimeoutError:
        raise _error(f"the analysis took longer than {timeout:g} s and was stopped", _INTERRUPTED) from None
    finally:
        if helper.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                helper.kill()
            await helper.wait()
    if helper.returncode != 0:
        raise _error("the analysis ran out of its time or memory", _INTERRUPTED)
    answer: dict[str, Any] = json.loads(output)
    if "error" in answer:
        if answer["kind"] == "corrupt":
            raise DatabaseCorrupt(answer["error"])
        raise _error(answer["error"], answer["code"])
    return report_from(answer["report"], sql).to_dict()


def _error(message: str, code: int) -> QueryError:
    error = QueryError(message)
    error.code = code
    return error

"""Reads the URL of a Redis server."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import ConfigurationError

__all__ = ["RedisAddress", "masked", "parse_url"]

_MISSING_PART = {
    "rediss": "TLS to Redis is not supported by this build; use redis:// or unix://, or a local TLS proxy",
    "redis+sentinel": "Sentinel is not supported by this build; use redis:// with the master's address",
    "redis+cluster": "Redis Cluster is not supported by this build; use redis:// with a single server",
}
_EXPECTED = "redis://[[user]:password@]host[:port][/database] or unix://[[user]:password@]/path[?db=database]"
_LONGEST_PATH = 107
"""What a socket address holds, bytes."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where a server is, and who asks."""

    host: str
    port: int
    unix_path: str
    database: int
    username: str
    password: str = field(repr=False)

    def __str__(self) -> str:
        where = f"unix://{self.unix_path}" if self.unix_path else f"redis://{self.host}:{self.port}"
        return f"{where}/{self.database}" if not self.unix_path else f"{where}?db={self.database}"


def masked(url: str) -> str:
    """*url* without what stands in front of its last ``@``, which may be a password."""
    return re.sub(r"^([^/]*//)?.*@", lambda match: f"{match[1] or ''}***@", url, flags=re.DOTALL)


def parse_url(url: str) -> RedisAddress:
    """The parts of *url*.

    Raises:
        ConfigurationError: it is no such URL, or asks for what this build cannot do.
        TypeError: it is no str.
    """
    if not isinstance(url, str):
        raise TypeError(f"url={url!r}: expected {_EXPECTED}")
    scheme, separator, _ = url.partition("://")
    if separator and scheme in _MISSING_PART:
        raise ConfigurationError(f"url={masked(url)!r}: {_MISSING_PART[scheme]}")
    try:
        parts = urlsplit(url)
        port = 6379 if parts.port is None else parts.port
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        if scheme == "redis":
            database = _database(options.pop("db", parts.path[1:] or "0"))
            host, path = parts.hostname or "localhost", ""
            if "\0" in host:
                raise ValueError
        elif scheme == "unix":
            database = _database(options.pop("db", "0"))
            host, path = "", unquote(parts.path)
            if not path or "\0" in path or len(path.encode()) > _LONGEST_PATH:
                raise ValueError
        else:
            raise ValueError
        if options or port == 0:
            raise ValueError
    except ValueError:
        raise ConfigurationError(f"url={masked(url)!r}: expected {_EXPECTED}") from None
    return RedisAddress(
        host, port, path, database, unquote(parts.username or ""), unquote(parts.password or "")
    )


def _database(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5:
        raise ValueError
    return int(text)

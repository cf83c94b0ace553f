"""URLs as far as this package reads them: where a server listens, and what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from .._core import __version__
from ..errors import ConfigurationError
from ._checks import file_name, text

__all__ = ["PRODUCT", "HttpUrl"]

PRODUCT: str = f"mcp-performance/{__version__}"
"""How requests of this package name their sender."""


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """An ``http://``, ``https://`` or ``http+unix://`` URL in its parts."""

    tls: bool
    host: str
    port: int
    authority: str
    """The ``Host`` header."""
    unix_socket: str
    """The socket's path; empty for TCP."""
    path: str
    """Percent-encoded; may be empty."""
    query: str
    """Percent-encoded, without the question mark."""

    @classmethod
    def parse(cls, url: str, *, name: str, unix_socket: str | None = None) -> HttpUrl:
        """Read *url*, the argument *name* of the caller.

        Raises:
            ConfigurationError: it is no such URL, or holds credentials.
            TypeError: it is no text, or *unix_socket* is none.
        """
        text(name, url, "an http:// or https:// URL")
        if unix_socket:
            file_name("unix_socket", unix_socket)
        shown_url = "***" if "@" in url else url  # there may be a password in front
        try:
            parts = urlsplit(url)
        except ValueError as error:  # as half an IPv6 address
            reason = error if "@" not in url else "malformed"
            raise ConfigurationError(
                f"{name}={shown_url!r}: expected an http:// or https:// URL: {reason}"
            ) from None
        if parts.scheme not in ("http", "https", "http+unix"):
            raise ConfigurationError(f"{name}={shown_url!r}: expected an http:// or https:// URL")
        if parts.username or parts.password:
            raise ConfigurationError(f"{name}: expected no credentials in the URL; use headers=")
        socket, host = unix_socket or "", parts.hostname or ""
        if parts.scheme == "http+unix":
            socket, host = unquote(parts.netloc), "localhost"
        if not host:
            raise ConfigurationError(f"{name}={url!r}: expected a host")
        try:
            port = parts.port
        except ValueError:
            raise ConfigurationError(f"{name}={url!r}: expected a port from 1 to 65535") from None
        tls = parts.scheme == "https"
        shown = f"[{host}]" if ":" in host else host
        return cls(
            tls=tls,
            host=host,
            port=port if port is not None else 443 if tls else 80,
            authority=shown if port is None else f"{shown}:{port}",
            unix_socket=socket,
            path=quote(parts.path, safe="%/:@!$&'()*+,;=-._~"),
            query=quote(parts.query, safe="%/?:@!$&()*+,;=-._~"),
        )

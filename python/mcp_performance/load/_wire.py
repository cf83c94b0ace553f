"""Single requests over native connections from an event loop, each connection used by one user."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._base._headers import header_line
from .._base._url import HttpUrl
from .._core import Cookies, HttpLine, HttpOrigin, HttpReply
from ..errors import ConfigurationError, HttpError

__all__ = ["Origins", "UserReply", "Wire"]

_MOST_HOPS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_PORTS = 100


@dataclass(frozen=True, slots=True)
class UserReply:
    """What a server answered to a request of a virtual user."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Pairs in their order, names in lower case."""
    body: bytes
    elapsed: float
    """Seconds from sending the request to the last byte."""
    failure: str | None = None
    """Why the request counts as failed."""

    @property
    def ok(self) -> bool:
        """Whether the request counts as a success."""
        return self.failure is None

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON. Raises :class:`ValueError` if it is none."""
        return json.loads(self.body)

    def header(self, name: str, default: str | None = None) -> str | None:
        """The first header of that *name*."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key == wanted), default)


class Origins:
    """The servers that a tester's users talk to, each resolved once and checked to be allowed."""

    def __init__(
        self,
        *,
        base: str | None,
        headers: Mapping[str, str],
        verify: bool | str,
        unix_socket: str | None,
        allow_hosts: tuple[str, ...],
        max_body: int,
        follow_redirects: bool,
    ) -> None:
        self.base = None if base is None else HttpUrl.parse(base, name="target", unix_socket=unix_socket)
        self.headers = dict(headers)
        self.follow_redirects = follow_redirects
        self._verify = verify
        self._unix_socket = unix_socket
        self._allow_hosts = allow_hosts
        self._max_body = max_body
        self._known: dict[tuple[bool, str, str], HttpOrigin] = {}

    def split(self, url: str) -> tuple[HttpUrl, str]:
        """The server of *url* and the path and query to ask it for."""
        if url.startswith("/"):
            if self.base is None:
                raise ConfigurationError(f"path={url!r}: expected a whole URL, or a tester with url=")
            return self.base, self.base.path.rstrip("/") + url
        parsed = HttpUrl.parse(url, name="url", unix_socket=self._unix_socket)
        return parsed, (parsed.path or "/") + (f"?{parsed.query}" if parsed.query else "")

    async def origin(self, url: HttpUrl) -> HttpOrigin:
        """Raises :class:`TargetRefused` and :class:`LoadTestError`."""
        key = (url.tls, url.authority, url.unix_socket)
        if key not in self._known:
            # Resolving the name and reading certificates may block.
            self._known[key] = await asyncio.to_thread(self._make, url)
        return self._known[key]

    def _make(self, url: HttpUrl) -> HttpOrigin:
        return HttpOrigin(
            host=url.host,
            port=url.port,
            authority=url.authority,
            tls=url.tls,
            verify=self._verify is not False,
            ca_file=self._verify if isinstance(self._verify, str) else "",
            unix_socket=url.unix_socket,
            allow_hosts=list(self._allow_hosts),
            body_limit=self._max_body,
        )


class Wire:
    """One user's connections, one a server."""

    def __init__(self, origins: Origins, loop: asyncio.AbstractEventLoop) -> None:
        self._origins = origins
        self._loop = loop
        self._lines: dict[tuple[bool, str], tuple[HttpLine, HttpOrigin]] = {}
        self.line: HttpLine | None = None
        """That carried the last request."""
        self.was_up = False
        """Whether it was connected when the last request failed."""
        self.new = False
        """Whether it had to be connected for it, and never had been before."""

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, cookies: Cookies
    ) -> tuple[HttpReply, float]:
        """The reply, and when the request was sent (of the monotonic clock)."""
        server, target = self._origins.split(url)
        line, origin = await self._line(server)
        self.line = line
        fields = {name.lower(): (name, value) for name, value in self._origins.headers.items()}
        fields.update({name.lower(): (name, value) for name, value in headers.items()})
        began = time.monotonic()
        for hop in range(_MOST_HOPS + 1):
            lines = list(fields.values())
            if jar := cookies.header(target, server.tls):
                lines = [pair for pair in lines if pair[0].lower() != "cookie"]
                own = fields.get("cookie")
                lines.append(("Cookie", jar if own is None else f"{own[1]}; {jar}"))
            encoded = [header_line(name, value) for name, value in lines]
            reply = await self._exchange(line, method, target, encoded, body)
            cookies.take(reply.headers, target)
            if reply.status not in _REDIRECTS or not self._origins.follow_redirects:
                return reply, began
            place = next((value for name, value in reply.headers if name == "location"), "")
            if not place:
                return reply, began
            onward = origin.redirect(place, target)
            if onward is None:
                raise HttpError("off-host redirect refused")
            if hop == _MOST_HOPS:
                break
            target = onward
            if reply.status == 303 or (reply.status in (301, 302) and method == "POST"):
                method, body = ("HEAD" if method == "HEAD" else "GET"), b""
                fields.pop("content-type", None)
        raise HttpError("too many redirects")

    async def _line(self, server: HttpUrl) -> tuple[HttpLine, HttpOrigin]:
        key = (server.tls, server.authority)
        self.new = key not in self._lines
        self.was_up = False
        if self.new:
            if len(self._lines) >= _MOST_PORTS:
                self.close()
            origin = await self._origins.origin(server)
            self._lines[key] = (HttpLine(origin), origin)
        return self._lines[key]

    async def _exchange(
        self, line: HttpLine, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> HttpReply:
        try:
            line.begin(method, target, headers, body)
            while True:
                await self._ready(line)
                reply = line.advance()
                if reply is not None:
                    return reply
        except BaseException:
            self.was_up = line.is_up
            line.close()
            raise

    async def _ready(self, line: HttpLine) -> None:
        """Until the line's socket has news. It is not watched in between: a line may close its socket."""
        fd = line.fd
        waiter: asyncio.Future[None] = self._loop.create_future()
        writes = line.wants_to_write
        self._loop.add_reader(fd, _wake, waiter)
        if writes:
            self._loop.add_writer(fd, _wake, waiter)
        try:
            await waiter
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.remove_reader(fd)
                if writes:
                    self._loop.remove_writer(fd)

    def close(self) -> None:
        """Close all connections."""
        for line, _ in self._lines.values():
            line.close()
        self._lines.clear()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)

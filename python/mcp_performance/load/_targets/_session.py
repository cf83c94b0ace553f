"""MCP tools and WebSockets as targets: whatever each user keeps a session with."""

from __future__ import annotations

import asyncio
import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..._base._checks import content, text, texts
from ..._base._url import HttpUrl
from ..._core import CallRun
from ...errors import ConfigurationError
from .._drive import drive_tasks
from .._mcp import mcp_request
from .._mcp_session import SESSION, VERSION, StdioSession, close_http, open_http
from .._options import RunOptions
from .._scenario import Plan
from .._sessions import Session, SessionUser, close_all, open_all
from .._supervision import Driven, Supervision
from .._user import User
from .._websocket import WebSocket
from ._http import HttpTarget
from ._target import USER_AGENT, Target, TargetOptions, TargetSpec

__all__ = ["McpCall", "McpHttpTarget", "SessionTarget", "WebSocketCall", "split_url"]

_STDIO = "stdio:"


def split_url(url: str) -> tuple[str, str]:
    """The origin of *url*, and its path and query."""
    HttpUrl.parse(url, name="url")
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", (parts.path or "/") + (
        f"?{parts.query}" if parts.query else ""
    )


def _words(server: str) -> list[str]:
    """The command in ``stdio:COMMAND``."""
    try:
        return shlex.split(server[len(_STDIO) :])
    except ValueError as error:
        raise ConfigurationError(f"url={server!r}: expected a command: {error}") from None


@dataclass(frozen=True, slots=True)
class McpCall(TargetSpec):
    """Calls of one tool of an MCP server, at a URL or run as a command."""

    server: str | Sequence[str]
    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def target(self, options: TargetOptions) -> Target:
        for name in ("scenario", *options.of_users):
            if getattr(options, name) is not None:
                raise ConfigurationError(f"{name}: expected none with an MCP tool")
        if isinstance(self.server, str) and not self.server.startswith(_STDIO):
            return McpHttpTarget(self, options)
        server = self.server
        command = _words(server) if isinstance(server, str) else texts("url", server)
        if not command:
            raise ConfigurationError(f"url={server!r}: expected a command")
        name = f"MCP tool {self.tool} of {shlex.join(command)}"
        return SessionTarget(
            name, f"MCP tool {self.tool}", lambda: StdioSession(command, self.tool, self.arguments)
        )


@dataclass(frozen=True, slots=True)
class WebSocketCall(TargetSpec):
    """A message over a WebSocket, and the next one back."""

    url: str
    message: str | bytes
    expect: str | bytes = b""

    def target(self, options: TargetOptions) -> Target:
        content("message", self.message)
        expect = content("expect", self.expect)
        scheme, _, rest = text("url", self.url, "a ws:// or wss:// URL").partition("://")
        if scheme not in ("ws", "wss"):
            raise ConfigurationError(f"url={self.url!r}: expected a ws:// or wss:// URL")
        base = f"{'https' if scheme == 'wss' else 'http'}://{rest}"
        url = HttpUrl.parse(base, name="url", unix_socket=options.unix_socket)
        origins = options.origins(base.partition("?")[0])

        def make() -> WebSocket:
            return WebSocket(
                origins,
                url,
                self.message,
                expect=expect,
                headers={"User-Agent": USER_AGENT, **options.headers},
                verify=options.verify,
                most=options.max_body,
            )

        return SessionTarget(self.url, f"WebSocket {url.path or '/'}", make)


class McpHttpTarget(HttpTarget):
    """A tool of an MCP server over streamable HTTP: sessions by Python, calls by the native engine."""

    def __init__(self, call: McpCall, options: TargetOptions) -> None:
        base, self._path = split_url(str(call.server))
        self._call = call
        path = self._path

        async def setup(user: User) -> None:
            await open_http(user, path)

        async def teardown(user: User) -> None:
            await close_http(user, path)

        super().__init__(base, dataclasses.replace(options, setup=setup, teardown=teardown, scenario=[]))
        self.name = f"MCP tool {call.tool} at {call.server}"

    def _plan_for(self, users: Sequence[User]) -> Plan:
        headers = {"MCP-Protocol-Version": f"{{{VERSION}}}"}
        if not users or users[0].known.get(SESSION):
            headers["Mcp-Session-Id"] = f"{{{SESSION}}}"
        request = mcp_request(self._call.tool, self._call.arguments, path=self._path, headers=headers)
        return self._expanded(dataclasses.replace(self._options, scenario=[request]), users)


class SessionTarget(Target):
    """Sessions of *make*, one a user, each of which makes one call at a time."""

    apart = True
    stateful = True

    def __init__(self, name: str, kind: str, make: Callable[[], Session]) -> None:
        self.name = name
        self.kinds = [kind]
        self._make = make

    async def drive(self, options: RunOptions, supervisor: Supervision) -> Driven:
        if options.batch_size > 1:
            raise ConfigurationError(f"batch_size={options.batch_size}: expected 1 with sessions")
        examples: dict[str, str] = {}
        opened: list[float] = []
        users = [SessionUser(self._make(), examples, opened) for _ in range(options.users)]
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await open_all(users, options.before(options.timeout))
            await supervisor.ready()
            began = loop.time()
            run = CallRun(**options.native(), kinds=self.kinds, first_byte=False, threaded=False)
            driven = await drive_tasks(run, users, options, supervisor, with_number=True)
            for took in opened:
                driven.report["connect"].record(took)
            driven.report["examples"].update(examples)
            driven.late = driven.loop_lag
        finally:
            await close_all(users, options.afterwards(loop.time() - began))
        return driven

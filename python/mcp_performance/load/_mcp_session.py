"""MCP's part of a session: how it is opened and closed over streamable HTTP, and all of it over stdio."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import HttpError, LoadTestError
from ._sessions import Closed
from ._user import User
from ._wire import UserReply

__all__ = ["SESSION", "VERSION", "StdioSession", "close_http", "open_http"]

SESSION, VERSION = "mcp_session_id", "mcp_protocol_version"
"""Under which users keep what the server gave them."""

_ASKED_VERSION = "2025-06-18"
_ACCEPT = {"Accept": "application/json, text/event-stream"}
_MOST_LINE = 64 << 20
_LISTING = 2.0


def _call(number: int, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def _initialize(number: int) -> dict[str, Any]:
    client = {"name": "mcp-performance", "version": "1"}
    return _call(
        number,
        "initialize",
        {"protocolVersion": _ASKED_VERSION, "capabilities": {}, "clientInfo": client},
    )


def _list_tools(number: int) -> dict[str, Any]:
    """What clients ask before they call: servers load then what they need for a call.

    No call depends on the answer, and some servers give none.
    """
    return _call(number, "tools/list", {})


_INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def _answer(messages: Sequence[Any], what: str) -> Mapping[str, Any]:
    """The result among *messages*. Raises :class:`Closed`."""
    for message in messages:
        if isinstance(message, Mapping) and isinstance(message.get("result"), Mapping):
            result: Mapping[str, Any] = message["result"]
            return result
        if isinstance(message, Mapping) and "error" in message:
            raise Closed(f"{what}: {message['error']}")
    raise Closed(f"{what}: no JSON-RPC answer")


def _messages(reply: UserReply) -> list[Any]:
    """JSON-RPC messages in an answer, be it JSON or a stream of events."""
    if "text/event-stream" not in (reply.header("content-type") or ""):
        texts = [reply.text]
    else:
        events = reply.text.replace("\r\n", "\n").split("\n\n")
        texts = ["".join(x[5:] for x in event.split("\n") if x.startswith("data:")) for event in events]
    found = []
    for text in texts:
        with contextlib.suppress(ValueError):
            found.append(json.loads(text))
    return found


def _headers(user: User) -> dict[str, str]:
    fields = dict(_ACCEPT)
    if user.known.get(VERSION):
        fields["MCP-Protocol-Version"] = user[VERSION]
    if user.known.get(SESSION):
        fields["Mcp-Session-Id"] = user[SESSION]
    return fields


async def open_http(user: User, path: str) -> None:
    """Open a session of *user* at *path*. Raises :class:`LoadTestError`."""
    reply = await user.post(path, json=_initialize(0), headers=_ACCEPT)
    if not reply.ok:
        raise LoadTestError(f"initialize: {reply.failure}: {reply.text[:200]}")
    result = _answer(_messages(reply), "initialize")
    user[SESSION] = reply.header("mcp-session-id")
    user[VERSION] = str(result.get("protocolVersion", _ASKED_VERSION))
    reply = await user.post(path, json=_INITIALIZED, headers=_headers(user))
    if not reply.ok:
        raise LoadTestError(f"notifications/initialized: {reply.failure}: {reply.text[:200]}")
    with contextlib.suppress(TimeoutError, HttpError):
        async with asyncio.timeout(_LISTING):
            await user.post(path, json=_list_tools(1), headers=_headers(user))


async def close_http(user: User, path: str) -> None:
    """End the session of *user*, if the server keeps one and lets clients end it."""
    if user.known.get(SESSION):
        await user.delete(path, headers=_headers(user))


class StdioSession:
    """A server of one user, run as a process that is spoken to over its standard input and output.

    Args:
        command: program and arguments.
        tool: called by every call, with *arguments*.
    """

    def __init__(self, command: Sequence[str], tool: str, arguments: Mapping[str, Any]) -> None:
        self._command = list(command)
        self._params = {"name": tool, "arguments": dict(arguments)}
        self._process: asyncio.subprocess.Process | None = None
        self._last = 0

    async def open(self) -> None:
        # In a session of its own: Ctrl-C is for the load test, which then ends its servers.
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_MOST_LINE,
            start_new_session=True,
        )
        message, _ = await self._exchange(_initialize)
        _answer([message], "initialize")
        await self._send(_INITIALIZED)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LISTING):
                await self._exchange(_list_tools)

    async def call(self) -> tuple[str | None, str, int]:
        message, size = await self._exchange(lambda number: _call(number, "tools/call", self._params))
        if "error" in message:
            error = message["error"]
            code = error.get("code") if isinstance(error, Mapping) else None
            return f"JSON-RPC error {code}", json.dumps(error), size
        result = message.get("result")
        if not isinstance(result, Mapping):
            return "no JSON-RPC answer", json.dumps(message), size
        return ("tool error", json.dumps(result), size) if result.get("isError") else (None, "", size)

    async def _send(self, message: Mapping[str, Any]) -> None:
        stdin = None if self._process is None else self._process.stdin
        if stdin is None:
            raise Closed("the server has ended")
        stdin.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        await stdin.drain()

    async def _exchange(self, make: Any) -> tuple[dict[str, Any], int]:
        """The answer to the message that *make* makes of a number, and its bytes."""
        self._last += 1
        await self._send(make(self._last))
        while True:
            line = await self._line()
            try:
                message = json.loads(line)
            except ValueError:
                raise Closed("bad answer: a line that is no JSON") from None
            if not isinstance(message, dict):
                raise Closed("bad answer: no JSON-RPC")
            if message.get("id") == self._last and "method" not in message:
                return message, len(line)
            if "method" in message and "id" in message:
                await self._send(_reply_to(message))

    async def _line(self) -> bytes:
        stdout = None if self._process is None else self._process.stdout
        if stdout is None:
            raise Closed("the server has ended")
        try:
            line = await stdout.readline()
        except ValueError:
            raise Closed("body too large") from None
        if not line.endswith(b"\n"):
            raise Closed("the server has ended")
        return line

    async def close(self, patience: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await process.wait()
                    return


def _reply_to(message: Mapping[str, Any]) -> dict[str, Any]:
    """What this client says to a request of the server."""
    if message["method"] == "ping":
        return {"jsonrpc": "2.0", "id": message["id"], "result": {}}
    error = {"code": -32601, "message": "Method not found"}
    return {"jsonrpc": "2.0", "id": message["id"], "error": error}

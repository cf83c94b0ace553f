"""A WebSocket client (RFC 6455) as load tests need it: one message out, one message back."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import secrets
import ssl
from collections.abc import Mapping

from .._base._url import HttpUrl
from ._sessions import Closed
from ._wire import Origins

__all__ = ["WebSocket"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_MOST_HEAD = 64 << 10


class WebSocket:
    """A session whose call sends *message* and waits for the next one of the server.

    Args:
        url: ``http`` or ``https`` in place of ``ws`` and ``wss``.
        message: sent by every call; bytes as a binary message.
        expect: text that the answer of a success contains.
    """

    def __init__(
        self,
        origins: Origins,
        url: HttpUrl,
        message: str | bytes,
        *,
        expect: bytes,
        headers: Mapping[str, str],
        verify: bool | str,
        most: int,
    ) -> None:
        self._origins = origins
        self._url = url
        self._opcode = _TEXT if isinstance(message, str) else _BINARY
        self._payload = message.encode() if isinstance(message, str) else bytes(message)
        self._expect = expect
        self._headers = dict(headers)
        self._verify = verify
        self._most = most
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        origin = await self._origins.origin(self._url)
        reader, writer = await self._connect(origin.addresses)
        self._reader, self._writer = reader, writer
        key = base64.b64encode(secrets.token_bytes(16))
        target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        lines = [
            f"GET {target} HTTP/1.1",
            f"Host: {self._url.authority}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key.decode()}",
            *(f"{name}: {value}" for name, value in self._headers.items()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        await self._accepted(reader, key)

    async def _connect(self, addresses: list[str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = self._context()
        name = self._url.host if context is not None else None
        if self._url.unix_socket:
            return await asyncio.open_unix_connection(
                self._url.unix_socket, ssl=context, server_hostname=name, limit=_MOST_HEAD
            )
        failure: OSError = ConnectionRefusedError("no address")
        for address in addresses:
            host, _, port = address.rpartition(":")
            try:
                return await asyncio.open_connection(
                    host.strip("[]"), int(port), ssl=context, server_hostname=name, limit=_MOST_HEAD
                )
            except OSError as error:
                failure = error
        raise failure

    def _context(self) -> ssl.SSLContext | None:
        if not self._url.tls:
            return None
        context = ssl.create_default_context(cafile=self._verify if isinstance(self._verify, str) else None)
        if self._verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    @staticmethod
    async def _accepted(reader: asyncio.StreamReader, key: bytes) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            raise Closed("connection closed in the handshake") from None
        except asyncio.LimitOverrunError:
            raise Closed("headers too large") from None
        status, *lines = head.decode("latin-1").split("\r\n")
        code = status.split(" ")[1:2]
        if code != ["101"]:
            raise Closed(f"status {code[0]}" if code else "bad response")
        fields = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
        wanted = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
        if fields.get("sec-websocket-accept") != wanted:
            raise Closed("bad response: no WebSocket was accepted")

    async def call(self) -> tuple[str | None, str, int]:
        await self._send(self._opcode, self._payload)
        answer = await self._receive()
        if self._expect and self._expect not in answer:
            return "check failed: body", answer[:200].decode("utf-8", "replace"), len(answer)
        return None, "", len(answer)

    async def _send(self, opcode: int, payload: bytes) -> None:
        writer = self._writer
        if writer is None:
            raise Closed("connection closed")
        size = len(payload)
        if size < 126:
            head = bytes((0x80 | opcode, 0x80 | size))
        elif size < 1 << 16:
            head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
        mask = os.urandom(4)
        writer.write(head + mask + _masked(payload, mask))
        await writer.drain()

    async def _receive(self) -> bytes:
        """The next data message; what is about the connection is answered on the way."""
        parts: list[bytes] = []
        size = 0
        while True:
            opcode, final, payload = await self._frame(self._most - size)
            if opcode == _PING:
                await self._send(_PONG, payload)
            elif opcode == _CLOSE:
                code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
                raise Closed(f"closed by the server: {code}")
            elif opcode in (_TEXT, _BINARY, _CONTINUATION):
                if (opcode == _CONTINUATION) != bool(parts):
                    raise Closed("bad frame: a message inside another")
                parts.append(payload)
                size += len(payload)
                if final:
                    return b"".join(parts)
            elif opcode != _PONG:
                raise Closed(f"bad frame: opcode {opcode}")

    async def _frame(self, most: int) -> tuple[int, bool, bytes]:
        reader = self._reader
        if reader is None:
            raise Closed("connection closed")
        try:
            first, second = await reader.readexactly(2)
            size = second & 0x7F
            if size >= 126:
                size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
            if first & 0x70 or second & 0x80:
                raise Closed("bad frame: reserved bits, or masked")
            if size > most or (first & 0x8 and size > 125):
                raise Closed("body too large")
            return first & 0xF, bool(first & 0x80), await reader.readexactly(size)
        except asyncio.IncompleteReadError:
            raise Closed("connection closed") from None

    async def close(self, patience: float) -> None:
        writer, self._writer, self._reader = self._writer, None, None
        if writer is None:
            return
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            writer.write(bytes((0x80 | _CLOSE, 0x82)) + b"\0\0\0\0" + (1000).to_bytes(2, "big"))
            writer.close()
            async with asyncio.timeout(patience):
                await writer.wait_closed()
        writer.transport.abort()


def _masked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    pad = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")

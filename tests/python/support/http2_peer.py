"""HTTP/2 servers: one that a test plays frame by frame (RFC 9113, 4.1), and nghttpd."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from load_servers import free_port

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CANCEL, REFUSED_STREAM = 8, 7
OK, ERROR = b"\x88", b"\x8e"  # ":status: 200" and 500 in HPACK's static table
MAX_CONCURRENT_STREAMS = 3


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Peer:
    """One connection, frame by frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.resets: dict[int, int] = {}

    async def greet(self, most_streams: int | None = None) -> None:
        await self._reader.readexactly(len(PREFACE))
        limit = (
            b""
            if most_streams is None
            else MAX_CONCURRENT_STREAMS.to_bytes(2, "big") + most_streams.to_bytes(4, "big")
        )
        self._writer.write(frame(SETTINGS, 0, 0, limit))

    async def frames(self) -> AsyncIterator[tuple[int, int, int, bytes]]:
        while True:
            head = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            yield head[3], head[4], int.from_bytes(head[5:], "big"), payload

    async def requests(self) -> AsyncIterator[int]:
        """The streams of requests without bodies; resets are noted."""
        async for kind, _, stream, payload in self.frames():
            if kind == HEADERS:
                yield stream
            elif kind == RST_STREAM:
                self.resets[stream] = int.from_bytes(payload, "big")

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self._writer.write(frame(kind, flags, stream, payload))

    def answer(self, stream: int, status: bytes = OK) -> None:
        self._writer.write(frame(HEADERS, END_HEADERS | END_STREAM, stream, status))

    def reset(self, stream: int, code: int) -> None:
        self._writer.write(frame(RST_STREAM, 0, stream, code.to_bytes(4, "big")))

    def goodbye(self, last: int) -> None:
        self._writer.write(frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + bytes(4)))


def playing(play: Callable[[Peer], Any]) -> Any:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await play(Peer(reader, writer))

    return handle


@contextlib.contextmanager
def nghttpd_over(folder: Path) -> Iterator[str]:
    """The URL of an nghttpd that serves *folder* in plain text, 50 streams to a connection."""
    program = shutil.which("nghttpd", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert program is not None, "scripts/install test installs nghttp2-server"
    port = free_port()
    command = [program, "-a", "127.0.0.1", "-d", str(folder), "--echo-upload", "--no-tls", str(port)]
    server = subprocess.Popen([*command, "-m", "50"], stdout=subprocess.DEVNULL)
    try:
        _await_listening(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _await_listening(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("nghttpd did not start")

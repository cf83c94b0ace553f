"""A server that sends what it is told, cut as it is told, and logs every byte of both directions."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import random
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

REASONS = {200: "OK", 201: "Created", 204: "No Content", 304: "Not Modified", 404: "", 418: "I'm", 503: "No"}
TRAILER = "X-Trailer"
BODILESS = (204, 304)


@dataclass
class Reply:
    """One response: what the client must make of it, and the bytes that go over the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    wire: bytes
    closes: bool
    cuts: list[int]
    """Lengths of the pieces in which the wire's bytes are sent; the rest goes at once."""


@dataclass
class Exchange:
    """What one connection carried for one request."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    received: int
    sent: int


def _chunked(body: bytes, rng: random.Random) -> bytes:
    """Chunks of odd sizes, with everything that the syntax allows around them."""
    out, at = [], 0
    while at < len(body):
        size = min(len(body) - at, rng.choice((1, 2, 15, 16, 255, 4096, len(body))))
        spelled = rng.choice(("{:x}", "{:X}", "000{:x}")).format(size)
        extension = rng.choice(("", "", ";name=value", ';q="a b"'))
        out.append(f"{spelled}{extension}\r\n".encode() + body[at : at + size] + b"\r\n")
        at += size
    trailer = rng.choice((b"", b"", f"{TRAILER}: 1\r\n".encode()))
    return b"".join(out) + rng.choice((b"0", b"000")) + b"\r\n" + trailer + b"\r\n"


def _encoded(body: bytes, rng: random.Random) -> tuple[bytes, list[tuple[str, str]]]:
    kind = rng.choice(("", "", "gzip", "deflate"))
    if not kind:
        return body, []
    coded = gzip.compress(body, rng.choice((0, 9))) if kind == "gzip" else zlib.compress(body)
    return coded, [("Content-Encoding", kind)]


def reply_of(rng: random.Random, method: str) -> Reply:
    status = rng.choice((200, 200, 200, 201, 204, 304, 404, 418, 503))
    size = rng.choice((0, 1, 2, 100, 5000, rng.randrange(200_000)))
    plain = rng.choice((rng.randbytes(size), b"\r\n0\r\n\r\n" * (size // 7), b"a" * size))
    bare = status in BODILESS or method == "HEAD"
    data, headers = _encoded(plain, rng)
    if bare and not data:
        headers = []
    headers += [(f"X-{rng.choice('abc')}", rng.choice(("1", "bäh", "a, b", "x" * 300))) for _ in range(3)]
    closes = rng.random() < 0.2
    framing = rng.choice(("length", "length", "chunked", "close"))
    if status == 204:
        headers = [pair for pair in headers if pair[0] != "Content-Encoding"]
        framed = b""
    elif framing == "length":
        headers.append((rng.choice(("Content-Length", "content-length")), str(len(data))))
        framed = data
    elif framing == "chunked":
        headers.append(("Transfer-Encoding", rng.choice(("chunked", "Chunked"))))
        framed = _chunked(data, rng)
    else:
        framed, closes = data, True
    if closes:
        headers.append(("Connection", "close"))
    rng.shuffle(headers)
    interim = rng.choice((b"", b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"))
    lines = "".join(f"{name}:{rng.choice((' ', '', '   '))}{value}\r\n" for name, value in headers)
    head = f"HTTP/1.1 {status} {REASONS[status]}\r\n{lines}\r\n".encode("latin-1")
    wire = interim + head + (b"" if bare else framed)
    return Reply(status, headers, b"" if bare else plain, wire, closes, _cuts(rng, len(wire)))


def _cuts(rng: random.Random, length: int) -> list[int]:
    kind = rng.randrange(3)
    if kind == 0:
        return []
    if kind == 1:
        return [1] * min(length, 700)
    return [rng.choice((1, 2, 3, 50, 1000)) for _ in range(40)]


Choose = Callable[[str, str], Reply | None]
"""The reply to a method and a target; None closes the connection without one."""


@dataclass
class Server:
    """Answers each request with what *choose* says."""

    choose: Choose
    log: list[Exchange] = field(default_factory=list)
    url: str = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            line, *lines = head[:-4].decode("latin-1").split("\r\n")
            method, target, _ = line.split(" ")
            headers = [
                (name.lower(), value.strip()) for name, _, value in (one.partition(":") for one in lines)
            ]
            length = int(dict(headers).get("content-length", "0"))
            body = await reader.readexactly(length)
            reply = self.choose(method, target)
            sent = 0 if reply is None else len(reply.wire)
            self.log.append(Exchange(method, target, headers, body, len(head) + length, sent))
            if reply is None:
                return
            await self._send(writer, reply)
            if reply.closes:
                return

    @staticmethod
    async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
        at = 0
        for length in reply.cuts:
            writer.write(reply.wire[at : at + length])
            at += length
            await asyncio.sleep(0)  # so that the piece leaves by itself
        writer.write(reply.wire[at:])
        await writer.drain()


@contextlib.asynccontextmanager
async def serving(choose: Choose) -> AsyncIterator[Server]:
    server = Server(choose)
    connections: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await server.handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            connections.discard(task)
            writer.close()

    listening = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1000)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await listening.wait_closed()

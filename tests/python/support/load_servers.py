"""Small real servers on loopback, each started and stopped by its test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Responder = Callable[["Received"], Awaitable[bytes] | bytes]


class Received:
    """One request as the server saw it."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.head = head
        self.body = body
        line, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = line.split(" ")
        pairs = (header.partition(":") for header in lines if header)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}


def response(body: bytes = b"ok", status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    request = Received(head[:-4], b"")
    length = int(request.headers.get("content-length", 0))
    request.body = await reader.readexactly(length)
    return request


def responding(respond: Responder, seen: list[Received] | None = None) -> Handler:
    """A keep-alive server that answers every request with what *respond* returns."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            if seen is not None:
                seen.append(request)
            answer: Any = respond(request)
            writer.write(answer if isinstance(answer, bytes) else await answer)
            await writer.drain()

    return handle


@contextlib.asynccontextmanager
async def serve(handler: Handler, **options: Any) -> AsyncIterator[str]:
    """The URL of a server that runs *handler* for every connection."""
    connections: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            connections.discard(task)
            writer.close()

    if "path" in options:
        server = await asyncio.start_unix_server(accept, **options)
        url = "http://localhost/"
    else:
        server = await asyncio.start_server(accept, "127.0.0.1", 0, **options)
        scheme = "https" if options.get("ssl") else "http"
        url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        yield url
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


def certificate_for_loopback(folder: Path) -> tuple[str, str]:
    """The paths of a certificate for 127.0.0.1 that signs itself, and of its key."""
    crt, key = str(folder / "server.crt"), str(folder / "server.key")
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {crt}".split(),
        check=True,
        capture_output=True,
    )
    return crt, key


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _serve_for_ever() -> None:
    """As a program: answers on a port that it prints."""
    async with serve(responding(lambda _: response()), backlog=20_000) as url:
        print(url, flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(_serve_for_ever())

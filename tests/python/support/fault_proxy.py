"""A TCP proxy in front of a server, whose links misbehave when told to: held back, cut one way, half open."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator

UP, DOWN = "up", "down"
"""From the client to the server, and back."""


class Link:
    """One client's connection. The links are numbered in the order in which they were made."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.sockets = {UP: client, DOWN: server}
        self.first = b""
        """What the client said first: enough to tell what the connection is for."""


class FaultProxy:
    """Passes bytes on, until told to hold them back. What is held back is passed on when it is let go."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self._held: set[tuple[bool | None, str]] = set()
        self._lock = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        self._links: list[Link] = []
        self._refuses = False
        self._ended = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def hold(self, direction: str, *, news: bool | None = None) -> None:
        """Keep back what goes in *direction*: on connections for news, on the others, or on all."""
        with self._lock:
            self._held.add((news, direction))
        self._poke()

    def let_go(self) -> None:
        """Hold nothing back any more, and take connections again."""
        with self._lock:
            self._held.clear()
            self._refuses = False
        self._poke()

    def cut(self) -> None:
        """End every connection, and take no new one. Returns when all have ended."""
        with self._lock:
            self._refuses = True
            self._ended.clear()
        self._poke()
        assert self._ended.wait(30)

    def close(self) -> None:
        self._closed = True
        self._poke()
        self._thread.join()

    def _poke(self) -> None:
        with contextlib.suppress(OSError):
            self._wake.send(b"x")

    def _holds(self, link: Link, direction: str) -> bool:
        is_news = b"SUBSCRIBE" in link.first
        return bool({(None, direction), (is_news, direction)} & self._held)

    def _run(self) -> None:
        while not self._closed:
            with selectors.DefaultSelector() as selector:
                selector.register(self._listener, selectors.EVENT_READ, None)
                selector.register(self._woken, selectors.EVENT_READ, None)
                with self._lock:
                    for link in self._links:
                        for direction, end in link.sockets.items():
                            if not self._holds(link, direction):
                                selector.register(end, selectors.EVENT_READ, (link, direction))
                for key, _ in selector.select():
                    if key.fileobj is self._woken:
                        self._woken.recv(4096)
                    elif key.fileobj is self._listener:
                        self._accept()
                    else:
                        self._pass_on(*key.data)
                if self._refuses:
                    for link in list(self._links):
                        self._drop(link)
                    self._ended.set()
        for link in list(self._links):
            self._drop(link)
        self._listener.close()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self._refuses:
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._links.append(Link(client, server))

    def _pass_on(self, link: Link, direction: str) -> None:
        with self._lock:  # what is to be held when hold() returns is held
            if link in self._links and not self._holds(link, direction):
                self._move(link, direction)

    def _move(self, link: Link, direction: str) -> None:
        other = DOWN if direction == UP else UP
        try:
            data = link.sockets[direction].recv(1 << 16)
            if direction == UP:
                link.first = (link.first + data)[:4096]
            if data:
                link.sockets[other].sendall(data)
                return
        except OSError:
            pass
        self._drop(link)

    def _drop(self, link: Link) -> None:
        self._links.remove(link)
        for end in link.sockets.values():
            end.close()


@contextlib.contextmanager
def fault_proxy(port: int) -> Iterator[FaultProxy]:
    proxy = FaultProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()

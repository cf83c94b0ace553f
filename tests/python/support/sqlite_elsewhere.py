"""A tiered cache over a SQLite file in another process, which begins and is killed in milliseconds."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mcp_performance import TieredCache

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["mcp_performance"])


class Elsewhere:
    """The process. Its end, if it is not killed, closes the cache."""

    def __init__(self, path: Path) -> None:
        self._here, there = _processes.Pipe()
        self._process = _processes.Process(target=_serve, args=(f"sqlite:///{path}", there), daemon=True)
        self._process.start()
        there.close()

    def get(self, keys: list[Any]) -> list[Any]:
        self._here.send(("get", keys))
        found: list[Any] = self._here.recv()
        return found

    def set(self, values: dict[Any, Any]) -> None:
        self._here.send(("set", values))
        self._here.recv()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def end(self) -> None:
        self._here.close()
        self._process.join()


def _serve(url: str, there: Connection) -> None:
    with TieredCache(url=url, timeout=30.0) as cache:
        while True:
            try:
                what, given = there.recv()
            except EOFError:
                return
            if what == "get":
                there.send([cache.get(key) for key in given])
            else:
                for key, value in given.items():
                    cache.set(key, value)
                there.send(None)

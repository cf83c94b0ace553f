"""A redis-server of a test's own, on a free loopback port."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(holds: Callable[[], object]) -> bool:
    """Turn until *holds* answers something true; false after half a minute."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if holds():
            return True
        os.sched_yield()
    return False


class RedisServer:
    """Without persistence; ends with the test, however that ends."""

    def __init__(self, *options: str, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self.url = f"redis://127.0.0.1:{self.port}"
        self.folder = tempfile.mkdtemp(prefix="mcp_redis_")
        self.options = options
        self.start()

    def start(self) -> None:
        """Returns when it takes connections."""
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.unix_path]
        self.process = subprocess.Popen(
            ["redis-server", *where, "--dir", self.folder, "--save", "", *self.options],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "eady to accept connections" in line:
                return
        raise RuntimeError("redis-server did not start")

    @property
    def unix_path(self) -> str:
        return str(Path(self.folder) / "redis.sock")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGKILL)
        self.process.send_signal(signal.SIGCONT)
        self.process.communicate()

    def cli(self, *words: str | bytes) -> str:
        """What a client that nobody knows of does."""
        done = subprocess.run(
            ["redis-cli", "-p", str(self.port), *words], capture_output=True, check=True, timeout=60
        )
        return done.stdout.decode().strip()

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    server = RedisServer(*options)
    try:
        yield server
    finally:
        server.stop()

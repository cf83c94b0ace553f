"""A master, its replica and three sentinels of a test's own."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from redis_server import RedisServer, eventually, free_port

SERVICE = "my-master"


class Sentinel:
    def __init__(self, folder: Path, master: int, lines: tuple[str, ...], secret: str) -> None:
        self.port = free_port()
        self._secret = ("--no-auth-warning", "-a", secret) if secret else ()
        self.folder = folder / f"sentinel-{self.port}"
        self.folder.mkdir()
        config = self.folder / "sentinel.conf"
        config.write_text(
            "\n".join(
                (
                    f"port {self.port}",
                    "bind 127.0.0.1",
                    f"dir {self.folder}",
                    f"sentinel monitor {SERVICE} 127.0.0.1 {master} 2",
                    f"sentinel down-after-milliseconds {SERVICE} 500",
                    f"sentinel failover-timeout {SERVICE} 5000",
                    *lines,
                    "",
                )
            )
        )
        self.process = subprocess.Popen(
            ["redis-server", str(config), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def cli(self, *words: str) -> str:
        done = subprocess.run(
            ["redis-cli", "-p", str(self.port), *self._secret, *words],
            capture_output=True,
            check=False,
            timeout=60,
        )
        return done.stdout.decode()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Deployment:
    """Ready when the sentinels know of one another and of the replica."""

    def __init__(self, folder: Path, secret: str, sentinel_secret: str) -> None:
        options = ("--requirepass", secret, "--masterauth", secret) if secret else ()
        lines: tuple[str, ...] = (f"sentinel auth-pass {SERVICE} {secret}",) if secret else ()
        if sentinel_secret:
            lines += (f"requirepass {sentinel_secret}",)  # which they use among themselves too
        self._secret = ("--no-auth-warning", "-a", secret) if secret else ()
        self.running = contextlib.ExitStack()
        try:
            self.master = self._server(*options)
            self.replica = self._server(*options, "--replicaof", "127.0.0.1", str(self.master.port))
            assert eventually(lambda: "master_link_status:up" in self.role_of(self.replica))
            self.sentinels = []
            for _ in range(3):
                sentinel = Sentinel(folder, self.master.port, lines, sentinel_secret)
                self.sentinels.append(sentinel)
                self.running.callback(sentinel.stop)
            assert eventually(lambda: all(_is_ready(sentinel) for sentinel in self.sentinels))
        except BaseException:
            self.running.close()
            raise

    @property
    def nodes(self) -> str:
        return ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self.nodes}/{SERVICE}"

    def _server(self, *options: str) -> RedisServer:
        server = RedisServer("--repl-diskless-sync-delay", "0", *options)
        self.running.callback(server.stop)
        return server

    def role_of(self, server: RedisServer) -> str:
        return server.cli(*self._secret, "INFO", "replication")


def _is_ready(sentinel: Sentinel) -> bool:
    words = sentinel.cli("SENTINEL", "MASTER", SERVICE).split()
    known = dict(zip(words[::2], words[1::2], strict=False))
    return known.get("num-slaves") == "1" and known.get("num-other-sentinels") == "2"


@contextlib.contextmanager
def deployment(folder: Path, *, secret: str = "", sentinel_secret: str = "") -> Iterator[Deployment]:
    """Secrets are the passwords of the servers, and of the sentinels."""
    made = Deployment(folder, secret, sentinel_secret)
    try:
        yield made
    finally:
        made.running.close()

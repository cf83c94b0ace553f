"""The demo's service as a process of its own, served by uvicorn."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import Error

__all__ = ["PREFIX", "ServiceProcess"]

PREFIX = "/api/mcp/performance"
_START_SECONDS = 30.0


class ServiceProcess:
    """``with ServiceProcess(database, caches=True) as service:`` starts it and stops it.

    Raises:
        Error: the service ended, or did not answer within 30 seconds; the message holds its output.
    """

    def __init__(self, database: Path, *, caches: bool, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.port = port or _free_port()
        self._log = database.with_suffix(".service.log")
        environment = {
            **os.environ,
            "FLIGHTS_DATABASE": str(database),
            "FLIGHTS_CACHES": str(int(caches)),
        }
        command = [sys.executable, "-m", "uvicorn", "--factory", "mcp_performance.demo.service:app"]
        command += ["--host", host, "--port", str(self.port), "--log-level", "warning", "--no-access-log"]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    @property
    def url(self) -> str:
        """Where the service answers, as this machine sees it."""
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host
        return f"http://{host}:{self.port}"

    def get(self, path: str) -> Any:
        """The JSON that a GET of *path* answers."""
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return json.load(response)

    def __enter__(self) -> ServiceProcess:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.get(f"{PREFIX}/metrics")
            except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise Error(f"the service did not start:\n{self._log.read_text()}") from error
                time.sleep(0.05)
            else:
                return self

    def stop(self) -> None:
        """End the service; kill it if it does not end by itself within 10 seconds."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

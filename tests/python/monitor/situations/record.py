"""Records the situations of the replay test: ``python tests/python/monitor/situations/record.py [name ...]``.

Runs ``service.py`` under uvicorn, once with each of its faults, and keeps what the monitor is told of.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
SECONDS = 20.0  # the event loop is measured ten times a second, and judged by a hundred times
USERS = {"healthy": 2, "blocked": 3, "computing": 8, "index": 4, "repeated": 4, "ttl": 4, "writer": 8}
FILES = 150


async def user(http: httpx.AsyncClient, name: str, first: int, end: float) -> None:
    at = first
    while time.monotonic() < end:
        if not (name == "leaking" and at > 52):  # the server would have no file left to answer with
            with contextlib.suppress(httpx.TransportError):  # a server may close after a failure
                await http.get(f"/{name}/{at}")
        at += 7
        pause = {"healthy": 0.02, "ttl": 0.02, "blocked": 0.03, "failing": 0.02, "leaking": 0.05}.get(
            name, 0.0
        )
        await asyncio.sleep(pause)


async def drive(name: str, url: str) -> Any:
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        end = time.monotonic() + SECONDS
        await asyncio.gather(*(user(http, name, first, end) for first in range(USERS.get(name, 16))))
        return (await http.get("/record")).json()


def started(name: str, directory: str) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    limit = f"ulimit -n {FILES}; " if name == "leaking" else ""
    command = (
        f"{limit}exec {sys.executable} -m uvicorn --factory service:app --port {port} --log-level critical"
    )
    environment = {**os.environ, "SITUATION": name, "DATABASE": f"{directory}/shop.db"}
    server = subprocess.Popen(["sh", "-c", command], cwd=HERE, env=environment)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return server, f"http://127.0.0.1:{port}"


def slim(found: dict[str, Any]) -> dict[str, Any]:
    """Without what no rule reads."""
    metrics = found["metrics"]
    metrics.pop("gc")
    for part in (*metrics["requests"]["routes"], *metrics["operations"]):
        part.pop("buckets", None)
    return found


def main(names: list[str]) -> None:
    for name in names:
        with tempfile.TemporaryDirectory() as directory:
            server, url = started(name, directory)
            try:
                found = slim(asyncio.run(drive(name, url)))
            finally:
                server.terminate()
                server.wait()
        (HERE / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
        print(name, found["metrics"]["requests"]["count"], "requests")


if __name__ == "__main__":
    from service import ROUTES

    main(sys.argv[1:] or sorted(ROUTES))

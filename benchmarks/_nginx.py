"""nginx on one core, as the HTTP target of the benchmarks. It counts what it was asked."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BODY = b"hello world"
NGINX = """
daemon off; worker_processes 1; worker_cpu_affinity 01; pid {folder}/pid; error_log {folder}/error.log;
worker_rlimit_nofile 32768; events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{port} backlog=16384;
    listen 127.0.0.1:{http2_port} http2;
    location / {{ return 200 "hello world"; }}
    location /echo/ {{ return 200 "$uri"; }}
    location = /status {{ stub_status; }}
  }}
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program() -> str | None:
    """The path of nginx, if it is installed."""
    return shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")


class Server:
    """Answers eleven bytes at `/`, and the path itself below `/echo/`."""

    def __init__(self, url: str, http2_url: str) -> None:
        self.url = url
        self.http2_url = http2_url  # HTTP/2 from the first byte
        self._looks = 0

    def requests(self) -> int:
        """How many requests it has seen, but for those that asked this."""
        found = re.search(r"requests\s+\d+ \d+ (\d+)", self._status())
        assert found is not None
        return int(found[1]) - self._looks

    def connections(self) -> int:
        """How many are open to it, but for the one that asks this."""
        found = re.search(r"Active connections: (\d+)", self._status())
        assert found is not None
        return int(found[1]) - 1

    def _status(self) -> str:
        with urllib.request.urlopen(f"{self.url}status") as reply:
            text: str = reply.read().decode()
        self._looks += 1
        return text


@contextmanager
def nginx() -> Iterator[Server]:
    """An nginx with one worker on the first core."""
    found = program() or sys.exit("nginx is not installed")
    with tempfile.TemporaryDirectory() as folder:
        port, http2_port = free_port(), free_port()
        configuration = Path(folder) / "nginx.conf"
        configuration.write_text(NGINX.format(folder=folder, port=port, http2_port=http2_port))
        server = subprocess.Popen([found, "-c", str(configuration)], stderr=subprocess.DEVNULL)
        try:
            for _ in range(100):
                try:
                    socket.create_connection(("127.0.0.1", port), 0.1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield Server(f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{http2_port}/")
        finally:
            server.terminate()
            server.wait()

"""``mcp-performance dashboard``: the page of a service on loopback, for those without a browser beside it or
whose service asks for a token that no browser is to keep."""

from __future__ import annotations

import http.client
import http.server
import urllib.error
from typing import Any

from ..errors import ConfigurationError, Error
from ..monitor._page import page
from ._source import Source

__all__ = ["make_dashboard", "serve_dashboard"]

_PIECE = 1 << 16
_PASSED_ON = ("Content-Type", "Cache-Control", "Retry-After")


def make_dashboard(source: Source, port: int) -> http.server.ThreadingHTTPServer:
    """A server on loopback for the page, which hands what the page asks for on to *source*, with its token.

    Raises:
        ConfigurationError: the port cannot be had.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve(None)

        def do_POST(self) -> None:
            self._serve(self.rfile.read(min(int(self.headers.get("Content-Length") or 0), _PIECE)))

        def _serve(self, body: bytes | None) -> None:
            # A name that was made to resolve to loopback must not read what the token opens.
            if self.headers.get("Host", "").partition(":")[0] not in ("127.0.0.1", "localhost"):
                self._answer(403, "text/plain", b"forbidden host")
            elif self.path in ("/", "/dashboard"):
                self._answer(200, "text/html; charset=utf-8", page().body)
            elif body is not None and self.headers.get("Origin") != f"http://{self.headers.get('Host')}":
                self._answer(403, "text/plain", b"forbidden origin")
            else:
                self._pass_on(body)

        def _pass_on(self, body: bytes | None) -> None:
            try:
                answer: http.client.HTTPResponse | urllib.error.HTTPError = source.open(self.path, body)
            except urllib.error.HTTPError as refusal:
                answer = refusal
            except Error as error:
                self._answer(502, "text/plain; charset=utf-8", str(error).encode())
                return
            with answer:
                self.send_response(answer.status or 502)
                for name in _PASSED_ON:
                    if (value := answer.headers.get(name)) is not None:
                        self.send_header(name, value)
                self.end_headers()
                while piece := answer.read1(_PIECE):
                    self.wfile.write(piece)
                    self.wfile.flush()

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", page().policy.decode())
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                """The page was closed."""

        def log_message(self, format: str, *args: Any) -> None:
            """The terminal is for people."""

    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as failure:
        raise ConfigurationError(f"port={port!r}: {failure}") from None


def serve_dashboard(url: str, *, token: str | None = None, port: int = 8080) -> int:
    """Serve the page until Ctrl-C; return the exit code."""
    source = Source(url, token=token)
    source.report()  # a wrong URL or token is said at once
    with make_dashboard(source, port) as server:
        print(f"The dashboard is at http://127.0.0.1:{server.server_port}/; Ctrl-C ends it.", flush=True)
        server.serve_forever()
    return 0

"""Watching a running service through its performance endpoints: ``mcp-performance top``."""

from __future__ import annotations

import http.client
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from .._base._checks import number
from ..errors import ConfigurationError, Error

__all__ = ["Source", "frame", "top"]

_PREFIX = "/api/mcp/performance"
_TIMEOUT_SECONDS = 5.0
_CLEAR = "\x1b[H\x1b[2J"


class Source:
    """The performance endpoints of one service.

    Args:
        url: of the service, or of the endpoints themselves when they have another prefix.
        token: the bearer token, if the service asks for one.

    Raises:
        ConfigurationError: *url* is not an ``http`` or ``https`` URL.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigurationError(f"url={url!r}: expected http://host:port or https://host:port")
        path = parts.path.rstrip("/") or _PREFIX
        self._base = f"{parts.scheme}://{parts.netloc}{path}"
        self._headers = {"Accept": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def report(self) -> dict[str, Any]:
        """What ``GET /report`` answers.

        Raises:
            Error: the service cannot be reached, refuses, or answers something else.
        """
        try:
            with self.open("/report") as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as refusal:
            raise Error(f"{self._base}/report answered {refusal.code} {refusal.reason}") from None
        except (OSError, ValueError) as failure:
            raise Error(f"{self._base}/report: {failure}") from None

    def open(self, path: str, body: bytes | None = None) -> http.client.HTTPResponse:
        """The answer to a request for *path* below the endpoints, to be read and closed.

        Raises:
            urllib.error.HTTPError: the service refuses; an answer, too.
            Error: the service cannot be reached.
        """
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        request = urllib.request.Request(self._base + path, data=body, headers=headers)
        try:
            answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
        except urllib.error.HTTPError:
            raise
        except (OSError, ValueError) as failure:
            raise Error(f"{self._base}{path}: {failure}") from None
        return answer


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms"


def _hit_rate(report: dict[str, Any]) -> str:
    caches = [*report["caches"], *(pool["cache"] for pool in report["pools"])]
    hits = sum(cache["hits"] for cache in caches)
    asked = hits + sum(cache["misses"] for cache in caches)
    return f"{hits / asked:.1%} of {asked:,}" if asked else "none asked"


def frame(report: dict[str, Any], routes: int = 12) -> str:
    """One look at a service as lines of text; *routes* rows of requests at most, the busiest first."""
    process, requests, minute = report["process"], report["requests"], report["requests"]["last_minute"]
    rate = minute["count"] / max(minute["length_seconds"], 1e-9)
    database = sum(pool["database_seconds"] for pool in report["pools"])
    lines = [
        f"cpu {process['cpu_percent']:.0f} %   memory {process['memory_percent']:.0f} %"
        f" ({process['resident_bytes'] / 2**20:,.0f} MiB resident)   files {process['open_fds']}",
        f"requests {rate:,.1f} /s   p95 {_milliseconds(minute['p95_seconds'])}"
        f"   p99 {_milliseconds(minute['p99_seconds'])}   active {requests['active']}"
        f"   errors {minute['errors']} in the last minute",
        f"cache hits {_hit_rate(report)}   database {database:,.2f} s in all",
        "",
        f"{'route':<44} {'status':>6} {'count':>10} {'mean':>12} {'p95':>12} {'p99':>12}",
    ]
    for route in sorted(requests["routes"], key=lambda item: -item["count"])[:routes]:
        name = f"{route['method']} {route['route']}"
        cells = [_milliseconds(route[f"{figure}_seconds"]) for figure in ("mean", "p95", "p99")]
        shown = " ".join(f"{cell:>12}" for cell in cells)
        lines.append(f"{name[:44]:<44} {route['status']:>6} {route['count']:>10,} {shown}")
    if report["slow_queries"]:
        lines += ["", "slow queries"]
        for query in report["slow_queries"][:5]:
            p95 = _milliseconds(query["p95_seconds"])
            lines.append(f"  {query['calls']:>8,} calls  p95 {p95:>12}  {query['sample'][:80]}")
    if report["recommendations"]:
        lines += ["", "recommendations"] + [
            f"  - {item['message']}" for item in report["recommendations"][:5]
        ]
    return "\n".join(lines)


def top(url: str, *, token: str | None = None, interval: float = 1.0, once: bool = False) -> int:
    """Print what a service does, again and again until Ctrl-C; return the exit code."""
    number("interval", interval, 0, 3600, above=True, unit="seconds")
    source = Source(url, token=token)
    while True:
        shown = frame(source.report())
        print(shown if once or not sys.stdout.isatty() else _CLEAR + shown, flush=True)
        if once:
            return 0
        time.sleep(interval)

"""The performance endpoints of a running service, as the command line asks them."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from .._base._url import HttpUrl
from ..errors import ConfigurationError, Error

__all__ = ["Source"]

_PREFIX = "/api/mcp/performance"
_TIMEOUT_SECONDS = 5.0


class Source:
    """The performance endpoints of one service.

    Args:
        url: of the service, or of the endpoints themselves when they have another prefix.
        token: the bearer token, if the service asks for one.

    Raises:
        ConfigurationError: *url* is not an ``http`` or ``https`` URL.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        HttpUrl.parse(url, name="url")
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise ConfigurationError(f"url={url!r}: expected http://host:port or https://host:port")
        path = parts.path.rstrip("/") or _PREFIX
        self._base = f"{parts.scheme}://{parts.netloc}{path}"
        self._headers = {"Accept": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def report(self, *, each: bool = False) -> dict[str, Any]:
        """What ``GET /report`` answers; with *each*, with the figures of each worker.

        Raises:
            Error: the service cannot be reached, refuses, or answers something else.
        """
        try:
            with self.open("/report?workers=each" if each else "/report") as response:
                answer = json.load(response)
        except urllib.error.HTTPError as refusal:
            raise Error(f"{self._base}/report answered {refusal.code} {refusal.reason}") from None
        except (OSError, ValueError, http.client.HTTPException) as failure:
            raise Error(f"{self._base}/report: {failure or type(failure).__name__}") from None
        if not isinstance(answer, dict) or "requests" not in answer:
            raise Error(f"{self._base}/report: no report of mcp_performance")
        return answer

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
        except (OSError, ValueError, http.client.HTTPException) as failure:
            raise Error(f"{self._base}{path}: {failure or type(failure).__name__}") from None
        return answer

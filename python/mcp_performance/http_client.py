"""Single HTTP requests from native threads: what a batch sends without the interpreter lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TypeAlias

from ._base._authorities import authorities, checked_verify
from ._base._checks import flag, integer, request_timeout
from ._base._headers import header_line, headers_of
from ._base._url import PRODUCT, HttpUrl
from ._core import HttpReply, HttpService
from .errors import ConfigurationError

__all__ = ["HttpClient", "HttpReply", "HttpRequest"]

HttpRequest: TypeAlias = (
    tuple[str, str]
    | tuple[str, str, bytes | str | None]
    | tuple[str, str, bytes | str | None, Mapping[str, str]]
)
"""Method, path, and where the request has them a body and headers."""

_DEFAULT_HEADERS = {"user-agent": PRODUCT, "accept": "*/*"}


def _lower_case(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class HttpClient:
    """Sends requests to one origin over HTTP/1.1 or HTTP/2 and keeps its connections.

    :attr:`get` and :attr:`send` block the thread that calls them, without the interpreter lock. They
    are native work: a :class:`BatchProcessor` runs them on its threads and takes the lock for a
    whole chunk of replies at a time. Any status is a reply, not an error. Redirects are followed
    within the origin, at most five, and returned where they lead elsewhere. Fields behind a body are the
    reply's ``trailers``, apart from its ``headers``. A request that met a kept
    connection which the server had given up, so that nothing of an answer came, is sent once more if its
    method is idempotent, or if nothing of it had gone out.

    What could be read in two ways is refused, going out (control characters, a ``Content-Length`` that is
    not the body's, any ``Transfer-Encoding``, ``Host`` and other single fields given twice) and coming in.

    Safe from any thread; a forked child opens connections of its own.

    Example::

        client = HttpClient("http://127.0.0.1:8000/items")
        result = await BatchProcessor().map(client.get, [f"/{i}" for i in range(1000)])
        names = [json.loads(reply.body)["name"] for reply in result.results]

    Args:
        url: ``http://``, ``https://`` or ``http+unix://``; its path goes before those of requests. The
            name is resolved here, which may block.
        headers: sent with every request, unless it has its own of that name.
        timeout: seconds for a request from connecting to the last byte, redirects included; ``None``
            for no limit.
        verify: whether to check certificates, or the path of a PEM file with the authorities to trust.
        http2: speaks HTTP/2: with ``https`` as agreed in the TLS handshake, with ``http`` from the first
            byte. All threads share one connection, a stream for each request. Needs a build that found
            libnghttp2.
        unix_socket: the path of a socket to connect to, whatever the URL's host.
        follow_redirects: ``False`` returns every redirect.
        max_body: bytes of a decoded body beyond which the request fails.

    Raises:
        ConfigurationError: *url* is no such URL or has credentials or a query, or an option is out of
            range.
        LoadTestError: the host does not resolve.
    """

    get: Callable[[str], HttpReply]
    """``get(path)``: the reply to a GET of *path*, which follows the URL's and begins with ``/``.

    Raises:
        HttpError: no connection, one that broke, or no HTTP.
        HttpTimeout: the reply did not come in time.
        ConfigurationError: *path* is no path, or has spaces, control characters or a fragment.
        ValueError: *path* is not ASCII.
    """

    send: Callable[[HttpRequest], HttpReply]
    """``send((method, path, body, headers))``: the reply to any request; the last two may be left out.

    The method goes out as given. A *str* as the body is sent as UTF-8. Header values are Latin-1, sent and
    received; other characters are a ``ConfigurationError``. Raises what :attr:`get` raises, and
    ``TypeError`` for what is no such tuple.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = 30.0,
        verify: bool | str = True,
        http2: bool = False,
        unix_socket: str | None = None,
        follow_redirects: bool = True,
        max_body: int = 64 << 20,
    ) -> None:
        parts = HttpUrl.parse(url, name="url", unix_socket=unix_socket)
        if parts.query:
            raise ConfigurationError(f"url={url!r}: expected no query; it belongs to the paths of requests")
        self._url = url
        self._service = HttpService(
            host=parts.host,
            port=parts.port,
            authority=parts.authority,
            unix_socket=parts.unix_socket,
            prefix=parts.path.rstrip("/"),
            tls=parts.tls,
            verify=checked_verify(verify) is not False,
            ca_file=authorities(verify, tls=parts.tls),
            http2=flag("http2", http2),
            timeout_ns=int(request_timeout(timeout) * 1e9),
            body_limit=integer("max_body", max_body, 1, 2**62),
            follow_redirects=flag("follow_redirects", follow_redirects),
            headers=[
                header_line(name, value)
                for name, value in {**_DEFAULT_HEADERS, **_lower_case(headers_of(headers))}.items()
            ],
        )
        self.get = self._service.get()
        self.send = self._service.send()

    def close(self) -> None:
        """Close the connections that no request is using; the next request opens one again."""
        self._service.close()

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"HttpClient({self._url!r})"

"""Who may ask the performance endpoints: hosts and origins, the token, and how often."""

from __future__ import annotations

import hmac
import ipaddress
import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from .._base._checks import number, texts
from ..errors import ConfigurationError

__all__ = ["Admission", "Refusal", "TokenBucket"]


class Refusal(Exception):
    """The request is answered with *status* and *detail*, and nothing else."""

    def __init__(self, status: int, detail: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = list(headers)


class TokenBucket:
    """*rate* requests a second on average, *burst* at once."""

    def __init__(self, rate: float, burst: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._level = burst
        self._at = clock()

    def take(self) -> bool:
        """Whether there is room for one more now."""
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True


def _host_name(host: str) -> str:
    """The name in ``name:port``, lower case; ``[::1]:80`` gives ``::1``; empty where it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _cannot_be_rebound(name: str) -> bool:
    """An address, or a name without a dot: no public DNS name, so no page of another site can be served
    under it and have the browser count it as the same site (DNS rebinding)."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and "." not in name
    return True


_TOKEN = "ASCII text without white space around it, not empty"


class Admission:
    """Decides over a request by its headers.

    Args:
        token: what ``Authorization: Bearer`` must carry; ``None`` for no token.
        allow_hosts: names that ``Host`` may have besides addresses and names without a dot.
        allow_origins: origins (``https://host``) that may ask besides the endpoints' own.
        rate: requests a second, on average; ``5 * rate`` at once.

    Raises:
        ConfigurationError: a bad argument, by name.
    """

    def __init__(
        self,
        *,
        token: str | None,
        allow_hosts: Iterable[str],
        allow_origins: Iterable[str],
        rate: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if token is not None and not isinstance(token, str):
            raise TypeError(f"token: expected {_TOKEN}, not {type(token).__name__}")
        if token is not None and not (token.isascii() and token.strip() == token != ""):
            raise ConfigurationError(f"token: expected {_TOKEN}")  # a secret: it is not shown
        number("rate_limit", rate, 0, 1e6, above=True, unit="requests a second")
        self._token = None if token is None else token.encode()
        self._hosts = {host.lower() for host in texts("allow_hosts", allow_hosts)}
        self._origins = {origin.lower().rstrip("/") for origin in texts("allow_origins", allow_origins)}
        self._bucket = TokenBucket(rate, 5 * rate, clock=clock)
        self._refused = TokenBucket(rate, 5 * rate, clock=clock)

    def check(self, headers: dict[bytes, bytes], *, public: bool = False) -> None:
        """Raise :class:`Refusal` (401, 403 or 429), or return. What is *public* needs no token.

        Refused requests count apart, so that they cannot lock out those who may ask.
        """
        try:
            self._check_host(headers)
            if not public:
                self._check_token(headers)
        except Refusal:
            if not self._refused.take():
                raise _too_many() from None
            raise
        if not self._bucket.take():
            raise _too_many()

    def _check_host(self, headers: dict[bytes, bytes]) -> None:
        host = headers.get(b"host", b"").decode("latin-1")
        name = _host_name(host)
        if name not in self._hosts and not _cannot_be_rebound(name):
            raise Refusal(403, "this host name is not in allow_hosts")
        origin = headers.get(b"origin")
        if origin is None:
            return
        text = origin.decode("latin-1").lower()
        if text not in self._origins and text.partition("://")[2] != host.lower():
            raise Refusal(403, "this origin is not in allow_origins")

    def _check_token(self, headers: dict[bytes, bytes]) -> None:
        if self._token is None:
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        # Both are compared, whatever the first says: the time tells nothing about the token.
        same = hmac.compare_digest(given.strip(), self._token)
        if scheme.lower() != b"bearer" or not same:
            raise Refusal(401, "a bearer token is needed", [(b"www-authenticate", b"Bearer")])


def _too_many() -> Refusal:
    return Refusal(429, "too many requests", [(b"retry-after", b"1")])

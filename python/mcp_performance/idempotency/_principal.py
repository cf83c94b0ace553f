"""Who makes a request, for telling the keys of one caller from those of another."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, cast

from .._base._asgi import Scope
from .._base._checks import function, texts
from ..errors import ConfigurationError
from ._store import fingerprint_of

__all__ = ["principal_of"]

_logger = logging.getLogger("mcp_performance.idempotency")
Principal = Callable[[Scope], str]

_CREDENTIALS = frozenset((b"authorization", b"x-api-key", b"api-key", b"x-auth-token", b"x-access-token"))
_SESSION = b"mcp-session-id"


def principal_of(option: Any) -> Principal:
    """What the middleware's option ``principal`` says: a callable, names of cookies, or nothing.

    What it returns tells callers apart and says nothing about their credentials.
    """
    if callable(option):
        return cast(Principal, function("principal", option))
    if option is None:
        return _Credentials(None)
    names = (option,) if isinstance(option, str) else tuple(texts("principal", option))
    if not names or not all(names):
        raise ConfigurationError(f"principal={option!r}: expected the name of a cookie, names, or a callable")
    try:
        return _Credentials(frozenset(name.encode("latin-1") for name in names))
    except UnicodeEncodeError:
        raise ConfigurationError(f"principal={option!r}: expected names of cookies, in Latin-1") from None


class _Credentials:
    """The headers that carry credentials, and the named cookies; without either, the session of the Model
    Context Protocol and all cookies."""

    def __init__(self, names: frozenset[bytes] | None) -> None:
        self._names = names
        self._has_warned = False

    def __call__(self, scope: Scope) -> str:
        headers = scope["headers"]
        shown = [part for name, value in headers if name in _CREDENTIALS for part in (name, value)]
        cookies = sorted(_cookies(value for name, value in headers if name == b"cookie"))
        named = [cookie for cookie in cookies if self._names is not None and cookie[0] in self._names]
        if shown or named:
            return _told_apart(b"known", shown, named)
        if cookies and self._names is None and not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "requests with an idempotency key and without Authorization are told apart by all their"
                " cookies: one that changes between a request and its repeat runs the work twice. Set"
                " principal= of IdempotencyMiddleware to the name of the session's cookie, or to a callable"
            )
        return _told_apart(b"unknown", [value for name, value in headers if name == _SESSION], cookies)


def _told_apart(kind: bytes, values: list[bytes], cookies: list[tuple[bytes, bytes]]) -> str:
    return fingerprint_of(
        kind, b"%d" % len(values), *values, *(part for cookie in cookies for part in cookie)
    )


def _cookies(values: Iterable[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Names and values, of however many headers, in whatever order."""
    for value in values:
        for pair in value.split(b";"):
            name, _, held = pair.strip().partition(b"=")
            if name or held:
                yield name.strip(), held.strip()

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
    """The ``Authorization`` header and the named cookies; without either, all cookies."""

    def __init__(self, names: frozenset[bytes] | None) -> None:
        self._names = names
        self._has_warned = False

    def __call__(self, scope: Scope) -> str:
        headers = scope["headers"]
        authorization = [value for name, value in headers if name == b"authorization"]
        if authorization and self._names is None:
            return fingerprint_of(b"authorization", *authorization)
        cookies = sorted(_cookies(value for name, value in headers if name == b"cookie"))
        named = [cookie for cookie in cookies if self._names is not None and cookie[0] in self._names]
        if named or authorization:
            cookies = named
        elif cookies and self._names is None and not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "requests with an idempotency key and without Authorization are told apart by all their"
                " cookies: one that changes between a request and its repeat runs the work twice. Set"
                " principal= of IdempotencyMiddleware to the name of the session's cookie, or to a callable"
            )
        parts = [part for cookie in cookies for part in cookie]
        return fingerprint_of(b"both", b"%d" % len(authorization), *authorization, *parts)


def _cookies(values: Iterable[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Names and values, of however many headers, in whatever order."""
    for value in values:
        for pair in value.split(b";"):
            name, _, held = pair.strip().partition(b"=")
            if name or held:
                yield name.strip(), held.strip()

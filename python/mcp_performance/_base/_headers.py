"""Header fields as bytes: one representation of what is sent, over sockets and in process."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigurationError
from ._checks import mapping

__all__ = ["header_line", "headers_of"]


def headers_of(headers: Any) -> dict[str, str]:
    """*headers* as a dict of texts; an empty one for ``None``.

    Raises:
        TypeError: they are no mapping of texts to texts.
    """
    found = dict(mapping("headers", headers, "a mapping of names to values"))
    for name, value in found.items():
        _check(name, value)
    return found


def _check(name: Any, value: Any) -> None:
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"headers[{name!r}]={value!r}: expected a str for a str")


def header_line(name: Any, value: Any) -> tuple[bytes, bytes]:
    """The field as it is sent: Latin-1, as replies are read, and as ASGI and WSGI servers read requests.

    Raises:
        ConfigurationError: *name* or *value* has other characters.
        TypeError: one of them is no string.
    """
    _check(name, value)
    try:
        return name.encode("latin-1"), value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"headers[{name!r}]={value!r}: expected characters of Latin-1, not "
            f"{error.object[error.start]!r}; encode others, for example with urllib.parse.quote()"
        ) from None

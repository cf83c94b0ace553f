"""Header fields as bytes: one representation of what is sent, over sockets and in process."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigurationError

__all__ = ["header_line"]


def header_line(name: Any, value: Any) -> tuple[bytes, bytes]:
    """The field as it is sent: Latin-1, as replies are read, and as ASGI and WSGI servers read requests.

    Raises:
        ConfigurationError: *name* or *value* has other characters.
        TypeError: one of them is no string.
    """
    for part in (name, value):
        if not isinstance(part, str):
            raise TypeError(f"headers[{name!r}]={value!r}: expected a str for a str")
    try:
        return name.encode("latin-1"), value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"headers[{name!r}]={value!r}: expected characters of Latin-1, not "
            f"{error.object[error.start]!r}; encode others, for example with urllib.parse.quote()"
        ) from None

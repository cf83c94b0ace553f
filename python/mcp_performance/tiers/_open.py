"""The shared tier of a cache: one that was made, or one that a URL names."""

from __future__ import annotations

from typing import Any

from .._base._checks import instance
from ..errors import ConfigurationError
from ._redis import UNSET, RedisTier
from ._sqlite import SQLiteTier
from ._url import REDIS_SCHEMES, masked, scheme_of

__all__ = ["choose_tier"]


def choose_tier(shared: RedisTier | None, url: str | None, options: dict[str, Any]) -> RedisTier:
    """*shared*, or else the tier that *url* names, made with those of *options* that are set.

    Raises:
        ConfigurationError: both are given, or neither; no tier has that scheme, or takes such options.
    """
    given = {name: value for name, value in options.items() if value is not UNSET}
    if shared is None:
        if url is None:
            raise ConfigurationError("url=None: expected a URL such as redis://host:6379/0, or shared=")
        return _open_tier(url, given)
    instance("shared", shared, RedisTier, "a RedisTier or SQLiteTier")
    if url is not None:
        raise ConfigurationError("url: expected none with shared=, which has its own")
    for name in given:
        raise ConfigurationError(f"{name}: expected none with shared=, which has its own")
    return shared


def _open_tier(url: str, options: dict[str, Any]) -> RedisTier:
    """The tier that *url* names, by its scheme."""
    scheme = scheme_of(url)
    if scheme in REDIS_SCHEMES:
        if "max_bytes" in options:
            raise ConfigurationError(f"max_bytes={options['max_bytes']!r}: only a SQLite file has it")
        return RedisTier(url, **options)
    if scheme == "sqlite":
        return SQLiteTier(url, **options)
    expected = ", ".join(f"{each}://" for each in (*REDIS_SCHEMES, "sqlite"))
    raise ConfigurationError(f"url={masked(url)!r}: scheme: expected one of {expected}")

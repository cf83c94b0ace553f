"""Which certificate authorities HTTPS trusts by default."""

from __future__ import annotations

from pathlib import Path

from ._checks import file_name

__all__ = ["authorities", "checked_verify"]

_IN_WHEEL = Path(__file__).parents[1].joinpath("_sqlite").is_dir()


def checked_verify(value: bool | str) -> bool | str:
    """*value* if it is what an option ``verify`` may be."""
    if isinstance(value, bool):
        return value
    return file_name("verify", value)


def authorities(verify: bool | str, *, tls: bool = True) -> str:
    """The PEM file of the authorities to trust; empty for what OpenSSL finds by itself.

    The OpenSSL inside a wheel looks where the system has them that the wheel was built on; the interpreter's
    knows where this one does.
    """
    if isinstance(verify, str):
        return verify
    if not (verify and tls and _IN_WHEEL):
        return ""
    import ssl  # takes 20 ms

    return ssl.get_default_verify_paths().cafile or ""

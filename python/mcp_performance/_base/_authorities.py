"""Which certificate authorities HTTPS trusts by default."""

from __future__ import annotations

from pathlib import Path

__all__ = ["authorities"]

_IN_WHEEL = Path(__file__).parents[1].joinpath("_sqlite").is_dir()


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

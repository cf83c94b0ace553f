"""Weak sets of the caches, pools and tiers that are alive, for whoever reports on all of them."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Protocol

__all__ = ["caches", "pools", "register_cache", "register_pool", "register_tier", "tiers"]


class Observable(Protocol):
    """Something with a name and statistics."""

    @property
    def name(self) -> str | None: ...

    def stats(self) -> Any: ...


class _Registry:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._references: dict[int, weakref.ref[Any]] = {}

    def add(self, item: Observable) -> None:
        number = id(item)

        # Bound as defaults: module globals may be gone when a late reference dies at exit.
        def forget(reference: weakref.ref[Any], number: int = number, registry: _Registry = self) -> None:
            with registry._lock:
                if registry._references.get(number) is reference:
                    del registry._references[number]

        with self._lock:
            self._references[number] = weakref.ref(item, forget)

    def alive(self) -> list[Any]:
        with self._lock:
            references = list(self._references.values())
        return [item for item in (reference() for reference in references) if item is not None]

    def start_anew(self) -> None:
        """In a forked child: the lock may have been held by a thread that does not exist here."""
        self._lock = threading.RLock()


_caches = _Registry()
_pools = _Registry()
_tiers = _Registry()
for _registry in (_caches, _pools, _tiers):
    os.register_at_fork(after_in_child=_registry.start_anew)

register_cache = _caches.add
register_pool = _pools.add
register_tier = _tiers.add


def caches() -> list[Any]:
    """Every live cache and cached function, oldest first."""
    return _caches.alive()


def pools() -> list[Any]:
    """Every live :class:`SQLitePool`, oldest first."""
    return _pools.alive()


def tiers() -> list[Any]:
    """Every live :class:`RedisTier`, oldest first."""
    return _tiers.alive()

"""A backend of @cached that is no Cache, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from mcp_performance import Cache, CacheStats


class Backend:
    """A shared store, with or without a cache in this process in front of it."""

    name = "backend"

    def __init__(self, memory: Cache[Any, Any] | None = None) -> None:
        self.memory = memory
        self.store: dict[Any, Any] = {}
        self.tags: dict[str, set[Any]] = {}
        self.calls: list[Any] = []

    def get(self, key: Any, default: Any = None) -> Any:
        self.calls.append("get")
        value = self.store.get(key, default)
        if self.memory is not None and key in self.store:
            self.memory.set(key, value)
        return value

    def set(self, key: Any, value: Any, *, ttl: Any = ..., tags: Iterable[str] = ()) -> None:
        self.calls.append(("set", ttl, tuple(tags)))
        self.store[key] = value
        for tag in tags:
            self.tags.setdefault(tag, set()).add(key)
        if self.memory is not None:
            self.memory.set(key, value, tags=tags)

    def delete(self, key: Any) -> bool:
        self.calls.append("delete")
        if self.memory is not None:
            self.memory.delete(key)
        return self.store.pop(key, self) is not self

    async def aget(self, key: Any, default: Any = None) -> Any:
        await asyncio.sleep(0)
        return self.get(key, default)

    async def aset(self, key: Any, value: Any, *, ttl: Any = ..., tags: Iterable[str] = ()) -> None:
        await asyncio.sleep(0)
        self.set(key, value, ttl=ttl, tags=tags)

    async def adelete(self, key: Any) -> bool:
        return self.delete(key)

    def invalidate_tags(self, *tags: str) -> int:
        if self.memory is not None:
            self.memory.invalidate_tags(*tags)
        keys = {key for tag in tags for key in self.tags.pop(tag, ())}
        return sum(self.store.pop(key, self) is not self for key in keys)

    def stats(self) -> CacheStats:
        return CacheStats(hits=len(self.calls))

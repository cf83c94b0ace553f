"""The forms in which one loader is asked for its values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mcp_performance import Cache, cached


def decorated(load: Callable[[int], Any]) -> Any:
    return cached(load)


def of_a_cache(load: Callable[[int], Any]) -> Any:
    cache: Cache[int, Any] = Cache()

    async def call(x: int) -> Any:
        return await cache.aget_or_load(x, load)

    call.cache = cache  # type: ignore[attr-defined]
    return call


class Holder:
    def __init__(self, load: Callable[[int], Any]) -> None:
        self.load = load

    @cached
    async def get(self, x: int) -> Any:
        return await self.load(x)


def of_a_method(load: Callable[[int], Any]) -> Any:
    return Holder(load).get


FORMS = pytest.mark.parametrize("form", [decorated, of_a_cache, of_a_method])

"""@cached(cache=backend): a backend that is no Cache, and frameworks that insist on a function."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backend_support import Backend
from mcp_performance import Cache, CacheBackend, cached
from mcp_performance._base import _registry


def test_the_protocol_is_what_backends_have() -> None:
    assert isinstance(Backend(), CacheBackend)
    assert not isinstance({}, CacheBackend)


@pytest.mark.parametrize("memory", [None, Cache()])
def test_a_function_loads_through_its_backend(memory: Cache[Any, Any] | None) -> None:
    backend = Backend(memory)
    calls: list[int] = []

    @cached(cache=backend, ttl="1m", tags=("item:{x}",), condition=lambda result: result > 0)
    def f(x: int) -> int:
        calls.append(x)
        return x

    assert f(1) == 1
    assert backend.calls == ["get", ("set", 60.0, ("item:1",))]
    assert f(x=1) == 1
    assert backend.calls[2:] == ([] if memory is not None else ["get"])
    f(-1)
    f(-1)
    assert calls == [1, -1, -1]
    key = f.cache_key(1)
    assert key[1:] == (1,)
    assert "f" in key[0]
    assert key in backend.store
    assert f.cache is backend
    assert f.cache_invalidate(1)
    assert key not in backend.store
    assert f(1) == 1
    assert f.cache_refresh(1) == 1
    assert calls == [1, -1, -1, 1, 1]
    assert f.stats().hits == len(backend.calls)
    assert f not in _registry.caches()


async def test_a_coroutine_function_loads_through_its_backend_once() -> None:
    backend = Backend(Cache())
    calls: list[int] = []

    @cached(cache=backend)
    async def f(x: int) -> int:
        calls.append(x)
        await asyncio.sleep(0)
        return x

    assert await asyncio.gather(*(f(1) for _ in range(5))) == [1] * 5
    assert calls == [1]
    assert backend.calls == ["get", ("set", ..., ())]
    assert await f(1) == 1
    assert len(backend.calls) == 2  # answered by its memory
    backend.memory = None
    assert f.cache_invalidate(1)
    assert await f(1) == 1
    assert calls == [1, 1]


def test_pydantic_takes_a_cached_function_as_function() -> None:
    import pydantic

    calls: list[int] = []

    @pydantic.validate_call
    @cached(as_function=True)
    def f(x: int, y: str = "a") -> str:
        calls.append(x)
        return y * x

    assert f("2", y="b") == f(2, "b") == "bb"  # type: ignore[arg-type]
    assert calls == [2]
    with pytest.raises(pydantic.ValidationError):
        f("x")  # type: ignore[arg-type]

    @cached(as_function=True)
    async def tool(x: int) -> int:
        """A tool."""
        return x

    schema = pydantic.TypeAdapter(tool).json_schema()
    assert schema["properties"]["x"]["type"] == "integer"

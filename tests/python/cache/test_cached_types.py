"""What a type checker sees of cached functions."""

from __future__ import annotations

from pathlib import Path

from mypy import api

SOUND = """
from collections.abc import Awaitable
from typing import assert_type
from mcp_performance import Cache, CacheInfo, cached, cached_method

@cached
def bare(x: int, *, flag: bool = False) -> str:
    return str(x)

@cached(ttl="5m", maxsize=10)
def configured(x: int) -> list[int]:
    return [x]

@cached
async def coroutine(x: int) -> bytes:
    return b""

class Service:
    @cached_method(ttl=5)
    def method(self, x: int) -> float:
        return 1.0

async def main() -> None:
    assert_type(bare(1, flag=True), str)
    assert_type(configured(x=1), list[int])
    assert_type(await coroutine(1), bytes)
    assert_type(Service().method(1), float)
    assert_type(bare.cache_info(), CacheInfo)
    cache: Cache[str, int] = Cache(ttl=5)
    assert_type(cache.get("a"), int | None)
    assert_type(cache.get_or_load("a", lambda key: 1), int)
"""

# One error a line, each after the call that is wrong.
WRONG = """
from mcp_performance import cached

@cached
def bare(x: int, *, flag: bool = False) -> str:
    return str(x)

bare("a")
bare(1, flags=True)
bare(1, ttl=5)
bare(1) + 1
"""


def check(path: Path, source: str) -> list[str]:
    path.write_text(source)
    output, errors, _ = api.run(["--strict", "--no-incremental", "--no-error-summary", str(path)])
    assert not errors
    return [line for line in output.splitlines() if ": error:" in line]


def test_decorated_functions_keep_their_types(tmp_path: Path) -> None:
    assert check(tmp_path / "sound.py", SOUND) == []


def test_wrong_calls_are_errors(tmp_path: Path) -> None:
    lines = [int(line.split(":")[1]) for line in check(tmp_path / "wrong.py", WRONG)]
    assert lines == [8, 9, 10, 11]

"""Users whom Redis does not let do everything."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

from mcp_performance import Cache, RedisTier, TieredCache, cached
from redis_server import RedisServer, eventually, redis_server

PATIENT = 30.0


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def test_who_may_not_run_scripts_is_told_so_and_memory_serves(redis: RedisServer) -> None:
    redis.cli("ACL", "SETUSER", "plain", "on", ">secret", "~*", "&*", "+@all", "-@scripting")
    loaded: list[str] = []
    with TieredCache(url=f"redis://plain:secret@127.0.0.1:{redis.port}", timeout=PATIENT) as cache:

        @cached(cache=cache, tags=("key {key}",))
        def f(key: str) -> int:
            loaded.append(key)
            return loaded.count(key)

        with pytest.warns(RuntimeWarning, match="'eval'"):
            f("first")
        assert [f("k") for _ in range(3)] == [1, 1, 1]
        for number, end in enumerate(
            (
                lambda: f.cache_invalidate("k"),
                lambda: cache.invalidate_tags("key k"),
                f.cache_clear,
                lambda: redis.cli("SET", cache.shared._spell(f.cache_key("k")), ""),
            )
        ):
            end()
            assert eventually(lambda number=number: f("k") == number + 2)


def test_a_user_without_rights_to_channels_is_served_without_memory(redis: RedisServer) -> None:
    redis.cli("ACL", "SETUSER", "limited", "on", ">secret", "~*", "+@all", "resetchannels")
    with RedisTier(f"redis://limited:secret@127.0.0.1:{redis.port}", timeout=PATIENT) as tier:
        cache = TieredCache(Cache(10), tier)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cache.set("k", 1)
            assert cache.get("k") == 1
        redis.cli("SET", tier._spell("k"), "")
        assert cache.get("k") is None
        cache.close()

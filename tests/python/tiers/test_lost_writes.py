"""A server that comes back without what it had acknowledged last: a replica that lacked it, an old snapshot.

Who has ended or set something is never given what it ended, and ends it again, without harm to what is newer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mcp_performance import Cache, RedisTier, TieredCache, cached
from redis_server import RedisServer, eventually, redis_server

PATIENT = 30.0


class Scene:
    def __init__(self, server: RedisServer) -> None:
        self.tier = RedisTier(server.url, timeout=PATIENT)
        self.cache = TieredCache(Cache(100), self.tier)
        self.value = "old"
        self.f: Any = cached(cache=self.cache, name="f", tags=("tag",))(lambda key: self.value)
        self.key = self.f.cache_key("k")

    def close(self) -> None:
        self.cache.close()
        self.tier.close()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def scenes(server: RedisServer) -> Iterator[tuple[Scene, Scene]]:
    one, other = Scene(server), Scene(server)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Redis is away now and then
        yield one, other
        one.close()
        other.close()


def lose(server: RedisServer, acts: Callable[[], object]) -> None:
    """Have the server forget what *acts* do, though it has acknowledged it."""
    assert server.cli("SAVE") == "OK"
    acts()
    server.kill()
    server.start()


ENDS: dict[str, Callable[[Scene], object]] = {
    "delete": lambda scene: scene.cache.delete(scene.key),
    "delete_many": lambda scene: scene.cache.delete_many([scene.key]),
    "invalidate_tags": lambda scene: scene.cache.invalidate_tags("tag"),
    "cache_invalidate": lambda scene: scene.f.cache_invalidate("k"),
    "cache_clear": lambda scene: scene.f.cache_clear(),
    "set": lambda scene: scene.cache.set(scene.key, "new"),
    "set_many": lambda scene: scene.cache.set_many({scene.key: "new"}),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_a_process_has_ended_stays_ended(
    server: RedisServer, scenes: tuple[Scene, Scene], end: str
) -> None:
    one, other = scenes
    assert (one.f("k"), other.f("k")) == ("old", "old")
    one.value = other.value = "new"
    lose(server, lambda: ENDS[end](one))
    assert one.cache.get(one.key) in (None, "new")
    assert one.f("k") == "new"
    assert eventually(lambda: other.f("k") == "new")
    assert eventually(lambda: one.f("k") == "new" and not one.cache._debts)


def test_what_is_newer_stands(server: RedisServer, scenes: tuple[Scene, Scene]) -> None:
    one, other = scenes
    one.cache.delete("k")
    one.cache.invalidate_tags("tag")
    assert eventually(lambda: _is_newer(one, other))
    server.cli("SAVE")
    server.kill()
    server.start()
    assert eventually(lambda: one.cache.get("k") == "newer")
    assert eventually(lambda: not one.cache._debts)
    assert [scene.tier.get("k") for scene in scenes] == ["newer", "newer"]
    assert one.cache.invalidate_tags("tag") == 1


def _is_newer(one: Scene, other: Scene) -> bool:
    """Whether the other's value is later than the latest that a deletion by the first can bear."""
    other.tier.set("k", "newer", tags=("tag",))
    record = other.tier._run([("GET", other.tier._spell("k"))])[0]
    return all(record[2:18] > stamp for *_, stamp in one.cache._debts._done)

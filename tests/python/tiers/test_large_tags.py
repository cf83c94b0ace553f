"""A tag of many keys ends at once, and others have their turns while what bore it is deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from mcp_performance import RedisTier
from redis_server import redis_server
from shared_stores import SQLiteFile, Store, tier_of

PATIENT = 30.0


@pytest.fixture(params=["redis", "sqlite"])
def server(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "redis":
        with redis_server() as server:
            yield server
        return
    file = SQLiteFile()
    yield file
    file.stop()


def test_a_tag_of_many_keys_ends_at_once(server: Store) -> None:
    with tier_of(server.url, timeout=PATIENT) as tier:
        size = 3_000 if isinstance(server, SQLiteFile) else 20_000  # both more than one step deletes
        for start in range(0, size, 500):
            asyncio.run(_set_all(tier, range(start, start + 500)))
        assert tier.invalidate_tags("t") == size
        assert tier.get(size - 1) is None
        assert server.cli("DBSIZE") == "2"  # of the tag, and of tags at large


def test_others_have_their_turns_while_many_keys_of_a_tag_are_deleted(server: Store) -> None:
    size = 3_000
    with tier_of(server.url, timeout=PATIENT) as tier, tier_of(server.url, timeout=PATIENT) as neighbour:
        tier.set_many({key: key for key in range(size)}, tags=("t",))
        turns = 0

        def in_turns() -> Generator[Any, Any, int]:
            nonlocal turns
            steps, reply = tier._invalidate(("t",)), None
            while True:
                try:
                    reply = yield steps.send(reply)
                except StopIteration as end:
                    return int(end.value)
                turns += 1
                assert neighbour.get(size - 1) is None  # from the first step on
                neighbour.set("other", turns)
                assert neighbour.get("other") == turns

        assert tier._link.run(in_turns()) == size
        assert turns > size // 1000


async def _set_all(tier: RedisTier, keys: range) -> None:
    await asyncio.gather(*(tier.aset(key, key, tags=("t",)) for key in keys))

"""A SQLite file as the tier: what every tier does, and what becomes of the file."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import (
    BackendUnavailable,
    Cache,
    ConfigurationError,
    SerializationError,
    SQLitePool,
    SQLiteTier,
    TieredCache,
    cached,
)
from redis_server import eventually

PATIENT = 30.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def tier(path: Path) -> Iterator[SQLiteTier]:
    with SQLiteTier(f"sqlite:///{path}", timeout=PATIENT) as tier:
        yield tier


@pytest.fixture
def front(path: Path) -> Iterator[TieredCache]:
    with TieredCache(url=f"sqlite:///{path}", timeout=PATIENT) as cache:
        yield cache


def keeps(cache: TieredCache, key: Any, value: Any) -> bool:
    """Whether *key* is read, and then served from memory."""
    return cache.get(key) == value and cache.memory.get(key) == value


# -- URLs and options


def test_three_slashes_are_relative_and_four_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        SQLiteTier("sqlite:///some file.db") as relative,
        SQLiteTier(f"sqlite:///{tmp_path}/some file.db") as same,
    ):
        monkeypatch.chdir("/")
        relative.set("k", 1)
        assert same.get("k") == 1
        assert relative.path == same.path == str(tmp_path / "some file.db")
    assert (tmp_path / "some file.db").exists()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://host/cache.db",
        "sqlite:cache.db",
        "sqlite:///cache.db?mode=ro",
        "sqlite:////tmp",
        "sqlite:////tmp/",
        "sqlite:////no such directory/cache.db",
        "sqlite:///a\0b",
    ],
)
def test_a_bad_url_is_refused_and_named(url: str) -> None:
    with pytest.raises(ConfigurationError, match="url="):
        TieredCache(url=url)


@pytest.mark.parametrize(
    "options", [{"max_bytes": 1000}, {"max_bytes": 2**50}, {"timeout": 0}, {"codec": "xml"}]
)
def test_a_bad_option_is_refused_and_named(path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        SQLiteTier(f"sqlite:///{path}", **options)


def test_the_size_is_an_option_of_the_cache_too(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="max_bytes=1000"):
        TieredCache(url=f"sqlite:///{path}", max_bytes=1000)
    with pytest.raises(ConfigurationError, match="max_bytes"):
        TieredCache(url="redis://127.0.0.1:1", max_bytes=1 << 20)
    TieredCache(url=f"sqlite:///{path}", max_bytes=1 << 20).close()


def test_making_a_tier_opens_nothing(path: Path) -> None:
    with TieredCache(url=f"sqlite:///{path}") as cache:
        assert not path.exists()
        cache.set("k", 1)
        assert path.exists()


def test_the_file_is_for_its_user_alone(path: Path, tier: SQLiteTier) -> None:
    previous = os.umask(0)
    try:
        tier.set("k", 1)
    finally:
        os.umask(previous)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(("cache.db", "cache.db-wal", "cache.db-shm"), 0o600)


# -- What every tier does


async def test_the_awaited_twins_do_the_same(tier: SQLiteTier) -> None:
    await tier.aset("k", [1], ttl="1m", tags=("t",))
    assert await tier.aget("k") == [1]
    assert await tier.adelete("k") is True
    assert await tier.adelete("k") is False
    assert await tier.aget("k", 7) == 7
    await tier.aset("k", [2], tags=("t",))
    assert await tier.ainvalidate_tags("t", "none") == 1
    assert await tier.aget("k") is None
    await tier.aping()


async def test_many_awaited_commands_each_get_their_own_answer(tier: SQLiteTier) -> None:
    await asyncio.gather(*(tier.aset(i, i) for i in range(100)))
    assert await asyncio.gather(*(tier.aget(i) for i in range(100))) == list(range(100))


def test_namespaces_and_codecs_are_apart(path: Path) -> None:
    url = f"sqlite:///{path}"
    key = b"k" * 16
    with (
        SQLiteTier(url) as tier,
        SQLiteTier(url, namespace="other") as other,
        SQLiteTier(url, codec="json") as json,
        SQLiteTier(url, codec="pickle", signing_key=key, namespace="signed") as signed,
        SQLiteTier(url, codec="pickle", signing_key=key[::-1] + b"x", namespace="signed") as forged,
    ):
        tier.set("k", (1, 2))
        assert (tier.get("k"), other.get("k"), json.get("k", "miss")) == ((1, 2), None, "miss")
        assert json.stats().unreadable == 1
        signed.set("k", {1})
        assert (signed.get("k"), forged.get("k", "miss")) == ({1}, "miss")
        with pytest.raises(SerializationError):
            tier.set("k", object())
        with pytest.raises(SerializationError):
            tier.set(object(), 1)
        assert tier.get("k") == (1, 2)


def test_what_is_kept_never_outlives_the_file(path: Path, tier: SQLiteTier) -> None:
    with TieredCache(Cache(100, clock=lambda: 0.0), tier, memory_ttl=60) as cache:
        for key, ttl, bound in (("short", 10, 10), ("long", 1000, 60), ("for ever", None, 60)):
            tier.set(key, 1, ttl=ttl)
            assert keeps(cache, key, 1)
            left = cache.memory.expires_in(key)
            assert left is not None
            assert bound - 5 < left <= bound


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_stale_value_of_another_process_stands_in_for_a_load_that_fails(path: Path, is_async: bool) -> None:
    fails = [False]
    loads: list[str] = []

    def load(key: str) -> str:
        loads.append(key)
        if fails[0]:
            raise ValueError(key)
        return "value"

    async def aload(key: str) -> str:
        return load(key)

    with (
        TieredCache(url=f"sqlite:///{path}", timeout=PATIENT) as one,
        TieredCache(url=f"sqlite:///{path}", timeout=PATIENT) as other,
    ):

        def make(cache: TieredCache) -> Callable[[], Any]:
            options: Any = {"name": "f", "ttl": 0.05, "stale_ttl": 3600, "jitter": 0.1, "refresh_ahead": 0.5}
            f: Any = cached(cache=cache, **options)(aload if is_async else load)
            return (lambda: asyncio.run(f("k"))) if is_async else lambda: f("k")

        first, second = make(one), make(other)
        assert first() == second() == "value"
        fails[0] = True
        before = len(loads)
        assert eventually(lambda: (first(), second()) == ("value", "value") and len(loads) > before + 2)


# -- Files


def a_text(path: Path) -> None:
    path.write_text("Dear diary, " * 1000)


def an_own_database(path: Path) -> None:
    with SQLitePool(path, size=1, wal=False).blocking as pool:
        pool.execute("CREATE TABLE record (mine)")
        pool.execute("INSERT INTO record VALUES ('dear')")


def a_newer_format(path: Path) -> None:
    with SQLiteTier(f"sqlite:///{path}") as tier:
        tier.set("k", 1)
    with SQLitePool(path, size=1, init=lambda db: db.execute("PRAGMA user_version = 99")).blocking as pool:
        pool.fetchval("SELECT 1")


@pytest.mark.parametrize("make", [a_text, an_own_database, a_newer_format])
def test_a_foreign_file_is_refused_by_name_and_left_alone(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError) as failure:
        SQLiteTier(f"sqlite:///{path}")
    assert str(path) in str(failure.value)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("make", [a_text, an_own_database, a_newer_format])
def test_a_foreign_file_in_our_place_is_left_alone(
    path: Path, tmp_path: Path, front: TieredCache, make: Callable[[Path], None]
) -> None:
    assert eventually(lambda: [front.set("k", 1), keeps(front, "k", 1)][1])
    other = tmp_path / "other"
    make(other)
    before = other.read_bytes()
    os.replace(other, path)
    with pytest.warns(RuntimeWarning, match=str(path)):
        assert front.get("k") is None  # it was of the old file
    with pytest.raises(BackendUnavailable, match=str(path)):
        front.shared.set("k", 2)
    front.set("k", 3)
    assert front.get("k") == 3  # memory alone
    assert path.read_bytes() == before


def test_an_empty_file_is_taken_for_none(path: Path) -> None:
    path.touch()
    with SQLiteTier(f"sqlite:///{path}") as tier:
        tier.set("k", 1)
        assert tier.get("k") == 1


def cut_short(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 + 1000)


def scribbled_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


@pytest.mark.parametrize("damage", [cut_short, scribbled_over])
def test_a_damaged_file_of_ours_is_made_anew(
    path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    with SQLiteTier(f"sqlite:///{path}") as tier:
        for key in range(200):
            tier.set(key, "x" * 500, tags=("t",))
    damage(path)
    with caplog.at_level(logging.WARNING), TieredCache(url=f"sqlite:///{path}") as cache:
        for key in range(200):
            cache.set(key, key, tags=("t",))
            assert cache.get(key) == key
        assert cache.invalidate_tags("t") == 200
    assert str(path) in caplog.text


def test_a_file_that_is_damaged_under_us_is_made_anew_for_all(path: Path) -> None:
    with (
        TieredCache(url=f"sqlite:///{path}", timeout=PATIENT) as one,
        TieredCache(url=f"sqlite:///{path}", timeout=PATIENT) as other,
    ):
        for key in range(200):
            one.shared.set(key, "x" * 500)
        assert keeps(other, 7, "x" * 500)
        one.shared._database.pool.blocking.fetch("PRAGMA wal_checkpoint(TRUNCATE)")
        scribbled_over(path)
        one.set("k", 1)
        one.set("k", 2)
        assert other.get("k") == 2
        other.set(7, "new")
        assert one.get(7) == other.get(7) == "new"


@pytest.mark.parametrize("how", ["deleted", "replaced", "replaced with its log"])
def test_a_file_that_goes_away_is_noticed(path: Path, tmp_path: Path, how: str) -> None:
    with (
        TieredCache(url=f"sqlite:///{path}", timeout=PATIENT) as one,
        TieredCache(url=f"sqlite:///{path}", timeout=PATIENT) as other,
    ):
        one.set("k", "old")
        assert eventually(lambda: keeps(one, "k", "old") and keeps(other, "k", "old"))
        if how == "deleted":
            path.unlink()
        else:
            with SQLiteTier(f"sqlite:///{tmp_path}/new") as tier:
                tier.set("k", "new")
            if how == "replaced with its log":
                for suffix in ("-wal", "-shm"):
                    Path(f"{path}{suffix}").unlink()
            os.replace(tmp_path / "new", path)
        expected = None if how == "deleted" else "new"
        assert one.get("k") == other.get("k") == expected
        one.set("k", "newer")
        assert other.get("k") == "newer"
        other.delete("k")
        assert one.get("k") is None
    with SQLiteTier(f"sqlite:///{path}") as tier:
        assert tier.get("k") is None
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_it_survives_a_restart(path: Path) -> None:
    with SQLiteTier(f"sqlite:///{path}") as tier:
        tier.set("k", {"a": (1, 2)}, ttl=None, tags=("t",))
    with TieredCache(url=f"sqlite:///{path}") as cache:
        assert cache.get("k") == {"a": (1, 2)}
        assert cache.invalidate_tags("t") == 1
    with SQLiteTier(f"sqlite:///{path}") as tier:
        assert tier.get("k") is None


# -- Size


def test_the_file_stays_within_its_bound_and_the_oldest_go(path: Path) -> None:
    bound = 1 << 20
    with SQLiteTier(f"sqlite:///{path}", max_bytes=bound, compress_above=None) as tier:
        for key in range(300):
            tier.set(key, os.urandom(5_000), tags=("t",))
            tier.set("big", os.urandom(200_000))
            assert path.stat().st_size <= bound
        found = [key for key in range(300) if tier.get(key) is not None]
        assert found
        assert found == list(range(300 - len(found), 300))
        assert tier.invalidate_tags("t") == len(found)
        with pytest.raises(SerializationError):
            tier.set("too big", os.urandom(bound // 4 + 1))


def test_expired_values_and_old_changes_leave_the_file(path: Path, tier: SQLiteTier) -> None:
    tier.set("stays", 1, ttl=None)
    for key in range(300):
        tier.set(key, 1, ttl=0.001)
    pool = tier._database.pool.blocking
    assert eventually(
        lambda: [tier.delete("none"), pool.fetchval("SELECT count(*) FROM record WHERE kind = 0")][1] == 1
    )
    assert tier.get("stays") == 1


def test_who_misses_more_changes_than_are_remembered_drops_everything(path: Path) -> None:
    url = f"sqlite:///{path}"
    with (
        TieredCache(url=url) as one,
        SQLiteTier(url, max_bytes=1 << 20) as forgetful,  # which keeps 1024 changes
    ):
        one.set("k", "old")
        assert keeps(one, "k", "old")
        forgetful.set("k", "new")
        for key in range(1300):
            forgetful.delete(key)
        assert one.get("k") == "new"


def test_who_comes_after_a_change_elsewhere_joins_no_load_from_before(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    version = 1
    begun, go_on = threading.Event(), threading.Event()
    here, elsewhere = (TieredCache(Cache(10), SQLiteTier(url)) for _ in range(2))

    @cached(cache=here, name="f", ttl=60)
    def f(key: int) -> int:
        found = version
        if found == 1:
            begun.set()
            assert go_on.wait(60)
        return found

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(f, 7)
        assert begun.wait(60)
        version = 2
        elsewhere.delete(f.cache_key(7))
        try:
            assert threads.submit(f, 7).result(60) == 2
        finally:
            go_on.set()
        assert first.result(60) == 1  # which began before
    assert f(7) == 2
    for cache in (here, elsewhere):
        cache.close()
        cache.shared.close()

"""One execution a key, whatever is lost on the way; and whose key it is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fault_proxy import DOWN, FaultProxy, fault_proxy
from mcp_performance import (
    BackendUnavailable,
    IdempotencyMiddleware,
    IdempotencyStore,
    InProgress,
    RedisTier,
    SQLitePool,
    idempotent,
)
from mcp_performance.idempotency._keeper import Keeper
from mcp_performance.idempotency._storage import Claimed, Record
from mcp_performance.idempotency._storage_sqlite import SQLiteStorage
from mcp_performance.idempotency._store import Replay, Reservation
from redis_server import RedisServer, eventually, redis_server

PATIENT = 30.0


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[FaultProxy]:
    server.cli("FLUSHALL")
    with fault_proxy(server.port) as proxy:
        yield proxy


def claim(store: IdempotencyStore, key: str = "k") -> Reservation:
    found = store.begin(key, "p")
    assert isinstance(found, Reservation)
    return found


def replay(store: IdempotencyStore, key: str = "k") -> Any:
    found = store.begin(key, "p")
    assert isinstance(found, Replay)
    return store.unpack(found.result)


def test_a_claim_whose_answer_was_lost_is_the_claimers(server: RedisServer, proxy: FaultProxy) -> None:
    with RedisTier(proxy.url, timeout=0.3) as tier:
        tier.ping()
        proxy.hold(DOWN)
        freed = threading.Timer(0.4, proxy.let_go)  # the claim stands; its answer came too late
        freed.start()
        store = IdempotencyStore(tier, lease=3600)
        claim(store).complete(store.pack("done"))
        freed.join()
        assert replay(store) == "done"
        assert store.stats().executed == 1


def test_a_claim_that_is_given_up_is_given_back(server: RedisServer, proxy: FaultProxy) -> None:
    with RedisTier(proxy.url, timeout=0.2) as tier, RedisTier(server.url, timeout=PATIENT) as other:
        tier.ping()
        store, elsewhere = IdempotencyStore(tier, lease=3600), IdempotencyStore(other, lease=3600)
        proxy.hold(DOWN)
        with pytest.raises(BackendUnavailable):
            store.begin("k", "p")
        proxy.let_go()

        def is_free() -> bool:
            try:
                claim(elsewhere).release()
            except InProgress:
                return False
            return True

        assert eventually(is_free)


def test_a_result_that_redis_did_not_take_is_offered_again(server: RedisServer, proxy: FaultProxy) -> None:
    with RedisTier(proxy.url, timeout=0.2) as tier, RedisTier(server.url, timeout=PATIENT) as other:
        store, elsewhere = IdempotencyStore(tier, lease=3600), IdempotencyStore(other, lease=3600)
        work = claim(store)
        proxy.cut()
        work.complete(store.pack("done"))
        assert replay(store) == "done"  # in this process at once
        with pytest.raises(InProgress):
            elsewhere.begin("k", "p")
        proxy.let_go()
        assert eventually(lambda: _result(elsewhere) == "done")
        assert store.stats().lost == 0


def _result(store: IdempotencyStore) -> Any:
    try:
        return replay(store)
    except InProgress:
        return None


def test_a_result_whose_answer_was_lost_counts_as_stored(server: RedisServer, proxy: FaultProxy) -> None:
    with RedisTier(proxy.url, timeout=0.2) as tier:
        store = IdempotencyStore(tier, lease=3600)
        work = claim(store)
        proxy.hold(DOWN)
        work.complete(store.pack("done"))
        proxy.let_go()
        assert eventually(lambda: not store._running)
        assert store.stats().lost == 0
        assert replay(store) == "done"


@pytest.mark.parametrize("kind", ["redis", "file"])
def test_a_claim_is_renewed_while_its_work_runs(server: RedisServer, tmp_path: Any, kind: str) -> None:
    server.cli("FLUSHALL")
    with RedisTier(server.url, timeout=PATIENT) as tier:
        storage: Any = tier if kind == "redis" else tmp_path / "keys.db"
        store, elsewhere = IdempotencyStore(storage, lease=1.5), IdempotencyStore(storage, lease=1.5)
        work = claim(store)
        first = work.lapses_at
        assert eventually(lambda: work.lapses_at > first + 2)
        with pytest.raises(InProgress):
            elsewhere.begin("k", "p")
        work.complete(store.pack("done"))
        assert replay(elsewhere) == "done"
        store.close()
        elsewhere.close()


@pytest.fixture(params=["redis", "file"])
def forgetful(
    request: Any, server: RedisServer, tmp_path: Path
) -> Iterator[tuple[Any, Callable[[], object]]]:
    """A storage, and what makes it forget all that it had acknowledged."""
    server.cli("FLUSHALL")
    if request.param == "redis":
        with RedisTier(server.url, timeout=PATIENT) as tier:
            yield tier, lambda: server.cli("FLUSHALL")
        return

    def forget() -> None:
        with SQLitePool(tmp_path / "keys.db", size=1).blocking as pool:
            pool.execute("DELETE FROM mcp_idempotency")

    yield tmp_path / "keys.db", forget


def test_a_result_is_taken_where_its_claim_is_gone(forgetful: tuple[Any, Callable[[], object]]) -> None:
    storage, forget = forgetful
    with _stores(storage, lease=3600) as (store, elsewhere):
        work = claim(store)
        forget()
        work.complete(store.pack("done"))
        assert replay(elsewhere) == "done"
        late = claim(store, "other")
        forget()
        claim(elsewhere, "other").complete(store.pack("of the other"))
        late.complete(store.pack("late"))
        assert replay(elsewhere, "other") == "of the other"
        assert store.stats().lost == 1


def test_a_claim_that_is_gone_is_made_anew_while_its_work_runs(
    forgetful: tuple[Any, Callable[[], object]],
) -> None:
    storage, forget = forgetful
    with _stores(storage, lease=1.5) as (store, elsewhere):
        work = claim(store)
        forget()
        first = work.lapses_at
        assert eventually(lambda: work.lapses_at > first)
        with pytest.raises(InProgress):
            elsewhere.begin("k", "p")
        work.release()
        claim(elsewhere).release()


def test_a_claim_that_a_server_lost_as_it_died_is_made_anew_as_soon_as_it_is_back() -> None:
    """Long before it would be renewed: until then anybody could claim the key, and execute it again."""
    with (
        redis_server() as server,
        RedisTier(server.url, timeout=PATIENT) as tier,
        _stores(tier, lease=3600) as (store, elsewhere),
    ):
        work = claim(store)
        server.kill()
        server.start()
        assert eventually(lambda: server.cli("DBSIZE") == "1")
        with pytest.raises(InProgress):
            elsewhere.begin("k", "p")
        work.complete(store.pack("done"))
        assert replay(elsewhere) == "done"


def test_a_claim_that_is_given_up_while_it_is_renewed_stays_free(
    forgetful: tuple[Any, Callable[[], object]],
) -> None:
    storage, _ = forgetful
    with _stores(storage, lease=3600) as (store, elsewhere):
        work = claim(store)
        renew = store._storage.renew

        def give_up_first(*claimed: Any) -> bool:
            work.release()
            return renew(*claimed)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store._storage, "renew", give_up_first)
            work.renew_at = 0.0
            Keeper(store).tick()
        claim(elsewhere).release()


@contextlib.contextmanager
def _stores(storage: Any, lease: float) -> Iterator[tuple[IdempotencyStore, IdempotencyStore]]:
    stores = IdempotencyStore(storage, lease=lease), IdempotencyStore(storage, lease=lease)
    yield stores
    for store in stores:
        store.close()


async def test_many_who_wait_ask_the_storage_no_more_than_one(server: RedisServer) -> None:
    server.cli("FLUSHALL")
    async with RedisTier(server.url, timeout=PATIENT) as tier:
        store = IdempotencyStore(tier)
        first = await store.abegin("k", "p")
        assert isinstance(first, Reservation)
        waiting = [asyncio.ensure_future(store.abegin("k", "p")) for _ in range(400)]
        while store.stats().joined < 400:  # noqa: ASYNC110
            await asyncio.sleep(0)
        before = tier.stats().requests
        await first.acomplete(store.pack("done"))
        results = await asyncio.gather(*waiting)
        assert all(isinstance(result, Replay) for result in results)
        assert tier.stats().requests - before <= 2
        assert store.stats().replayed == 400


# -- HTTP


class Shop:
    """Answers each call with its number, and *status*."""

    def __init__(self) -> None:
        self.calls = 0
        self.status = 200

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        await receive()
        body = str(self.calls).encode()
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def post(app: Any, **headers: str) -> str:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        sent = {"Idempotency-Key": "k", **headers}
        return (await client.post("/orders", headers=sent)).text


@pytest.mark.parametrize("status", [401, 403, 407, 408, 421, 425, 429, 500, 503])
async def test_what_may_be_answered_otherwise_is_not_stored(status: int) -> None:
    shop = Shop()
    app = IdempotencyMiddleware(shop)
    shop.status = status
    assert await post(app) == "1"
    shop.status = 200
    assert await post(app) == "2"
    assert await post(app) == "2"


@pytest.mark.parametrize("status", [200, 201, 204, 302, 400, 404, 409, 422])
async def test_what_is_said_for_good_is_stored(status: int) -> None:
    shop = Shop()
    app = IdempotencyMiddleware(shop)
    shop.status = status
    await post(app)
    shop.status = 200
    await post(app)
    assert shop.calls == 1


BEARER = {"Authorization": "Bearer a"}


@pytest.mark.parametrize(
    ("principal", "first", "second", "is_same"),
    [
        (None, {**BEARER, "Cookie": "_ga=1"}, {**BEARER, "Cookie": "_ga=2"}, True),
        (None, BEARER, {"Authorization": "Bearer b"}, False),
        (None, {"X-API-Key": "a"}, {"X-API-Key": "b"}, False),
        (None, {"X-API-Key": "a"}, {"X-Auth-Token": "a"}, False),
        (None, {"X-API-Key": "a"}, {}, False),
        (None, {**BEARER, "X-API-Key": "a"}, {**BEARER, "X-API-Key": "b"}, False),
        (None, {"X-API-Key": "a", "Cookie": "_ga=1"}, {"X-API-Key": "a", "Cookie": "_ga=2"}, True),
        (None, {"Mcp-Session-Id": "a"}, {"Mcp-Session-Id": "b"}, False),
        (None, {**BEARER, "Mcp-Session-Id": "a"}, {**BEARER, "Mcp-Session-Id": "b"}, True),
        ("session", {"Cookie": "session=1", "Mcp-Session-Id": "a"}, {"Cookie": "session=1"}, True),
        ("session", {"X-API-Key": "a"}, {"X-API-Key": "b"}, False),
        (None, {"Cookie": "a=1; b=2"}, {"Cookie": "b=2; a=1"}, True),
        (None, {"Cookie": "session=1"}, {"Cookie": "session=2"}, False),
        (None, {"Cookie": "session=1"}, {}, False),
        ("session", {"Cookie": "session=1; _ga=1"}, {"Cookie": "_ga=2; session=1"}, True),
        ("session", {"Cookie": "session=1"}, {"Cookie": "session=2"}, False),
        ("session", {"Cookie": "_ga=1"}, {"Cookie": "_ga=2"}, False),
        (("session", "tenant"), {"Cookie": "session=1; tenant=1"}, {"Cookie": "session=1; tenant=2"}, False),
        ("session", {**BEARER, "Cookie": "session=1"}, {**BEARER, "Cookie": "session=2"}, False),
        (lambda scope: "everybody", {"Cookie": "session=1"}, {"Cookie": "session=2"}, True),
    ],
)
async def test_a_principal_is_told_by_a_rule(
    principal: Any, first: dict[str, str], second: dict[str, str], is_same: bool
) -> None:
    app = IdempotencyMiddleware(Shop(), principal=principal)
    one, other = await post(app, **first), await post(app, **second)
    assert (one == other) is is_same


async def test_a_principal_that_is_no_text_is_refused() -> None:
    nobody: Any = lambda scope: None  # noqa: E731
    shop = Shop()
    transport = httpx.ASGITransport(app=IdempotencyMiddleware(shop, principal=nobody))
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        with pytest.raises(TypeError, match="principal= made a NoneType"):
            await client.post("/orders", headers={"Idempotency-Key": "k"})
    assert shop.calls == 0


async def test_cookies_that_nobody_named_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    app = IdempotencyMiddleware(Shop())
    with caplog.at_level(logging.WARNING, logger="mcp_performance.idempotency"):
        await post(app, **BEARER, Cookie="session=1")
        assert caplog.records == []
        await post(app, Cookie="session=1")
        await post(app, Cookie="session=2")
    assert len(caplog.records) == 1
    assert "principal=" in caplog.records[0].getMessage()


@pytest.mark.parametrize("first", ["release", "renew", "complete", "arelease", "acomplete"])
async def test_a_file_that_no_claim_has_reached_yet_is_one_without_claims(tmp_path: Path, first: str) -> None:
    """A claim that failed half-way is taken back, whether or not it came as far as to make the table."""
    storage = SQLiteStorage(tmp_path / "a.db", time.time, 100)
    try:
        arguments = {"renew": ("key", "print", "me", 1.0), "complete": ("key", "print", "me", b"x", 1.0)}
        result = getattr(storage, first)(*arguments.get(first.removeprefix("a"), ("key", "me")))
        # The claim that a renewal or a result misses is nobody else's.
        assert bool(await result if first.startswith("a") else result) is not first.endswith("release")
        claimed = storage.claim("key", "print", "me", 60.0)
        assert claimed == (Record("print", True, b"x") if "complete" in first else Claimed())
    finally:
        storage.close()


def test_a_result_of_use_only_once_is_refused_and_the_key_is_free_again() -> None:
    async def later() -> int:
        return 1

    results: list[Any] = [later(), (i for i in range(2)), [1]]

    @idempotent(store=IdempotencyStore(), key="{order}")
    def place(order: str) -> Any:
        return results.pop(0)

    for _ in range(2):
        with pytest.raises(TypeError, match=r"awaitable|once"):
            place("o-1")
    assert place("o-1") == place("o-1") == [1]

"""Work that is done once: the store, the decorator and the middleware, over each kind of storage."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from http.cookiejar import Cookie, CookieJar
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_performance import (
    ConfigurationError,
    IdempotencyMiddleware,
    IdempotencyStore,
    InProgress,
    KeyReused,
    RedisTier,
    SerializationError,
    SQLitePool,
    idempotent,
)
from mcp_performance.idempotency._store import Replay, Reservation
from redis_server import RedisServer, eventually, free_port, redis_server

DAY = 86400.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


async def until(holds: Callable[[], object]) -> None:
    """Let the loop turn until *holds* answers something true."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(params=["memory", "sqlite", "redis"])
def make_store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> Iterator[Callable[[], IdempotencyStore]]:
    """Makes stores that share one storage, as processes would; for memory, one store."""
    made: list[Any] = []
    kind = request.param
    if kind == "redis":
        server = request.getfixturevalue("server")
        server.cli("FLUSHALL")

    def make() -> IdempotencyStore:
        if kind == "memory":
            if not made:
                made.append(IdempotencyStore(clock=clock))
            return made[0]
        if kind == "sqlite":
            store = IdempotencyStore(tmp_path / "keys.db", clock=clock)
        else:
            tier = RedisTier(server.url, timeout=20)
            made.append(tier)
            store = IdempotencyStore(tier)
        made.append(store)
        return store

    yield make
    for item in reversed(made):
        item.close()


@pytest.fixture
def store(make_store: Callable[[], IdempotencyStore]) -> IdempotencyStore:
    return make_store()


def claim(store: IdempotencyStore, key: str = "k", payload: str = "p") -> Reservation:
    found = store.begin(key, payload, wait=False)
    assert isinstance(found, Reservation)
    return found


def replay(store: IdempotencyStore, key: str = "k", payload: str = "p") -> Any:
    found = store.begin(key, payload, wait=False)
    assert isinstance(found, Replay)
    return store.unpack(found.result)


# -- The store


def test_a_repeat_gets_the_first_result(store: IdempotencyStore) -> None:
    claim(store).complete(store.pack({"id": 1}))
    assert replay(store) == {"id": 1}
    assert replay(store) == {"id": 1}
    assert (store.stats().executed, store.stats().replayed) == (1, 2)


def test_the_same_key_with_another_payload_is_refused(store: IdempotencyStore) -> None:
    first = claim(store)
    with pytest.raises(KeyReused):
        store.begin("k", "other")
    first.complete(store.pack(1))
    with pytest.raises(KeyReused):
        store.begin("k", "other")
    assert store.stats().reused == 2


def test_a_key_in_flight_is_refused_to_who_does_not_wait(
    make_store: Callable[[], IdempotencyStore],
) -> None:
    one, other = make_store(), make_store()
    first = claim(one)
    for store in (one, other):
        with pytest.raises(InProgress):
            store.begin("k", "p", wait=False)
    first.complete(one.pack("done"))
    assert replay(other) == "done"


def test_a_failure_releases_the_key(make_store: Callable[[], IdempotencyStore]) -> None:
    one, other = make_store(), make_store()
    claim(one).release()
    claim(other).complete(other.pack(2))
    assert replay(one) == 2


def test_a_claim_is_released_by_its_owner_only(make_store: Callable[[], IdempotencyStore]) -> None:
    store = make_store()
    first = claim(store)
    first.release()
    second = claim(store)
    first.release()
    first.complete(store.pack("too late"))
    with pytest.raises(InProgress):
        store.begin("k", "p", wait=False)
    second.complete(store.pack("second"))
    assert replay(store) == "second"


async def test_the_awaited_twins_do_the_same(store: IdempotencyStore) -> None:
    first = await store.abegin("k", "p")
    assert isinstance(first, Reservation)
    with pytest.raises(InProgress):
        await store.abegin("k", "p", wait=False)
    await first.arelease()
    second = await store.abegin("k", "p")
    assert isinstance(second, Reservation)
    await second.acomplete(store.pack([1]))
    found = await store.abegin("k", "p")
    assert isinstance(found, Replay)
    assert store.unpack(found.result) == [1]
    await store.aclose()


@pytest.mark.parametrize("make_store", ["memory", "sqlite"], indirect=True)
def test_a_result_is_forgotten_after_its_day(store: IdempotencyStore, clock: Clock) -> None:
    assert store.ttl == DAY
    claim(store).complete(store.pack(1))
    clock.now += DAY - 1
    assert replay(store) == 1
    clock.now += 1
    claim(store).complete(store.pack(2))
    assert replay(store) == 2


def test_redis_forgets_a_result_after_its_day(server: RedisServer) -> None:
    server.cli("FLUSHALL")
    with RedisTier(server.url, timeout=20) as tier:
        store = IdempotencyStore(tier)
        claim(store).complete(store.pack(1))
        assert DAY - 60 < int(server.cli("TTL", server.cli("KEYS", "*"))) <= DAY


@pytest.mark.parametrize("make_store", ["sqlite"], indirect=True)
def test_a_claim_of_a_process_that_died_lapses(
    make_store: Callable[[], IdempotencyStore], clock: Clock
) -> None:
    dead, alive = make_store(), make_store()
    lost = claim(dead)
    clock.now += 119
    with pytest.raises(InProgress):
        alive.begin("k", "p")
    clock.now += 1
    claim(alive).complete(alive.pack("by the other"))
    lost.complete(dead.pack("late"))
    assert replay(alive) == "by the other"
    assert dead.stats().lost == 1


def test_a_file_survives_a_restart(tmp_path: Path, clock: Clock) -> None:
    before = IdempotencyStore(tmp_path / "keys.db", clock=clock)
    claim(before).complete(before.pack((1, "x")))
    before.close()
    after = IdempotencyStore(str(tmp_path / "keys.db"), clock=clock)
    assert replay(after) == (1, "x")
    after.close()


async def test_a_pool_that_is_given_stays_open(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "app.db") as pool:
        store = IdempotencyStore(pool)
        found = await store.abegin("k", "p")
        assert isinstance(found, Reservation)
        await found.acomplete(store.pack(1))
        await store.aclose()
        assert await pool.fetchval("SELECT count(*) FROM mcp_idempotency") == 1


def test_memory_is_bounded_by_entries_and_bytes(clock: Clock) -> None:
    store = IdempotencyStore(max_entries=3, clock=clock)
    for key in range(5):
        claim(store, str(key)).complete(key)
    assert (store.stats().entries, store.stats().evicted) == (3, 2)
    assert replay(store, "4") == 4
    small = IdempotencyStore(max_bytes=1000, clock=clock)
    for key in range(5):
        claim(small, str(key)).complete(bytes(400))
    assert small.stats().entries == 2


def test_a_file_is_bounded(tmp_path: Path, clock: Clock) -> None:
    store = IdempotencyStore(tmp_path / "keys.db", max_entries=10, clock=clock)
    for key in range(64):
        claim(store, str(key)).complete(store.pack(key))
        clock.now += 1
    assert store.stats().evicted == 53
    assert replay(store, "63") == 63
    claim(store, "0").release()
    store.close()


def test_a_thread_waits_for_the_execution_of_another(store: IdempotencyStore) -> None:
    first = claim(store)
    answers: list[Any] = []

    def repeat() -> None:
        found = store.begin("k", "p")
        assert isinstance(found, Replay)
        answers.append(store.unpack(found.result))

    threads = [threading.Thread(target=repeat) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: store.stats().joined == 3)
    first.complete(store.pack("once"))
    for thread in threads:
        thread.join()
    assert answers == ["once"] * 3


async def test_a_waiting_repeat_executes_when_the_first_fails(store: IdempotencyStore) -> None:
    first = await store.abegin("k", "p")
    assert isinstance(first, Reservation)
    repeat = asyncio.ensure_future(store.abegin("k", "p"))
    cancelled = asyncio.ensure_future(store.abegin("k", "p"))
    await until(lambda: store.stats().joined == 2)
    cancelled.cancel()
    await first.arelease()
    second = await repeat
    assert isinstance(second, Reservation)
    await second.arelease()
    assert cancelled.cancelled() or await asyncio.wait([cancelled])


def test_a_forked_child_is_not_held_up_by_the_parents_execution() -> None:
    store = IdempotencyStore()
    first = claim(store, "parent's")
    child = os.fork()
    if not child:
        os._exit(0 if isinstance(store.begin("child's", "p"), Reservation) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    first.complete(1)


@pytest.mark.parametrize(
    "options",
    [{"ttl": 0}, {"ttl": None}, {"lease": -1}, {"max_entries": 0}, {"max_bytes": 0}],
)
def test_a_bad_option_is_a_configuration_error_that_names_it(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        IdempotencyStore(**options)


# -- The decorator


def test_a_function_runs_once_for_each_key(store: IdempotencyStore) -> None:
    calls: list[Any] = []

    @idempotent(key="order:{order}", store=store)
    def pay(order: int, amount: float, *, note: str = "") -> dict[str, Any]:
        calls.append((order, amount))
        return {"order": order, "paid": amount}

    assert pay(1, 9.5) == pay(order=1, amount=9.5, note="") == {"order": 1, "paid": 9.5}
    assert pay(2, 9.5) == {"order": 2, "paid": 9.5}
    with pytest.raises(KeyReused):
        pay(1, 10.0)
    assert calls == [(1, 9.5), (2, 9.5)]


async def test_a_coroutine_function_runs_once_for_calls_at_the_same_time(store: IdempotencyStore) -> None:
    calls: list[int] = []
    go_on = asyncio.Event()

    @idempotent(key=lambda order: str(order), store=store)
    async def pay(order: int) -> list[int]:
        calls.append(order)
        await go_on.wait()
        return [order]

    tasks = [asyncio.ensure_future(pay(7)) for _ in range(5)]
    await until(lambda: store.stats().joined == 4)
    go_on.set()
    assert await asyncio.gather(*tasks) == [[7]] * 5
    assert calls == [7]


async def test_a_call_that_raises_or_is_cancelled_may_be_repeated(store: IdempotencyStore) -> None:
    outcomes: list[Any] = [ValueError("no"), asyncio.CancelledError(), "yes"]

    @idempotent(key="k", store=store)
    async def work() -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    with pytest.raises(ValueError, match="no"):
        await work()
    with pytest.raises(asyncio.CancelledError):
        await work()
    assert await work() == "yes"
    assert await work() == "yes"


def test_functions_do_not_share_keys_unless_they_share_a_scope(store: IdempotencyStore) -> None:
    def make(result: int, scope: str | None) -> Any:
        def work() -> int:
            return result

        work.__qualname__ = f"work_{result}"
        return idempotent(key="k", store=store, scope=scope)(work)

    assert [make(1, None)(), make(2, None)()] == [1, 2]
    assert [make(3, "one")(), make(4, "one")()] == [3, 3]


def test_a_method_needs_no_shareable_self(store: IdempotencyStore) -> None:
    class Shop:
        @idempotent(key="{order}", store=store)
        def pay(self, order: int, lines: list[dict[str, Any]]) -> int:
            return order

    assert Shop().pay(1, [{"a": [1, {2}]}]) == Shop().pay(1, [{"a": [1, {2}]}]) == 1
    with pytest.raises(SerializationError):
        Shop().pay(1, [{"a": object()}])


def test_a_function_that_calls_itself_is_told(store: IdempotencyStore) -> None:
    @idempotent(key="k", store=store)
    def work() -> Any:
        return work()

    with pytest.raises(InProgress):
        work()


def test_a_template_that_names_no_parameter_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'user' is no parameter"):

        @idempotent(key="{user}")
        def work(order: int) -> None: ...


# -- The middleware


class App:
    """Answers with what it is told, and counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.status = 201
        self.chunks = [b"first ", b"second"]
        self.raises: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message.get("more_body"):
                break
        if self.gate is not None:
            await self.gate.wait()
        if self.raises is not None:
            raise self.raises
        number = str(self.calls).encode()
        headers = [(b"x-call", number), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for chunk in [*self.chunks, body]:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})


class NoCookies(CookieJar):
    """A client that keeps none of the cookies it is sent."""

    def set_cookie(self, cookie: Cookie) -> None:
        pass


def client(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://shop", cookies=NoCookies())


KEY = {"Idempotency-Key": "abc"}


async def test_a_repeat_gets_status_headers_and_body_of_the_first(store: IdempotencyStore) -> None:
    app = App()
    async with client(IdempotencyMiddleware(app, store=store)) as shop:
        first = await shop.post("/orders", content=b"seat", headers=KEY)
        repeat = await shop.post("/orders", content=b"seat", headers=KEY)
    assert app.calls == 1
    assert first.status_code == repeat.status_code == 201
    assert first.content == repeat.content == b"first second" + b"seat"
    assert repeat.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert "idempotency-replayed" not in first.headers
    assert repeat.headers["idempotency-replayed"] == "true"


async def test_a_repeat_with_another_body_is_unprocessable(store: IdempotencyStore) -> None:
    async with client(IdempotencyMiddleware(App(), store=store)) as shop:
        await shop.post("/orders", content=b"one", headers=KEY)
        assert (await shop.post("/orders", content=b"two", headers=KEY)).status_code == 422


async def test_a_key_belongs_to_its_principal_and_route() -> None:
    app = App()
    async with client(IdempotencyMiddleware(app)) as shop:
        calls = [
            await shop.post("/orders", headers=KEY),
            await shop.post("/orders?a=1", headers=KEY),
            await shop.post("/refunds", headers=KEY),
            await shop.patch("/orders", headers=KEY),
            await shop.post("/orders", headers={**KEY, "Authorization": "Bearer a"}),
            await shop.post("/orders", headers={**KEY, "Authorization": "Bearer b"}),
            await shop.post("/orders", headers={**KEY, "Cookie": "session=c"}),
        ]
        assert [call.headers["x-call"] for call in calls] == [str(n) for n in range(1, 8)]
        again = await shop.post("/orders", headers={**KEY, "Authorization": "Bearer a"})
    assert again.headers["x-call"] == "5"


async def test_credentials_are_not_stored(tmp_path: Path) -> None:
    store = IdempotencyStore(tmp_path / "keys.db")
    async with client(IdempotencyMiddleware(App(), store=store)) as shop:
        await shop.post("/orders", headers={**KEY, "Authorization": "Bearer canary"})
    await store.aclose()
    stored = _bytes_in(tmp_path)
    assert b"mcp_idempotency" in stored
    assert b"canary" not in stored


def _bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_repeats_at_the_same_time_are_joined() -> None:
    app = App()
    app.gate = asyncio.Event()
    middleware = IdempotencyMiddleware(app)
    async with client(middleware) as shop:
        calls = [asyncio.ensure_future(shop.post("/orders", headers=KEY)) for _ in range(4)]
        await until(lambda: middleware.store.stats().joined == 3)
        app.gate.set()
        answers = await asyncio.gather(*calls)
    assert app.calls == 1
    assert [answer.status_code for answer in answers] == [201] * 4


async def test_repeats_at_the_same_time_conflict_when_they_do_not_wait() -> None:
    app = App()
    app.gate = asyncio.Event()
    async with client(IdempotencyMiddleware(app, wait=False)) as shop:
        first = asyncio.ensure_future(shop.post("/orders", headers=KEY))
        await until(lambda: app.calls)
        conflict = await shop.post("/orders", headers=KEY)
        app.gate.set()
        assert (await first).status_code == 201
    assert conflict.status_code == 409
    assert conflict.headers["retry-after"] == "1"
    assert conflict.json()["status"] == 409


async def test_failures_are_not_stored() -> None:
    app = App()
    async with client(IdempotencyMiddleware(app)) as shop:
        app.raises = RuntimeError("down")
        assert (await shop.post("/orders", headers=KEY)).status_code == 500
        app.raises = None
        app.status = 503
        assert (await shop.post("/orders", headers=KEY)).status_code == 503
        app.status = 404
        assert (await shop.post("/orders", headers=KEY)).status_code == 404
        app.status = 200
        assert (await shop.post("/orders", headers=KEY)).status_code == 404
    assert app.calls == 3


async def test_a_client_that_leaves_lets_the_next_one_execute() -> None:
    app = App()
    app.gate = asyncio.Event()
    middleware = IdempotencyMiddleware(app)
    async with client(middleware) as shop:
        first = asyncio.ensure_future(shop.post("/orders", headers=KEY))
        await until(lambda: app.calls)
        first.cancel()
        await asyncio.wait([first])
        app.gate.set()
        assert (await shop.post("/orders", headers=KEY)).headers["x-call"] == "2"
    assert middleware.store.stats().released == 1


async def test_a_response_that_is_too_large_passes_unstored() -> None:
    app = App()
    async with client(IdempotencyMiddleware(app, max_response_bytes=5)) as shop:
        for number in ("1", "2"):
            answer = await shop.post("/orders", headers=KEY)
            assert (answer.content, answer.headers["x-call"]) == (b"first second", number)


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "caf\xe9"])
async def test_a_bad_key_is_a_bad_request(key: str) -> None:
    async with client(IdempotencyMiddleware(App())) as shop:
        answer = await shop.post("/orders", headers={"Idempotency-Key": key.encode("latin-1")})
    assert answer.status_code == 400


async def test_two_keys_are_a_bad_request() -> None:
    async with client(IdempotencyMiddleware(App())) as shop:
        headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        assert (await shop.post("/orders", headers=headers)).status_code == 400


async def test_a_key_may_be_required() -> None:
    app = App()
    async with client(IdempotencyMiddleware(app, required=True)) as shop:
        assert (await shop.post("/orders")).status_code == 400
        assert (await shop.get("/orders")).status_code == 201
    assert app.calls == 1


async def test_a_large_body_is_refused_before_it_is_held() -> None:
    app = App()
    async with client(IdempotencyMiddleware(app, max_body_bytes=10)) as shop:
        assert (await shop.post("/orders", content=b"x" * 11, headers=KEY)).status_code == 413
        assert (await shop.post("/orders", content=b"x" * 10, headers=KEY)).status_code == 201
    assert app.calls == 1


async def test_nothing_is_executed_when_the_store_is_away() -> None:
    app = App()
    with RedisTier(f"redis://127.0.0.1:{free_port()}") as tier:
        async with client(IdempotencyMiddleware(app, store=IdempotencyStore(tier))) as shop:
            assert (await shop.post("/orders", headers=KEY)).status_code == 503
    assert app.calls == 0


async def test_requests_without_a_key_pass_as_they_are() -> None:
    app = App()
    async with client(IdempotencyMiddleware(app)) as shop:
        assert (await shop.post("/orders", content=b"!")).content == b"first second!"
        assert (await shop.put("/orders", headers=KEY)).status_code == 201
    assert app.calls == 2

"""Virtual users with something of their own: values they keep, cookies, feeds, set-up and tear-down."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from load_servers import Received, free_port, responding, response, serve
from mcp_performance import ConfigurationError, HttpError, LoadTester, Request, TargetRefused
from mcp_performance.errors import HttpTimeout, LoadTestError
from mcp_performance.load import User

LOGIN = Request(
    "POST",
    "/login",
    json={"name": "{name}"},
    save={
        "token": "json:user.token",
        "csrf": "header:X-Csrf",
        "ref": r"regex:ref=(\w+);",
        "id": "json:/user/id",
    },
)
ME = Request("GET", "/me/{token}", headers={"authorization": "Bearer {token}", "x-csrf": "{csrf}"})
ORDER = Request("POST", "/order?ref={ref}", json={"id": "{id}", "note": "for {name}: {missing}"})


class Shop:
    """Gives each user who logs in what only that user may show later."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.names: set[str] = set()

    def __call__(self, request: Received) -> bytes:
        path = request.target.partition("?")[0]
        self.seen[path if path == "/login" else path.split("/")[1]] += 1
        if path == "/login":
            name = json.loads(request.body)["name"]
            self.names.add(name)
            body = {"user": {"token": f"t {name}", "id": len(name)}, "html": f"ref={name.encode().hex()};"}
            cookie = f"Set-Cookie: sid={name.encode().hex()}; Path=/; HttpOnly\r\n"
            return response(json.dumps(body).encode(), headers=f"X-Csrf: c-{name}\r\n{cookie}")
        name = bytes.fromhex(request.headers.get("cookie", "sid=")[4:]).decode()
        if path.startswith("/me/"):
            good = request.target == f"/me/t%20{name.replace(chr(34), '%22')}"
            good = good and request.headers["authorization"] == f"Bearer t {name}"
            good = good and request.headers["x-csrf"] == f"c-{name}"
        else:
            good = request.target == f"/order?ref={name.encode().hex()}"
            good = good and json.loads(request.body) == {"id": len(name), "note": f"for {name}: {{missing}}"}
        if not good:
            self.wrong.append(f"{request.head.decode('latin-1')}\n\n{request.body.decode()}")
        return response()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rate", [None, 2000.0])
async def test_each_user_keeps_what_it_was_given(threads: int, rate: float | None) -> None:
    shop = Shop()
    names = [{"name": name} for name in ("ann", 'b"ob', "carol")]
    async with serve(responding(shop)) as url:
        tester = LoadTester(url, scenario=[LOGIN, ME, ORDER], cookies=True, data=names, threads=threads)
        result = await tester.run_load_test(300, 6, rate=rate)
    assert not shop.wrong, shop.wrong[0]
    assert result.errors == {}
    assert result.total_requests == sum(shop.seen.values()) == 300
    assert shop.names <= {"ann", 'b"ob', "carol"}
    assert set(result.requests) == {"POST /login", "GET /me/{token}", "POST /order"}


async def test_a_redirect_may_set_a_cookie_and_its_answer_is_what_is_saved_of() -> None:
    seen: list[Received] = []

    def respond(request: Received) -> bytes:
        if request.target == "/enter":
            return response(status="302 Found", headers="Location: /inside\r\nSet-Cookie: a=1; Path=/\r\n")
        return response(b'{"id": 3}')

    async with serve(responding(respond, seen)) as url:
        result = await LoadTester(
            url,
            cookies=True,
            scenario=[Request("POST", "/enter", body="x", save={"id": "json:id"}), Request("GET", "/{id}")],
        ).run_load_test(4, 1)
    assert result.errors == {}
    assert [request.target for request in seen] == ["/enter", "/inside", "/3", "/enter", "/inside", "/3"]
    assert [request.headers.get("cookie") for request in seen] == [None, *["a=1"] * 5]


@pytest.mark.parametrize(
    ("save", "body", "error"),
    [
        ({"a": "json:a"}, b'{"b": 1}', "nothing to save: json:a"),
        ({"a": "json:/x/0"}, b"<html>", "nothing to save: json:/x/0"),
        ({"a": "header:X-None"}, b"", "nothing to save: header:X-None"),
        ({"a": "regex:q(.)"}, b"abc", "nothing to save: regex:q(.)"),
    ],
)
async def test_an_answer_without_what_is_to_be_saved_has_failed(
    save: dict[str, str], body: bytes, error: str
) -> None:
    scenario = [Request("GET", "/a", save=save), Request("GET", "/b/{a}")]
    async with serve(responding(lambda _: response(body))) as url:
        result = await LoadTester(url, scenario=scenario).run_load_test(10, 1)
    assert set(result.errors) == {error, "no value for a"}
    assert result.failed == 10


@pytest.mark.parametrize(
    ("check", "failed"),
    [
        ({"json:status": "paid"}, False),
        ({"json:status": "open"}, True),
        ({"json:total": 12}, False),
        ({"json:total": 12.0}, False),
        ({"json:total": "12"}, True),
        ({"json:items.0.ok": True}, False),
        ({"json:items.0.ok": False}, True),
        ({"json:items.1": ...}, True),
        ({"json:items.0": ...}, False),
        ({"json:none": None}, False),
        ({"header:content-type": "application/json"}, False),
        ({"header:Content-Type": "text/html"}, True),
        ({"regex:tot(.)l": "a"}, False),
        ({"json:status": "paid", "regex:nowhere": ...}, True),
    ],
)
@pytest.mark.parametrize("asgi", [False, True])
async def test_checks_say_what_an_answer_must_hold(check: dict[str, Any], failed: bool, asgi: bool) -> None:
    body = b'{"status": "paid", "total": 12, "items": [{"ok": true}], "none": null}'

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async with serve(
        responding(lambda _: response(body, headers="Content-Type: application/json\r\n"))
    ) as url:
        scenario = [Request("GET", "/", check=check)]
        result = await LoadTester(app if asgi else url, scenario=scenario).run_load_test(5, 1)
    assert (result.failed == 5) == failed
    assert all(error.startswith("check failed: ") for error in result.errors)


async def test_a_user_begins_with_its_row_and_its_setup_and_ends_with_its_teardown() -> None:
    seen: list[Received] = []
    ended: list[Any] = []

    async def setup(user: User) -> None:
        answer = await user.post("/open", json={"who": user["name"]})
        user["session"] = answer.json()["session"]

    async def teardown(user: User) -> None:
        ended.append(user["session"])
        await user.delete(f"/close/{user['session']}")

    def respond(request: Received) -> bytes:
        if request.target == "/open":
            return response(json.dumps({"session": "s-" + json.loads(request.body)["who"]}).encode())
        return response()

    def names() -> Iterator[dict[str, str]]:
        yield from ({"name": name} for name in "abc")

    scenario = [Request("GET", "/work/{session}", headers={"x-name": "{name}"})]
    async with serve(responding(respond, seen)) as url:
        tester = LoadTester(url, scenario=scenario, data=names(), setup=setup, teardown=teardown)
        result = await tester.run_load_test(30, 3)
    assert result.successful == result.total_requests == 30
    work = {(request.target, request.headers["x-name"]) for request in seen if "/work/" in request.target}
    assert work == {(f"/work/s-{name}", name) for name in "abc"}
    assert sorted(ended) == ["s-a", "s-b", "s-c"]
    assert Counter(request.target for request in seen if request.method == "DELETE") == Counter(
        f"/close/s-{name}" for name in "abc"
    )


async def test_a_setup_that_fails_is_an_error_that_names_the_user() -> None:
    closed: list[int] = []

    async def setup(user: User) -> None:
        if user.number == 1:
            raise ValueError("no")

    async def teardown(user: User) -> None:
        closed.append(user.number)

    async with serve(responding(lambda _: response())) as url:
        with pytest.raises(LoadTestError, match=r"setup of user 1: ValueError\('no'\)"):
            await LoadTester(url, setup=setup, teardown=teardown).run_load_test(5, 2)
    assert sorted(closed) == [0, 1]


# Users that are functions


async def test_a_function_is_a_user_whose_requests_are_the_runs() -> None:
    shop = Shop()

    async def visit(user: User) -> None:
        login = await user.post("/login", json={"name": user["name"]})
        token = login.json()["user"]["token"]
        headers = {"authorization": f"Bearer {token}", "x-csrf": login.header("X-Csrf") or ""}
        await user.get(f"/me/{token.replace(' ', '%20')}", headers=headers, name="me")

    async with serve(responding(shop)) as url:
        tester = LoadTester(visit, url=url, data=[{"name": "ann"}, {"name": "bob"}])
        result = await tester.run_load_test(101, 3)
    assert not shop.wrong, shop.wrong[0]
    assert result.total_requests == result.successful == sum(shop.seen.values()) == 101
    assert set(result.requests) == {"POST /login", "me"}
    assert sum(stats.successful for stats in result.requests.values()) == 101
    assert result.p50 > 0
    assert result.first_byte_p50 is not None


async def test_what_a_function_raises_is_a_failure_and_the_user_goes_on() -> None:
    async def visit(user: User) -> None:
        answer = await user.get("/")
        assert answer.status == 200, "too bad"
        await user.get("/never")

    async with serve(responding(lambda _: response(b"broken", "500 Oops"))) as url:
        result = await LoadTester(visit, url=url).run_load_test(20, 1)
    assert result.total_requests == result.failed == 20
    assert result.errors == {"status 500": 10, "AssertionError": 10}
    assert result.examples["status 500"] == "broken"
    assert result.examples["AssertionError"].startswith("too bad")


async def test_failures_of_the_connection_reach_the_function_and_count_once() -> None:
    caught: list[str] = []

    async def visit(user: User) -> None:
        try:
            await user.get("/")
        except HttpError as error:
            caught.append(str(error))
            raise

    result = await LoadTester(visit, url=f"http://127.0.0.1:{free_port()}/").run_load_test(6, 2)
    assert result.errors == {"connection refused": 6}
    assert len(caught) == 6


async def test_a_request_that_is_late_is_a_timeout_and_the_user_goes_on() -> None:
    calls = 0

    async def respond(_: Received) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 2:
            await asyncio.sleep(60)
        return response()

    async def visit(user: User) -> None:
        try:
            await user.get("/")
        except HttpTimeout:
            await user.get("/after")

    async with serve(responding(respond)) as url:
        result = await LoadTester(visit, url=url).run_load_test(5, 1, timeout=0.3)
    assert result.errors == {"timeout": 1}
    assert result.successful == 4


async def test_a_run_of_users_ends_at_its_time_whatever_they_wait_for() -> None:
    ended = 0

    async def visit(user: User) -> None:
        nonlocal ended
        await user.get("/")
        try:
            await user.think(3600)
        finally:
            ended += 1

    async with serve(responding(lambda _: response())) as url:
        result = await asyncio.wait_for(LoadTester(visit, url=url).run_load_test(None, 3, duration=0.5), 30)
        assert result.total_requests == result.successful == 3
        assert ended == 3
        result = await asyncio.wait_for(LoadTester(visit, url=url).run_load_test(2, 3), 30)
        assert result.total_requests == 2


async def test_a_black_hole_ends_a_run_of_users() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        await asyncio.sleep(3600)

    async def visit(user: User) -> None:
        await user.get("/")

    async with serve(silent) as url:
        run = LoadTester(visit, url=url).run_load_test(None, 3, duration=0.3, drain=0.3, timeout=None)
        result = await asyncio.wait_for(run, 30)
    assert result.errors.keys() == {"no answer by the end of the run"}
    assert result.verdict == "failures"


async def test_stop_ends_users_and_keeps_their_results() -> None:
    async def visit(user: User) -> None:
        await user.get("/")
        if user.number == 0 and user.requests_made == 20:
            threading.Thread(target=tester.stop).start()

    async with serve(responding(lambda _: response())) as url:
        tester = LoadTester(visit, url=url)
        result = await asyncio.wait_for(tester.run_load_test(None, 2, duration=60), 30)
    assert result.interrupted
    assert result.successful >= 20


async def test_a_rate_gives_users_their_turns() -> None:
    seen: list[Received] = []

    async def visit(user: User) -> None:
        await user.get("/")

    async with serve(responding(lambda _: response(), seen)) as url:
        result = await LoadTester(visit, url=url).run_load_test(100, 5, rate=100)
    assert result.model == "open"
    assert result.total_requests == len(seen) == 100


async def test_a_function_without_a_request_is_an_error_and_not_for_ever() -> None:
    async def idle(user: User) -> None:
        await asyncio.sleep(0)

    with pytest.raises(LoadTestError, match="made no request"):
        await asyncio.wait_for(LoadTester(idle, url="http://127.0.0.1:9/").run_load_test(5, 1), 30)


async def test_users_go_no_further_than_the_tester_is_allowed() -> None:
    async def visit(user: User) -> None:
        await user.get("http://93.184.216.34/")

    result = await LoadTester(visit).run_load_test(2, 1)
    assert result.errors == {"TargetRefused": 2}
    assert "neither loopback nor private" in result.examples["TargetRefused"]

    async def setup(user: User) -> None:
        await user.get("http://93.184.216.34/")

    with pytest.raises(TargetRefused, match="setup of user 0"):
        await LoadTester(visit, setup=setup).run_load_test(2, 1)


# What is refused


async def app(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


async def visit(user: User) -> None:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("http://127.0.0.1/", {"scenario": [Request("GET", "/{a}")]}, "no column 'a'.*nothing saves it"),
        ("http://127.0.0.1/", {"scenario": [Request("GET", "/", save={"a": "body"})]}, "save='body'"),
        ("http://127.0.0.1/", {"scenario": [Request("GET", "/", save={"a b": "json:a"})]}, "save='a b'"),
        ("http://127.0.0.1/", {"scenario": [Request("GET", "/", check={"xpath:a": 1})]}, "check='xpath:a'"),
        ("http://127.0.0.1/", {"scenario": [Request("GET", "/", events=-1)]}, "events=-1"),
        ("http://127.0.0.1/", {"data": []}, r"data=\[\]"),
        ("http://127.0.0.1/", {"url": "http://127.0.0.1/"}, "url="),
        (app, {"cookies": True}, "cookies=True"),
        (app, {"scenario": [Request("GET", "/", save={"a": "json:a"})]}, "ASGI"),
        (visit, {"scenario": [Request("GET", "/")]}, "function of a user"),
    ],
)
def test_what_does_not_go_together_is_refused(target: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        LoadTester(target, **options)


async def test_a_bad_expression_is_refused_before_the_run() -> None:
    scenario = [Request("GET", "/", save={"a": "regex:("})]
    async with serve(responding(lambda _: response())) as url:
        with pytest.raises(ConfigurationError, match=r"regex=\("):
            await LoadTester(url, scenario=scenario).run_load_test(1, 1)
        with pytest.raises(ConfigurationError, match="batch_size=2"):
            await LoadTester(url, cookies=True).run_load_test(4, 1, batch_size=2)
        with pytest.raises(TypeError, match="setup=3"):
            LoadTester(url, setup=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [1, 2])
async def test_requests_with_a_tag_are_reported_together(workers: int) -> None:
    def respond(request: Received) -> bytes:
        return response(status="500 No") if request.target == "/pay" else response()

    scenario = [
        Request("GET", "/list", tags=["read"]),
        Request("POST", "/pay", tags=("write", "shop")),
        Request("POST", "/cart", tags=("write",)),
        Request("GET", "/other"),
    ]
    good = ["success_rate{tag:read}>=1", "error_rate{tag:write}<60%"]
    thresholds = [*good, "failed{tag:shop}<1", "p99{tag:shop}<60s"]
    async with serve(responding(respond)) as url:
        tester = LoadTester(url, scenario=scenario, order="sequential", workers=workers)
        result = await tester.run_load_test(80, 4, thresholds=thresholds)
    assert {tag: (stats.successful, stats.failed) for tag, stats in result.tags.items()} == {
        "read": (20, 0),
        "write": (20, 20),
        "shop": (0, 20),
    }
    assert list(result.thresholds.values()) == [True, True, False, False]
    assert result.requests["POST /cart"].max == result.tags["write"].max
    assert "tag write" in result.to_html()
    assert result.to_dict()["tags"]["shop"]["failed"] == 20
    with pytest.raises(ConfigurationError, match=r"expected a tag, one of 'read', 'write', 'shop'"):
        await tester.run_load_test(4, 1, thresholds=["p99{tag:none}<1s"])
    with pytest.raises(TypeError, match="tags="):
        LoadTester("http://127.0.0.1:1/", scenario=[Request("GET", "/", tags="word")])


@pytest.mark.parametrize("workers", [1, 2])
async def test_requests_of_a_user_with_a_tag_are_reported_together(workers: int) -> None:
    """Also where requests share a name and not their tags."""

    async def buys(user: User) -> None:
        await user.get("/list", tags=["read"])
        await user.post("/pay", tags=("write", "shop", "shop"), name="step")
        await user.post("/cart", tags=("write",), name="step")
        await user.get("/other")

    def respond(request: Received) -> bytes:
        return response(status="500 No") if request.target == "/pay" else response()

    thresholds = ["success_rate{tag:read}>=1", "failed{tag:shop}<1", "failed{tag:none}<1"]
    seen: list[Received] = []
    async with serve(responding(respond, seen)) as url:
        tester = LoadTester(buys, url=url, workers=workers)
        result = await tester.run_load_test(80, 2, thresholds=thresholds)
    # One of the users may be faster than the other, and both end in the middle.
    sent = Counter(request.target for request in seen)
    assert {tag: (stats.successful, stats.failed) for tag, stats in result.tags.items()} == {
        "read": (sent["/list"], 0),
        "write": (sent["/cart"], sent["/pay"]),
        "shop": (0, sent["/pay"]),
    }
    assert (result.requests["step"].successful, result.requests["step"].failed) == (
        sent["/cart"],
        sent["/pay"],
    )
    assert list(result.thresholds.values()) == [True, False, False]


async def test_tags_of_a_users_request_are_a_sequence() -> None:
    async def user(user: User) -> None:
        await user.get("/", tags="word")

    async with serve(responding(lambda _: response())) as url:
        results = await LoadTester(user, url=url).run_load_test(2, 1)
    assert results.errors == {"TypeError": 2}

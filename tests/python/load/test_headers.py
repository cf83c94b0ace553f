"""Header fields and bytes are the same whatever carries them: a socket or a call in process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from load_servers import Received, responding, response, serve
from mcp_performance import ConfigurationError, LoadTester, Request

ASGI_ANSWER: tuple[dict[str, Any], ...] = (
    {"type": "http.response.start", "status": 200, "headers": []},
    {"type": "http.response.body", "body": b"ok"},
)


async def app(scope: Any, receive: Any, send: Any) -> None:
    for message in ASGI_ANSWER:
        await send(message)


@pytest.mark.parametrize("value", ["b\u00e4h", "\u00ff\u00a0x", "{name}"])
async def test_a_header_value_is_sent_as_latin_1_to_every_target(value: str) -> None:
    seen: dict[str, set[bytes]] = {"socket": set(), "process": set()}
    scenario = [Request("GET", "/", headers={"X-Own": value}, data=[{"name": "J\u00fcrgen"}])]

    def over_socket(request: Received) -> bytes:
        seen["socket"].add(request.head.partition(b"X-Own: ")[2].partition(b"\r\n")[0])
        return response()

    async def in_process(scope: Any, receive: Any, send: Any) -> None:
        seen["process"].add(dict(scope["headers"])[b"x-own"])
        await app(scope, receive, send)

    async with serve(responding(over_socket)) as url:
        assert (await LoadTester(url, scenario=scenario).run_load_test(3, 1)).successful == 3
    assert (await LoadTester(in_process, scenario=scenario).run_load_test(3, 1)).successful == 3
    expected = value.replace("{name}", "J\u00fcrgen").encode("latin-1")
    assert seen == {"socket": {expected}, "process": {expected}}


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/", app], ids=["socket", "process"])
@pytest.mark.parametrize("headers", [{"X-Own": "\u20ac"}, {"X-\u65e5": "a"}])
async def test_other_characters_are_refused_before_the_run(target: Any, headers: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"headers.*Latin-1"):
        await LoadTester(target, scenario=[Request("GET", "/", headers=headers)]).run_load_test(1, 1)


async def test_an_app_in_process_sees_a_given_host_and_length_once() -> None:
    seen: list[list[tuple[bytes, bytes]]] = []

    async def keeping(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["headers"])
        await app(scope, receive, send)

    own = {"Host": "example.org", "Content-Length": "1"}
    await LoadTester(keeping, scenario=[Request("POST", "/", headers=own, body=b"x")]).run_load_test(1, 1)
    names = [name for name, _ in seen[0]]
    assert (names.count(b"host"), names.count(b"content-length")) == (1, 1)
    assert dict(seen[0])[b"host"] == b"example.org"


# Every byte that came is somebody's


async def test_the_bytes_of_a_kind_are_those_of_all_its_answers() -> None:
    """Failed ones, and the redirects on the way to an answer."""
    answers = {
        "/good": response(b"x" * 100),
        "/bad": response(b"y" * 50, status="503 Busy"),
        "/away": response(b"z" * 10, status="302 Found", headers="Location: /good\r\n"),
        "/refused": response(b"z" * 10, status="302 Found", headers="Location: http://127.0.0.2:1/\r\n"),
    }
    sent = {path: len(answer) for path, answer in answers.items()}
    sent["/away"] += sent["/good"]
    async with serve(responding(lambda request: answers[request.target])) as url:
        scenario = [Request("GET", path) for path in answers]
        results = await LoadTester(url, scenario=scenario, order="sequential").run_load_test(40, 2)
    assert {name: (stats.failed, stats.bytes) for name, stats in results.requests.items()} == {
        "GET /good": (0, 10 * sent["/good"]),
        "GET /bad": (10, 10 * sent["/bad"]),
        "GET /away": (0, 10 * sent["/away"]),
        "GET /refused": (10, 10 * sent["/refused"]),
    }
    assert results.bytes_received == 10 * sum(sent.values())


async def test_a_request_that_found_no_connection_has_no_bytes_of_the_one_before() -> None:
    """The server stops listening before it answers the third request."""
    served = 0
    answer = response(b"x", headers="Connection: close\r\n")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        await reader.readuntil(b"\r\n\r\n")
        served += 1
        if served == 3:
            server.close()
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    results = await LoadTester(f"http://127.0.0.1:{port}/").run_load_test(5, 1)
    assert (results.successful, results.failed) == (3, 2)
    assert [stats.bytes for stats in results.requests.values()] == [3 * len(answer)]
    assert results.bytes_received == 3 * len(answer)


def test_a_body_that_json_cannot_say_is_refused() -> None:
    for value in (float("inf"), float("nan")):
        with pytest.raises(ConfigurationError, match=r"json=.*JSON"):
            LoadTester("http://127.0.0.1:1", scenario=[Request("POST", "/", json={"a": [value]})])

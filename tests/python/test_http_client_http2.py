"""HttpClient over HTTP/2: threads share one connection, and what one meets is not another's."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from http2_peer import (
    CANCEL,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    OK,
    REFUSED_STREAM,
    Peer,
    nghttpd_over,
    playing,
)
from load_servers import free_port, serve
from mcp_performance import BatchProcessor, HttpClient, HttpError, HttpReply, HttpTimeout


@pytest.fixture(scope="module")
def nghttpd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    for number in range(20):
        (folder / str(number)).write_bytes(bytes([number]) * 100_000)
    with nghttpd_over(folder) as url:
        yield url


async def together(client: HttpClient, requests: list[tuple[str, str]]) -> list[HttpReply | BaseException]:
    """The outcomes of *requests*, each on a thread of its own."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(len(requests)) as threads:
        calls = [loop.run_in_executor(threads, client.send, request) for request in requests]
        return await asyncio.gather(*calls, return_exceptions=True)


def statuses(outcomes: list[HttpReply | BaseException]) -> list[int | str]:
    return [each.status if isinstance(each, HttpReply) else type(each).__name__ for each in outcomes]


async def test_a_batch_over_a_real_server_gets_its_replies_in_order(nghttpd: str) -> None:
    async with BatchProcessor(16) as processor:
        result = await processor.map(HttpClient(nghttpd, http2=True).get, [f"/{i % 20}" for i in range(1000)])
    result.raise_errors()
    assert [reply.body[:1] + reply.body[-1:] for reply in result.results if reply] == [
        bytes([i % 20]) * 2 for i in range(1000)
    ]
    assert {len(reply.body) for reply in result.results if reply} == {100_000}


def test_a_large_body_goes_out(nghttpd: str) -> None:
    body = bytes(range(256)) * 4000
    with HttpClient(nghttpd, http2=True) as client:
        assert client.send(("POST", "/echo", body)).body == body


async def test_threads_share_a_connection_and_are_under_way_together() -> None:
    connections = 0

    async def play(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.greet()
        waiting: list[int] = []
        async for stream in peer.requests():
            waiting.append(stream)
            if len(waiting) == 12:
                while waiting:
                    peer.answer(waiting.pop())

    async with serve(playing(play)) as url:
        client = HttpClient(url, http2=True)
        for _ in range(5):
            assert statuses(await together(client, [("GET", "/")] * 12)) == [200] * 12
    assert connections == 1


async def test_a_late_request_is_reset_and_the_others_have_their_answers() -> None:
    resets: dict[int, int] = {}
    given_up = asyncio.Event()

    async def play(peer: Peer) -> None:
        peer.resets = resets
        await peer.greet()
        waiting: list[int] = []
        async for kind, _, stream, payload in peer.frames():
            if kind == HEADERS:
                waiting.append(stream)
                if len(waiting) > 1:
                    peer.answer(stream)
            elif kind == 3:
                resets[stream] = int.from_bytes(payload, "big")
                given_up.set()

    async with serve(playing(play)) as url:
        client = HttpClient(url, http2=True, timeout=0.5)
        outcomes = await together(client, [("GET", "/")] * 4)
        assert sorted(map(str, statuses(outcomes))) == ["200", "200", "200", "HttpTimeout"]
        await given_up.wait()
    assert resets == {1: CANCEL}


async def test_a_reset_is_one_requests_error() -> None:
    async def play(peer: Peer) -> None:
        await peer.greet()
        async for stream in peer.requests():
            if stream == 3:
                peer.reset(stream, 2)
            else:
                peer.answer(stream)

    async with serve(playing(play)) as url:
        outcomes = await together(HttpClient(url, http2=True), [("GET", "/")] * 4)
    assert sorted(map(str, statuses(outcomes))) == ["200", "200", "200", "HttpError"]
    assert "stream reset: INTERNAL_ERROR" in "".join(map(str, outcomes))


async def test_fields_behind_a_body_are_apart_from_those_before_it() -> None:
    """After an interim answer too; HPACK literals without indexing."""

    def fields(*pairs: tuple[str, str]) -> bytes:
        return b"".join(
            b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
            for name, value in pairs
        )

    async def play(peer: Peer) -> None:
        await peer.greet()
        async for stream in peer.requests():
            peer.send(HEADERS, END_HEADERS, stream, fields((":status", "103"), ("link", "early")))
            peer.send(HEADERS, END_HEADERS, stream, OK + fields(("x-a", "head")))
            peer.send(DATA, 0, stream, b"body")
            trailers = fields(("x-a", "tail"), ("location", "/away"), ("x-sum", "4"))
            peer.send(HEADERS, END_HEADERS | END_STREAM, stream, trailers)

    async with serve(playing(play)) as url:
        reply = await asyncio.to_thread(HttpClient(url, http2=True).get, "/")
    assert tuple(reply) == (200, [("x-a", "head")], b"body")
    assert reply.trailers == [("x-a", "tail"), ("location", "/away"), ("x-sum", "4")]


async def test_what_was_not_processed_is_sent_again_whatever_its_method() -> None:
    """Every connection looks at two streams and says goodbye; the first stream of the first is refused."""
    answered = connections = 0

    async def play(peer: Peer) -> None:
        nonlocal answered, connections
        connections += 1
        refuses = connections == 1
        await peer.greet()
        taken = 0
        async for stream in peer.requests():
            taken += 1
            if refuses and taken == 1:
                peer.reset(stream, REFUSED_STREAM)
            elif taken <= 2:
                answered += 1
                peer.answer(stream)
            if taken == 2:
                peer.goodbye(stream)

    async with serve(playing(play)) as url:
        outcomes = await together(HttpClient(url, http2=True, timeout=30), [("POST", "/")] * 10)
    assert statuses(outcomes) == [200] * 10, outcomes
    assert answered == 10


@pytest.mark.parametrize(("method", "outcome"), [("GET", 200), ("PUT", 200), ("POST", "HttpError")])
async def test_only_an_idempotent_request_is_sent_again_where_the_connection_was_lost(
    method: str, outcome: int | str
) -> None:
    async def play(peer: Peer) -> None:
        await peer.greet()
        async for stream in peer.requests():
            if stream > 1:
                return
            peer.answer(stream)

    async with serve(playing(play)) as url:
        client = HttpClient(url, http2=True)
        assert statuses(await together(client, [("GET", "/")])) == [200]
        assert statuses(await together(client, [(method, "/")])) == [outcome]


async def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    closed = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.greet()
        async for stream in peer.requests():
            peer.answer(stream)
            peer.goodbye(stream)
            break
        closed.set()

    async with serve(playing(play)) as url:
        client = HttpClient(url, http2=True)
        for _ in range(5):
            assert statuses(await together(client, [("POST", "/")])) == [200]
            await closed.wait()
            closed.clear()


async def test_servers_that_are_not_there_or_say_nothing() -> None:
    with pytest.raises(HttpError, match="connection refused"):
        HttpClient(f"http://localhost:{free_port()}", http2=True).get("/")

    async def play(peer: Peer) -> None:
        await asyncio.Event().wait()

    async with serve(playing(play)) as url:
        client = HttpClient(url, http2=True, timeout=0.05)
        with pytest.raises(HttpTimeout, match="timeout"):
            await asyncio.to_thread(client.get, "/")


async def test_a_name_with_several_addresses_is_tried_through() -> None:
    async def play(peer: Peer) -> None:
        await peer.greet()
        async for stream in peer.requests():
            peer.answer(stream)

    async with serve(playing(play)) as url:  # on 127.0.0.1 alone
        client = HttpClient(url.replace("127.0.0.1", "localhost"), http2=True)
        assert statuses(await together(client, [("GET", "/")] * 5)) == [200] * 5


async def test_a_forked_child_opens_a_connection_of_its_own() -> None:
    numbers: list[int] = []
    last = 0

    async def play(peer: Peer) -> None:
        nonlocal last
        last += 1
        mine = last
        await peer.greet()
        async for stream in peer.requests():
            numbers.append(mine)
            peer.answer(stream)

    def fork_and_get() -> int:
        child = os.fork()
        if child == 0:
            os._exit(0 if client.get("/").status == 200 else 1)
        return os.waitpid(child, 0)[1]

    async with serve(playing(play)) as url:
        client = HttpClient(url, http2=True)
        await asyncio.to_thread(client.get, "/")
        assert await asyncio.to_thread(fork_and_get) == 0
        await asyncio.to_thread(client.get, "/")
        client.close()
        await asyncio.to_thread(client.get, "/")
    assert numbers == [1, 2, 1, 3]


async def test_ctrl_c_ends_a_request() -> None:
    reached = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.greet()
        async for _ in peer.requests():
            reached.set()

    async with serve(playing(play)) as url:
        program = (
            f"from mcp_performance import HttpClient\nHttpClient({url!r}, timeout=None, http2=True).get('/')"
        )
        run = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE
        )
        try:
            await reached.wait()
            run.send_signal(signal.SIGINT)
            _, err = await run.communicate()
        except BaseException:
            run.kill()
            raise
    assert b"KeyboardInterrupt" in err


def test_the_folder_of_a_site_is_served(nghttpd: str) -> None:
    client = HttpClient(nghttpd, http2=True)
    assert client.get("/nowhere").status == 404
    assert client.get("/3").body[:1] == b"\x03"

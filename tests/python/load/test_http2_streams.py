"""Many HTTP/2 streams on one connection: against nghttpd, and against a peer that plays frame by frame."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from http2_peer import ACK, CANCEL, ERROR, HEADERS, REFUSED_STREAM, SETTINGS, Peer, nghttpd_over, playing
from load_servers import serve
from mcp_performance import ConfigurationError, LoadTester, Request


async def test_users_share_a_connection_and_are_under_way_together() -> None:
    connections = 0

    async def play(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.greet()
        waiting: list[int] = []
        async for stream in peer.requests():
            waiting.append(stream)
            if len(waiting) == 20:  # answered only when all are there, the last one first
                while waiting:
                    peer.answer(waiting.pop())

    async with serve(playing(play)) as url:
        results = await LoadTester(url, http2=True).run_load_test(200, 20, timeout=30)
    assert results.successful == 200, results.errors
    assert connections == 1


@pytest.mark.parametrize(("streams", "connections"), [(1, 10), (3, 4), (10, 1), (100, 1)])
async def test_streams_says_how_many_share_a_connection(streams: int, connections: int) -> None:
    seen = 0
    there = asyncio.Barrier(connections)

    async def play(peer: Peer) -> None:
        nonlocal seen
        seen += 1
        await peer.greet()
        await there.wait()
        async for stream in peer.requests():
            peer.answer(stream)

    async with serve(playing(play)) as url:
        results = await LoadTester(url, http2=True, streams=streams).run_load_test(100, 10, timeout=30)
    assert results.successful == 100, results.errors
    assert seen == connections


async def test_no_more_streams_are_open_than_the_peer_allows() -> None:
    most = 0

    async def play(peer: Peer) -> None:
        nonlocal most
        open_streams: set[int] = set()
        known = False  # the client has acknowledged the limit

        def answer(stream: int) -> None:
            open_streams.discard(stream)
            peer.answer(stream)

        await peer.greet(most_streams=3)
        async for kind, flags, stream, _ in peer.frames():
            known = known or (kind == SETTINGS and flags == ACK)
            if kind == HEADERS and known:
                open_streams.add(stream)
                most = max(most, len(open_streams))
                asyncio.get_running_loop().call_later(0.002, answer, stream)
            elif kind == HEADERS:
                peer.answer(stream)

    async with serve(playing(play)) as url:
        results = await LoadTester(url, http2=True).run_load_test(200, 20, timeout=30)
    assert results.successful == 200, results.errors
    assert most == 3


async def test_streams_refused_before_the_limit_was_known_are_sent_again() -> None:
    async def play(peer: Peer) -> None:
        await peer.greet(most_streams=1)
        refused = False
        async for stream in peer.requests():
            if stream > 1 and stream <= 19 and not refused:
                peer.reset(stream, REFUSED_STREAM)
                refused = stream == 19
                if refused:
                    peer.answer(1)
            elif stream > 19:
                peer.answer(stream)

    async with serve(playing(play)) as url:
        results = await LoadTester(url, http2=True).run_load_test(100, 10, timeout=30)
    assert results.successful == 100, results.errors
    assert results.reconnects == 9


async def test_a_reset_fails_its_stream_alone() -> None:
    async def play(peer: Peer) -> None:
        await peer.greet()
        async for stream in peer.requests():
            if stream % 10 == 1:
                peer.reset(stream, 2)
            else:
                peer.answer(stream)

    async with serve(playing(play)) as url:
        results = await LoadTester(url, http2=True).run_load_test(100, 10, timeout=30)
    assert (results.successful, results.errors) == (80, {"stream reset: INTERNAL_ERROR": 20})


async def test_what_a_goodbye_left_out_is_sent_again() -> None:
    """Each connection answers three streams, and says that it has looked at no more."""
    answered = 0

    async def play(peer: Peer) -> None:
        nonlocal answered
        await peer.greet()
        taken = 0
        async for stream in peer.requests():
            taken += 1
            if taken <= 3:
                answered += 1
                peer.answer(stream)
            if taken == 3:
                peer.goodbye(stream)

    async with serve(playing(play)) as url:
        post = [Request("GET", "/"), Request("DELETE", "/")]
        results = await LoadTester(url, scenario=post, http2=True).run_load_test(90, 10, timeout=30)
    assert results.successful == answered == 90, results.errors
    assert results.reconnects > 0


async def test_a_late_stream_is_reset_and_the_others_go_on() -> None:
    resets: dict[int, int] = {}
    connections = 0

    async def play(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.greet()
        peer.resets = resets
        async for stream in peer.requests():
            if stream != 5:
                peer.answer(stream)

    async with serve(playing(play)) as url:
        tester = LoadTester(url, http2=True, think_time=0.01)
        results = await tester.run_load_test(200, 5, timeout=0.2)
    assert (results.successful, results.errors) == (199, {"timeout": 1})
    assert resets == {5: CANCEL}
    assert connections == 1


async def test_a_silent_connection_is_replaced_after_its_requests_were_late() -> None:
    connections = 0

    async def play(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        silent = connections == 1
        await peer.greet()
        async for stream in peer.requests():
            if not silent or stream < 20:
                peer.answer(stream)

    async with serve(playing(play)) as url:
        results = await LoadTester(url, http2=True).run_load_test(100, 5, timeout=0.3)
    assert (results.failed, results.errors) == (5, {"timeout": 5})
    assert connections == 2


async def test_a_lost_connection_fails_what_it_carried_and_had_begun() -> None:
    async def play(peer: Peer) -> None:
        await peer.greet()
        waiting: list[int] = []
        async for stream in peer.requests():
            waiting.append(stream)
            if len(waiting) == 10:
                return  # closed, unanswered and without a goodbye

    async with serve(playing(play)) as url:
        results = await LoadTester(url, http2=True).run_load_test(30, 10, timeout=30)
    assert results.failed == 30
    assert set(results.errors) <= {"connection closed", "connection reset"}


async def test_a_connection_that_had_answered_and_was_lost_is_a_reconnect() -> None:
    async def play(peer: Peer) -> None:
        await peer.greet()
        async for stream in peer.requests():
            if stream > 1:
                return
            peer.answer(stream, ERROR)

    async with serve(playing(play)) as url:
        results = await LoadTester(url, http2=True).run_load_test(50, 1, timeout=30)
    assert results.errors == {"status 500": 50}
    assert results.reconnects == 49


# A real server


@pytest.fixture(scope="module")
def nghttpd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "small").write_text("needle")
    (folder / "large").write_bytes(bytes(1 << 20))
    with nghttpd_over(folder) as url:
        yield url


@pytest.mark.parametrize("users", [1, 10, 100, 300])
async def test_a_real_server_answers_more_users_than_it_allows_streams(nghttpd: str, users: int) -> None:
    scenario = [Request("GET", "/small", expect_body="needle"), Request("HEAD", "/small")]
    tester = LoadTester(nghttpd, scenario=scenario, http2=True)
    results = await tester.run_load_test(3000, users)
    assert results.successful == 3000, results.errors


async def test_large_bodies_of_many_streams_share_the_windows(nghttpd: str) -> None:
    body = bytes(range(256)) * 1000
    scenario = [
        Request("POST", "/echo", body=body, expect_body=body[-300:]),
        Request("GET", "/large"),
    ]
    tester = LoadTester(nghttpd, scenario=scenario, http2=True, order="sequential")
    results = await tester.run_load_test(60, 20)
    assert results.successful == 60, results.errors
    assert results.bytes_received > 30 * (1 << 20)


@pytest.mark.parametrize("streams", [0, -1, 1.5])
def test_a_bad_number_of_streams_is_named(streams: Any) -> None:
    with pytest.raises((ConfigurationError, TypeError), match="streams"):
        LoadTester("http://127.0.0.1/", http2=True, streams=streams)

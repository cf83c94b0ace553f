"""Servers that close a connection unannounced: the next request goes out again, and is counted apart."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest

from load_servers import read_request, response, serve
from mcp_performance import LoadTester, Request

GET = [Request("GET", "/")]
POST = [Request("POST", "/", body=b"x")]
ERROR = response(status="500 Internal Server Error")


def shut(writer: asyncio.StreamWriter, how: str) -> None:
    """Let go of the connection, by FIN or by RST."""
    if how == "reset":
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("scenario", [GET, POST], ids=["GET", "POST"])
async def test_each_request_has_its_answer_where_every_answer_ends_the_connection(
    scenario: list[Request], how: str
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await read_request(reader) is not None:
            writer.write(ERROR)
            await writer.drain()
            await asyncio.sleep(0)  # the next request is on its way by now, or will be

    async with serve(handle) as url:
        results = await LoadTester(url, scenario=scenario).run_load_test(200, 4)
    assert results.errors == {"status 500": 200}
    assert results.reconnects == 196
    assert results.total_requests == 200


async def test_a_request_that_was_read_and_not_answered_is_sent_once_more_and_no_oftener() -> None:
    """Each connection answers once, reads one more request and closes."""
    seen = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        if await read_request(reader) is None:
            return
        seen += 1
        writer.write(response())
        seen += await read_request(reader) is not None

    async with serve(handle) as url:
        results = await LoadTester(url, scenario=GET).run_load_test(100, 1)
    assert results.successful == 100, results.errors
    assert results.reconnects == 99
    assert seen == 199


@pytest.mark.parametrize("method", ["POST", "PATCH", "purge"])
async def test_what_is_not_idempotent_goes_out_once_whatever_becomes_of_it(method: str) -> None:
    """RFC 9110, 9.2.2: the server has read it, and may have done what it asks for."""
    seen = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        if await read_request(reader) is None:
            return
        seen += 1
        writer.write(response())
        seen += await read_request(reader) is not None

    async with serve(handle) as url:
        results = await LoadTester(url, scenario=[Request(method, "/")]).run_load_test(100, 1)
    assert (results.successful, results.errors) == (50, {"connection closed": 50})
    assert seen == 100


async def test_after_a_5xx_a_post_takes_a_new_connection_and_a_get_the_kept_one() -> None:
    """Servers close the connection of such an answer unannounced, and a POST could not be sent again."""
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await read_request(reader) is not None:
            writer.write(ERROR)

    async with serve(handle) as url:
        for scenario, expected in ((POST, 10), (GET, 1)):
            connections = 0
            results = await LoadTester(url, scenario=scenario).run_load_test(10, 1)
            assert results.errors == {"status 500": 10}
            assert (connections, results.reconnects) == (expected, expected - 1)


async def test_a_new_connection_that_is_closed_unanswered_is_a_failure() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)

    async with serve(handle) as url:
        results = await LoadTester(url).run_load_test(20, 2)
    assert results.errors == {"connection closed": 20}
    assert results.reconnects == 0


async def test_half_an_answer_is_a_failure_and_not_asked_for_again() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await read_request(reader) is None:
            return
        writer.write(response())
        if await read_request(reader) is not None:
            writer.write(response()[:-1])
            await writer.drain()

    async with serve(handle) as url:
        results = await LoadTester(url).run_load_test(20, 1)
    assert (results.successful, results.errors) == (10, {"connection closed mid-response": 10})


async def test_an_announced_close_is_no_reconnect() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await read_request(reader) is not None:
            writer.write(response(headers="Connection: close\r\n"))
            await writer.drain()

    async with serve(handle) as url:
        results = await LoadTester(url).run_load_test(30, 3)
    assert (results.successful, results.reconnects) == (30, 0)


async def test_reconnects_are_in_the_report_and_add_up() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await read_request(reader) is not None:
            writer.write(response())
            await writer.drain()

    async with serve(handle) as url:
        results = await LoadTester(url, think_time=0.005).run_load_test(10, 1)
    report: dict[str, Any] = results.to_dict()
    assert report["reconnects"] == results.reconnects == 9

"""Requests and replies cross the HTTP engine byte for byte, in every framing and however they are cut."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from mcp_performance import BatchProcessor, HttpClient, HttpReply, LoadTester, LoadTestResult, Request
from oracle_http import TRAILER, Exchange, Reply, Server, reply_of, serving
from oracle_runs import Oracle, some_slices
from oracle_sql import text_of

METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS")
Sent = tuple[str, str, Any, dict[str, str]]


def request_of(rng: random.Random, number: int) -> Sent:
    method = rng.choice(METHODS)
    body = rng.choice((None, b"", rng.randbytes(rng.randrange(3000)), text_of(rng, 200), b"a" * 100_000))
    headers = {
        f"X-{rng.choice('abc')}{i}": rng.choice(("1", "é", "a,b;c", "")) for i in range(rng.randrange(4))
    }
    return (
        method,
        f"/{number}?a=%20b&{rng.choice('xyz')}",
        None if method in ("GET", "HEAD") else body,
        headers,
    )


def check_reply(found: HttpReply, expected: Reply, what: str) -> None:
    assert found.status == expected.status, what
    assert found.body == expected.body, f"{what}: {len(found.body)} bytes and not {len(expected.body)}"
    wanted = [(name.lower(), value) for name, value in expected.headers]
    assert [pair for pair in found.headers if pair in wanted] == wanted, what
    assert {name for name, _ in found.headers} <= {name for name, _ in wanted} | {TRAILER.lower()}, what


def check_request(seen: Exchange, sent: Sent) -> None:
    method, target, body, headers = sent
    data = body.encode() if isinstance(body, str) else body or b""
    assert (seen.method, seen.target) == (method, target)
    assert seen.body == data
    for name, value in headers.items():
        assert [found for key, found in seen.headers if key == name.lower()] == [value]
    names = [name for name, _ in seen.headers]
    assert len(names) == len(set(names))


async def test_the_client_and_the_server_agree_on_every_byte(oracle: Oracle) -> None:
    for rng in oracle.rounds():
        requests = [request_of(rng, number) for number in range(40)]
        replies = {request[1]: reply_of(rng, request[0]) for request in requests}
        async with serving(lambda _, target, replies=replies: replies[target]) as server:
            with HttpClient(server.url, timeout=60) as client, some_slices(rng):
                async with BatchProcessor(rng.choice((1, 5))) as batch:
                    result = await batch.map(client.send, requests, kind="blocking", chunk_size=1)
                result.raise_errors()
        seen = {exchange.target: exchange for exchange in server.log}
        assert len(server.log) == len(requests)
        for request, reply in zip(requests, result.results, strict=True):
            assert reply is not None
            check_reply(reply, replies[request[1]], f"{request[:2]}: {replies[request[1]].wire[:300]!r}")
            check_request(seen[request[1]], request)


def small_reply_of(rng: random.Random, method: str) -> Reply:
    while len((reply := reply_of(rng, method)).wire) > 20_000:
        pass
    return reply


def check_totals(result: LoadTestResult, server: Server, outcomes: dict[str, int | None]) -> None:
    """*outcomes*: by target the status, or None where the connection was closed without a reply."""
    errors: dict[str, int] = {}
    successful: dict[str, int] = {}
    for exchange in server.log:
        status = outcomes[exchange.target]
        if status is None:
            errors["connection closed"] = errors.get("connection closed", 0) + 1
        elif status >= 400:
            errors[f"status {status}"] = errors.get(f"status {status}", 0) + 1
        else:
            successful[exchange.target] = successful.get(exchange.target, 0) + 1
    # What a kept connection swallowed as the server closed it goes out once more, on a new one.
    again = len(server.log) - result.total_requests
    assert 0 <= again <= min(result.reconnects, errors.get("connection closed", 0))
    if again:
        errors["connection closed"] -= again
    assert dict(result.errors) == errors
    assert result.total_requests == result.successful + result.failed
    assert result.successful == sum(successful.values())
    assert result.success_rate == result.successful / result.total_requests
    assert result.bytes_sent == sum(exchange.received for exchange in server.log)
    assert result.bytes_received == sum(exchange.sent for exchange in server.log)
    check_parts(result)
    for name, stats in result.requests.items():
        target = name.partition(" ")[2]
        assert stats.successful == successful.get(target, 0)
        if outcomes[target] is not None:
            seen = sum(exchange.target == target for exchange in server.log)
            assert stats.failed == seen - stats.successful
        assert stats.bytes == sum(e.sent for e in server.log if e.target == target)


def check_parts(result: LoadTestResult) -> None:
    """Seconds and kinds of requests add up to the whole."""
    for parts in (result.series, list(result.requests.values())):
        assert sum(part.successful for part in parts) == result.successful
        assert sum(part.failed for part in parts) == result.failed
        assert sum(part.bytes for part in parts) == result.bytes_received
    assert result.histogram.count == sum(count for _, _, count in result.histogram.slots())
    assert sum(result.errors.values()) == result.failed


async def test_a_load_test_counts_what_the_server_saw(oracle: Oracle) -> None:
    for rng in oracle.rounds():
        methods = rng.choices(METHODS, k=rng.randint(1, 6))
        scenario = [
            Request(method, f"/{number}", body=None if method in ("GET", "HEAD") else text_of(rng, 50))
            for number, method in enumerate(methods)
        ]
        replies: dict[str, Reply | None] = {
            f"/{number}": None if rng.random() < 0.15 else small_reply_of(rng, method)
            for number, method in enumerate(methods)
        }
        async with serving(lambda _, target, replies=replies: replies[target]) as server:
            tester = LoadTester(
                server.url, scenario=scenario, order=rng.choice(("sequential", "weighted")), seed=1
            )
            with some_slices(rng):
                result = await tester.run_load_test(
                    rng.choice((1, 60)), rng.choice((1, 4)), timeout=60, batch_size=rng.choice((1, 3))
                )
        outcomes = {target: None if reply is None else reply.status for target, reply in replies.items()}
        check_totals(result, server, outcomes)


async def test_the_seconds_of_a_run_add_up_to_it(oracle: Oracle) -> None:
    """Long enough for slices of whole seconds, from several threads, to be put together."""
    for rng in oracle.rounds():
        replies = {"/": small_reply_of(rng, "GET")}
        async with serving(lambda _, target, replies=replies: replies[target]) as server:
            tester = LoadTester(server.url, threads=rng.choice((1, 2)))
            result = await tester.run_load_test(
                duration=1.2, concurrent_users=2, rate=rng.choice((None, 200))
            )
        assert len(result.series) == 2
        assert result.total_requests + result.abandoned == len(server.log)
        check_parts(result)
        assert result.bytes_received == result.total_requests * len(replies["/"].wire)


async def test_calls_in_this_process_are_counted_by_their_outcome(oracle: Oracle) -> None:
    for rng in oracle.rounds():
        counts: dict[str, int] = {}

        async def call(rng: random.Random = rng, counts: dict[str, int] = counts) -> None:
            kind = rng.choice((None, ValueError, KeyError))
            await asyncio.sleep(0)
            name = "" if kind is None else kind.__name__
            counts[name] = counts.get(name, 0) + 1
            if kind is not None:
                raise kind("no")

        result = await LoadTester(call).run_load_test(rng.choice((1, 500)), rng.choice((1, 20)))
        assert result.total_requests == sum(counts.values())
        assert result.successful == counts.pop("", 0)
        for name, count in counts.items():
            assert sum(found for kind, found in result.errors.items() if kind.startswith(name)) == count
        check_parts(result)

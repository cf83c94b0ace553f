"""The HTTP engine against servers that behave, misbehave and die."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import resource
import socket
import ssl
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import load_servers
from load_servers import (
    Received,
    certificate_for_loopback,
    free_port,
    read_request,
    responding,
    response,
    serve,
)
from mcp_performance import ConfigurationError, LoadTester, LoadTestError, Request, TargetRefused

# What is sent


async def test_a_scenario_sends_its_requests_by_weight_with_their_headers_and_bodies() -> None:
    seen: list[Received] = []
    scenario = [
        Request("GET", "/board?day={day}", data=[{"day": 1}, {"day": 2}], weight=3),
        Request(
            "POST",
            "/bookings",
            json={"seat": "{seat}"},
            headers={"Idempotency-Key": "{uuid}"},
            data=[{"seat": 7}],
        ),
    ]
    async with serve(responding(lambda _: response(), seen)) as url:
        results = await LoadTester(url, scenario=scenario, headers={"X-Token": "t"}).run_load_test(400, 4)
    assert results.successful == 400
    counts = Counter(request.target for request in seen)
    assert set(counts) == {"/board?day=1", "/board?day=2", "/bookings"}
    assert 60 <= counts["/bookings"] <= 140
    posts = [request for request in seen if request.method == "POST"]
    assert all(json.loads(request.body) == {"seat": 7} for request in posts)
    assert all(request.headers["content-type"] == "application/json" for request in posts)
    assert len({request.headers["idempotency-key"] for request in posts}) == len(posts)
    assert all(request.headers["x-token"] == "t" for request in seen)
    assert all(request.headers["user-agent"].startswith("mcp-performance/") for request in seen)
    stats = results.requests
    assert stats["POST /bookings"].successful == len(posts)
    assert stats["GET /board"].successful == 400 - len(posts)


async def test_the_same_seed_sends_the_same_requests_whatever_the_users() -> None:
    async def sent(seed: int, users: int, threads: int) -> Counter[tuple[str, bytes]]:
        seen: list[Received] = []
        scenario = [Request("PUT", "/{id}", body="{uuid} {seq}", data=[{"id": i} for i in range(50)])]
        async with serve(responding(lambda _: response(), seen)) as url:
            await LoadTester(url, scenario=scenario, seed=seed, threads=threads).run_load_test(200, users)
        return Counter((request.target, request.body) for request in seen)

    once = await sent(3, 1, 1)
    assert once == await sent(3, 8, 2)
    assert once != await sent(4, 1, 1)


async def test_a_sequence_is_sent_in_order() -> None:
    seen: list[Received] = []
    scenario = [Request("GET", f"/{i}", name="one kind") for i in range(100)]
    async with serve(responding(lambda _: response(), seen)) as url:
        results = await LoadTester(url, scenario=scenario, order="sequential").run_load_test(150, 1)
    assert [request.target for request in seen] == [f"/{i % 100}" for i in range(150)]
    assert results.requests["one kind"].successful == 150


async def test_requests_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("id,name\n1,Zoë Ä\n2,b/c\n", encoding="utf-8")
    (tmp_path / "rows.json").write_text('[{"id": 3}]', encoding="utf-8")
    seen: list[Received] = []
    scenario = [
        Request("GET", "/n/{name}", data=tmp_path / "rows.csv"),
        Request("GET", "/i/{id}", data=str(tmp_path / "rows.json")),
    ]
    async with serve(responding(lambda _: response(), seen)) as url:
        await LoadTester(url, scenario=scenario).run_load_test(100, 1)
    assert {request.target for request in seen} == {"/n/Zo%C3%AB%20%C3%84", "/n/b%2Fc", "/i/3"}


async def test_the_path_of_the_url_is_where_a_scenario_starts() -> None:
    seen: list[Received] = []
    async with serve(responding(lambda _: response(), seen)) as url:
        await LoadTester(url + "api/", scenario=[Request("GET", "/x")]).run_load_test(1, 1)
        await LoadTester(url + "a b?q={1}&r=%20").run_load_test(1, 1)
    assert [request.target for request in seen] == ["/api/x", "/a%20b?q=%7B1%7D&r=%20"]


async def test_connections_are_kept_alive_and_one_a_user() -> None:
    connections = 0
    answering = responding(lambda _: response())

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(reader, writer)

    async with serve(handle) as url:
        results = await LoadTester(url).run_load_test(500, 5)
    assert results.successful == 500
    assert connections == 5
    assert results.connect_avg is not None


async def test_a_batch_has_a_connection_for_each_of_its_requests() -> None:
    together = asyncio.Barrier(6)

    async def respond(_: Received) -> bytes:
        await together.wait()
        return response()

    async with serve(responding(respond)) as url:
        results = await LoadTester(url).run_load_test(60, 2, batch_size=3, timeout=30)
    assert results.successful == 60


# What is understood


async def test_large_bodies_go_both_ways() -> None:
    body = bytes(range(256)) * 20_000  # 5 MB: many reads and writes
    sizes = []

    def respond(request: Received) -> bytes:
        sizes.append(len(request.body))
        return response(request.body)

    async with serve(responding(respond), limit=1 << 24) as url:
        scenario = [Request("POST", "/", body=body, expect_body=body[-300:])]
        results = await LoadTester(url, scenario=scenario).run_load_test(4, 2)
    assert results.successful == 4, results.errors
    assert sizes == [len(body)] * 4
    assert results.bytes_received > 4 * len(body)


async def test_gzip_chunks_and_checks() -> None:
    packed = gzip.compress(b"needle in " + b"hay" * 10_000)
    chunked = (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(
            f"{len(packed[i : i + 9]):x}\r\n".encode() + packed[i : i + 9] + b"\r\n"
            for i in range(0, len(packed), 9)
        )
        + b"0\r\n\r\n"
    )
    async with serve(responding(lambda _: chunked)) as url:
        good = await LoadTester(url, scenario=[Request("GET", "/", expect_body="needle")]).run_load_test(
            20, 2
        )
        bad = await LoadTester(url, scenario=[Request("GET", "/", expect_body="pin")]).run_load_test(20, 2)
    assert good.successful == 20
    assert bad.errors == {"check failed: body": 20}


async def test_a_status_that_is_expected_is_a_success() -> None:
    async with serve(responding(lambda _: response(status="404 Not Found"))) as url:
        plain = await LoadTester(url).run_load_test(10, 1)
        expected = await LoadTester(url, scenario=[Request("GET", "/", expect_status=404)]).run_load_test(
            10, 1
        )
    assert plain.errors == {"status 404": 10}
    assert expected.successful == 10


async def test_head_and_bodies_that_end_with_the_connection() -> None:
    def respond(request: Received) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nall of it")

    async with serve(responding(respond)) as url:
        head = await LoadTester(url, scenario=[Request("HEAD", "/")]).run_load_test(20, 2)
    async with serve(until_closed) as url:
        closed = await LoadTester(url, scenario=[Request("GET", "/", expect_body="all of it")]).run_load_test(
            20, 2
        )
    assert head.successful == 20
    assert closed.successful == 20, closed.errors


async def test_redirects_on_the_host_are_followed_and_others_refused() -> None:
    reached = []

    def respond(request: Received) -> bytes:
        reached.append((request.method, request.target))
        where = {
            "/start": "/end",
            "/away": "http://127.0.0.1:1/",
            "/metadata": "//169.254.169.254/latest",
            "/loop": "/loop",
        }.get(request.target)
        return (
            response(status="303 See Other", headers=f"Location: {where}\r\n") if where else response(b"end")
        )

    async with serve(responding(respond)) as url:
        post = [Request("POST", "/start", body=b"x", expect_body="end")]
        followed = await LoadTester(url, scenario=post).run_load_test(5, 1)
        assert followed.successful == 5
        assert reached == [("POST", "/start"), ("GET", "/end")] * 5
        for path in ("/away", "/metadata"):
            refused = await LoadTester(url, scenario=[Request("GET", path)]).run_load_test(5, 1)
            assert refused.errors == {"off-host redirect refused": 5}
        looping = await LoadTester(url, scenario=[Request("GET", "/loop")]).run_load_test(2, 1)
        assert looping.errors == {"too many redirects": 2}
        alone = await LoadTester(
            url, scenario=[Request("GET", "/away")], follow_redirects=False
        ).run_load_test(5, 1)
        assert alone.successful == 5


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    async with serve(responding(lambda _: response()), path=path):
        assert (await LoadTester("http://localhost/", unix_socket=path).run_load_test(20, 2)).successful == 20
        quoted = path.replace("/", "%2F")
        assert (await LoadTester(f"http+unix://{quoted}/x").run_load_test(20, 2)).successful == 20


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    return certificate_for_loopback(tmp_path_factory.mktemp("tls"))


async def test_tls_checks_the_certificate(certificate: tuple[str, str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    body = b"x" * 100_000
    async with serve(responding(lambda _: response(body)), ssl=context) as url:
        trusted = await LoadTester(url, verify=certificate[0]).run_load_test(50, 5)
        assert trusted.successful == 50, trusted.errors
        unchecked = await LoadTester(url, verify=False).run_load_test(50, 5)
        assert unchecked.successful == 50
        distrusted = await LoadTester(url).run_load_test(6, 2)
        assert distrusted.successful == 0
        assert all(kind.startswith("TLS: ") for kind in distrusted.errors)
        with pytest.raises(ConfigurationError, match="verify"):
            await LoadTester(url, verify="/no/such.pem").run_load_test(1, 1)


async def test_plain_text_on_a_tls_port_is_a_failure() -> None:
    async with serve(responding(lambda _: response())) as url:
        results = await LoadTester(url.replace("http:", "https:")).run_load_test(4, 2, timeout=0.3)
    assert results.failed == 4


# Faults: counted by kind, the deadline kept


async def scripted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes) -> None:
    await read_request(reader)
    writer.write(answer)
    await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hang(writer: asyncio.StreamWriter) -> None:
    await asyncio.get_running_loop().create_future()


BOMB = gzip.compress(bytes(8 << 20))
FAULTS: dict[str, tuple[Any, str]] = {}


def fault(error: str) -> Any:
    def register(handler: Any) -> Any:
        FAULTS[handler.__name__] = (handler, error)
        return handler

    return register


@fault("connection reset")
async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    reset(writer)


@fault("connection closed")
async def closes_without_an_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


@fault("connection closed mid-response")
async def closes_half_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await scripted(reader, writer, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


@fault("timeout")
async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await hang(writer)


@fault("timeout")
async def hangs_half_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await scripted(reader, writer, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await hang(writer)


@fault("timeout")
async def trickles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A slow loris: a byte now and then, for ever."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-A: b\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


@fault("bad response")
async def sends_bad_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await scripted(reader, writer, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot hex\r\n")


@fault("bad response")
async def speaks_something_else(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await scripted(reader, writer, b"220 mail.example ESMTP\r\n\r\n")


@fault("headers too large")
async def sends_endless_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await scripted(reader, writer, b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"y" * 1000 + b"\r\n")
        await writer.drain()


@fault("body too large")
async def sends_a_gzip_bomb(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await scripted(reader, writer, response(BOMB, headers="Content-Encoding: gzip\r\n"))


@fault("body too large")
async def sends_an_endless_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await scripted(reader, writer, b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(bytes(65536))
        await writer.drain()


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_counted_by_kind_within_the_deadline(name: str) -> None:
    handler, error = FAULTS[name]
    async with serve(handler) as url:
        results = await LoadTester(url, max_body=1 << 20).run_load_test(8, 2, timeout=0.25)
    assert results.failed == 8
    assert sum(count for kind, count in results.errors.items() if kind.startswith(error)) == 8, results.errors
    assert results.elapsed < 4 * 0.25 + 1
    if error == "timeout":
        assert results.p50 == pytest.approx(0.25, rel=0.01)


async def test_a_target_that_dies_mid_run_leaves_the_successes_and_ends_the_run() -> None:
    answered = 0
    died = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        while await read_request(reader) is not None:
            answered += 1
            if answered > 200:
                died.set()
                reset(writer)
                return
            writer.write(response())

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    run = asyncio.ensure_future(LoadTester(f"http://127.0.0.1:{port}/").run_load_test(400, 4))
    await died.wait()
    server.close()
    results = await run
    await server.wait_closed()
    assert results.successful == 200
    assert results.failed == 200
    assert set(results.errors) <= {"connection reset", "connection refused", "connection closed"}


async def test_a_target_that_comes_back_is_used_again() -> None:
    """Every tenth response ends its connection, as servers do that restart their workers."""
    answered = 0

    def respond(_: Received) -> bytes:
        nonlocal answered
        answered += 1
        return response(headers="Connection: close\r\n" if answered % 10 == 0 else "")

    async with serve(responding(respond)) as url:
        results = await LoadTester(url).run_load_test(300, 3)
    assert results.successful == 300


async def test_idle_connections_that_the_server_closes_are_opened_again() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await read_request(reader) is not None:
            writer.write(response())
            await writer.drain()

    async with serve(handle) as url:
        results = await LoadTester(url, think_time=0.02).run_load_test(10, 1)
    assert results.successful == 10, results.errors


async def test_a_name_that_does_not_resolve_is_an_error() -> None:
    with pytest.raises(LoadTestError, match=r"cannot resolve nobody\.invalid"):
        await LoadTester("http://nobody.invalid/", allow_hosts=["nobody.invalid"]).run_load_test(1, 1)


async def test_a_connection_that_is_never_accepted_times_out() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:  # the backlog is full: further handshakes go unanswered
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            results = await LoadTester(f"http://127.0.0.1:{port}/").run_load_test(2, 2, timeout=0.1)
        finally:
            for filler in fillers:
                filler.close()
    assert results.errors == {"connect timeout": 2}


def test_too_few_descriptors_are_the_generators_limit() -> None:
    """More users than descriptors: those that got a connection do the work, and the run is invalid."""
    code = """
import asyncio, resource, sys
from mcp_performance import LoadTester
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (120, hard))
results = asyncio.run(LoadTester(sys.argv[1]).run_load_test(2000, 1000, timeout=20))
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(results.successful > 0, results.valid, results.reason)
"""
    # The server has a process and descriptors of its own, so that it can accept.
    server = subprocess.Popen([sys.executable, load_servers.__file__], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().decode().strip()
        run = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, timeout=100)
    finally:
        server.kill()
        server.wait()
    assert run.stdout.startswith("True False generator-limited: too many open files"), run.stdout + run.stderr


async def test_ten_thousand_sockets() -> None:
    """A server of its own, because both ends together are more than a process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    program = [sys.executable, load_servers.__file__]
    server = subprocess.Popen(program, stdout=subprocess.PIPE)  # noqa: ASYNC220 - the loop has nothing to do
    try:
        assert server.stdout is not None
        url = server.stdout.readline().decode().strip()
        results = await LoadTester(url).run_load_test(20_000, 10_000, timeout=60)
    finally:
        server.kill()
        server.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert results.total_requests == 20_000
    if hard < 10_100:
        assert results.reason.startswith("generator-limited: too many open files")
    assert results.successful == 20_000, results.errors


def test_running_out_of_local_ports_is_the_generators_limit() -> None:
    """In a network of its own that has eight local ports."""
    code = """
import asyncio
from load_servers import response, responding, serve
from mcp_performance import LoadTester
async def main():
    async with serve(responding(lambda _: response())) as url:
        results = await LoadTester(url).run_load_test(500, 40, timeout=20)
        print(results.successful > 0, results.valid, results.reason)
asyncio.run(main())
"""
    setup = "ip link set lo up && echo '40000 40007' >/proc/sys/net/ipv4/ip_local_port_range && exec \"$@\""
    folder = str(Path(load_servers.__file__).parent)
    own_user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    run = subprocess.run(
        ["unshare", "--net", *own_user, "sh", "-c", setup, "sh", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=100,
        env={"PYTHONPATH": folder, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert run.stdout.startswith("True False generator-limited: no free local port"), run.stdout + run.stderr


# Safety


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "169.254.169.254", "[2001:4860:4860::8888]", "[::ffff:8.8.8.8]", "172.32.0.1"]
)
async def test_addresses_that_are_neither_loopback_nor_private_are_refused(host: str) -> None:
    with pytest.raises(TargetRefused, match="allow_hosts"):
        await LoadTester(f"http://{host}/").run_load_test(1, 1)


async def test_a_closed_port_is_a_failure_and_never_an_exception() -> None:
    results = await LoadTester(f"http://localhost:{free_port()}/").run_load_test(duration=0.1)
    assert set(results.errors) == {"connection refused"}


# Recording over HTTP


async def test_injected_latencies_are_measured() -> None:
    """A server that takes 20 ms, and 60 ms for one request in ten, at a fixed rate."""

    async def respond(request: Received) -> bytes:
        loop = asyncio.get_running_loop()
        ends = loop.time() + (0.06 if request.target.endswith("0") else 0.02)
        await asyncio.sleep(ends - loop.time())
        return response()

    scenario = [Request("GET", f"/{i}", name="all") for i in range(10)]
    async with serve(responding(respond)) as url:
        tester = LoadTester(url, scenario=scenario, order="sequential")
        results = await tester.run_load_test(400, 50, rate=200)
    assert results.successful == 400
    assert results.p50 >= 0.02
    assert results.p95 >= 0.06
    assert results.service_p50 <= results.p50


async def test_several_generator_threads_share_one_budget_and_one_histogram() -> None:
    async with serve(responding(lambda _: response())) as url:
        results = await LoadTester(url, threads=3).run_load_test(999, 9)
        open_model = await LoadTester(url, threads=2).run_load_test(duration=0.5, rate=400)
    assert results.successful == results.histogram.count == 999
    assert open_model.total_requests + open_model.not_sent == 200


async def test_a_threshold_that_cannot_hold_ends_the_run() -> None:
    def respond(_: Received) -> bytes:
        return response(status="500 Internal Server Error")

    async with serve(responding(respond)) as url:
        results = await LoadTester(url).run_load_test(
            duration=600,
            concurrent_users=20,
            thresholds=["success_rate>=99%", "p99<60s"],
            abort_on_fail=True,
        )
    assert results.elapsed < 60
    assert results.thresholds == {"success_rate>=99%": False, "p99<60s": False}
    assert not results.passed
    assert results.verdict == "partial"

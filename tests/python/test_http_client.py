"""What a user of HttpClient relies on: replies in order without the interpreter lock, and named errors."""

import asyncio
import gzip
import os
import pickle
import signal
import socket
import ssl
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from load_servers import (
    Handler,
    Received,
    certificate_for_loopback,
    free_port,
    read_request,
    responding,
    response,
    serve,
)
from mcp_performance import (
    BatchProcessor,
    ConfigurationError,
    Error,
    HttpClient,
    HttpError,
    HttpReply,
    HttpTimeout,
)


def echo(request: Received) -> bytes:
    return response(f"{request.method} {request.target}".encode() + request.body)


async def get(client: HttpClient, path: str = "/") -> HttpReply:
    return await asyncio.to_thread(client.get, path)


# What comes back


async def test_a_batch_gets_its_replies_in_order_over_few_connections() -> None:
    connections = 0
    answer = responding(echo)

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answer(reader, writer)

    async with serve(counted) as url, BatchProcessor(4) as processor:
        client = HttpClient(url + "base/")
        result = await processor.map(client.get, [f"/{i}?q" for i in range(500)])
    result.raise_errors()
    assert [reply.body for reply in result.results] == [f"GET /base/{i}?q".encode() for i in range(500)]
    assert {reply.status for reply in result.results} == {200}
    assert connections <= 5


async def test_as_many_requests_are_under_way_as_the_batch_has_workers() -> None:
    workers = 6
    waiting = 0
    all_there = asyncio.Event()

    async def together(_: Received) -> bytes:
        nonlocal waiting
        waiting += 1
        if waiting == workers:
            all_there.set()
        await all_there.wait()
        return response()

    async with serve(responding(together)) as url, BatchProcessor(workers) as processor:
        client = HttpClient(url)
        result = await processor.map(client.get, ["/"] * workers, kind="blocking", chunk_size=1)
    assert result.succeeded == workers


async def test_a_reply_has_status_headers_and_the_decoded_body() -> None:
    headers = "Content-Encoding: gzip\r\nX-Name: b\u00e4h\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n"
    body = gzip.compress(b"x" * 1000)
    answer = headers.encode("latin-1").decode("latin-1")
    raw = (f"HTTP/1.1 418 Teapot\r\n{answer}Content-Length: {len(body)}\r\n\r\n").encode("latin-1") + body
    async with serve(responding(lambda _: raw)) as url:
        reply = await get(HttpClient(url))
    assert reply.status == 418
    assert reply.body == b"x" * 1000
    assert ("x-name", "b\u00e4h") in reply.headers
    assert [value for name, value in reply.headers if name == "set-cookie"] == ["a=1", "b=2"]
    status, _, body = reply
    assert (status, body) == (418, b"x" * 1000)
    assert pickle.loads(pickle.dumps(reply)) == reply


@pytest.mark.parametrize("name", ["Content-Length", "Set-Cookie", "Location", "X-Sum"])
async def test_a_trailer_is_no_header(name: str) -> None:
    """RFC 9110, 6.5.1: whoever merges them lets the end of a body change what its head said."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Sum: 0\r\n\r\n"
    tail = f"2\r\nok\r\n0\r\n{name}: 7\r\nX-B:  b\u00e4h \r\n\r\n".encode("latin-1")
    async with serve(responding(lambda _: head + tail)) as url:
        client = HttpClient(url)
        replies = [await get(client) for _ in range(2)]
    for reply in replies:
        assert tuple(reply) == (200, [("transfer-encoding", "chunked"), ("x-sum", "0")], b"ok")
        assert reply.trailers == [(name.lower(), "7"), ("x-b", "b\u00e4h")]
        assert pickle.loads(pickle.dumps(reply)).trailers == reply.trailers


def test_a_reply_without_trailers_has_an_empty_list_of_them() -> None:
    async def main() -> HttpReply:
        async with serve(responding(echo)) as url:
            return await get(HttpClient(url))

    assert asyncio.run(main()).trailers == []


# One encoding of header values

VALUES = ["plain", "b\u00e4h", "\u00ff\u00a0x", "caf\u00e9; q=\u00bd"]


@pytest.mark.parametrize("value", VALUES)
async def test_a_header_value_comes_back_as_it_was_sent(value: str) -> None:
    """Latin-1 both ways, in each place where a header can be given."""

    def mirror(request: Received) -> bytes:
        lines = "".join(f"{name}: {request.headers[name]}\r\n" for name in ("x-client", "x-request"))
        head = f"HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n"
        return head.encode("latin-1")

    async with serve(responding(mirror)) as url:
        client = HttpClient(url, headers={"X-Client": value})
        reply = await asyncio.to_thread(client.send, ("GET", "/", None, {"X-Request": value}))
    assert reply.headers[:2] == [("x-client", value), ("x-request", value)]


@pytest.mark.parametrize("value", ["\u20ac", "\u65e5\u672c", "a\ud800"])
def test_a_header_value_that_latin_1_has_not_is_refused_by_name(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"x-client.*Latin-1"):
        HttpClient("http://127.0.0.1:1", headers={"X-Client": value})
    client = HttpClient("http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match=r"X-Request.*Latin-1"):
        client.send(("GET", "/", None, {"X-Request": value}))
    with pytest.raises(ConfigurationError, match="Latin-1"):
        client.send(("GET", "/", None, {value: "x"}))


@pytest.mark.parametrize("headers", [{"a": 1}, {1: "a"}, {"a": None}, [("a", "b")], "ab", 7])
def test_headers_of_other_types_are_refused(headers: Any) -> None:
    with pytest.raises(TypeError, match="headers"):
        HttpClient("http://127.0.0.1:1").send(("GET", "/", None, headers))


async def test_any_request_can_be_sent() -> None:
    seen: list[Received] = []
    async with serve(responding(echo, seen)) as url:
        client = HttpClient(url, headers={"Authorization": "Bearer t", "X-A": "1"})
        for request in (
            ("DELETE", "/a"),
            ("POST", "/b", "grüße"),
            ("PUT", "/c", b"\x00\xff", {"x-a": "2"}),
            ("POST", "/d", None),
            ("HEAD", "/e"),
        ):
            assert (await asyncio.to_thread(client.send, request)).status == 200
    assert [(one.method, one.target, one.body) for one in seen] == [
        ("DELETE", "/a", b""),
        ("POST", "/b", "grüße".encode()),
        ("PUT", "/c", b"\x00\xff"),
        ("POST", "/d", b""),
        ("HEAD", "/e", b""),
    ]
    assert [one.headers["x-a"] for one in seen] == ["1", "1", "2", "1", "1"]
    assert {one.headers["authorization"] for one in seen} == {"Bearer t"}
    assert all(one.headers["user-agent"].startswith("mcp-performance/") for one in seen)


async def test_redirects_are_followed_within_the_origin_and_returned_elsewhere() -> None:
    def respond(request: Received) -> bytes:
        hops = {"/a": "/b", "/b": "b2", "/away": "http://127.0.0.2:1/x", "/round": "/round"}
        if (to := hops.get(request.target)) is None:
            return echo(request)
        return response(status="302 Found", headers=f"Location: {to}\r\n")

    async with serve(responding(respond)) as url:
        client = HttpClient(url)
        assert (await get(client, "/a")).body == b"GET /b2"
        assert (await asyncio.to_thread(client.send, ("POST", "/a", b"x"))).body == b"GET /b2"
        away = await get(client, "/away")
        assert (away.status, dict(away.headers)["location"]) == (302, "http://127.0.0.2:1/x")
        with pytest.raises(HttpError, match="too many redirects"):
            await get(client, "/round")
        assert (await get(HttpClient(url, follow_redirects=False), "/a")).status == 302


async def test_https_checks_the_certificate(tmp_path: Path) -> None:
    crt, key = certificate_for_loopback(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    async with serve(responding(echo), ssl=context) as url:
        with pytest.raises(HttpError, match="certificate"):
            await get(HttpClient(url))
        client = HttpClient(url, verify=crt)
        assert [(await get(client)).body for _ in range(2)] == [b"GET /"] * 2
        assert (await get(HttpClient(url, verify=False))).status == 200


async def test_a_unix_socket_can_be_the_server(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    async with serve(responding(echo), path=path):
        assert (await get(HttpClient("http://app", unix_socket=path), "/x")).body == b"GET /x"
        assert (await get(HttpClient(f"http+unix://{path.replace('/', '%2F')}"), "/y")).body == b"GET /y"


async def test_a_name_with_several_addresses_is_tried_through() -> None:
    async with serve(responding(echo)) as url:  # on 127.0.0.1 alone
        client = HttpClient(url.replace("127.0.0.1", "localhost"))
        assert (await get(client)).status == 200


# Faults


def closing_after(requests: int) -> Handler:
    """Answers so many requests of a connection, reads one more and closes without an answer."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(requests):
            if await read_request(reader) is None:
                return
            writer.write(response())
        await read_request(reader)

    return handle


async def test_a_get_on_a_connection_that_was_given_up_is_sent_once_more_and_a_post_is_not() -> None:
    async with serve(closing_after(1)) as url:
        client = HttpClient(url)
        assert [(await get(client)).status for _ in range(3)] == [200] * 3
        with pytest.raises(HttpError, match=r"POST 127.0.0.1:[0-9]+/x: connection closed"):
            await asyncio.to_thread(client.send, ("POST", "/x", b"once"))
    async with serve(closing_after(0)) as url:
        with pytest.raises(HttpError, match="connection closed"):
            await get(HttpClient(url))


async def test_a_failed_request_is_the_error_of_its_item() -> None:
    async def respond(request: Received) -> bytes:
        return b"SSH-2.0\r\n\r\n" if request.target == "/3" else echo(request)

    async with serve(responding(respond)) as url, BatchProcessor(2) as processor:
        result = await processor.map(HttpClient(url).get, [f"/{i}" for i in range(6)] + ["no path"])
    assert set(result.errors) == {3, 6}
    assert isinstance(result.errors[3], HttpError)
    assert "GET 127.0.0.1" in str(result.errors[3])
    assert "bad response" in str(result.errors[3])
    assert isinstance(result.errors[6], ConfigurationError)
    assert result.succeeded == 5


async def test_a_server_that_is_not_there_is_a_connection_error() -> None:
    client = HttpClient(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(HttpError, match="connection refused") as caught:
        await get(client)
    assert isinstance(caught.value, ConnectionError)
    assert isinstance(caught.value, Error)


async def test_a_late_reply_is_a_timeout() -> None:
    async def never(_: Received) -> bytes:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async with serve(responding(never)) as url:
        with pytest.raises(HttpTimeout, match=r"GET 127.0.0.1:[0-9]+/x: (connect )?timeout") as caught:
            await get(HttpClient(url, timeout=0.05), "/x?secret=1")
    assert isinstance(caught.value, TimeoutError)
    assert "secret" not in str(caught.value)


async def test_a_body_beyond_the_limit_is_refused() -> None:
    bomb = response(gzip.compress(b"\0" * 1_000_000), headers="Content-Encoding: gzip\r\n")
    async with serve(responding(lambda _: bomb)) as url:
        with pytest.raises(HttpError, match="body too large"):
            await get(HttpClient(url, max_body=999_999))
        assert len((await get(HttpClient(url, max_body=1_000_000))).body) == 1_000_000


async def test_ctrl_c_ends_a_request() -> None:
    reached = asyncio.Event()

    async def never(_: Received) -> bytes:
        reached.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async with serve(responding(never)) as url:
        program = f"from mcp_performance import HttpClient\nHttpClient({url!r}, timeout=None).get('/')"
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
    assert run.returncode == -signal.SIGINT


async def test_a_forked_child_opens_a_connection_of_its_own() -> None:
    numbers: list[int] = []
    last = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal last
        last += 1
        mine = last
        while await read_request(reader) is not None:
            numbers.append(mine)
            writer.write(response())

    def fork_and_get() -> int:
        child = os.fork()
        if child == 0:
            os._exit(0 if client.get("/").status == 200 else 1)
        return os.waitpid(child, 0)[1]

    async with serve(handle) as url:
        client = HttpClient(url)
        await get(client)
        assert await asyncio.to_thread(fork_and_get) == 0
        await get(client)
        client.close()
        await get(client)
    assert numbers == [1, 2, 1, 3]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST", "PATCH", "PURGE"])
async def test_only_an_idempotent_request_is_sent_once_more(method: str) -> None:
    again = method in {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}
    seen: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (request := await read_request(reader)) is None:
            return
        seen.append(request.method)
        writer.write(response(b""))
        if (request := await read_request(reader)) is not None:
            seen.append(request.method)  # and closes without an answer

    async with serve(handle) as url:
        client = HttpClient(url)
        await get(client)
        if again:
            assert (await asyncio.to_thread(client.send, (method, "/"))).status == 200
        else:
            with pytest.raises(HttpError, match="connection closed"):
                await asyncio.to_thread(client.send, (method, "/"))
    assert seen == ["GET", method] + [method] * again


async def test_a_post_is_sent_where_the_connection_was_closed_before_it() -> None:
    """The close is seen before the request goes out, so that nothing was lost."""
    closed = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await read_request(reader) is not None:
            writer.write(response())
            await writer.drain()
        writer.close()
        closed.set()

    async with serve(handle) as url:
        client = HttpClient(url)
        for _ in range(5):
            assert (await asyncio.to_thread(client.send, ("POST", "/", b"x"))).status == 200
            await closed.wait()
            closed.clear()


# What a server may answer, and what not


def head(fields: str, body: bytes = b"", status: str = "HTTP/1.1 200 OK") -> bytes:
    return f"{status}\r\n{fields}\r\n".encode("latin-1") + body


CHUNKED = "Transfer-Encoding: chunked\r\n"
GZIP = "Content-Encoding: gzip\r\n"
ANSWERS: dict[str, tuple[bytes, tuple[int, bytes] | str]] = {
    "no reason": (head("Content-Length: 2\r\n", b"ok", "HTTP/1.1 200"), (200, b"ok")),
    "interim answers": (
        b"HTTP/1.1 100\r\n\r\nHTTP/1.1 103 \r\nLink: a\r\n\r\n" + response(b"ok"),
        (200, b"ok"),
    ),
    "another protocol": (head("Upgrade: a\r\n", status="HTTP/1.1 101"), (101, b"")),
    "members of gzip": (
        response(gzip.compress(b"a") + gzip.compress(b"bc"), headers=GZIP),
        (200, b"abc"),
    ),
    "deflate": (response(zlib.compress(b"abc"), headers="Content-Encoding: deflate\r\n"), (200, b"abc")),
    "raw deflate": (
        response(zlib.compress(b"abc")[2:-4], headers="Content-Encoding: deflate\r\n"),
        (200, b"abc"),
    ),
    "half of gzip": (response(gzip.compress(b"abc")[:-9], headers=GZIP), "truncated gzip"),
    "more than gzip": (response(gzip.compress(b"abc") + b"junk", headers=GZIP), "corrupt gzip"),
    "the same length twice": (head("Content-Length: 2\r\nContent-Length: 2\r\n", b"ok"), (200, b"ok")),
    "two lengths": (head("Content-Length: 2\r\nContent-Length: 3\r\n", b"ok"), "Content-Length"),
    "a length with a sign": (head("Content-Length: +2\r\n", b"ok"), "Content-Length"),
    "length and chunks": (head(CHUNKED + "Content-Length: 2\r\n", b"0\r\n\r\n"), "Transfer-Encoding"),
    "an unknown coding": (head("Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), "Transfer-Encoding"),
    "a chunk of sixteen digits": (
        head(CHUNKED, b'0000000000000002;a="b;c"\r\nok\r\n0\r\nA: b\r\n\r\n'),
        (200, b"ok"),
    ),
    "a chunk of all bits": (head(CHUNKED, b"ffffffffffffffff\r\n"), "body too large"),
    "a chunk of too many": (head(CHUNKED, b"10000000000000000\r\n"), "bad chunk size"),
    "a chunk below zero": (head(CHUNKED, b"-2\r\nok\r\n0\r\n\r\n"), "bad chunk size"),
    "a chunk with 0x": (head(CHUNKED, b"0x2\r\nok\r\n0\r\n\r\n"), "bad chunk size"),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "bare LF"),
    "NUL in a field": (head("A: b\0c\r\nContent-Length: 2\r\n", b"ok"), "bad field"),
    "a space before the colon": (head("Content-Length : 2\r\n", b"ok"), "bad field"),
    "no content": (head("Content-Length: 9\r\n", status="HTTP/1.1 204 No"), (204, b"")),
    "two locations": (head("Location: /a\r\nLocation: /b\r\nContent-Length: 0\r\n"), "Locations"),
}


@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_understood_or_refused_at_once(name: str, pieces: bool) -> None:
    answer, expected = ANSWERS[name]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await read_request(reader)
        for piece in [answer[i : i + 1] for i in range(len(answer))] if pieces else [answer]:
            writer.write(piece)
            await writer.drain()
        await asyncio.Event().wait()  # stays open: nothing may wait for the time-out

    async with serve(handle) as url:
        if isinstance(expected, str):
            with pytest.raises(HttpError, match=expected):
                await get(HttpClient(url))
        else:
            reply = await get(HttpClient(url))
            assert (reply.status, reply.body) == expected


# Wrong use


BAD_REQUESTS: dict[str, tuple[Any, ...]] = {
    "a length that is too short": ("POST", "/", b"abc", {"Content-Length": "2"}),
    "a length that is too long": ("POST", "/", b"abc", {"content-length": "4"}),
    "a length of nothing": ("GET", "/", None, {"Content-Length": "4"}),
    "a transfer coding": ("POST", "/", b"0\r\n\r\n", {"Transfer-Encoding": "chunked"}),
    "two hosts": ("GET", "/", None, {"Host": "a", "host": "b"}),
    "two types": ("POST", "/", b"", {"Content-Type": "a", "content-type": "b"}),
    "a host with a path": ("GET", "/", None, {"Host": "a/b"}),
    "a folded value": ("GET", "/", None, {"A": "b\r\n c"}),
    "a space in front": ("GET", "/", None, {"A": " b"}),
    "NUL in a value": ("GET", "/", None, {"A": "b\0"}),
    "an empty name": ("GET", "/", None, {"": "b"}),
    "a fragment": ("GET", "/a#b"),
    "a tunnel": ("CONNECT", "/"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_request_that_could_be_read_in_two_ways_is_refused(name: str) -> None:
    client = HttpClient(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ConfigurationError, match=r"headers=|path=|method="):
        client.send(BAD_REQUESTS[name])  # type: ignore[arg-type]


async def test_a_field_of_the_request_takes_the_place_of_the_default() -> None:
    heads: list[bytes] = []
    async with serve(responding(echo, seen := [])) as url:
        client = HttpClient(url, headers={"X-A": "1", "USER-AGENT": "a"})
        own = {"x-a": "2", "User-agent": "b", "HOST": "example", "content-LENGTH": "3"}
        await asyncio.to_thread(client.send, ("POST", "/", b"abc", own))
        heads = [one.head for one in seen]
    lines = heads[0].lower().split(b"\r\n")
    for name in (b"x-a:", b"user-agent:", b"host:", b"content-length:"):
        assert sum(line.startswith(name) for line in lines) == 1, lines
    assert b"host: example" in lines


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("127.0.0.1:80", "expected an http:// or https:// URL"),
        ("ftp://127.0.0.1", "ftp://"),
        ("http://user:pw@127.0.0.1", "no credentials"),
        ("http://127.0.0.1:99999", "99999"),
        ("http://127.0.0.1/?a=1", "expected no query"),
        ("http://", "expected a host"),
        ("http://[::1", "http://[::1"),
        ("http://\u2100.example", "\u2100"),
        ("http://user:pw@[::1", "malformed"),
        ("http://user:pw\u2100@127.0.0.1", "malformed"),
        ("ftp://user:pw@127.0.0.1", "expected an http:// or https:// URL"),
    ],
)
def test_a_bad_url_is_named(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match="url") as caught:
        HttpClient(url)
    assert said in str(caught.value)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), 2**63])
def test_a_bad_timeout_is_named(timeout: float) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        HttpClient("http://127.0.0.1", timeout=timeout)


@pytest.mark.parametrize("path", ["", "x", "/a b", "/a\r\nHost: evil", "/\x00"])
def test_a_bad_path_is_named(path: str) -> None:
    with pytest.raises(ConfigurationError, match="path="):
        HttpClient("http://127.0.0.1").get(path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("GET", "/a\x00b"), r"path=/a\\x00b: expected"),
        (("GET", "/a\r\nHost: b"), r"path=/a\\x0d\\x0aHost: b: expected"),
        (("GET", ""), r"path='': expected"),
        (("GET", "/\xe4"), r"path='/\\xe4': expected"),
        (("GET", "/", None, {"\xe4": "1"}), r"headers=\\xe4: expected"),
        (("GET", "/", None, {"Host": "\xe4/"}), r"headers=\\xe4/: expected"),
        (("GET", "/", None, {"Content-Length": "\xe4"}), r"headers=Content-Length: \\xe4: expected"),
    ],
)
def test_whatever_is_in_a_bad_request_is_shown_on_one_line(given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        HttpClient("http://127.0.0.1:1").send(given)


def test_other_bad_requests_are_named() -> None:
    client = HttpClient("http://127.0.0.1")
    with pytest.raises(ValueError, match="quote"):
        client.get("/ä")
    with pytest.raises(TypeError, match="path: expected a str, not int"):
        client.get(7)  # type: ignore[arg-type]
    for request in (
        "GET /",
        ("GET",),
        ("GET", "/", b"", {}, 1),
        ("GET", "/", 7),
        ("GET", "/", b"", {"a": 1}),
        (1, "/"),
    ):
        with pytest.raises(TypeError, match="expected"):
            client.send(request)  # type: ignore[arg-type]
    for request in (("GE T", "/"), ("GET", "/", b"", {"a\r\nb": "1"}), ("GET", "/", b"", {"a": "1\r\nb: 2"})):
        with pytest.raises(ConfigurationError):
            client.send(request)
    with pytest.raises(ConfigurationError, match="headers"):
        HttpClient("http://127.0.0.1", headers={"a": "1\nb: 2"})

"""HTTP/2 against nghttp2's own server, and against servers that break its rules."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from load_servers import certificate_for_loopback, free_port, responding, response, serve
from mcp_performance import ConfigurationError, LoadTester, Request
from mcp_performance.load._targets import _http

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
OK = b"\x88"  # ":status: 200" in HPACK's static table


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return certificate_for_loopback(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "small").write_text("needle")
    (folder / "large").write_bytes(bytes(5 << 20))
    return folder


@pytest.fixture(scope="module", params=["http", "https"])
def nghttpd(request: Any, site: Path, certificate: tuple[str, str]) -> Iterator[str]:
    """The URL of an nghttpd over *site*: by prior knowledge, and by TLS."""
    program = shutil.which("nghttpd", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert program is not None, "scripts/install test installs nghttp2-server"
    port = free_port()
    crt, key = certificate
    secure = [str(port), key, crt] if request.param == "https" else ["--no-tls", str(port)]
    command = [program, "-a", "127.0.0.1", "-d", str(site), "--echo-upload", *secure]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _await_listening(port, server)
        yield f"{request.param}://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _await_listening(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("nghttpd did not start")


# A real server


async def test_a_real_server_answers_over_kept_connections(
    nghttpd: str, certificate: tuple[str, str]
) -> None:
    scenario = [Request("GET", "/small", expect_body="needle"), Request("HEAD", "/small")]
    tester = LoadTester(nghttpd, scenario=scenario, verify=certificate[0], http2=True)
    results = await tester.run_load_test(1000, 10)
    assert results.successful == 1000, results.errors
    assert results.histogram.count == 1000
    assert results.first_byte_p50 is not None
    assert results.bytes_sent > 0
    assert results.bytes_received > 0


async def test_an_open_model_and_a_batch_over_http2(nghttpd: str, certificate: tuple[str, str]) -> None:
    tester = LoadTester(f"{nghttpd}/small", verify=certificate[0], http2=True)
    rated = await tester.run_load_test(duration=0.5, rate=200)
    assert rated.total_requests + rated.not_sent == 100
    assert rated.failed == 0, rated.errors
    batched = await tester.run_load_test(60, 2, batch_size=3)
    assert batched.successful == 60, batched.errors


async def test_bodies_larger_than_the_windows_go_both_ways(
    nghttpd: str, certificate: tuple[str, str]
) -> None:
    body = bytes(range(256)) * 4000  # 1 MB, and windows of 64 KiB
    scenario = [
        Request("POST", "/echo", body=body, expect_body=body[-300:]),
        Request("GET", "/large"),
    ]
    tester = LoadTester(nghttpd, scenario=scenario, verify=certificate[0], http2=True, order="sequential")
    results = await tester.run_load_test(8, 2)
    assert results.successful == 8, results.errors
    assert results.bytes_received > 4 * (5 << 20)
    assert results.bytes_sent > 4 * len(body)


async def test_a_status_over_http2_is_counted(nghttpd: str, certificate: tuple[str, str]) -> None:
    results = await LoadTester(f"{nghttpd}/nowhere", verify=certificate[0], http2=True).run_load_test(20, 2)
    assert results.errors == {"status 404": 20}


async def test_http1_to_a_server_that_speaks_both_stays_http1(certificate: tuple[str, str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with serve(responding(lambda _: response()), ssl=context) as url:
        assert (await LoadTester(url, verify=certificate[0]).run_load_test(20, 2)).successful == 20


# Servers that do not


async def test_a_tls_server_without_http2_is_a_failure_that_says_so(certificate: tuple[str, str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["http/1.1"])
    async with serve(responding(lambda _: response()), ssl=context) as url:
        results = await LoadTester(url, verify=certificate[0], http2=True).run_load_test(6, 2)
    assert results.errors == {"the target does not speak HTTP/2": 6}


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


async def next_request(reader: asyncio.StreamReader) -> int:
    """The stream of the next request without a body."""
    while True:
        head = await reader.readexactly(9)
        await reader.readexactly(int.from_bytes(head[:3], "big"))
        if head[3] == HEADERS:
            return int.from_bytes(head[5:], "big")


def scripted(*answers: bytes) -> Any:
    """A server whose answer to every request is *answers*, frames with stream 0x7fffffff as its stream."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(PREFACE))
        writer.write(frame(SETTINGS, 0, 0))
        while True:
            stream = await next_request(reader)
            whole = b"".join(answers)  # in one piece: what comes later could meet the next request
            writer.write(whole.replace(b"\x7f\xff\xff\xff", stream.to_bytes(4, "big")))
            await writer.drain()

    return handle


THIS = 0x7FFFFFFF
HELLO = (frame(HEADERS, END_HEADERS, THIS, OK), frame(DATA, END_STREAM, THIS, b"hello"))


async def test_frames_about_the_connection_are_answered_between_requests() -> None:
    pings = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal pings
        await reader.readexactly(len(PREFACE))
        writer.write(frame(SETTINGS, 0, 0))
        while True:
            head = await reader.readexactly(9)
            await reader.readexactly(int.from_bytes(head[:3], "big"))
            pings += head[3] == PING and head[4] == ACK
            if head[3] == HEADERS:
                stream = head[5:]
                answers = (part.replace(b"\x7f\xff\xff\xff", stream) for part in HELLO)
                writer.write(b"".join(answers) + frame(PING, 0, 0, b"12345678"))

    async with serve(handle) as url:
        results = await LoadTester(url, http2=True).run_load_test(50, 1)
    assert results.successful == 50, results.errors
    assert pings >= 49


async def test_a_connection_that_says_goodbye_is_replaced() -> None:
    goodbye = frame(GOAWAY, 0, 0, b"\x7f\xff\xff\xff" + bytes(4))
    async with serve(scripted(*HELLO, goodbye)) as url:
        results = await LoadTester(url, http2=True).run_load_test(30, 3)
    assert results.successful == 30, results.errors


def reset(code: int) -> bytes:
    return frame(RST_STREAM, 0, THIS, code.to_bytes(4, "big"))


WITHOUT_STATUS = frame(HEADERS, END_HEADERS | END_STREAM, THIS, b"\x84")
LONG_HEADER = b"\x00\x03x-a\x7f\x81\x07" + b"y" * 1024  # a literal of 1,024 bytes
ENDLESS = (frame(HEADERS, 0, THIS, OK + LONG_HEADER), *[frame(CONTINUATION, 0, THIS, LONG_HEADER)] * 100)
GZIP = b"\x0f\x0b\x04gzip"  # "content-encoding: gzip", the name from the static table
BOMB = (frame(HEADERS, END_HEADERS, THIS, OK + GZIP), frame(DATA, 0, THIS, gzip.compress(bytes(8 << 20))))
FAULTS: dict[str, tuple[Any, str | tuple[str, ...]]] = {
    "reset of the stream": (scripted(reset(2)), "stream reset: INTERNAL_ERROR"),
    "refused": (scripted(reset(7)), "stream reset: REFUSED_STREAM"),
    "no status": (scripted(WITHOUT_STATUS), "stream reset: PROTOCOL_ERROR"),
    "bad compression": (scripted(frame(HEADERS, END_HEADERS, THIS, b"\xff" * 6)), "bad response"),
    "a frame too large": (scripted(b"\xff\xff\xff" + frame(DATA, 0, THIS)[3:]), "bad response"),
    "endless headers": (scripted(*ENDLESS), ("headers too large", "bad response")),
    "gzip bomb": (scripted(*BOMB), "body too large"),
    "silence": (scripted(), "timeout"),
    "half an answer": (scripted(HELLO[0]), "timeout"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_broken_rule_is_counted_by_kind_within_the_deadline(name: str) -> None:
    handler, error = FAULTS[name]
    async with serve(handler) as url:
        results = await LoadTester(url, http2=True, max_body=1 << 20).run_load_test(6, 2, timeout=0.25)
    assert results.failed == 6
    assert all(kind.startswith(error) for kind in results.errors), results.errors


async def test_http1_on_the_other_side_is_a_bad_response() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(status="400 Bad Request"))

    async with serve(handle) as url:
        results = await LoadTester(url, http2=True).run_load_test(6, 2, timeout=5)
    assert results.failed == 6
    assert all(kind.startswith(("bad response", "connection")) for kind in results.errors), results.errors


async def test_a_server_that_closes_half_way() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(PREFACE))
        stream = await next_request(reader)
        writer.write(frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, stream, OK))
        await writer.drain()

    async with serve(handle) as url:
        results = await LoadTester(url, http2=True).run_load_test(6, 2, timeout=5)
    assert results.failed == 6
    assert set(results.errors) <= {"connection closed mid-response", "connection closed", "connection reset"}


# Arguments


async def test_http2_is_for_urls() -> None:
    async def target() -> None: ...

    with pytest.raises(ConfigurationError, match="http2=True"):
        LoadTester(target, http2=True)


def test_a_build_without_http2_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "HTTP2_BUILT_IN", False)
    with pytest.raises(ConfigurationError, match="libnghttp2-dev"):
        LoadTester("http://127.0.0.1/", http2=True)
    LoadTester("http://127.0.0.1/")

"""``mcp-performance top``: frames that fit their terminal, and a real terminal in front of a real service."""

from __future__ import annotations

import copy
import fcntl
import http.server
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import PerformanceMonitor
from mcp_performance.cli import main
from mcp_performance.cli._frame import View, frame, width_of
from terminals import open_terminal

PATIENCE = 60.0


def report_of(routes: dict[str, tuple[int, float]]) -> dict[str, Any]:
    """A report whose routes were asked so often and took so long."""
    monitor = PerformanceMonitor(caches=[], pools=[], tiers=[], high_memory=100)
    for name, (count, seconds) in routes.items():
        method, _, route = name.partition(" ")
        status = 500 if "fail" in route else 200
        for _ in range(count):
            monitor.requests.begin()
            monitor.requests.end(method, route, "http", status, "", seconds, seconds, seconds)
    monitor.requests.operation("tools/call", "search", "mcp", "ToolError", 0.2)
    return monitor.report(each=True)


ROUTES = {
    "GET /hello": (30, 0.001),
    "GET /slow": (3, 0.5),
    "POST /fail": (5, 0.002),
    "GET /日本語/" + "{part}/" * 20: (7, 0.01),
    "GET /bad\x1b[2J\r\n\x07": (1, 0.001),
}


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("by", ["route", "worker"])
def test_no_line_is_longer_than_the_terminal_and_no_name_can_command_it(width: int, by: str) -> None:
    report = report_of(ROUTES)
    report["slow_queries"] = [
        {"calls": 3, "p95_seconds": 0.1, "sample": "SELECT " + "é, " * 100 + "\x1b[31m"}
    ]
    report["recommendations"] = [{"severity": "critical", "message": "look " * 60}]
    text = frame(report, View(by=by, width=width), note="note " * 50)
    assert max(width_of(line) for line in text.split("\n")) <= width
    assert all(one.isprintable() or one == "\n" for one in text)


@pytest.mark.parametrize("height", [6, 10, 24])
def test_a_frame_is_no_higher_than_the_terminal_and_shows_rows_first(height: int) -> None:
    report = report_of({f"GET /r{number}": (1, 0.001) for number in range(60)})
    report["recommendations"] = [{"severity": "warning", "message": "advice"}] * 5
    lines = frame(report, View(width=100, height=height), note="keys").split("\n")
    assert len(lines) <= height
    if height >= 10:
        assert sum("GET /r" in line for line in lines) >= 4


def first_row(text: str) -> str:
    lines = text.split("\n")
    return lines[next(at for at, line in enumerate(lines) if "route" in line and "count" in line) + 1]


@pytest.mark.parametrize(
    ("sort", "first"),
    [("count", "/hello"), ("mean", "/slow"), ("p95", "/slow"), ("p99", "/slow"), ("errors", "/fail")],
)
def test_rows_are_sorted_by_any_column_and_back(sort: str, first: str) -> None:
    report = report_of({name: ROUTES[name] for name in ("GET /hello", "GET /slow", "POST /fail")})
    assert first in first_row(frame(report, View(sort=sort)))
    assert first not in first_row(frame(report, View(sort=sort, reverse=True)))


def test_rates_are_of_the_time_between_two_looks_and_none_where_the_service_began_anew() -> None:
    before = report_of({"GET /hello": (30, 0.001), "GET /other": (5, 0.001)})
    after = copy.deepcopy(before)
    after["time"] = before["time"] + 2
    after["requests"]["count"] += 50
    after["requests"]["routes"][0]["count"] += 50
    name = after["requests"]["routes"][0]["route"]
    row = first_row(frame(after, View(sort="rate"), before=before))
    assert name in row
    assert " 25.0 " in row
    anew = frame(before, before=after)
    assert all(" - " in line for line in anew.split("\n") if "GET /" in line)


def test_a_worker_is_a_row_with_its_own_figures() -> None:
    text = frame(report_of(ROUTES), View(by="worker", width=140))
    (row,) = [line for line in text.split("\n") if f"pid {os.getpid()}" in line]
    assert " 46 " in row
    assert "MiB" in row


@pytest.mark.parametrize(("option", "value"), [("--sort", "size"), ("--by", "route,worker")])
def test_an_unknown_sort_or_view_is_refused(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["top", "http://127.0.0.1:1", option, value])
    assert value in capsys.readouterr().err


def test_a_bad_interval_is_an_error_that_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "http://127.0.0.1:1", "--interval", "0"]) == 2
    assert "interval=0" in capsys.readouterr().err


APP = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from mcp_performance import PerformanceMiddleware

async def hello(request):
    return PlainTextResponse("hello")

app = PerformanceMiddleware(Starlette(routes=[Route("/hello", hello), Route("/world", hello)]), expose=True)
"""


class Terminal:
    """``mcp-performance top`` in a pseudo terminal, and what its screen shows."""

    def __init__(self, url: str, columns: int = 90, lines: int = 24) -> None:
        self.master, slave = open_terminal()
        self.resize(columns, lines)
        command = [sys.executable, "-m", "mcp_performance", "top", url, "--interval", "0.1"]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        self.before = termios.tcgetattr(slave)[3]
        self.slave = slave
        self.text = ""

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def screen(self) -> str:
        """The last whole frame."""
        frames = self.text.split("\x1b[H")[-2:]
        self.text = "\x1b[H".join(frames)
        return re.sub(r"\x1b\[\??\d*[A-Za-z]|\r", "", frames[0]) if len(frames) == 2 else ""

    def until(self, fits: Callable[[str], bool]) -> str:
        end = time.monotonic() + PATIENCE
        while not fits(screen := self.screen()):
            assert time.monotonic() < end, self.text
            if select.select([self.master], [], [], 0.5)[0]:
                with suppress(OSError):
                    self.text += os.read(self.master, 1 << 16).decode("utf-8", "replace")
        return screen

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def service(directory: Path, port: int, workers: int = 1) -> Iterator[str]:
    (directory / "service.py").write_text(APP)
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port), "--log-level", "critical"]
    process = subprocess.Popen([*command, "--workers", str(workers)], cwd=directory)
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
    try:
        while True:
            try:
                with urllib.request.urlopen(f"{url}/hello", timeout=30) as response:
                    assert response.status == 200
                break
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_one(url: str, **size: int) -> Terminal:
        opened.append(Terminal(url, **size))
        return opened[-1]

    yield open_one
    for one in opened:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
        os.close(one.master)
        os.close(one.slave)


def test_a_terminal_follows_a_service_through_its_end_and_its_return(
    tmp_path: Path, terminal: Callable[..., Terminal]
) -> None:
    port = free_port()
    with service(tmp_path, port) as url:
        top = terminal(url)
        top.until(lambda screen: "GET /hello" in screen and "q ends" in screen)
        urllib.request.urlopen(f"{url}/world").close()
        top.until(lambda screen: "GET /world" in screen)
    seen = top.until(lambda screen: "no answer for" in screen)
    assert "GET /world" in seen  # the last figures stay
    with service(tmp_path, port):
        top.until(lambda screen: "GET /hello" in screen and "GET /world" not in screen)
        top.press("q")
        assert top.process.wait(PATIENCE) == 0
    assert termios.tcgetattr(top.slave)[3] == top.before  # echo and lines are back


def test_keys_sort_and_show_workers_and_a_resized_terminal_is_filled(
    tmp_path: Path, terminal: Callable[..., Terminal]
) -> None:
    with service(tmp_path, free_port(), workers=2) as url:
        top = terminal(url)
        for _ in range(3):
            urllib.request.urlopen(f"{url}/world").close()
        top.until(lambda screen: "*count" in screen and "/world" in first_row(screen))
        top.press("n")
        top.until(lambda screen: "*route" in screen)
        top.press("w")
        top.until(lambda screen: screen.count("pid ") == 2)
        top.resize(40, 12)
        narrow = top.until(lambda screen: max(map(width_of, screen.split("\n"))) <= 40)
        assert narrow.count("\n") < 12
        top.process.send_signal(signal.SIGINT)
        assert top.process.wait(PATIENCE) == 130
    assert termios.tcgetattr(top.slave)[3] == top.before


@pytest.mark.parametrize(
    "answer",
    [
        {"requests": {}},
        {"requests": None},
        {"requests": {"last_minute": {}}, "process": {}},
        {"requests": []},
        {"other": 1},
        [],
        "text",
        None,
    ],
)
def test_a_service_that_answers_something_else_is_an_error_in_one_line(
    answer: object, capsys: pytest.CaptureFixture[str]
) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is told."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert main(["top", f"http://127.0.0.1:{server.server_port}", "--once"]) == 2
        thread.join()
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert "report" in printed.err

"""What the ``mcp-performance`` command prints, and the exit code that scripts rely on."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from mcp_performance import ConfigurationError, PerformanceMiddleware
from mcp_performance.cli import main
from mcp_performance.cli._dashboard import make_dashboard
from mcp_performance.cli._watch import Source, frame


@pytest.fixture
def service() -> Iterator[str]:
    """A real service under uvicorn, its endpoints behind a token."""

    async def hello(_: object) -> PlainTextResponse:
        return PlainTextResponse("hello")

    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: object = None) -> None:
            await super().startup(sockets=sockets)
            started.set()

    app = PerformanceMiddleware(Starlette(routes=[Route("/hello", hello)]), token="secret")
    server = Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(30)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, total REAL)")
        connection.executemany(
            "INSERT INTO orders (customer, total) VALUES (?, ?)", [(i % 500, i) for i in range(5000)]
        )
    return path


def test_analyze_names_the_causes_and_the_index(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(database), "SELECT total FROM orders WHERE customer = 7", "--advise"]) == 0
    printed = capsys.readouterr().out
    assert "full-scan" in printed
    assert "CREATE INDEX" in printed


def test_analyze_prints_json_that_parses(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(database), "SELECT * FROM orders", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "select-star" in [issue["code"] for issue in found["queries"][0]["issues"]]


def test_a_missing_database_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "/nowhere.db", "SELECT 1"]) == 2
    assert "/nowhere.db" in capsys.readouterr().err


def test_load_answers_with_an_exit_code(service: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["load", f"{service}/hello", "-n", "50", "-c", "2", "--json"]
    code = main([*arguments, "--threshold", "success_rate>=1"])
    report = json.loads(capsys.readouterr().out)
    assert report["successful"] == 50
    assert code == (0 if report["valid"] else 3)  # a busy machine can make a short run invalid
    assert main([*arguments, "--threshold", "p99<1us"]) == 1


def test_a_target_elsewhere_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "http://203.0.113.1/", "-n", "1"]) == 2
    assert "203.0.113.1" in capsys.readouterr().err


def test_top_shows_what_the_service_did(service: str, capsys: pytest.CaptureFixture[str]) -> None:
    with urllib.request.urlopen(f"{service}/hello") as response:
        assert response.read() == b"hello"
    assert main(["top", service, "--token", "secret", "--once"]) == 0
    printed = capsys.readouterr().out
    assert "GET /hello" in printed
    assert "cpu" in printed


def test_top_says_what_is_wrong_with_url_and_token(service: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", service, "--token", "wrong", "--once"]) == 2
    assert "401" in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match="ftp://x"):
        Source("ftp://x")


def test_the_dashboard_serves_its_page_and_the_figures_without_the_token(service: str) -> None:
    source = Source(service, token="secret")
    with make_dashboard(source, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            base = f"http://127.0.0.1:{server.server_port}"
            with urllib.request.urlopen(base + "/") as response:
                assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
                assert b"secret" not in response.read()
            with urllib.request.urlopen(f"{base}/report") as response:
                assert "requests" in frame(json.load(response))
            with urllib.request.urlopen(f"{base}/events?step=1") as response:
                assert response.readline() == b"event: history\n"
            foreign = urllib.request.Request(f"{base}/report", headers={"Host": "evil.example"})
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(foreign)
            strange = urllib.request.Request(
                f"{base}/analyze", data=b"{}", headers={"Origin": "https://evil.example"}
            )
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(strange)
            with pytest.raises(urllib.error.HTTPError, match="422"):
                urllib.request.urlopen(f"{base}/history?step=7")
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{base}/../pyproject.toml")
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("command", [["completion", "bash"], ["top", "--interval", "0.01"], ["doctor"]])
def test_nobody_who_reads_is_no_reason_to_complain(service: str, command: list[str]) -> None:
    if command[0] == "top":
        command = [*command, "--token", "secret", service]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "mcp_performance", *command],
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    finally:
        os.close(writer)
    assert (ran.returncode, ran.stderr) == (141, b"")

"""``mcp-performance load``: what it sends, prints and writes, and the exit code that scripts rely on."""

from __future__ import annotations

import csv
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from load_servers import free_port
from mcp_performance import LoadTestResult
from mcp_performance.cli import main
from mcp_performance.cli._load import exit_code


class Service:
    """A threaded HTTP server that remembers what it was asked."""

    def __init__(self) -> None:
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                service.seen.append((self.command, self.path, dict(self.headers), body))
                if len(service.seen) == service.notify_at:
                    service.reached.set()
                self.send_response(503 if self.path == "/busy" else 200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *_: object) -> None: ...

        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.notify_at = 100
        self.reached = threading.Event()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    thread = threading.Thread(target=service.server.serve_forever)
    thread.start()
    try:
        yield service
    finally:
        service.server.shutdown()
        service.server.server_close()
        thread.join()


# Exit codes


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"passed": False}, 1),
        ({"passed": False, "valid": False}, 1),
        ({"valid": False}, 3),
        ({"success_rate": 0.995}, 0),
        ({"success_rate": 0.9, "valid": False}, 1),
        ({"success_rate": 0.9, "failures_allowed": True}, 0),
        ({"success_rate": 0.9, "failures_allowed": True, "valid": False}, 3),
        ({"success_rate": 0.0, "failures_allowed": True, "valid": False, "successful": 0}, 1),
        ({"interrupted": True, "passed": False, "valid": False}, 130),
    ],
)
def test_each_outcome_has_an_exit_code_of_its_own(changes: dict[str, object], code: int) -> None:
    usual = {
        "interrupted": False, "passed": True, "valid": True, "success_rate": 1.0, "failures_allowed": False,
        "successful": 100,
    }  # fmt: skip
    assert exit_code(SimpleNamespace(**{**usual, **changes})) == code  # type: ignore[arg-type]


def test_thresholds_decide(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"{service.url}/x"
    assert main(["load", url, "-n", "100", "-c", "2", "--threshold", "success_rate>=1"]) in (0, 3)
    assert "success_rate>=1  held" in capsys.readouterr().out
    crossed = ["--threshold", "success_rate>=1", "--threshold", "p99<1us"]
    assert main(["load", url, "-n", "100", "-c", "2", *crossed]) == 1
    assert "p99<1us  FAILED" in capsys.readouterr().out


def test_a_run_that_nobody_answers_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody answers, so there is nothing that the numbers could be about."""
    assert main(["load", f"http://127.0.0.1:{free_port()}/", "-n", "20"]) == 1
    printed = capsys.readouterr().out
    assert "INVALID" in printed
    assert "connection refused: 20" in printed
    assert "no request was answered" in printed
    assert "p99" not in printed


def test_failures_are_an_exit_code_unless_a_threshold_allows_them(service: Service) -> None:
    arguments = ["load", f"{service.url}/busy", "-n", "20", "-c", "2"]
    assert main(arguments) == 1
    assert main([*arguments, "--threshold", "failed<=5"]) == 1


def test_help_lists_what_a_threshold_may_say(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["load", "--help"])
    printed = capsys.readouterr().out
    for word in (
        "p99",
        "success_rate",
        "rps",
        "<=",
        "us, ms",
        "--abort-on-fail",
        "p99{GET /login}<50ms",
        "[10s..30s]",
    ):
        assert word in printed


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["http://203.0.113.1/", "-n", "1"], "203.0.113.1"),
        (["http://127.0.0.1/", "-n", "0"], "num_requests=0"),
        (["http://127.0.0.1/", "--threshold", "p42<1ms"], "p42<1ms"),
        (["http://127.0.0.1/", "--threshold", "p99<50"], "'p99<50ms'"),
        (["json:dumps", "--path", "/x"], "--path"),
        (["http://127.0.0.1/", "--csv", "/no/such/folder/x.csv"], "/no/such/folder/x.csv"),
        (["http://127.0.0.1/", "--body", "@/no/such/file"], "/no/such/file"),
        (["no_such_module:app"], "no_such_module:app"),
        (["json:no_such_name"], "json:no_such_name"),
        (["json:__name__"], "json:__name__"),
        (["--method", "POST"], "--method"),
    ],
)
def test_what_is_wrong_is_refused_by_name(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["load", *arguments]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["--stages", "10s"], ["--stages", "a:b"], ["--duration", "soon"], ["--header", "nothing"], ["-n", "x"]],
)
def test_arguments_that_cannot_be_read_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["load", "http://127.0.0.1/", *arguments])
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


# What is sent


def test_method_headers_and_body_reach_the_service(service: Service, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"\x00from a file")
    common = ["-n", "5", "-c", "1", "-H", "X-One: 1", "--header", "X-Two:2"]
    main(["load", f"{service.url}/a?b=c", *common, "--body", "text", "--method", "PUT"])
    main(["load", f"{service.url}/a", *common, "--body", f"@{tmp_path / 'body'}"])
    main(["load", f"{service.url}/a", *common])
    methods = [(method, path, body) for method, path, _, body in service.seen]
    assert methods[:5] == [("PUT", "/a?b=c", b"text")] * 5
    assert methods[5:10] == [("POST", "/a", b"\x00from a file")] * 5
    assert methods[10:] == [("GET", "/a", b"")] * 5
    assert all((headers["X-One"], headers["X-Two"]) == ("1", "2") for _, _, headers, _ in service.seen)


def test_stages_rates_and_warmup(service: Service, tmp_path: Path) -> None:
    def run(*arguments: str) -> dict[str, object]:
        file = tmp_path / "out.json"
        main(["load", service.url, *arguments, "--json", str(file)])
        found: dict[str, object] = json.loads(file.read_text())
        return found

    stages = run("--stages", "0:3,200ms:3")
    assert (stages["model"], stages["concurrent_users"]) == ("closed", 3)
    rated = run("--rate", "100", "--duration", "0.3", "--poisson", "-c", "5")
    assert (rated["model"], rated["target_rate"]) == ("open", 100)
    warm = run("-n", "20", "-c", "2", "--warmup", "50ms", "--think-time", "0-0.001", "--batch-size", "2")
    assert warm["total_requests"] == 20
    assert isinstance(warm["warmup_requests"], int)
    assert warm["warmup_requests"] > 0


def test_functions_and_the_sample_service_are_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shop_for_the_command.py").write_text(
        "import time\nclass Shop:\n    @staticmethod\n    def buy():\n        time.sleep(0.001)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    assert main(["load", "shop_for_the_command:Shop.buy", "-n", "400", "-c", "1"]) in (0, 3)
    assert "Shop.buy" in capsys.readouterr().out
    assert main(["load", "-n", "400"]) in (0, 3)
    assert "built-in sample service" in capsys.readouterr().out


# What comes out


def test_results_are_written_in_every_form(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("json", "csv", "html", "junit", "save")
    files = {name: tmp_path / f"out.{name}" for name in names}
    arguments = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    main(["load", f"{service.url}/busy", "-n", "10", "-c", "1", "--threshold", "failed<1", *arguments])
    assert "status 503: 10" in capsys.readouterr().out
    assert json.loads(files["json"].read_text())["failed"] == 10
    assert sum(int(row["failed"]) for row in csv.DictReader(files["csv"].open())) == 10
    assert files["html"].read_text().startswith("<!doctype html>")
    failures = ElementTree.parse(files["junit"]).findall(".//failure")
    assert "failed<1 does not hold" in [failure.get("message") for failure in failures]
    assert LoadTestResult.load(files["save"]).failed == 10


def test_json_alone_goes_to_standard_output(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    main(["load", service.url, "-n", "10", "-c", "1", "--json"])
    assert json.loads(capsys.readouterr().out)["successful"] == 10


@pytest.mark.parametrize(
    ("number", "code", "workers", "ignored"),
    [
        (signal.SIGINT, 130, 1, False),
        (signal.SIGINT, 130, 1, True),
        (signal.SIGINT, 130, 2, False),
        (signal.SIGTERM, 143, 1, False),
        (signal.SIGTERM, 143, 2, False),
    ],
)
def test_a_signal_prints_the_results_so_far(
    service: Service, number: signal.Signals, code: int, workers: int, ignored: bool
) -> None:
    """Also where a shell has started it in the background, and SIGINT with that to be ignored."""
    load = [sys.executable, "-m", "mcp_performance", "load", service.url, "--duration", "10m", "--json"]
    command = [*load, "--workers", str(workers)]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    try:
        run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        assert service.reached.wait(60)
        os.kill(run.pid, number)
        out, _ = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == code
    found = json.loads(out)
    assert found["interrupted"] is True
    assert found["verdict"] == "partial"
    assert found["successful"] >= 90


def test_an_asgi_app_gets_path_method_headers_and_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app_for_the_command.py").write_text(
        """
seen = []
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    body = (await receive())["body"]
    one = dict(scope["headers"])[b"x-one"]
    seen.append((scope["method"], scope["path"], scope["query_string"], one, body))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})
"""
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    request = ["--path", "/orders?x=1", "--method", "PUT", "--header", "X-One: 1", "--body", "text"]
    main(["load", "app_for_the_command:app", "-n", "3", "-c", "1", *request])
    seen = sys.modules["app_for_the_command"].seen
    assert seen == [("PUT", "/orders", b"x=1", b"1", b"text")] * 3

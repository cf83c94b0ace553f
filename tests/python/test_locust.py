"""Locust's own master and worker drive the engine: real processes on loopback."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from load_servers import Received, free_port, responding, response, serve

LOCUSTFILE = """
import json
from locust import events
from locust.runners import MasterRunner
from mcp_performance import Request
from mcp_performance.locust import EngineUser

class Visitor(EngineUser):
    concurrent_users = 4
    timeout = 5
    headers = {"X-From": "locust"}
    scenario = [Request("GET", "/board", weight=3), Request("POST", "/busy", body="x"),
                Request("GET", "/named", name="by name")]

@events.quitting.add_listener
def write_errors(environment, **_):
    if isinstance(environment.runner, MasterRunner):
        with open("errors.json", "w") as file:
            json.dump([[error.method, error.name, str(error.error)]
                       for error in environment.stats.errors.values()], file)
"""


def locust(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "locust", "-f", str(folder / "locustfile.py"), *arguments]


@pytest.mark.timeout(180)
async def test_a_master_and_a_worker_report_what_the_engine_sent(tmp_path: Path) -> None:

    seen: list[Received] = []

    def respond(request: Received) -> bytes:
        return response(status="503 Busy") if request.target == "/busy" else response()

    (tmp_path / "locustfile.py").write_text(LOCUSTFILE)
    port = str(free_port())
    async with serve(responding(respond, seen)) as url:
        host = url.rstrip("/")
        common = ["--headless", "-H", host, "--only-summary"]
        master = await asyncio.create_subprocess_exec(
            *locust(tmp_path, "--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port),
            *[
                "--expect-workers",
                "1",
                "-u",
                "2",
                "-r",
                "2",
                "-t",
                "4s",
                "--json-file",
                str(tmp_path / "out"),
            ],
            *["--exit-code-on-error", "0", *common],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        worker = await asyncio.create_subprocess_exec(
            *locust(tmp_path, "--worker", "--master-host", "127.0.0.1", "--master-port", port),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            (master_said, _), (worker_said, _) = await asyncio.wait_for(
                asyncio.gather(master.communicate(), worker.communicate()), 150
            )
        finally:
            for process in (master, worker):
                if process.returncode is None:
                    process.kill()
    said = (master_said + worker_said).decode()
    assert master.returncode == 0, said
    rows = {(row["method"], row["name"]): row for row in json.loads((tmp_path / "out.json").read_text())}
    sent = {
        key: sum(request.target == target and request.method == method for request in seen)
        for key, method, target in (
            (("GET", "/board"), "GET", "/board"),
            (("POST", "/busy"), "POST", "/busy"),
            (("HTTP", "by name"), "GET", "/named"),
        )
    }
    users = 2 * 4  # each of whose last requests may have been on its way when Locust stopped
    for key, count in sent.items():
        assert count > 100, said
        assert count - users <= rows[key]["num_requests"] <= count, (key, count, rows[key])
    board, busy = rows["GET", "/board"], rows["POST", "/busy"]
    assert board["num_failures"] == 0
    assert busy["num_failures"] == busy["num_requests"]
    assert sum(board["response_times"].values()) == board["num_requests"]
    assert 0 < board["min_response_time"] <= board["max_response_time"]
    ((method, name, error),) = json.loads((tmp_path / "errors.json").read_text())
    assert (method, name) == ("POST", "/busy")
    assert "status 503" in error
    assert all(request.headers["x-from"] == "locust" for request in seen)


def test_without_locust_the_module_says_what_to_install() -> None:
    code = """
import sys
sys.modules["locust"] = None
try:
    import mcp_performance.locust
except ModuleNotFoundError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout == "mcp_performance.locust needs locust: pip install locust\n", run.stderr


def test_the_package_never_imports_locust_by_itself() -> None:
    code = "import sys, mcp_performance; print('locust' in sys.modules, 'gevent' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout == "False False\n", run.stderr

"""The blocks of the README run as they are, each in a fresh folder."""

import ast
import asyncio
import http.client
import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = Path(sys.executable).parent


def blocks(language):
    found = [text for kind, text in BLOCKS if kind == language]
    assert found
    return found


@contextmanager
def served(folder):
    """The first Python block, under uvicorn as its text says, on a port of its own."""
    (folder / "shop.py").write_text(blocks("python")[0])
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "shop:app", "--port", "0"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])},
    )
    try:
        for line in server.stderr:
            if running := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                yield int(running[1])
                break
        else:
            pytest.fail("the service did not start")
    finally:
        server.terminate()
        server.communicate(timeout=60)


def get(port, path, **headers):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_all_programs_are_run_here():
    assert len(blocks("python")) == 4


@pytest.mark.parametrize("program", blocks("python")[2:])
def test_a_program_that_needs_no_service_runs(program):
    exec(compile(program, "README.md", "exec"), {})


def test_the_service_answers_with_rows_of_its_own_and_with_its_figures(tmp_path):
    with served(tmp_path) as port:
        status, body = get(port, "/orders/7")
        assert status == 200
        assert json.loads(body)
        assert all(order["customer"] == 7 for order in json.loads(body))
        for endpoint in ("metrics", "report", "slow-queries", "cache-stats", "health"):
            assert f"/{endpoint}" in blocks("python")[0]
            path = f"/api/mcp/performance/{endpoint}"
            assert get(port, path, Authorization="Bearer secret")[0] == 200
            assert endpoint == "health" or get(port, path)[0] == 401


async def test_the_load_test_of_it_runs(tmp_path):
    program = blocks("python")[1]
    with served(tmp_path) as port:
        program = program.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        code = compile(program, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        names = {}
        await asyncio.wait_for(eval(code, names), 100)
    results = names["results"]
    assert (results.total_requests, results.failed) == (1000, 0)
    assert results.verdict in {"ok", "stalled", "generator-limited"}  # of a busy machine


def commands(program):
    """The commands of that program in the blocks without a language, continued lines joined."""
    text = "\n".join(blocks("")).replace("\\\n", " ")
    return [line for line in text.split("\n") if line.startswith(program)]


@pytest.mark.parametrize("command", commands("mcp-performance"))
def test_the_commands_run(command, tmp_path):
    with served(tmp_path) as port:
        words = shlex.split(command.replace("127.0.0.1:8000", f"127.0.0.1:{port}"))
        words[0] = str(COMMANDS / words[0])
        # The report of shop:app is of the program as it stands, with a database of its own.
        run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert "Traceback" not in run.stderr
    assert run.returncode in {0, 1, 3}  # 1 and 3: a busy machine crosses thresholds; 2 would be our mistake
    assert ("p99" if words[1] == "load" else "SQLite") in run.stdout


@pytest.mark.parametrize("command", commands("scripts/"))
def test_the_scripts_are_there(command):
    assert os.access(ROOT / command.split()[0], os.X_OK)

"""A service that gunicorn loads before it forks its workers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

APP = """
import json, os
from mcp_performance import Cache, SQLitePool, cached

pool = SQLitePool(os.environ["DATABASE"])
pool.blocking.execute("CREATE TABLE visit (worker INTEGER)")

@cached(ttl=60)
def square(number):
    return number * number, os.getpid()

cache = Cache(ttl=60)
cache["master"] = os.getpid()
square(3)

def app(environ, start_response):
    number = int(environ["QUERY_STRING"])
    pool.blocking.execute("INSERT INTO visit VALUES (?)", (os.getpid(),))
    result, computed_by = square(number)
    body = json.dumps({
        "worker": os.getpid(), "master": cache["master"], "result": result, "computed_by": computed_by,
        "visits": pool.blocking.fetchval("SELECT count(*) FROM visit"),
    }).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
"""


def test_workers_of_a_preloaded_app_serve_and_the_master_ends_well(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(APP)
    address = tmp_path / "s"
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--preload",
        "-w",
        "2",
        "-b",
        f"unix:{address}",
        "service:app",
    ]
    master = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"DATABASE": str(tmp_path / "a.db")}, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 60
        while not address.exists():
            assert master.poll() is None, master.stderr and master.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        answers = []
        for number in range(40):
            # A new connection each time, so that both workers get some.
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(address))) as client:
                answers.append(client.get(f"http://service/?{number % 5}", timeout=30).json())
    finally:
        master.send_signal(signal.SIGTERM)
        _, errors = master.communicate(timeout=60)
    assert master.returncode == 0, errors.decode()
    assert b"Traceback" not in errors
    assert [answer["visits"] for answer in answers] == list(range(1, 41))
    assert [answer["result"] for answer in answers] == [(n % 5) ** 2 for n in range(40)]
    for number, answer in enumerate(answers):
        assert answer["master"] == master.pid != answer["worker"]
        # What the master had computed is inherited, all else is the worker's own.
        owner = master.pid if number % 5 == 3 else answer["worker"]
        assert answer["computed_by"] == owner

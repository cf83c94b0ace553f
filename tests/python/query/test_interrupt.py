"""Ctrl-C ends advising at once, and not with its budget."""

import signal
import sqlite3
import subprocess
import sys

import pytest

ENDLESS = (
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c, t WHERE t.a = 7"
)
PROGRAM = """
import sys
from mcp_performance import QueryAnalyzer
try:
    told = lambda what, share: print(what, flush=True)
    QueryAnalyzer("t.db").advise([sys.argv[1]], budget=3000, progress=told)
except KeyboardInterrupt:
    sys.exit(42)
"""


@pytest.mark.parametrize(
    "handler", ["", "import signal; signal.signal(signal.SIGINT, lambda *_: sys.exit(42))"]
)
def test_ctrl_c_ends_a_statement_without_end(tmp_path, handler):
    with sqlite3.connect(tmp_path / "t.db") as connection:
        connection.execute("CREATE TABLE t (a, b)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", ((i, i) for i in range(2000)))
    program = PROGRAM.replace("import sys\n", f"import sys\n{handler}\n", 1)
    with subprocess.Popen(
        [sys.executable, "-c", program, ENDLESS], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "planning\n"
        assert child.stdout.readline() == "copying\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 42

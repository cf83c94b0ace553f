"""Whatever a command is started in: one clear line and an exit code, never a traceback."""

import io
import json
import os
import sqlite3
import subprocess
import sys

import pytest

from mcp_performance.cli import main

BAD = {"MCP_PERFORMANCE_CACHE_TTL": "-5"}
BAD_LINE = "mcp-performance: MCP_PERFORMANCE_CACHE_TTL='-5': expected a positive number of seconds"
NOBODY = "http://127.0.0.1:1"
ANALYZE = ["analyze", "shop.db", "SELECT * FROM orders WHERE name = 'ä→'"]
COMMANDS = {
    "demo": ["demo", "--requests", "1"],
    "load": ["load", "-n", "10", "-c", "1", "--quiet"],
    "analyze": ANALYZE,
    "top": ["top", NOBODY],
    "dashboard": ["dashboard", NOBODY],
    "completion": ["completion", "bash"],
}
MODULE = [sys.executable, "-m", "mcp_performance"]
SCRIPT = """
import json, sys
from mcp_performance.cli import main
if len(sys.argv) > 2:
    sys.exit(main())
print(*(main(arguments) for arguments in json.loads(sys.argv[1])))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current one, with a database and the command as an installer writes it."""
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT)")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/mcp-performance").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments, shell="", environment=None, program=MODULE):
    """The exit code, standard output and standard error of a command; *shell* is put behind it."""
    return subprocess.run(
        ["sh", "-c", f'"$@" {shell}', "sh", *program, *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_bad_setting_is_one_line_and_the_code_of_what_is_refused(folder):
    script = [sys.executable, "bin/mcp-performance"]
    environment = {**BAD, "MCP_PERFORMANCE_DB_POOL_SIZE": "many"}
    ran = run(json.dumps(list(COMMANDS.values())), program=script, environment=environment)
    assert (ran.returncode, ran.stdout.split()) == (0, ["2"] * len(COMMANDS))
    lines = ran.stderr.splitlines()
    assert len(lines) == len(COMMANDS)
    assert all(line.startswith(BAD_LINE) for line in lines)
    assert all("MCP_PERFORMANCE_DB_POOL_SIZE='many'" in line for line in lines)


@pytest.mark.parametrize("options", [["-m", "mcp_performance"], ["-X", "dev", "-mmcp_performance"]])
def test_python_m_says_the_same(folder, options):
    ran = run(*COMMANDS["load"], environment=BAD, program=[sys.executable, *options])
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert ran.stderr.startswith(BAD_LINE)


@pytest.mark.parametrize("options", [["-m", "service", "-m", "mcp_performance"], ["-c", "import service"]])
def test_a_program_of_ones_own_is_still_refused_at_import(folder, options):
    (folder / "service").mkdir()
    (folder / "service/__init__.py").write_text("import mcp_performance")
    (folder / "service/__main__.py").write_text("print('started')")
    ran = run(*options, environment=BAD, program=[sys.executable])
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "ConfigurationError: MCP_PERFORMANCE_CACHE_TTL='-5': expected" in ran.stderr


def test_the_doctor_runs_and_tells_of_bad_settings(folder):
    ran = run("doctor", "--json", environment={**BAD, "MCP_PERFORMANCE_DB_POOL_SIZE": "7"})
    assert (ran.returncode, ran.stderr) == (1, "")
    found = {one["name"]: one for one in json.loads(ran.stdout)}
    assert found["setting CACHE_TTL"]["says"].startswith(BAD_LINE.partition(": ")[2])
    assert found["setting DB_POOL_SIZE"]["state"] == "ok"
    assert [name for name, one in found.items() if one["state"] == "wrong"] == ["setting CACHE_TTL"]


def test_help_needs_no_sound_settings(folder):
    ran = run("load", "--help", environment=BAD)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("shell", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_streams_that_are_closed_take_nothing(folder, shell):
    ran = run(*ANALYZE, shell=shell)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert bool(ran.stdout) == (shell == "2>&-")
    with sqlite3.connect("shop.db") as connection:  # which did not take the place of a stream
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_what_goes_wrong_without_a_terminal_is_told_by_the_exit_code(folder):
    assert run("load", "http://203.0.113.1/", shell=">&- 2>&- <&-").returncode == 2
    ran = run("top", NOBODY, shell=">&-")
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("command", ["load", "analyze"])
def test_a_full_disk_is_one_line(folder, command):
    ran = run(*COMMANDS[command], shell=">/dev/full")
    assert (ran.returncode, ran.stderr) == (2, "mcp-performance: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("form", ["text", "json", "html", "markdown", "sarif"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_a_character_is_shown_its_number(folder, monkeypatch, encoding, form):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr("sys.stdout", terminal)
    assert main([*ANALYZE, "--format", form]) == 0
    written = terminal.detach().getvalue()
    assert form == "sarif" or b"\\u2192" in written


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["top", "http://[::1"], "url='http://[::1'"),
        (["dashboard", "http://[::1"], "url='http://[::1'"),
        (["load", "http://[::1"], "target='http://[::1'"),
        (["load", "ws://[::1"], "url='http://[::1'"),
        (["load", "stdio:python 'x", "--mcp-tool", "t"], 'url="stdio:python \'x"'),
        (["load", "--data", "absent.csv"], "data='absent.csv'"),
        (["load", "broken:app"], "broken cannot be imported: ZeroDivisionError: division by zero"),
        (["load", "unfinished:app"], "unfinished cannot be imported: SyntaxError"),
        (["analyze", "shop.db", "SELECT '\udcff'"], "surrogates not allowed in sql"),
        (["load", "http://127.0.0.1/\udcff"], "target='http://127.0.0.1/"),
        (["load", "http://127.0.0.1/", "-n", "1", "--expect", "\udcff"], "expect"),
        (["load", "http://127.0.0.1/", "-n", "1", "--body", "\udcff"], "body"),
        (["top", "http://127.0.0.1/\udcff"], "url='http://127.0.0.1/"),
        (["demo", "--requests", "0"], "--requests=0"),
        (["demo", "--users", "0"], "--users=0"),
        (["demo", "--port", "99999"], "--port=99999"),
        (["demo", "--directory", "shop.db"], "shop.db"),
        (["demo", "--directory", "/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_what_is_refused_is_named_in_one_line(folder, monkeypatch, capsys, arguments, named):
    (folder / "broken.py").write_text("1 / 0")
    (folder / "unfinished.py").write_text("import")
    monkeypatch.syspath_prepend(folder)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert (printed.out, named in line) == ("", True), line


def test_a_folder_that_has_gone_and_no_home_are_no_hindrance(folder):
    command = 'mkdir gone && cd gone && rmdir ../gone && unset HOME && exec "$@"'
    ran = run("doctor", program=["sh", "-c", command, "sh", *MODULE])
    assert (ran.returncode, ran.stderr) == (0, "")

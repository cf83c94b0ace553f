"""Programs as targets: a request is one run of the program."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import Command, ConfigurationError, LoadTester


def python(code: str, **options: Any) -> Command:
    return Command([sys.executable, "-c", code], **options)


async def test_each_request_is_a_run_of_the_program(tmp_path: Path) -> None:
    code = "import os, sys; open(sys.stdin.read() + str(os.getpid()), 'w').close()"
    results = await LoadTester(python(code, input="run-", cwd=tmp_path)).run_load_test(6, 2)
    assert (results.total_requests, results.successful, results.errors) == (6, 6, {})
    assert results.target == f"command {os.path.basename(sys.executable)}"
    assert len([name for name in os.listdir(tmp_path) if name.startswith("run-")]) == 6


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit(3)", "exit status 3"),
        ("raise KeyError('it')", "exit status 1: KeyError: 'it'"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "exit status -15"),
    ],
)
async def test_another_status_than_0_is_a_failure_with_the_programs_last_words(
    code: str, message: str
) -> None:
    results = await LoadTester(python(code)).run_load_test(2, 1)
    assert results.errors == {"CommandFailed": 2}
    assert message in results.examples["CommandFailed"]


async def test_a_program_that_is_not_there_is_a_failure() -> None:
    results = await LoadTester(Command(["/nowhere/program"])).run_load_test(2, 1)
    assert results.errors == {"FileNotFoundError": 2}


def number_in(path: Path) -> int:
    return int(path.read_text())


async def test_a_program_that_hangs_is_killed_at_the_timeout(tmp_path: Path) -> None:
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    results = await LoadTester(python(code)).run_load_test(1, 1, timeout=5.0)
    assert results.errors == {"timeout": 1}
    with pytest.raises(ProcessLookupError):
        os.kill(number_in(tmp_path / "pid"), 0)


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        ("ls", {}, TypeError),
        (7, {}, TypeError),
        ([], {}, ConfigurationError),
        (["ls"], {"input": 7}, TypeError),
    ],
)
def test_bad_arguments_are_named(arguments: Any, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"arguments=|input="):
        Command(arguments, **options)

"""A target that ends the program ends it: once, with its own exception, and quietly."""

from __future__ import annotations

import subprocess
import sys

import pytest

# In which order asyncio cancels what is left is a matter of chance: hence so often.
PROGRAM = """
import asyncio, gc
from mcp_performance import LoadTester

async def target():
    {wait}
    raise {error}

for _ in range(10):
    try:
        asyncio.run(asyncio.wait_for(LoadTester(target).run_load_test(20, 4), 60))
    except BaseException as raised:
        print(repr(raised))
gc.collect()
"""


@pytest.mark.parametrize("wait", ["pass", "await asyncio.sleep(0)"])
@pytest.mark.parametrize("error", ["SystemExit(3)", "KeyboardInterrupt()"])
def test_a_target_that_ends_the_program_leaves_no_task_behind(wait: str, error: str) -> None:
    program = PROGRAM.format(wait=wait, error=error)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [error] * 10

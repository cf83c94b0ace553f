"""Helpers of the cache tests."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable


class Clock:
    """Seconds that move when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def run_python(script: str, *, timeout: float = 60) -> str:
    """What *script* prints in an interpreter of its own, which must end well."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def settle() -> None:
    """Let every task of this loop run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Give the loop turns, and other threads the processor, until *condition* holds."""
    for _ in range(10**7):
        if condition():
            return
        await asyncio.sleep(0)
    raise TimeoutError

"""The bridge between native threads and event loops, seen from Python.

A native job never touches Python. It pushes a completion into the queue of the loop that waits for
it; the loop wakes through one descriptor, and turns completions into results in its own thread, for
at most 1 ms a tick.
"""

from __future__ import annotations

import asyncio

from mcp_performance import _core


async def wake_up_seconds(count: int = 1) -> list[float]:
    """Measure how long the running loop takes to notice native completions.

    Args:
        count: how many completions one native thread pushes in a row.

    Returns:
        For each, the seconds from the push to its delivery in the loop.
    """
    return list(await asyncio.gather(*_core.wake_up_times(count)))

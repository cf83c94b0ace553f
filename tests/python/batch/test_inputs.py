"""Inputs of a batch that cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator

import pytest

from mcp_performance import BatchProcessor


def double(item: int) -> int:
    return 2 * item


class Unreadable(Collection[int]):
    """Raises where it is asked for its length or for its items."""

    def __init__(self, method: str) -> None:
        self.method = method

    def __contains__(self, item: object) -> bool:
        return True

    def __len__(self) -> int:
        if self.method == "len":
            raise LookupError("len")
        return 2

    def __iter__(self) -> Iterator[int]:
        if self.method == "iter":
            raise LookupError("iter")
        return iter([1, 2])


@pytest.mark.parametrize("method", ["len", "iter"])
async def test_items_that_cannot_be_read_leave_nothing_that_closing_would_wait_for(method: str) -> None:
    batch = BatchProcessor()
    with pytest.raises(LookupError, match=method):
        await batch.map(double, Unreadable(method))
    assert (await batch.map(double, [4])).results == [8]
    await asyncio.wait_for(batch.close(), 30)

"""Records of the native core reach logging from whatever level it has at the time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from mcp_performance import SQLitePool, _core
from mcp_performance._base import _logging


@pytest.fixture
def levels(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[list[int]]:
    given: list[int] = []
    monkeypatch.setattr(_core, "_set_log_level", given.append)
    SQLitePool(tmp_path / "a.db")
    yield given
    monkeypatch.undo()
    for name in ("mcp_performance", "mcp_performance.sqlite"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    _logging.deliver_native_logs()


@pytest.mark.parametrize("name", ["mcp_performance", "mcp_performance.sqlite", ""])
def test_a_level_set_after_a_pool_was_made_takes_effect(levels: list[int], name: str) -> None:
    logger = logging.getLogger(name)
    before = logger.level
    try:
        logger.setLevel(logging.DEBUG)
        assert levels[-1] == logging.DEBUG
        logger.setLevel(logging.ERROR)
        if name != "mcp_performance.sqlite":  # the lowest of all rooms counts
            assert levels[-1] == logging.ERROR
    finally:
        logger.setLevel(before)

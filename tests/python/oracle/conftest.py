"""Seeds, budgets and slices of the oracles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from oracle_runs import SMALLEST, Oracle, slices

SHORT_RUN_SECONDS = 0.8
_ORACLE = pytest.StashKey[Oracle]()


@pytest.fixture
def oracle(request: pytest.FixtureRequest) -> Oracle:
    """The rounds of this test; ``@pytest.mark.parametrize`` alone tells one from another."""
    made = Oracle(request.node.nodeid.rpartition("/")[2], SHORT_RUN_SECONDS)
    request.node.stash[_ORACLE] = made
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    made = item.stash.get(_ORACLE, None)
    if made is not None and report.failed:
        report.sections.append(("seed", f"MCP_TEST_SEED={made.seed}"))
    return report


@pytest.fixture
def smallest_slices() -> Iterator[None]:
    """Every deadline has passed when it is made; each row is a part, and a portion of a stream."""
    with slices(**SMALLEST):
        yield

"""The history checker itself: it takes what an order explains, and nothing else."""

from __future__ import annotations

import pytest

from oracle_history import History, Wrong, now


def history(*, writes: list[tuple[int, int, int]], reads: list[tuple[int, int, int, str]]) -> History:
    made = History()
    for began, settled, version in writes:
        made.wrote("key", began, settled, version)
    for began, ended, version, reader in reads:
        made.was_read("key", began, ended, version, reader)
    return made


WRITES = [(10, 20, 1), (30, 40, 2)]


@pytest.mark.parametrize(
    "reads",
    [
        [(0, 5, 0, "a"), (21, 25, 1, "a"), (41, 45, 2, "a")],
        [(11, 12, 0, "a"), (15, 16, 1, "a")],
        [(35, 36, 2, "a"), (37, 38, 2, "b")],
        [(12, 50, 0, "a"), (13, 49, 2, "b")],
        [(31, 39, 1, "a"), (32, 38, 2, "b")],
    ],
)
def test_what_an_order_explains_is_right(reads: list[tuple[int, int, int, str]]) -> None:
    history(writes=WRITES, reads=reads).check()


@pytest.mark.parametrize(
    ("reads", "reason"),
    [
        ([(0, 9, 1, "a")], "nobody had written"),
        ([(50, 60, 3, "a")], "nobody had written"),
        ([(21, 22, 0, "a")], "after Write"),
        ([(41, 42, 1, "b")], "after Write"),
        ([(31, 33, 2, "a"), (34, 35, 1, "b")], "after Read"),
    ],
)
def test_what_no_order_explains_is_wrong(reads: list[tuple[int, int, int, str]], reason: str) -> None:
    with pytest.raises(Wrong, match=reason):
        history(writes=WRITES, reads=reads).check()


def test_readers_may_be_taken_one_by_one() -> None:
    made = history(writes=WRITES, reads=[(31, 33, 2, "a"), (34, 35, 1, "b")])
    made.check(same_reader=True)
    made.was_read("key", 36, 37, 1, "a")
    with pytest.raises(Wrong, match="after Read"):
        made.check(same_reader=True)


def test_a_write_that_failed_may_be_seen_or_not() -> None:
    made = History()
    with pytest.raises(KeyError), made.writing("key", 1):
        raise KeyError
    for version in (0, 0, 1):
        made.read("key", now(), version)
    made.check()

"""How long the oracles run, and from which seed.

``MCP_TEST_SECONDS`` is the time that each of them gets (a second unless told). A failure names its round as
``MCP_TEST_SEED=seed.round``, with which that round alone runs again; ``MCP_TEST_SEED=seed`` starts the same
sequence of rounds. ``MCP_TEST_READS`` is how many reads those see that count them, however long it takes.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator

from mcp_performance import _core

SMALLEST = {"tick_ns": 0, "part_bytes": 0, "portion_bytes": 0, "look_bytes": 0}
"""Every deadline has passed when it is made; each row is a part, and a portion of a stream."""

LONG_RUN_SECONDS = 20.0
"""From here on an oracle also takes the sizes that a short run has no time for."""


class Oracle:
    """One seeded test: its rounds, and the randomness of each."""

    def __init__(self, name: str, seconds: float) -> None:
        self._name = name
        told = os.environ.get("MCP_TEST_SECONDS")
        self.seconds = seconds if told is None else float(told)
        seed, _, only = os.environ.get("MCP_TEST_SEED", "").partition(".")
        self._seed = int(seed) if seed else random.SystemRandom().randrange(10**9)
        self._only = int(only) if only else None
        self._round = self._only or 0

    @property
    def long(self) -> bool:
        """Whether there is time for large sizes."""
        return self.seconds >= LONG_RUN_SECONDS

    @property
    def seed(self) -> str:
        """What to set ``MCP_TEST_SEED`` to for the round under way."""
        return f"{self._seed}.{self._round}"

    @property
    def reads(self) -> int:
        """How many reads an oracle that counts them has to see at least."""
        return int(os.environ.get("MCP_TEST_READS", "0"))

    def rounds(self, until: Callable[[], bool] = lambda: True) -> Iterator[random.Random]:
        """One round at least, then as many as fit into the time, and as many as it takes *until* enough is
        seen, each with a generator of its own."""
        end = time.monotonic() + self.seconds
        while True:
            yield random.Random(f"{self._name} {self.seed}")
            self._round += 1
            if self._only is not None or (time.monotonic() >= end and until()):
                return


@contextlib.contextmanager
def slices(**sizes: int) -> Iterator[None]:
    """The pieces in which long work is done, for the length of the block."""
    usual = _core._set_slices(**SMALLEST)
    _core._set_slices(**{**usual, **sizes})
    try:
        yield
    finally:
        _core._set_slices(**usual)


def some_slices(rng: random.Random) -> contextlib.AbstractContextManager[None]:
    """The usual pieces, the smallest, or any mixture with odd ones."""
    if rng.random() < 0.3:
        return slices()
    return slices(
        tick_ns=rng.choice((0, 0, 20_000, 1_000_000)),
        part_bytes=rng.choice((0, 1, 700, 262_144)),
        portion_bytes=rng.choice((0, 1, 700, 65_536)),
        look_bytes=rng.choice((0, 100, 16_384)),
    )

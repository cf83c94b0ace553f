"""Processes over one SQLite file, some of which are killed at any moment, while the file itself is deleted.

Nobody is ever given anything older than what anybody's call had settled before it asked, from memory or not;
nor anything that nobody wrote.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sqlite_tier_actor
from oracle_runs import Oracle

PROCESSES = 3
KILLS = 4


class Actors:
    """The processes of a round."""

    def __init__(self, folder: Path, rng: random.Random, steps: int) -> None:
        self._folder = folder
        self._steps = steps
        self._rng = rng
        self.file = folder / "cache.db"
        self.source = folder / "source"
        self.source.write_bytes(bytes(8 * sqlite_tier_actor.KEYS))
        self.processes = [self._start(number) for number in range(PROCESSES)]

    def _start(self, number: int) -> subprocess.Popen[str]:
        log = self._folder / f"{number} {self._rng.random()}.log"
        words = [f"sqlite:///{self.file}", self.source, log, number, PROCESSES]
        words += [self._rng.randrange(10**6), self._steps]
        return subprocess.Popen(
            [sys.executable, sqlite_tier_actor.__file__, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self) -> None:
        """One of them, once it works, and let another take its place."""
        number = self._rng.randrange(PROCESSES)
        process = self.processes[number]
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(self._rng.choice((0.001, 0.02, 0.1)))
        process.kill()
        process.communicate()
        self.processes[number] = self._start(number)

    def end(self) -> list[str]:
        """Wait for all of them: what they say is wrong."""
        wrong = []
        for process in self.processes:
            _, errors = process.communicate(timeout=600)
            if process.returncode:
                wrong.append(errors)
        return wrong


@pytest.mark.parametrize("faults", [False, True], ids=["calm", "faults"])
def test_nobody_reads_what_anybody_has_ended(tmp_path: Path, oracle: Oracle, faults: bool) -> None:
    for number, rng in enumerate(oracle.rounds()):
        folder = tmp_path / str(number)
        folder.mkdir()
        actors = Actors(folder, rng, 30_000 if oracle.long else 700)
        for _ in range(KILLS if faults else 0):
            if rng.random() < 0.3:
                with contextlib.suppress(FileNotFoundError):
                    actors.file.unlink()
            actors.kill()
        assert actors.end() == []
        history = sqlite_tier_actor.history_of(folder.glob("*.log"))
        assert history.reads > 0
        history.check(same_reader=True)

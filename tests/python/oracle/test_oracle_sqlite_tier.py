"""Processes over one SQLite file, some of which are killed at any moment, while the file itself is deleted,
or what lies beside it.

Nobody is ever given anything older than what anybody's call had settled before it asked, from memory or not;
nor anything that nobody wrote. All agree with the source in the end.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from oracle_runs import Oracle
from tier_actors import Actors, Processes

PROCESSES = 3
DELETED = (("",), ("",), ("", "-wal"), ("-wal",), ("-shm",), ("-wal", "-shm"))
KILLS = 6
"""In a round, so that it ends: who takes a dead one's place begins anew."""


@pytest.mark.parametrize("faults", [False, True], ids=["calm", "faults"])
def test_nobody_reads_what_anybody_has_ended(tmp_path: Path, oracle: Oracle, faults: bool) -> None:
    figures: Counter[str] = Counter()
    for number, rng in enumerate(oracle.rounds(until=lambda: figures["reads"] >= oracle.reads)):
        file = tmp_path / f"{number}.db"

        def disturb(actors: Processes, file: Path = file, rng: random.Random = rng) -> None:
            chance = rng.random()
            if chance < 0.2:
                for part in rng.choice(DELETED):
                    Path(f"{file}{part}").unlink(missing_ok=True)
            elif chance < 0.6 and actors.kills < KILLS:
                actors.kill()
            else:
                actors.freeze(rng.choice((0.01, 0.3)))
            time.sleep(rng.choice((0.001, 0.02, 0.3)))

        actors = Actors(tmp_path, [f"sqlite:///{file}"] * PROCESSES, rng, 5_000 if oracle.long else 200)
        actors.work(disturb if faults else lambda _: None)
        figures.update(actors.end())
        print(f"{dict(figures)}", flush=True)
        assert actors.wrong == []
    assert figures["reads"] > 0

"""Processes that ask for the same deeds, while their links to Redis are held back and cut, and killed.

Each deed is done once at most, and everybody who is told of it is told of that one time.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import once_actor
from fault_proxy import fault_proxy
from oracle_runs import Oracle
from redis_server import RedisServer, redis_server
from tier_actors import Processes
from tier_faults import faults_of

PROCESSES = 3


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


class Doers(Processes):
    """The processes of a round."""

    def __init__(self, log: Path, urls: list[str], rng: random.Random, steps: int) -> None:
        self._log, self._urls, self._steps = log, urls, steps
        self._namespace = f"deeds{rng.random()}"
        super().__init__(rng, len(urls))

    def _words(self, number: int) -> list[object]:
        words: list[object] = [once_actor.__file__, self._urls[number], self._namespace, self._log]
        return [*words, self._rng.randrange(10**6), self._steps]


@pytest.mark.parametrize("storage", ["redis", "file"])
def test_no_deed_is_done_twice(server: RedisServer, tmp_path: Path, oracle: Oracle, storage: str) -> None:
    figures: Counter[str] = Counter()
    for number, rng in enumerate(oracle.rounds()):
        log = tmp_path / f"{number}.log"
        with contextlib.ExitStack() as stack:
            proxies = [stack.enter_context(fault_proxy(server.port)) for _ in range(PROCESSES)]
            urls = [proxy.url for proxy in proxies]
            if storage == "file":
                urls = [str(tmp_path / f"{number}.db")] * PROCESSES
            doers = Doers(log, urls, rng, 3_000 if oracle.long else 150)
            doers.work(faults_of(server, proxies, rng, forgets=False))
            figures.update(doers.end())
            assert doers.wrong == []
        figures["deeds"] += check(log)
        print(f"{dict(figures)}", flush=True)
    assert figures["deeds"] > 0


def check(log: Path) -> int:
    """How many deeds were done, each once."""
    done: dict[str, list[str]] = defaultdict(list)
    told: dict[str, set[str]] = defaultdict(set)
    for line in log.read_text().splitlines():
        what, deed, token = line.split()
        if what == "did":
            done[deed].append(token)
        else:
            told[deed].add(token)
    assert {deed: tokens for deed, tokens in done.items() if len(tokens) > 1} == {}
    assert {deed: tokens for deed, tokens in told.items() if tokens != set(done[deed])} == {}
    return len(done)

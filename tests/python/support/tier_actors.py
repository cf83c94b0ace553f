"""The processes of one round over a tiered cache, and what they have seen."""

from __future__ import annotations

import contextlib
import json
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import tier_actor

HEARD_SECONDS = 10.0
"""By when everybody must have heard of a change: three times what is promised of a link that has died."""


class Actors:
    """Processes with the same keys, each over a URL of its own. :attr:`wrong` is what they say is wrong."""

    def __init__(self, folder: Path, urls: Sequence[str], rng: random.Random, steps: int) -> None:
        self._path = folder / f"source {rng.random()}"
        self._source = tier_actor.Source.create(self._path)
        self._urls = urls
        self._rng = rng
        self._namespace = f"actors{rng.random()}"
        self._steps = steps
        self._settled = list(self._source.settled)
        self._noted = time.monotonic()
        self.wrong: list[str] = []
        self.kills = 0
        self._processes = [self._start(number) for number in range(len(urls))]

    def _start(self, number: int) -> subprocess.Popen[str]:
        words = [self._urls[number], self._namespace, self._path, number, len(self._urls)]
        words += [self._rng.randrange(10**6), self._steps]
        return subprocess.Popen(
            [sys.executable, tier_actor.__file__, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def work(self, disturb: Callable[[Actors], object]) -> None:
        """Until all have done their steps, or failed, with what *disturb* does meanwhile."""
        for process in self._processes:
            _line_of(process)
        while not all(_has_said(process) for process in self._processes):
            disturb(self)
            self._note_what_is_heard()
            time.sleep(0.01)

    def kill(self) -> None:
        """One of them, wherever it is, and let another take its place."""
        number = self._rng.randrange(len(self._processes))
        process = self._processes[number]
        if _has_said(process):
            return
        process.kill()
        process.communicate()
        self._processes[number] = self._start(number)
        _line_of(self._processes[number])
        self.kills += 1

    def freeze(self, seconds: float) -> None:
        """One of them, for a time."""
        process = self._rng.choice(self._processes)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            process.send_signal(signal.SIGCONT)

    def _note_what_is_heard(self) -> None:
        """What had been settled when this was last noted, by now everybody must know."""
        if time.monotonic() - self._noted > HEARD_SECONDS:
            for key, version in enumerate(self._settled):
                self._source.heard[key] = version
            self._settled, self._noted = list(self._source.settled), time.monotonic()

    def end(self) -> Counter[str]:
        """Let all look at the keys once more; their figures."""
        figures: Counter[str] = Counter(kills=self.kills)
        for process in self._processes:
            if process.poll() is None:
                _line_of(process)
        for process in self._processes:
            said, errors = process.communicate(timeout=300)
            if process.returncode:
                self.wrong.append(errors)
            else:
                figures.update(json.loads(said.splitlines()[-1]))
        return figures


def _line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _has_said(process: subprocess.Popen[str]) -> bool:
    """Whether it has said something, or has ended."""
    return bool(select.select([process.stdout], [], [], 0)[0])

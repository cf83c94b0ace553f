"""The processes of one round, and what they have seen."""

from __future__ import annotations

import contextlib
import json
import os
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


class Processes:
    """Python programs that say a line when they work, and one when they have done their steps. What they say
    is wrong is in :attr:`wrong`."""

    def __init__(self, rng: random.Random, count: int) -> None:
        self._rng = rng
        self.wrong: list[str] = []
        self.kills = 0
        self._processes = [self._start(number) for number in range(count)]

    def _words(self, number: int) -> list[object]:
        """The program of the process that is the *number*-th, and its arguments."""
        raise NotImplementedError

    def _start(self, number: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-X", "faulthandler", *map(str, self._words(number))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def work(self, disturb: Callable[[Processes], object]) -> None:
        """Until all have done their steps, or failed, with what *disturb* does meanwhile."""
        for process in self._processes:
            _line_of(process)
        while not all(_has_said(process) for process in self._processes):
            disturb(self)
            self._note()
            time.sleep(0.01)

    def _note(self) -> None:
        """Called now and then."""

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

    def end(self) -> Counter[str]:
        """Let all end, when all have done their steps; their figures."""
        figures: Counter[str] = Counter(kills=self.kills)
        for process in self._processes:
            if process.poll() is None:
                _line_of(process)
        for process in self._processes:
            said, errors = process.communicate(timeout=300)
            if process.returncode:
                self.wrong.append(f"exit status {process.returncode}: {errors}")
            else:
                figures.update(json.loads(said.splitlines()[-1]))
        return figures


class Actors(Processes):
    """Processes over tiered caches of the same keys, each over a URL of its own."""

    def __init__(self, folder: Path, urls: Sequence[str], rng: random.Random, steps: int) -> None:
        self._path = folder / f"source {rng.random()}"
        self._source = tier_actor.Source.create(self._path)
        self._urls = urls
        self._namespace = f"actors{rng.random()}"
        self._steps = steps
        self._settled = list(self._source.settled)
        self._noted = time.monotonic()
        super().__init__(rng, len(urls))

    def _words(self, number: int) -> list[object]:
        words: list[object] = [tier_actor.__file__, self._urls[number], self._namespace, self._path, number]
        return [*words, len(self._urls), self._rng.randrange(10**6), self._steps]

    def _note(self) -> None:
        """What had been settled when this was last noted, by now everybody must know."""
        if time.monotonic() - self._noted > HEARD_SECONDS:
            for key, version in enumerate(self._settled):
                self._source.heard[key] = version
            self._settled, self._noted = list(self._source.settled), time.monotonic()


def _line_of(process: subprocess.Popen[str]) -> str:
    """A line and not a byte more: :func:`_has_said` asks the pipe for what comes after it."""
    assert process.stdout is not None
    line = bytearray()
    while not line.endswith(b"\n") and (byte := os.read(process.stdout.fileno(), 1)):
        line += byte
    return line.decode()


def _has_said(process: subprocess.Popen[str]) -> bool:
    """Whether it has said something, or has ended."""
    return bool(select.select([process.stdout], [], [], 0)[0])

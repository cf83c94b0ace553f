"""Whether there is an order of reads and writes that explains what was read.

Every key has versions, whole numbers that grow with each write. A writer notes when a version came into
being (the earliest moment at which anybody could have seen it) and when it was settled (the moment from which
nobody may see an older one); a reader notes when it asked, when it had its answer, and the version. Times are
of ``time.perf_counter_ns()``, which all threads and processes of a machine share. Checking is O(n log n).
"""

from __future__ import annotations

import bisect
import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

now = time.perf_counter_ns
INITIAL = 0
"""The version that every key has before its first write."""


@dataclass(frozen=True, slots=True)
class Read:
    began: int
    ended: int
    version: int
    reader: Any


@dataclass(frozen=True, slots=True)
class Write:
    began: int
    settled: int
    version: int
    writer: Any


class Wrong(AssertionError):
    """No order explains a read."""


class History:
    """What was written and read, by key. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reads: dict[Hashable, list[Read]] = defaultdict(list)
        self._writes: dict[Hashable, list[Write]] = defaultdict(list)

    @contextmanager
    def writing(self, key: Hashable, version: int, writer: Any = None) -> Iterator[None]:
        """The block brings *version* into being, and settles it. One that raises may or may not have."""
        began = now()
        settled = None
        try:
            yield
            settled = now()
        finally:
            self.wrote(key, began, 2**63 if settled is None else settled, version, writer)

    def wrote(self, key: Hashable, began: int, settled: int, version: int, writer: Any = None) -> None:
        with self._lock:
            self._writes[key].append(Write(began, settled, version, writer))

    def read(self, key: Hashable, began: int, version: int, reader: Any = None) -> None:
        """A read that began at *began* and ends now."""
        self.was_read(key, began, now(), version, reader)

    def was_read(self, key: Hashable, began: int, ended: int, version: int, reader: Any = None) -> None:
        with self._lock:
            self._reads[key].append(Read(began, ended, version, reader))

    @property
    def reads(self) -> int:
        return sum(map(len, self._reads.values()))

    def check(self, *, fresh: bool = True, same_reader: bool = False) -> None:
        """Raise :class:`Wrong` for the first read that no order explains.

        Args:
            fresh: a read may not be older than what was settled before it began.
            same_reader: a read may only not be older than earlier reads of the same reader; otherwise of any.
        """
        for key, reads in self._reads.items():
            writes = self._writes[key]
            self._check_existence(key, reads, writes)
            if fresh:
                self._check_order(key, reads, [(write.settled, write) for write in writes])
            by_reader = lambda read: repr(read.reader)  # noqa: E731
            groups = (
                [list(group) for _, group in itertools.groupby(sorted(reads, key=by_reader), by_reader)]
                if same_reader
                else [reads]
            )
            for group in groups:
                self._check_order(key, group, [(read.ended, read) for read in group])

    @staticmethod
    def _check_existence(key: Hashable, reads: list[Read], writes: list[Write]) -> None:
        began = {INITIAL: -1} | {write.version: write.began for write in writes}
        for read in reads:
            if began.get(read.version, 2**63) > read.ended:
                raise Wrong(f"{key!r}: {read} is of a version that nobody had written")

    @staticmethod
    def _check_order(key: Hashable, reads: list[Read], ended: Sequence[tuple[int, Read | Write]]) -> None:
        """No read may be older than the newest version whose end came before the read began."""
        ended = sorted(ended, key=lambda end: end[0])
        times = [at for at, _ in ended]
        newest = list(itertools.accumulate((event for _, event in ended), _newer))
        for read in reads:
            place = bisect.bisect_left(times, read.began)
            if place and newest[place - 1].version > read.version:
                raise Wrong(f"{key!r}: {read} began after {newest[place - 1]} had ended")


def _newer(one: Read | Write, other: Read | Write) -> Read | Write:
    return other if other.version > one.version else one

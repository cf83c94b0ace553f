"""An idempotency store in a SQLite file that is replaced, deleted, restored or damaged in use.

All of them go on with the file that lies there, and each key is executed once by all together: what runs is
claimed there anew, and what only a log held that was deleted is kept. What the new file lacks is forgotten.
"""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import IdempotencyStore
from mcp_performance.errors import Error
from mcp_performance.idempotency._store import Reservation

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["mcp_performance"])


class Worker:
    """A process with a store in the file."""

    def __init__(self, path: Path) -> None:
        self._here, there = _processes.Pipe()
        self._process = _processes.Process(target=_serve, args=(str(path), there), daemon=True)
        self._process.start()
        there.close()

    def __call__(self, what: str, key: str = "") -> Any:
        self._here.send((what, key))
        return self._here.recv()

    def begin(self, key: str) -> str:
        """``executes``, or what it was answered instead."""
        answer: str = self("begin", key)
        return answer

    def do(self, key: str) -> None:
        assert self.begin(key) == "executes"
        self("complete", key)

    def end(self) -> None:
        self._here.close()
        self._process.join()


def _serve(path: str, there: Connection) -> None:
    store = IdempotencyStore(path)
    held: dict[str, Reservation] = {}
    while True:
        try:
            what, key = there.recv()
        except EOFError:
            return store.close()
        answer = None
        if what == "begin":
            try:
                found = store.begin(key, "print", wait=False)
            except Error as error:
                answer = type(error).__name__
            else:
                answer = "executes" if isinstance(found, Reservation) else store.unpack(found.result)
                if isinstance(found, Reservation):
                    held[key] = found
        elif what == "complete":
            held.pop(key).complete(store.pack(f"{key} is done"))
        elif what == "await renewal":
            while held[key].era != store._storage.era():
                time.sleep(0.01)
        there.send(answer)


def beside(path: Path, part: str) -> Path:
    return path.with_name(path.name + part)


# -- What happens. Each takes the file, and a copy of it from before "new" was done.


def deleted(*parts: str) -> Callable[[Path, Path], None]:
    def delete(path: Path, _: Path) -> None:
        for part in parts:
            beside(path, part).unlink()

    delete.__name__ = "deleted " + " ".join(part or "file" for part in parts)
    return delete


def restored_by_rename(path: Path, copy: Path) -> None:
    os.replace(copy, path)
    for part in ("-wal", "-shm"):
        beside(path, part).unlink()


def restored_by_writing_over_it(path: Path, copy: Path) -> None:
    path.write_bytes(copy.read_bytes())
    for part in ("-wal", "-shm"):
        beside(path, part).unlink()


def replaced_by_an_empty_one(path: Path, copy: Path) -> None:
    copy.write_bytes(b"")
    os.replace(copy, path)


def replaced_by_a_compacted_copy(path: Path, _: Path) -> None:
    new = path.with_name("new")
    with sqlite3.connect(path) as database:
        database.execute("VACUUM INTO ?", (str(new),))
    database.close()
    os.replace(new, path)


def dropped(path: Path, _: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE mcp_idempotency")
    database.close()


KEEPS, RESTORES, FORGETS = {"old", "new"}, {"old"}, set[str]()
HAPPENINGS = [
    (deleted(""), FORGETS),
    (deleted("", "-wal"), FORGETS),
    (deleted("", "-wal", "-shm"), FORGETS),
    (deleted("-wal"), KEEPS),
    (deleted("-shm"), KEEPS),
    (deleted("-wal", "-shm"), KEEPS),
    (restored_by_rename, RESTORES),
    (restored_by_writing_over_it, RESTORES),
    (replaced_by_an_empty_one, FORGETS),
    (replaced_by_a_compacted_copy, KEEPS),
    (dropped, FORGETS),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


@pytest.fixture
def start(path: Path) -> Iterator[Callable[[], Worker]]:
    with ExitStack() as stack:

        def started() -> Worker:
            worker = Worker(path)
            stack.callback(worker.end)
            return worker

        yield started


def copy_of(path: Path) -> Path:
    copy = path.with_name("copy")
    with sqlite3.connect(path) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    return copy


@pytest.mark.parametrize(("happens", "kept"), HAPPENINGS, ids=[happens.__name__ for happens, _ in HAPPENINGS])
def test_each_key_is_executed_once_by_all_together(
    path: Path, start: Callable[[], Worker], happens: Callable[[Path, Path], None], kept: set[str]
) -> None:
    one, other = start(), start()
    one.do("old")
    assert other.begin("old") == "old is done"
    copy = copy_of(path)
    other.do("new")
    assert one.begin("runs") == "executes"

    happens(path, copy)

    for worker in (one, other):  # each may have to wait for the other to let go of what it has
        assert worker.begin("while it happens") in ("executes", "InProgress", "QueryError")
    one("await renewal", "runs")
    everybody = [start(), one, other]
    for worker in everybody:
        assert worker.begin("runs") == "InProgress"
    for key in ("old", "new"):
        answers = {worker.begin(key) for worker in everybody}
        assert answers == ({f"{key} is done"} if key in kept else {"executes", "InProgress"})
    one("complete", "runs")
    for number, worker in enumerate(everybody):
        worker.do(f"{number}")
        for reader in everybody:
            assert reader.begin(f"{number}") == f"{number} is done"
            assert reader.begin("runs") == "runs is done"
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()

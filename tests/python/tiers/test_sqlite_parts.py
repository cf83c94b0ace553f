"""What becomes of a SQLite file of which parts are deleted, replaced or put back, while it is used and while
it is not.

SQLite finds the log of a database, and the index of the log, by their names alone, and believes what lies
there: the log of another file gives other values, or other keys' values. Whatever was done to the parts,
nobody reads anything that is not the newest value of its key, or none, and all go on with one whole file.
"""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import SQLiteTier, TieredCache
from mcp_performance.tiers._sqlite_parts import descriptor_of, identify
from sqlite_elsewhere import Elsewhere

KEYS = list(range(40))
PATIENT = 30.0


class Here:
    """A cache over the file in this process."""

    def __init__(self, path: Path) -> None:
        self._cache = TieredCache(url=f"sqlite:///{path}", timeout=PATIENT)

    def get(self, keys: list[int]) -> list[Any]:
        return [self._cache.get(key) for key in keys]

    def set(self, values: dict[int, str]) -> None:
        for key, value in values.items():
            self._cache.set(key, value)

    def end(self) -> None:
        self._cache.close()


def set_all(one: Here | Elsewhere, version: int) -> None:
    one.set(dict(zip(KEYS, values(version), strict=True)))


def get_all(one: Here | Elsewhere) -> list[Any]:
    return one.get(KEYS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place" / "cache.db"


@contextmanager
def running(kind: Callable[[Path], Any], path: Path) -> Iterator[Any]:
    one = kind(path)
    try:
        yield one
    finally:
        one.end()


def values(version: int) -> list[str]:
    return [f"{key} {version} " + "x" * 300 for key in KEYS]


def is_newest_or_none(found: list[Any], *versions: int) -> bool:
    return all(
        value is None or value in accepted
        for value, *accepted in zip(found, *map(values, versions), strict=True)
    )


def is_whole(path: Path) -> bool:
    with sqlite3.connect(path) as database:
        found: list[tuple[str]] = database.execute("PRAGMA integrity_check").fetchall()
    database.close()
    return found == [("ok",)]


def beside(path: Path, part: str) -> Path:
    return path.with_name(path.name + part)


# -- What is done to the parts. Each takes the file, and a copy of it with what it held before.


def deleted(*parts: str) -> Callable[[Path, Path], None]:
    def delete(path: Path, _: Path) -> None:
        for part in parts:
            beside(path, part).unlink(missing_ok=True)

    delete.__name__ = "deleted " + " ".join(part or "file" for part in parts)
    return delete


def replaced_by_an_old_copy(path: Path, copy: Path) -> None:
    os.replace(copy, path)


def replaced_by_an_old_copy_without_its_log(path: Path, copy: Path) -> None:
    os.replace(copy, path)
    for part in ("-wal", "-shm"):
        beside(path, part).unlink()


def replaced_by_another(path: Path, _: Path) -> None:
    other = path.with_name("other")
    with SQLiteTier(f"sqlite:///{other}") as tier:
        for key, value in zip(KEYS, values(9), strict=True):
            tier.set(key, value)
    os.replace(other, path)


def replaced_by_another_in_use(path: Path, _: Path) -> None:
    """Whose last values are in its log, which stays where it was."""
    other = path.with_name("other")
    with running(Elsewhere, other) as elsewhere:
        set_all(elsewhere, 9)
        os.replace(other, path)
        elsewhere.kill()


def renamed_with_its_folder(path: Path, _: Path) -> None:
    aside = path.parent.with_name("aside")
    path.parent.rename(aside)
    path.parent.mkdir()
    shutil.copyfile(aside / path.name, path)


def made_anew_and_put_back(path: Path, _: Path) -> None:
    aside = path.with_name("aside")
    os.replace(path, aside)
    with running(Elsewhere, path) as elsewhere:
        set_all(elsewhere, 2)
        elsewhere.kill()
    os.replace(aside, path)


def linked(path: Path, _: Path) -> None:
    """Under another name there is another log."""
    os.link(path, path.with_name("other"))


def written_over(path: Path, copy: Path) -> None:
    """As ``cp`` does, with a copy of itself: it is the same file, and says that it is."""
    path.write_bytes(copy.read_bytes())
    # Time passes between a backup and its use, the clock of the file system ticks.
    os.utime(path)


def written_over_without_its_log(path: Path, copy: Path) -> None:
    written_over(path, copy)
    for part in ("-wal", "-shm"):
        beside(path, part).unlink()


def emptied(path: Path, _: Path) -> None:
    path.unlink()
    path.touch()


HAPPENINGS = [
    deleted(""),
    deleted("", "-wal"),
    deleted("", "-shm"),
    deleted("", "-wal", "-shm"),
    deleted("-wal"),
    deleted("-shm"),
    deleted("-wal", "-shm"),
    replaced_by_an_old_copy,
    replaced_by_an_old_copy_without_its_log,
    replaced_by_another,
    replaced_by_another_in_use,
    renamed_with_its_folder,
    made_anew_and_put_back,
    emptied,
    written_over,
    written_over_without_its_log,
    linked,
]
happening = pytest.mark.parametrize("happens", HAPPENINGS, ids=lambda happens: happens.__name__)


def copy_of(path: Path) -> Path:
    """As ``sqlite3`` makes a backup."""
    copy = path.with_name("copy")
    with sqlite3.connect(path) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    return copy


def go_on(path: Path, everybody: list[Any]) -> None:
    """All work with one file, and nobody is given what is older."""
    for version, writer in enumerate(everybody, 10):
        set_all(writer, version)
        for reader in everybody:
            assert get_all(reader) == values(version)
    assert is_whole(path)


@happening
def test_in_use(path: Path, happens: Callable[[Path, Path], None]) -> None:
    with ExitStack() as stack:
        here, elsewhere = (stack.enter_context(running(kind, path)) for kind in (Here, Elsewhere))
        set_all(here, 1)
        copy = copy_of(path)
        set_all(elsewhere, 2)
        assert get_all(here) == get_all(elsewhere) == values(2)

        happens(path, copy)

        # Who finds the parts by their names, before the others and after them.
        early = stack.enter_context(running(Elsewhere, path))
        assert is_newest_or_none(get_all(early), 2, 9)
        set_all(early, 3)
        everybody = [early, here, elsewhere, stack.enter_context(running(Here, path))]
        for one in everybody:
            assert is_newest_or_none(get_all(one), 2, 3, 9)
        go_on(path, everybody)
    assert sorted(file.name for file in path.parent.glob(f"{path.name}*")) == [path.name]
    assert is_whole(path)


@happening
def test_left_by_a_process_that_was_killed(path: Path, happens: Callable[[Path, Path], None]) -> None:
    elsewhere = Elsewhere(path)
    set_all(elsewhere, 1)
    copy = copy_of(path)
    set_all(elsewhere, 2)
    elsewhere.kill()

    happens(path, copy)

    with running(Here, path) as here, running(Elsewhere, path) as other:
        assert is_newest_or_none(get_all(here), 2, 9)
        assert is_newest_or_none(get_all(other), 2, 9)
        go_on(path, [here, other])
    assert is_whole(path)


def test_what_was_put_in_its_place_is_used(path: Path) -> None:
    """A whole file of another tier that was moved there, whatever log lies beside."""
    with running(Here, path) as here, running(Elsewhere, path) as elsewhere:
        set_all(here, 1)
        replaced_by_another(path, path)
        assert get_all(here) == get_all(elsewhere) == values(9)


def test_what_nobody_used_survives_a_move_with_its_folder(path: Path) -> None:
    elsewhere = Elsewhere(path)
    set_all(elsewhere, 1)
    elsewhere.kill()  # what it wrote is in the log
    folder = path.parent.with_name("moved")
    path.parent.rename(folder)
    with running(Here, folder / path.name) as here:
        assert get_all(here) == values(1)


@pytest.mark.parametrize("how", ["closed", "forgotten", "forked"])
def test_what_is_in_it_survives_all_that_have_it_open(path: Path, how: str) -> None:
    here = Here(path)
    set_all(here, 1)
    if how == "closed":
        here.end()
    elif how == "forgotten":
        del here
        gc.collect()
    elif not (child := os.fork()):
        os._exit(get_all(here) != values(1))
    else:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert get_all(here) == values(1)
        here.end()
    with running(Here, path) as other:
        assert get_all(other) == values(1)


def test_a_name_that_leads_elsewhere_is_followed(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    with running(Here, link) as here, running(Elsewhere, link) as elsewhere, running(Here, path) as direct:
        for version, writer in enumerate((here, elsewhere, direct), 1):
            set_all(writer, version)
            assert get_all(here) == get_all(elsewhere) == get_all(direct) == values(version)
    assert {file.name for file in path.parent.iterdir()} == {"link", path.name}


def test_who_died_while_making_the_file_leaves_nothing(path: Path) -> None:
    for part in ("", "-wal", "-shm", "-journal"):
        beside(path, f".{'0' * 16}.new{part}").write_bytes(b"half")
    beside(path, ".mine.new").touch()
    with running(Here, path) as here:
        set_all(here, 1)
    assert {file.name for file in path.parent.iterdir()} == {path.name, f"{path.name}.mine.new"}


def test_a_disk_that_is_full_when_the_file_is_to_be_made_leaves_nothing(path: Path) -> None:
    program = """
import os, resource, signal, sys, time, warnings
from mcp_performance import TieredCache
warnings.simplefilter("ignore")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = sys.argv[1]
with TieredCache(url=f"sqlite:///{path}", timeout=30.0) as cache:
    cache.set("k", "old")
    os.unlink(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
    assert cache.get("k") is None
    cache.set("k", "alone")
    assert cache.get("k") == "alone"
    # A thread goes on trying, and is now and then in the middle of it.
    ends = time.monotonic() + 30
    while [name for name in os.listdir(os.path.dirname(path)) if ".new" in name]:
        assert time.monotonic() < ends
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    cache.set("k", "new")
    assert cache.shared.get("k") == "new"
"""
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)


@pytest.mark.filterwarnings("ignore:.*caches alone")
def test_a_backup_that_was_written_over_it_while_nobody_used_it_is_not_served(path: Path) -> None:
    backup = path.with_name("backup")
    with running(Here, path) as here:
        set_all(here, 1)
    shutil.copyfile(path, backup)
    with running(Here, path) as here:
        assert get_all(here) == values(1)
        set_all(here, 2)
    with running(Here, path) as here:
        assert get_all(here) == values(2)
    shutil.copyfile(backup, path)
    with running(Here, path) as here, running(Elsewhere, path) as other:
        assert is_newest_or_none(get_all(here), 2)
        go_on(path, [here, other])


def test_a_descriptor_that_was_closed_while_it_was_lent_is_not_believed(path: Path) -> None:
    path.write_bytes(b"what was to be read")
    other = path.with_name("other")
    other.write_bytes(b"something else")
    number, stand_in = os.open(path, os.O_RDONLY), os.open(other, os.O_RDONLY)
    wanted = identify(str(path))
    assert wanted is not None

    def look() -> None:
        with descriptor_of(str(path), wanted) as lent:
            assert os.dup2(stand_in, number) == lent

    with pytest.raises(OSError, match="was closed"):
        look()
    os.close(number)
    os.close(stand_in)


def test_while_it_is_deleted_again_and_again_nobody_reads_another_value(path: Path) -> None:
    ended = threading.Event()

    def delete() -> None:
        number = 0
        while not ended.wait(0.003):
            number += 1
            HAPPENINGS[number % 7](path, path)

    with ThreadPoolExecutor(1) as threads, ExitStack() as stack:
        deleting = threads.submit(delete)
        try:
            for version in range(4):
                caches = [stack.enter_context(TieredCache(url=f"sqlite:///{path}")) for _ in range(2)]
                for key, value in zip(KEYS, values(version), strict=True):
                    caches[key % 2].set(key, value)
                    for cache in caches:
                        assert cache.get(key) in (value, None)
        finally:
            ended.set()
        deleting.result(60)

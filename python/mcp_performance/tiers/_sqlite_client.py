"""What a cache in front asks and is told of a SQLite file: the twin of ``_core.RedisClient``."""

from __future__ import annotations

import os
import secrets
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .. import _core
from ..errors import BackendUnavailable, CacheError
from ._lease import Holder
from ._scripts import LOOK, Command
from ._sqlite_database import Database, microseconds
from ._sqlite_records import MOST_CHANGES, Transaction, look_at, look_without_lease, named, read

__all__ = ["SQLiteClient", "SQLiteFill"]

_LOOKS = (LOOK.text, LOOK.digest)
_WRITES = ("EVAL", "EVALSHA", "SCAN")
_NEWS = (
    "SELECT seq, writer, name, (SELECT identity FROM meta) FROM change WHERE seq >= ? ORDER BY seq LIMIT ?"
)
_NEWEST = "SELECT (SELECT max(seq) FROM change), identity FROM meta"
_RETRY = 0.05
"""How often a file that cannot be read is tried for news, seconds."""
_RENEWAL = 0.5
_IDLE = 20
"""After how many intervals without a lease the thread that renews them ends."""

Reply = tuple[list[Any], "SQLiteFill | None", float]


class SQLiteFill:
    """A value on its way into memory. It holds until news of its name comes.

    ``holds()`` says whether it does, by the news that were taken last. It runs no Python code: no other
    thread has its turn between the answer and what is done by it.
    """

    __slots__ = ("_client", "holds", "name", "number")

    def __init__(self, client: SQLiteClient, name: bytes, number: int) -> None:
        self._client = client
        self.name = name
        self.number = number
        self.holds: Callable[[], bool] = partial(client._live.__contains__, number)

    def keep(self) -> bool:
        """End it. True: its value stays. False: take it out."""
        holds = self._client._holds(self)
        self._client._end(self)
        return holds

    def __del__(self) -> None:
        self._client._end(self)


class SQLiteClient:
    """Runs commands on a :class:`Database`, and knows by its log what may not be kept.

    Commands are those that a Redis tier sends. Every change of a record stands in the file's log, in the
    order of commits; whoever keeps values looks at the wal-index before each hit (``feed()``), and at the
    log when that has moved. A name that the log shows ends the fills of that name, whoever began them; what
    this client itself writes ends them when the write has returned.

    While the file cannot be read nobody tells of changes: what is kept is dropped once, and again when the
    file is back. Safe from any thread; in a forked child it begins anew, with nothing kept.
    """

    def __init__(self, database: Database, holder: Holder | None) -> None:
        self._database = database
        self._holder = holder
        self._closed = False
        self._requests = self._flushes = self._heard = 0
        self._begin_anew()
        _clients.add(self)

    def _begin_anew(self) -> None:
        self._lock = threading.RLock()
        self._writer = secrets.token_bytes(8)
        self._watch = _core._SQLiteWatch(self._database.pool)
        self._fills: dict[bytes, int] = {}
        self._live: set[int] = set()  # their numbers
        self._last_fill = 0
        self._pulled = -1
        self._seen: int | None = None
        self._identity = b""
        self._is_away = False
        self._retry_at = 0.0
        self._flush = True
        self._names: list[bytes] = []
        self._registered = b""
        self._posting = threading.Lock()
        self._posted: deque[tuple[Sequence[Command], Sequence[bytes]]] = deque()  # until they are done
        self._held: dict[str, Sequence[Command]] = {}
        self._renewer: threading.Thread | None = None

    # -- Commands

    def call(
        self, commands: Sequence[Command], fill_key: bytes | None = None, changes: Sequence[bytes] = ()
    ) -> Reply:
        """The replies to *commands*; a fill of *fill_key*; seconds since the call, at most.

        Raises:
            BackendUnavailable: the file cannot be used; the message names it and the reason.
        """
        began = time.monotonic()
        self._database.make_ready()
        fill = None if fill_key is None else self._begin(fill_key)
        rows = self._database.find(_names_of(commands))
        replies = self._read(commands, rows)
        if replies is None:
            replies = self._write(commands, rows)
        return self._settle(replies, fill, changes, began)

    async def start(
        self, commands: Sequence[Command], fill_key: bytes | None = None, changes: Sequence[bytes] = ()
    ) -> Reply:
        """:meth:`call` without blocking the event loop."""
        began = time.monotonic()
        await self._database.amake_ready()
        fill = None if fill_key is None else self._begin(fill_key)
        rows = await self._database.afind(_names_of(commands))
        replies = self._read(commands, rows)
        if replies is None:
            replies = await self._database.on_thread(lambda: self._write(commands, rows))
        return self._settle(replies, fill, changes, began)

    def post(self, commands: Sequence[Command], changes: Sequence[bytes] = ()) -> None:
        """Run *commands* for nobody who waits, before whatever is written later; *changes* have changed when
        what was given before is done."""
        self._posted.append((commands, changes))
        self._database.post(self._do_posted)

    def _do_posted(self) -> None:
        """Returns when all that was posted so far is done, by whichever thread."""
        with self._posting:
            for _ in range(len(self._posted)):
                try:
                    self._post(*self._posted[0])
                finally:
                    self._posted.popleft()

    def _post(self, commands: Sequence[Command], changes: Sequence[bytes]) -> None:
        try:
            self._database.make_ready()
            rows = self._database.find(_names_of(commands))
            replies = self._read(commands, rows)
            if replies is None:
                replies = self._write_now(commands, rows)
            self._settle(replies, None, changes, 0.0)
        except CacheError:
            for name in changes:
                self.changed(name)

    def _read(self, commands: Sequence[Command], rows: dict[bytes, Any]) -> list[Any] | None:
        """The replies, if nothing needs to be written."""
        self._requests += 1
        now = microseconds()
        first = commands[0]
        if first[0] == "PUBSUB":
            return [self._listeners(str(first[2]))]
        if _is_look(first):
            found = look_at(first, rows[_names_of(commands)[0]], now)
            return None if found is None else [found]
        if first[0] in _WRITES:
            return None
        return [read(command, rows, now) for command in commands]

    def _write(self, commands: Sequence[Command], rows: dict[bytes, Any]) -> list[Any]:
        if self._posted:
            self._do_posted()
        return self._write_now(commands, rows)

    def _write_now(self, commands: Sequence[Command], rows: dict[bytes, Any]) -> list[Any]:
        try:
            return self._database.write(self._writer, lambda transaction: self._run(transaction, commands))
        except BackendUnavailable as error:
            if not _is_look(commands[0]):
                raise
            row = rows[_names_of(commands)[0]]
            return [look_without_lease(commands[0], row, microseconds(), str(error))]

    def _run(self, transaction: Transaction, commands: Sequence[Command]) -> list[Any]:
        if self._holder is not None and self._registered != self._identity and _is_look(commands[0]):
            transaction.register(self._holder.ident, *_this_process(), _is_dead)
            registered = self._identity
        else:
            registered = self._registered
        replies = [transaction.run(command) for command in commands]
        self._registered = registered
        return replies

    def _settle(
        self, replies: list[Any], fill: SQLiteFill | None, changes: Sequence[bytes], began: float
    ) -> Reply:
        with self._lock:
            for name in changes:
                if fill is None or name != fill.name:
                    self._end_fill(name)
            if self._is_away:  # the file could be used, but not read for news
                fill = None
        return replies, fill, time.monotonic() - began

    def _listeners(self, channel: str) -> list[Any]:
        """Whether the holder of this channel lives, as ``PUBSUB NUMSUB`` says it."""
        ident = channel[-8:]
        rows = self._database.glance("SELECT pid, began, space FROM holder WHERE ident = ?", ident)
        return [channel, sum(not _is_dead(*row) for row in rows)]

    # -- Fills

    def begin_away(self, name: bytes) -> SQLiteFill | None:
        """A fill while the file cannot be read; ``None`` while it can."""
        with self._lock:
            self._pull()
            return self._new_fill(name) if self._is_away or self._seen is None else None

    def changed(self, name: bytes) -> None:
        """End the fills of *name*."""
        with self._lock:
            self._end_fill(name)

    def _begin(self, name: bytes) -> SQLiteFill:
        with self._lock:
            if self._seen is None or self._is_away:
                self._retry_at = 0.0
                self._pull()
            return self._new_fill(name)

    def _new_fill(self, name: bytes) -> SQLiteFill:
        with self._lock:
            self._last_fill += 1
            self._end_fill(name)
            self._live.add(self._last_fill)
            self._fills[name] = self._last_fill
            return SQLiteFill(self, name, self._last_fill)

    def _holds(self, fill: SQLiteFill) -> bool:
        with self._lock:
            self._pull()
            return fill.holds()

    def _end(self, fill: SQLiteFill) -> None:
        with self._lock:
            if fill.holds():
                self._end_fill(fill.name)

    def _end_fill(self, name: bytes) -> None:
        self._live.discard(self._fills.pop(name, 0))

    # -- News

    def feed(self) -> Any:
        """For :meth:`Cache._follow`: grows when there may be news."""
        return self._watch.feed()

    def arrived(self) -> int:
        """Grows when there may be news."""
        return self._watch.arrived()

    def take_news(self) -> tuple[bool, list[bytes]]:
        """Whether everything is out of date, and the names of what has changed."""
        with self._lock:
            self._pull()
            news = self._flush, self._names
            self._flush, self._names = False, []
            return news

    def _pull(self) -> None:
        """Take what is new in the log. Called with the lock."""
        version = self._watch.arrived()
        if version == self._pulled:
            return
        if time.monotonic() < self._retry_at:
            return
        try:
            rows = self._database.glance(_NEWS, self._seen or 0, MOST_CHANGES + 2)
            goes_on = bool(rows) and (rows[0][0], rows[0][3]) == (self._seen, self._identity)
            if self._is_away or not goes_on or len(rows) > MOST_CHANGES + 1:
                [(self._seen, self._identity)] = self._database.glance(_NEWEST)
                self._drop_all()
            else:
                names = [name for _, writer, name, _ in rows[1:] if writer != self._writer]
                for name in names:
                    self._end_fill(name)
                self._names += names
                self._heard += len(names)
                self._seen = rows[-1][0]
            self._is_away = False
            self._retry_at = 0.0
            self._pulled = version
        except BackendUnavailable:
            if self._seen is not None and not self._is_away:
                self._drop_all()
            self._is_away = self._seen is not None
            self._retry_at = time.monotonic() + _RETRY

    def _drop_all(self) -> None:
        self._fills.clear()
        self._live.clear()
        self._names = []
        self._flush = True
        self._flushes += 1

    # -- Leases

    def has_life(self) -> bool:
        """Whether others can tell if this process lives."""
        return True

    def was_lost_within(self, seconds: float) -> bool:
        """Whether a connection was lost that may be back soon: never, there is none."""
        return False

    def latest_server_time(self) -> int:
        """Microseconds; nothing from before this moment is later."""
        return microseconds()

    def hold(self, token: str, renewal: Sequence[Command]) -> None:
        """Run *renewal* again and again, until :meth:`let_go`."""
        with self._lock:
            self._held[token] = renewal
            if self._renewer is None:
                thread = threading.Thread(
                    target=_renew, args=(weakref.ref(self),), name="mcp-sqlite-leases", daemon=True
                )
                thread.start()  # may fail: the next call tries again
                self._renewer = thread

    def let_go(self, token: str) -> None:
        """End that."""
        with self._lock:
            self._held.pop(token, None)

    def _renew(self, known: set[str]) -> bool:
        """Renew what was held an interval ago too; whether anything is held."""
        with self._lock:
            held = dict(self._held)
        commands = [command for token in held if token in known for command in held[token]]
        known.clear()
        known.update(held)
        if commands and not self._closed:
            self._post(commands, ())
        return bool(held)

    def _is_idle(self) -> bool:
        """Whether the thread that renews leases ends."""
        with self._lock:
            if self._held and not self._closed:
                return False
            self._renewer = None
            return True

    # -- The end

    def close(self) -> None:
        """Nothing is kept from here on."""
        with self._lock:
            self._closed = True
            self._held.clear()
            self._drop_all()

    def stats(self) -> dict[str, Any]:
        """Figures, by the names that a Redis client gives them."""
        return {
            "requests": self._requests,
            "invalidations": self._heard,
            "flushes": self._flushes,
            "connected": int(not self._is_away and self._seen is not None),
        }

    def _start_anew(self) -> None:
        if self._holder is not None:
            self._holder.ident = secrets.token_hex(4)
        self._live.clear()  # fills of the parent ask it
        self._begin_anew()


def _is_look(command: Command) -> bool:
    return command[0] in ("EVAL", "EVALSHA") and command[1] in _LOOKS


def _names_of(commands: Sequence[Command]) -> tuple[bytes, ...]:
    """What has to be read for *commands*."""
    first = commands[0]
    if _is_look(first):
        name = first[3]
        return (name,) if isinstance(name, bytes) else ()
    if first[0] in _WRITES or first[0] == "PUBSUB":
        return ()
    return tuple(dict.fromkeys(name for command in commands for name in named(command)))


# -- Whether a process lives


def _this_process() -> tuple[int, int, str]:
    """What tells this process from all others on the machine."""
    pid = os.getpid()
    return pid, _began(pid) or 0, _space()


def _space() -> str:
    """In which numbers of processes mean the same."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _began(pid: int) -> int | None:
    """When a process began, in ticks since the machine did; ``None`` if it lives no more."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _is_dead(pid: int, began: int, space: str) -> bool:
    """Whether that process lives no more. Of one elsewhere nothing is known: its lease runs out."""
    return space == _space() and _began(pid) != began


def _renew(owner: weakref.ref[SQLiteClient]) -> None:
    known: set[str] = set()
    idle = 0
    while True:
        time.sleep(_RENEWAL)
        client = owner()
        if client is None:
            return
        idle = 0 if client._renew(known) else idle + 1
        if idle > _IDLE and client._is_idle():
            return
        del client


_clients: weakref.WeakSet[SQLiteClient] = weakref.WeakSet()


def _start_all_anew() -> None:
    for client in list(_clients):
        client._start_anew()


os.register_at_fork(after_in_child=_start_all_anew)

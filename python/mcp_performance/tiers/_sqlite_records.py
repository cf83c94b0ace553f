"""What is decided in a SQLite file, each in one transaction: the twins of what ``_scripts.py`` runs in Redis.

The records are the same, and so are the rules; what is said there holds here. The time is the machine's,
and never the same for two transactions. Each change of a record is put down in a log, in the transaction
that makes it: by it other processes know what they may not keep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ProtocolError
from ._layout import ENDED
from ._records import holder_of
from ._scripts import DROP, END_TAGS, GIVE_UP, LOOK, RECLAIM, RENEW, STORE, Command, Script

__all__ = [
    "MOST_CHANGES",
    "Transaction",
    "data_without_tags",
    "look_at",
    "look_without_lease",
    "lookup_of",
    "named",
    "read",
]

_VALUE, _LEASE = b"\xc1V", b"\xc1L"
_OF_VALUE, _OF_LEASE, _OF_TAG, _OF_RENEWAL = range(4)
_HEAD = 42
_BODY = 24
_READ = "SELECT data, expires FROM record WHERE name = ?"
_BEGIN = "UPDATE meta SET stamp = max(stamp + 1, ?), complete = 0 RETURNING stamp"
_STEP = 16
_MOST_STEPS = 32
_SWEPT_AT_ONCE = 200
MOST_CHANGES = 8192
"""How many changes the log keeps: who has missed more than these drops everything."""

Row = tuple[bytes, int | None]


def lookup_of(name: bytes) -> tuple[str, tuple[bytes]]:
    """The statement that reads what lies under *name*."""
    return _READ, (name,)


def named(command: Command) -> tuple[bytes, ...]:
    """The names that a command which only reads asks for."""
    return tuple(name for name in command[1:] if isinstance(name, bytes))


def read(command: Command, rows: dict[bytes, Row | None], now: int) -> Any:
    """What *command*, which only reads, answers."""
    found = [_live(rows[name], now) for name in named(command)]
    match command[0]:
        case "PING":
            return "PONG"
        case "GET":
            return None if found[0] is None else found[0][0]
        case "MGET":
            return [None if row is None else row[0] for row in found]
        case "PTTL":
            return -2 if found[0] is None else _left(found[0][1], now)
        case "EXISTS":
            return sum(row is not None for row in found)
    raise ProtocolError(f"{command[0]!r} is not a command of a SQLite tier")


def data_without_tags(row: Row | None, now: int) -> bytes | None:
    """What the codec wrote, if *row* is a value that no tag can have ended."""
    if row is None or (row[1] is not None and row[1] <= now):
        return None
    record = row[0]
    return record[_BODY:] if record[:2] == _VALUE and record[18:_BODY] == b"000000" else None


def look_at(command: Command, row: Row | None, now: int) -> list[Any] | None:
    """What ``LOOK`` answers if it takes no lease; ``None`` if it would."""
    _, _, cause, stale_ms, dead = command[6:]
    found = _live(row, now)
    if found is None or cause != 0 or found[0][:2] != _VALUE or found[0][2:18] == dead:
        return None
    left = _left(found[1], now)
    return None if 0 <= left <= int(stale_ms) else [b"V", found[0], left, _stamp(now)]


def look_without_lease(command: Command, row: Row | None, now: int, reason: str) -> list[Any]:
    """What ``LOOK`` answers where nothing can be written."""
    found = _live(row, now)
    if found is not None and found[0][:2] == _VALUE and found[0][2:18] != command[10]:
        return [b"V", found[0], _left(found[1], now), _stamp(now)]
    return [b"N", None, -2, _stamp(now), reason.encode()]


class Transaction:
    """One, on a connection that has the write lock.

    Args:
        db: the connection.
        writer: who changes something, for the log.
        clock: microseconds.
        pages: how many the file may have.
    """

    def __init__(self, db: Any, writer: bytes, clock: int, pages: int) -> None:
        self._db = db
        self._writer = writer
        self._pages = pages
        self.now: int = db.fetchval(_BEGIN, (clock,))

    def run(self, command: Command) -> Any:
        """What *command* answers."""
        if command[0] in ("EVAL", "EVALSHA"):
            step = _STEPS[command[1]]
            count = int(command[2])
            return step(self, command[3 : 3 + count], *command[3 + count :])
        if command[0] == "SCAN":
            return self._scan(int(command[1]), int(command[5]))
        return read(command, {name: self._find(name) for name in named(command)}, self.now)

    def register(self, ident: str, pid: int, began: int, space: str, is_dead: Callable[..., bool]) -> None:
        """Let others know by what process the leases of *ident* are held; forget who is dead."""
        for other, *process in self._db.fetch("SELECT ident, pid, began, space FROM holder"):
            if is_dead(*process):
                self._db.execute("DELETE FROM holder WHERE ident = ?", (other,))
        self._db.execute("INSERT OR REPLACE INTO holder VALUES (?, ?, ?, ?)", (ident, pid, began, space))

    def sweep(self) -> None:
        """Forget what has expired, and the oldest changes, a few at a time."""
        self._db.execute(
            "DELETE FROM record WHERE id IN (SELECT id FROM record WHERE expires <= ? LIMIT ?)",
            (self.now, _SWEPT_AT_ONCE),
        )
        self._db.execute(
            "DELETE FROM change WHERE seq <= (SELECT max(seq) FROM change) - ?",
            (min(MOST_CHANGES, self._pages * 4),),
        )

    # -- The scripts

    def _look(
        self, names: tuple[bytes, ...], token: bytes, lease_ms: int, cause: int, stale_ms: int, dead: bytes
    ) -> list[Any]:
        name, renewal, last_end = names
        time = _stamp(self.now)
        row = self._find(name)
        held, left = (None, -2) if row is None else (row[0], _left(row[1], self.now))
        if held is not None and held[:2] == _VALUE and held[2:18] != dead:
            if cause == 0 and not 0 <= left <= stale_ms:
                return [b"V", held, left, time]
            if cause != 2 and self._find(renewal) is not None:
                return [b"V", held, left, time]
            self._put(renewal, _OF_RENEWAL, token, self.now + lease_ms * 1000)
            return [b"R", held, left, time]
        if held is not None and held[:2] == _LEASE and cause != 2 and held[18:42] != dead:
            ended = self._find(last_end)
            if ended is None or held[2:18] > ended[0]:
                return [b"L", held, left, time]
        self._put(name, _OF_LEASE, _LEASE + time + token, self.now + lease_ms * 1000)
        if held is not None:
            self._log(name)
        return [b"G", held, -2, time]

    def _store(
        self,
        names: tuple[bytes, ...],
        token: bytes,
        stamp: bytes,
        ttl_ms: int,
        body: bytes,
        indexed: int,
        least_ms: int,
    ) -> list[Any]:
        name, tags = names[0], names[2:]
        time = _stamp(self.now)
        refused = [0, time, stamp]
        if token:
            kind, since, holder = self._head(name)
            if not ((kind == _LEASE and holder == token) or (kind == _VALUE and since <= stamp)):
                return refused
        else:
            stamp = time  # later than the end of any tag
        touched: list[bytes] = []
        for tag in tags:
            if not self._lives(tag, stamp, ttl_ms, least_ms, touched):
                self._remove(name)
                self._remove(names[1])
                self._log(name)
                return refused
        self._remove(name)
        self._make_room(len(body) // 4096 + 8)
        record = _VALUE + stamp + body
        ident = self._put(name, _OF_VALUE, record, None if ttl_ms == 0 else self.now + ttl_ms * 1000)
        for tag in tags[:indexed]:
            self._db.execute("INSERT INTO tagged (tag, id) VALUES (?, ?)", (tag, ident))
        if token:
            self._remove(names[1])
        self._log(name)
        return [1, time, stamp, *touched]

    def _lives(self, tag: bytes, stamp: bytes, ttl_ms: int, least_ms: int, touched: list[bytes]) -> bool:
        """Whether a value of *stamp* may bear *tag*, whose record then lives for longer than the value."""
        life = None if ttl_ms == 0 else self.now + max(ttl_ms, least_ms) * 2000
        row = self._find(tag)
        if row is None:
            # What was invalidated and then forgotten left its record for as long as this.
            is_old = self.now - int(stamp) > least_ms * 1000
            dead = _stamp(self.now if is_old else int(stamp) - 1)
            self._put(tag, _OF_TAG, dead, life)
            self._log(tag)
            touched.append(tag)
            return not is_old
        dead, expires = row
        if dead >= stamp:
            return False
        if expires is not None and (ttl_ms == 0 or expires - self.now < ttl_ms * 1000):
            self._db.execute("UPDATE record SET expires = ? WHERE name = ?", (life, tag))
            touched.append(tag)
        return True

    def _drop(self, names: tuple[bytes, ...], channel: str, ident: str, *stamps: bytes) -> list[Any]:
        count = 0
        for name, until in zip(names, stamps, strict=True):
            kind, since, _ = self._head(name)
            if kind not in (_VALUE, _LEASE) or since <= until:
                self._remove(name)
                self._log(name)
                count += kind == _VALUE
        return [count, _stamp(self.now)]

    def _end_tags(
        self,
        names: tuple[bytes, ...],
        channel: str,
        ident: str,
        asked: bytes,
        least_ms: int,
        at_once: int,
        last_end: bytes,
        told: str,
    ) -> list[Any]:
        time = _stamp(self.now)
        tags = names[1:]
        answer: list[Any] = [0, time]
        self._put(last_end, _OF_TAG, time, self.now + least_ms * 1000)
        for tag in tags:
            row = self._find(tag)
            stamp = asked or time
            if asked and row is not None and row[0] >= asked:
                answer.append(b"")
                continue
            expires: int | None = self.now + least_ms * 1000
            if row is not None:
                stamp = max(stamp, row[0])
                expires = None if row[1] is None else max(row[1], expires or 0)
            self._put(tag, _OF_TAG, stamp, expires)
            self._log(tag)
            self._log(tag + ENDED)
            last, count = self._db.fetchrow(
                "SELECT max(id), count(*) FROM"
                " (SELECT id FROM tagged WHERE tag = ? ORDER BY id DESC LIMIT ?)",
                (tag, at_once + 1),
            )
            if count > at_once:
                answer.append(b"%d:%s" % (last, stamp))
            else:
                answer[0] += self._reclaim_some(tag, last or 0, stamp, at_once)[0]
                answer.append(b"")
        return answer

    def _reclaim(self, names: tuple[bytes, ...], step: int) -> list[int]:
        index, tag = names
        last, _, stamp = index.partition(b":")
        return list(self._reclaim_some(tag, int(last), stamp, step))

    def _reclaim_some(self, tag: bytes, last: int, stamp: bytes, step: int) -> tuple[int, int]:
        """How many values of *tag* up to the record *last* were deleted, and whether some may be left."""
        found = self._db.fetch(
            "SELECT tagged.id, expires FROM tagged JOIN record ON record.id = tagged.id"
            " WHERE tag = ? AND tagged.id <= ? AND substr(data, 3, 16) <= ? LIMIT ?",
            (tag, last, stamp, step),
        )
        if found:
            self._db.executemany("DELETE FROM record WHERE id = ?", [(ident,) for ident, _ in found])
        lived = sum(expires is None or expires > self.now for _, expires in found)
        return lived, int(len(found) == step)

    def _renew(self, names: tuple[bytes, ...], token: bytes, lease_ms: int) -> int:
        for name in names:
            row = self._find(name)
            if row is not None and token in (holder_of(row[0]), row[0]):
                self._db.execute(
                    "UPDATE record SET expires = ? WHERE name = ?", (self.now + lease_ms * 1000, name)
                )
                return 1
        return 0

    def _give_up(self, names: tuple[bytes, ...], token: bytes) -> int:
        name, renewal = names
        kind, _, holder = self._head(name)
        if kind == _LEASE and holder == token:
            self._remove(name)
            self._log(name)
            return 1
        row = self._find(renewal)
        if row is not None and row[0] == token:
            self._remove(renewal)
            return 1
        return 0

    def _scan(self, after: int, count: int) -> list[Any]:
        found = self._db.fetch("SELECT id, name FROM record WHERE id > ? ORDER BY id LIMIT ?", (after, count))
        return [b"%d" % found[-1][0] if len(found) == count else b"0", [name for _, name in found]]

    # -- Records

    def _find(self, name: bytes) -> Row | None:
        row: Row | None = self._db.fetchrow(_READ, (name,))
        return _live(row, self.now)

    def _head(self, name: bytes) -> tuple[bytes, bytes, bytes]:
        """Kind, stamp and holder of what lies there."""
        row = self._db.fetchrow(
            "SELECT substr(data, 1, ?), expires FROM record WHERE name = ?", (_HEAD, name)
        )
        head = b"" if _live(row, self.now) is None else row[0]
        return head[:2], head[2:18], head[18:42]

    def _put(self, name: bytes, kind: int, data: bytes, expires: int | None) -> int:
        self._remove(name)
        ident: int = self._db.fetchval(
            "INSERT INTO record (name, kind, data, expires) VALUES (?, ?, ?, ?) RETURNING id",
            (name, kind, data, expires),
        )
        return ident

    def _remove(self, name: bytes) -> None:
        self._db.execute("DELETE FROM record WHERE name = ?", (name,))

    def _log(self, name: bytes) -> None:
        self._db.execute("INSERT INTO change (writer, name) VALUES (?, ?)", (self._writer, name))

    def _make_room(self, needed: int) -> None:
        """Drop the oldest values, then tags, until that many pages are free, or for a while."""
        bound = self._pages - self._pages // 16 - needed
        for _ in range(_MOST_STEPS):
            used = self._db.fetchval(
                "SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count"
            )
            if used <= bound:
                return
            for kind in (_OF_VALUE, _OF_TAG):
                if self._db.execute(
                    "DELETE FROM record WHERE id IN"
                    " (SELECT id FROM record WHERE kind = ? ORDER BY id LIMIT ?)",
                    (kind, _STEP),
                ):
                    break
            else:
                return


def _stamp(microseconds: int) -> bytes:
    return b"%016d" % microseconds


def _live(row: Row | None, now: int) -> Row | None:
    return None if row is None or (row[1] is not None and row[1] <= now) else row


def _left(expires: int | None, now: int) -> int:
    return -1 if expires is None else max(1, (expires - now) // 1000)


def _both(script: Script, step: Callable[..., Any]) -> dict[Any, Callable[..., Any]]:
    return {script.digest: step, script.text: step}


_STEPS: dict[Any, Callable[..., Any]] = {
    **_both(LOOK, Transaction._look),
    **_both(STORE, Transaction._store),
    **_both(DROP, Transaction._drop),
    **_both(END_TAGS, Transaction._end_tags),
    **_both(RECLAIM, Transaction._reclaim),
    **_both(RENEW, Transaction._renew),
    **_both(GIVE_UP, Transaction._give_up),
}

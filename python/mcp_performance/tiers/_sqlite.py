"""A SQLite file as a cache that the processes of one machine share."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from .. import config
from .._base._checks import integer, number, optional_text, text
from .._base._durations import seconds
from .._base._registry import register_tier
from .._base._stats import Ttl
from ._codecs import Codec, ValueCodec
from ._keys import KEY_VERSION
from ._layout import Layout
from ._lease import Holder
from ._link import Link
from ._redis import UNSET, RedisTier, _tiers
from ._sqlite_client import SQLiteClient
from ._sqlite_database import Database, microseconds
from ._sqlite_file import path_of
from ._sqlite_records import data_without_tags

__all__ = ["SQLiteTier"]

_LEAST_BYTES = 1 << 20
_MOST_BYTES = 1 << 40
_SHARE = 4
"""Which part of the file one value may take: a fourth."""


class SQLiteTier(RedisTier):
    """A SQLite file as a shared cache for the processes of one machine: what :class:`RedisTier` is, without
    a server. Safe from any thread, any event loop and across ``fork``.

    Every process sees a change as soon as the call that made it has returned. So a hit in the memory of a
    :class:`TieredCache` looks at 96 bytes that all processes map, in a fraction of a microsecond; the first
    one after any process has written reads what was changed, in 10 us. The file is made when it is
    first needed, for its user alone (mode 0600), and outlives the processes; a process that is killed at any
    moment harms nothing. What was stored in the seconds before the machine itself lost power may be gone
    (``synchronous=NORMAL``), deletions included. While the file cannot be written, read or made, operations
    raise :class:`BackendUnavailable`. It must be on a local disk, since processes share memory beside it.

    A file that something else made is refused, and left as it is. A damaged one that a tier made is put away
    and made anew: it holds nothing that could not be loaded again. A file that is deleted or replaced is
    noticed within 2 us; from then on all processes use the one that has the name. So is one that is made anew
    because a part was deleted while it was in use (the file, ``-wal``, ``-shm``), it was put back without its
    log, or it is a copy, in which may be what has ended in the original. To move a cache, move its folder.

    Args:
        url: ``sqlite:///relative/path`` or ``sqlite:////absolute/path``.
        namespace: stands in front of every key.
        codec: ``"msgpack"`` (plain types, tuples, sets, dates, decimals, UUIDs), ``"json"`` or ``"pickle"``.
        timeout: how long a write waits for those of other processes, seconds.
        ttl: of values that are stored without one.
        signing_key: at least 16 secret bytes, with which values are signed; required by ``"pickle"``.
        max_bytes: how large the file may grow, bytes; what was stored longest ago goes first. The log beside
            it takes a few MB more.
        max_value_bytes: the largest value that is stored or read, bytes; a fourth of *max_bytes* at most.
        compress_above: values larger than this are compressed, bytes; ``None``: never.
        name: what reports call it; the file's path if not given.

    Raises:
        ConfigurationError: a bad argument; what lies there is not a tier's file.
    """

    _step = 1000
    _turn = 0.006
    """Longer than who waits for the file sleeps between tries."""

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "mcp",
        codec: Codec = "msgpack",
        timeout: float = 2.0,
        ttl: Ttl = UNSET,
        signing_key: bytes | None = None,
        max_bytes: int = 256 << 20,
        max_value_bytes: int = 16 << 20,
        compress_above: int | None = 16 << 10,
        name: str | None = None,
    ) -> None:
        path = path_of(url)
        if compress_above is not None:
            integer("compress_above", compress_above)
        self._namespace = text(
            "namespace",
            namespace,
            "1 to 100 printable characters",
            fits=lambda name: name.isprintable() and 0 < len(name) <= 100,
        )
        self._timeout = number("timeout", timeout, 0.001, 3600, unit="seconds")
        self._max_bytes = integer("max_bytes", max_bytes, _LEAST_BYTES, _MOST_BYTES)
        largest = integer("max_value_bytes", max_value_bytes, 1, 512 << 20)
        self._max_value_bytes = min(largest, self._max_bytes // _SHARE)
        self._ttl = seconds("ttl", config.CACHE_TTL if ttl is UNSET else ttl)
        self._codec = ValueCodec(
            codec,
            namespace=namespace,
            signing_key=signing_key,
            max_value_bytes=self._max_value_bytes,
            compress_above=compress_above,
        )
        self._name = optional_text("name", name) or path
        self._hits = self._misses = self._unreadable = self._unavailable = 0
        self._closed = False
        self._database = Database(path, self._timeout, self._max_bytes)
        self._database.file.check()
        self._clients = weakref.WeakSet()
        self._fronts = weakref.WeakSet()
        self._layout = Layout(namespace, spread=False)
        self._news_channel = f"{namespace}:{KEY_VERSION}:news"
        self._life_channel = f"{namespace}:{KEY_VERSION}:life:"
        self._client = self._connect(None)
        self._link = Link(self._client)
        register_tier(self)
        _tiers.add(self)

    def __repr__(self) -> str:
        return f"<SQLiteTier sqlite:///{self._database.file.path} namespace={self._namespace!r}>"

    @property
    def path(self) -> str:
        """The file."""
        return self._database.file.path

    def get(self, key: Any, default: Any = None) -> Any:
        """The value of *key*, or *default* if there is none that can be read.

        Raises:
            BackendUnavailable: the file cannot be read.
            SerializationError: *key* cannot be shared.
        """
        name = self._spell(key)
        data = data_without_tags(self._database.peek(name), microseconds())
        return super().get(key, default) if data is None else self._read(name, data, default)

    async def aget(self, key: Any, default: Any = None) -> Any:
        """:meth:`get` without blocking the event loop."""
        name = self._spell(key)
        data = data_without_tags(await self._database.apeek(name), microseconds())
        return await super().aget(key, default) if data is None else self._read(name, data, default)

    def close(self) -> None:
        """Close every connection; later operations raise. The file stays."""
        super().close()
        self._database.close()

    def _connect(self, holder: Holder | None) -> Any:
        client = SQLiteClient(self._database, holder)
        self._clients.add(client)  # type: ignore[arg-type]
        return client

    def _link_to(self, client: Any, holder: Holder | None) -> Link:
        return Link(client)

    async def aclose(self) -> None:
        """:meth:`close` without blocking the event loop."""
        await asyncio.to_thread(self.close)

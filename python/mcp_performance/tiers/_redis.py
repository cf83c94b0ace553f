"""A Redis server as a cache that processes share."""

from __future__ import annotations

import atexit
import secrets
import weakref
from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

from .. import _core, config
from .._base._authorities import authorities
from .._base._checks import integer, number, optional_text, text, texts
from .._base._durations import seconds
from .._base._registry import register_tier
from .._base._stats import Ttl
from .._base._tier_stats import SUMMED, TierStats
from ..errors import BackendUnavailable, CacheError, ConfigurationError, ProtocolError
from ._bulk import TierBulk
from ._cluster import Client, ClusterClient
from ._codecs import Codec, UnreadableValue, ValueCodec
from ._keys import KEY_VERSION, scope_of
from ._layout import Layout, slot_of
from ._lease import NOBODY, Holder, renewal_of
from ._link import Answer, Ask, Link, Pause, Steps, raise_errors
from ._records import FOREVER, MISSING, Value, head_of, holder_of, read_value
from ._scripts import DROP, END_TAGS, RECLAIM, STORE, Command
from ._slots import Node
from ._url import TlsFiles, parse_url

__all__ = ["UNSET", "Commands", "Front", "RedisTier", "TierStats", "raise_errors"]

_R = TypeVar("_R")
UNSET: Any = ...
Commands = list[tuple[bytes | str | int, ...]]

_RECORD_LIFE_MS = 600_000
"""The least life of a tag's record, milliseconds. A longer load that bears a new tag is not stored."""
_AT_ONCE = 200
"""How many values of a tag are deleted in the step that ends it; more are in steps of their own."""
_VALUE = 1
"""_core's word for a value that it could read itself."""


class Front(Protocol):
    """What keeps values of a tier in memory."""

    def _changed(self, name: bytes) -> None:
        """What lies under *name* was changed by this process."""


class RedisTier(TierBulk):
    """A Redis server as a shared cache. Safe from any thread, any event loop and across ``fork``.

    Nothing is opened before the first operation. One connection carries everything, pipelined; a command
    that is not answered within *timeout* closes it. While Redis is away operations fail at once, and a new
    connection is tried at growing distances of at most one second.

    Tags are invalidated in one step, whatever their size: values bear the moment from which they speak, and a
    tag the one up to which it was invalidated. A value that Redis has no room for, or a tag whose record it
    had to evict, is a miss. The server's clock decides the order: it must not be set back while values of
    tags live. What Redis has acknowledged it may still lose, with everything that it promises here: a replica
    that takes over without the last writes knows nothing of them, nor of the last deletions (replication is
    asynchronous), and neither does a server that restarts from an older snapshot. ``min-replicas-to-write``
    on the master bounds for how long one that is cut off goes on acknowledging.

    Args:
        url: one of

            - ``redis://[[user]:password@]host[:port][/database]``
            - ``unix://[[user]:password@]/path[?db=database]``
            - ``rediss://...`` is ``redis://`` under TLS. The server's certificate is always verified: by the
              authorities of the system, or those in the PEM file ``?ssl_ca_certs=``, and for the host, unless
              ``ssl_check_hostname=false``. Our own is ``ssl_certfile=``, its key in ``ssl_keyfile=`` or in
              the same file. The files are read anew for each connection.
            - ``redis+sentinel://[[user]:password@]host[:port],host[:port],.../service[/database]``, and
              ``rediss+sentinel://``. The sentinels (``?sentinel_username=`` and ``sentinel_password=``) say
              where the master is, when it is connected to and each second from then on.
            - ``redis+cluster://[[user]:password@]host[:port],host[:port],...``, and ``rediss+cluster://``.
              Any nodes that are up will do; the others are learned from them. Values lie in 16 slots, evenly
              over the cluster, each with its tags beside it; ending a tag takes a step in each. While keys of
              a slot are on their way to another node, they are read, set and deleted, and tags end, as ever;
              but values with tags, or under keys of cached functions, are refused.

            What is special in a user, password, path or value is percent-encoded.
        namespace: stands in front of every key; in a cluster it has no ``{``.
        codec: ``"msgpack"`` (plain types, tuples, sets, dates, decimals, UUIDs), ``"json"`` or ``"pickle"``.
        timeout: for a connection and for each command, seconds.
        ttl: of values that are stored without one.
        signing_key: at least 16 secret bytes, with which values are signed; required by ``"pickle"``.
        max_value_bytes: the largest value that is stored or read, bytes.
        compress_above: values larger than this are compressed, bytes; ``None``: never.
        max_in_flight: requests that may wait for answers at a time.
        name: what reports call it; the server's address if not given.

    Raises:
        ConfigurationError: a bad argument; a part of the URL, which the message names; a file of TLS that
            cannot be used.
    """

    _plain: _core.PlainCodec | None = None
    """How plain keys and values are spelled, written and read natively; ``None``: by Python only."""
    _step = 250
    """How many values of a tag are deleted at a time."""
    _turn = 0.0
    """For how long others are let in between the steps of long work, seconds."""

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "mcp",
        codec: Codec = "msgpack",
        timeout: float = 0.25,
        ttl: Ttl = UNSET,
        signing_key: bytes | None = None,
        max_value_bytes: int = 16 << 20,
        compress_above: int | None = 16 << 10,
        max_in_flight: int = 1000,
        name: str | None = None,
    ) -> None:
        self._address = parse_url(url)
        if compress_above is not None:
            integer("compress_above", compress_above)
        self._namespace = text(
            "namespace",
            namespace,
            "1 to 100 printable characters",
            fits=lambda name: name.isprintable() and 0 < len(name) <= 100,
        )
        self._timeout = number("timeout", timeout, 0.001, 3600, unit="seconds")
        self._max_in_flight = integer("max_in_flight", max_in_flight, 1, 1_000_000)
        self._max_value_bytes = integer("max_value_bytes", max_value_bytes, 1, 512 << 20)
        self._ttl = seconds("ttl", config.CACHE_TTL if ttl is UNSET else ttl)
        self._codec = ValueCodec(
            codec,
            namespace=namespace,
            signing_key=signing_key,
            max_value_bytes=max_value_bytes,
            compress_above=compress_above,
        )
        if self._address.kind != "cluster":
            self._plain = _core.PlainCodec(
                f"{self._namespace}:{KEY_VERSION}:".encode(),
                codec == "msgpack" and signing_key is None,
                self._max_value_bytes,
                compress_above,
            )
        self._name = optional_text("name", name) or str(self._address)
        self._hits = self._misses = self._unreadable = self._unavailable = 0
        self._closed = False
        self._clients: weakref.WeakSet[_core.RedisClient] = weakref.WeakSet()
        self._fronts: weakref.WeakSet[Front] = weakref.WeakSet()
        self._layout = Layout(namespace, spread=self._address.kind == "cluster")
        if self._address.kind == "cluster" and "{" in namespace:
            raise ConfigurationError(f"namespace={namespace!r}: expected none with {{ in a cluster")
        self._news_channel = f"{namespace}:{KEY_VERSION}:news"
        self._life_channel = f"{namespace}:{KEY_VERSION}:life:"
        self._client = self._connect(None)
        self._link = self._link_to(self._client, None)
        register_tier(self)
        _tiers.add(self)

    def __repr__(self) -> str:
        return f"<RedisTier {self._address} namespace={self._namespace!r}>"

    @property
    def name(self) -> str:
        """What reports call this tier."""
        return self._name

    @property
    def namespace(self) -> str:
        """What stands in front of every key."""
        return self._namespace

    def get(self, key: Any, default: Any = None) -> Any:
        """The value of *key*, or *default* if there is none that can be read.

        Raises:
            BackendUnavailable: Redis cannot be reached, or did not answer in time.
            ProtocolError: the peer is no Redis, or *key* holds something that is no value.
            SerializationError: *key* cannot be shared.
        """
        try:
            read = None if self._plain is None else self._link._native.call_read(key, self._plain)
        except (BackendUnavailable, ProtocolError):
            self._unavailable += 1
            raise
        if read is not None and read[0] == _VALUE:
            self._hits += 1
            return read[1]
        return self._do(self._get(key, read, default))

    async def aget(self, key: Any, default: Any = None) -> Any:
        """:meth:`get` without blocking the event loop."""
        pending = None if self._plain is None else self._link._native.start_read(key, self._plain)
        read: tuple[int, Any] | None = None
        if pending is not None:
            try:
                read = await pending
            except (BackendUnavailable, ProtocolError):
                self._unavailable += 1
                raise
            if read[0] == _VALUE:
                self._hits += 1
                return read[1]
        return await self._ado(self._get(key, read, default))

    def set(self, key: Any, value: Any, *, ttl: Ttl = UNSET, tags: Iterable[str] = ()) -> None:
        """Store *value*; without *ttl*, for the tier's own time to live. Loads under way are stored no more.

        Raises:
            BackendUnavailable, ProtocolError: as :meth:`get`; whether the value was stored is not known.
            SerializationError: *key* or *value* cannot be carried; nothing was sent.
        """
        self._do(self._set(key, value, ttl, tags))

    async def aset(self, key: Any, value: Any, *, ttl: Ttl = UNSET, tags: Iterable[str] = ()) -> None:
        """:meth:`set` without blocking the event loop."""
        await self._ado(self._set(key, value, ttl, tags))

    def delete(self, key: Any) -> bool:
        """Forget *key*; whether there was something to forget. Raises as :meth:`get`."""
        return self._do(self._delete(key))

    async def adelete(self, key: Any) -> bool:
        """:meth:`delete` without blocking the event loop."""
        return await self._ado(self._delete(key))

    def invalidate_tags(self, *tags: str) -> int:
        """Forget every value that carries one of *tags*; how many there were. Raises as :meth:`get`.

        All are forgotten in the first step, which is short; that many are deleted in further ones.
        """
        return self._do(self._invalidate(tags)) if tags else 0

    async def ainvalidate_tags(self, *tags: str) -> int:
        """:meth:`invalidate_tags` without blocking the event loop."""
        return await self._ado(self._invalidate(tags)) if tags else 0

    def ping(self) -> None:
        """Make sure that Redis answers. Raises as :meth:`get`."""
        self._run([("PING",)])

    async def aping(self) -> None:
        """:meth:`ping` without blocking the event loop."""
        await self._arun([("PING",)])

    def stats(self) -> TierStats:
        """Figures since the tier was made."""
        totals: dict[str, Any] = {}
        errors: dict[str, int] = {}
        for client in list(self._clients):
            for figure, value in client.stats().items():
                if figure == "error_replies":
                    for code, count in value.items():
                        errors[code] = errors.get(code, 0) + count
                elif isinstance(value, int):
                    totals[figure] = totals.get(figure, 0) + value
        asked = self._hits + self._misses
        named = {figure: totals.get(figure, 0) for figure in SUMMED}
        return TierStats(
            hits=self._hits,
            misses=self._misses,
            hit_rate=self._hits / asked if asked else 0.0,
            unreadable=self._unreadable,
            unavailable=self._unavailable,
            connected=bool(totals.get("connected")),
            error_replies=errors,
            **named,
        )

    def _losses(self) -> int:
        """How many connections were lost."""
        return sum(client.stats()["losses"] for client in list(self._clients))

    def close(self) -> None:
        """Close every connection; what waits for an answer fails. Later operations raise."""
        self._closed = True
        for client in list(self._clients):
            client.close()

    async def aclose(self) -> None:
        """:meth:`close`, for ``async`` callers; it does not wait on the network."""
        self.close()

    def __enter__(self) -> RedisTier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> RedisTier:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    # -- For this package

    def _connect(self, holder: Holder | None) -> Client:
        """A client; with a *holder* for a cache in front, which is told of changes and shows its life."""
        if self._address.kind != "cluster":
            return self._connect_to(list(self._address.nodes), holder, None)
        parts = self._layout.parts
        return ClusterClient(
            self._address.nodes,
            # A client that keeps nothing shares no feed.
            lambda node, feeder: self._connect_to([node], None if feeder is None else holder, feeder),
            self._timeout,
            [slot_of(part) for part in parts],
        )

    def _link_to(self, client: Client, holder: Holder | None) -> Link:
        """What works over *client*, which :meth:`_connect` made for *holder*."""
        # In a cluster every node hears what is published at one: no channel is a client's own.
        if holder is None or self._address.kind == "cluster":
            return Link(client, "")
        return Link(client, holder.life_channel)

    def _connect_to(
        self, nodes: list[Node], holder: Holder | None, feeder: _core.RedisClient | None
    ) -> _core.RedisClient:
        """A client of its own, or one that announces on the feed of *feeder*."""
        address = self._address
        beside: dict[str, str] = {}
        if holder is not None:
            beside = {
                "news_channel": self._news_channel,
                "life_channel": holder.life_channel,
                "ident": holder.ident,
            }
            if address.kind != "cluster":  # which has one database, that cannot be swapped
                beside["identity_key"] = f"{self._layout.parts[0].decode()}~"
                beside["identity"] = secrets.token_hex(8)
        client = _core.RedisClient(
            nodes=nodes,
            unix_path=address.unix_path,
            username=address.username,
            password=address.password,
            database=address.database,
            tls=_files_of(address.tls),
            sentinel=(address.service, address.sentinel_username, address.sentinel_password)
            if address.kind == "sentinel"
            else None,
            timeout_s=self._timeout,
            tracking=holder is not None,
            ping_interval_s=1.0,
            max_in_flight=self._max_in_flight,
            max_reply_bytes=max(self._max_value_bytes + (32 << 20), 64 << 20),
            cluster=address.kind == "cluster",
            feeder=feeder,
            **beside,
        )
        if self._closed:
            client.close()
        self._clients.add(client)
        return client

    def _spell(self, key: Any) -> bytes:
        name = None if self._plain is None else self._plain.spell(key)
        return self._layout.entry(key) if name is None else name

    def _run(self, commands: Commands) -> list[Any]:
        return self._do(_one(commands))

    async def _arun(self, commands: Commands) -> list[Any]:
        return await self._ado(_one(commands))

    def _do(self, steps: Steps[_R]) -> _R:
        try:
            return self._link.run(steps)
        except (BackendUnavailable, ProtocolError):
            self._unavailable += 1
            raise

    async def _ado(self, steps: Steps[_R]) -> _R:
        try:
            return await self._link.arun(steps)
        except (BackendUnavailable, ProtocolError):
            self._unavailable += 1
            raise

    # -- What the operations are made of

    def _get(self, key: Any, read: tuple[int, Any] | None, default: Any) -> Steps[Any]:
        """The value of *key*, of which the record was *read* if a native codec could spell the key."""
        name = self._spell(key)
        if read is None:
            first: Answer = yield Ask([("GET", name)])
            record = first.replies[0]
        else:
            record = read[1]
        value = self._open(record)
        if value is not None and value.tags:
            answer: Answer = yield Ask([("MGET", *value.tags)])
            if any(end is None or end >= value.stamp for end in answer.replies[0]):
                value = None
        return self._read(name, None if value is None else value.data, default)

    def _set(self, key: Any, value: Any, ttl: Ttl, tags: Iterable[str]) -> Steps[None]:
        name = self._spell(key)
        spelled, scope = self._spell_tags(tags, name), self._spell_scope_of(key, name)
        command = self._storing(self._link, name, value, self._lifetime(ttl), spelled, scope=scope)
        try:
            yield Ask([command])
        finally:
            self._tell(name)

    def _delete(self, key: Any) -> Steps[bool]:
        name = self._spell(key)
        try:
            answer: Answer = yield Ask([self._dropping(self._link, {name: FOREVER}, NOBODY)])
        finally:
            self._tell(name)
        return bool(answer.replies[0][0])

    def _invalidate(self, tags: Iterable[str]) -> Steps[int]:
        """The tags end wherever they can, also if they cannot everywhere."""
        count = 0
        refused: CacheError | None = None
        for records in self._tags_everywhere(tags):
            try:
                answer: Answer = yield Ask([self._ending(self._link, records, b"", NOBODY)])
                count += yield from self._reclaiming(self._link, records, answer)
            except CacheError as error:
                refused = refused or error
            finally:
                for record in records:
                    self._tell(record)
        if refused is not None:
            raise refused
        return count

    def _tell(self, *names: bytes) -> None:
        for front in list(self._fronts):
            for name in names:
                front._changed(name)

    # -- For this package: what a front does by the same rules, over a connection of its own

    def _open(self, record: bytes | None) -> Value | None:
        """The value in *record*; one that nobody of us wrote is counted."""
        if record is None:
            return None
        value = read_value(record)
        if value is None and holder_of(record) is None:
            self._unreadable += 1
        return value

    def _storing(
        self,
        link: Link,
        name: bytes,
        value: Any,
        lifetime: float | None,
        tags: tuple[bytes, ...],
        *,
        scope: tuple[bytes, ...] = (),
        token: bytes = b"",
        stamp: bytes = b"",
    ) -> Command:
        """The command that stores *value*: by hand, or for the load that holds *token* since *stamp*.

        *scope* are tags of which nobody asks how many values bear them.
        """
        data = self._codec.encode(name, value)
        return self._storing_data(link, name, data, lifetime, tags, scope=scope, token=token, stamp=stamp)

    def _storing_data(
        self,
        link: Link,
        name: bytes,
        data: bytes,
        lifetime: float | None,
        tags: tuple[bytes, ...],
        *,
        scope: tuple[bytes, ...] = (),
        token: bytes = b"",
        stamp: bytes = b"",
    ) -> Command:
        """:meth:`_storing` what the codec has written."""
        milliseconds = 0 if lifetime is None else max(1, round(lifetime * 1000))
        head = head_of(tags + scope) + data
        beside = tags + scope
        names = (name, renewal_of(name), *beside) if token or beside else (name,)
        return link.script(STORE, names, token, stamp, milliseconds, head, len(tags), _RECORD_LIFE_MS)

    def _dropping(
        self, link: Link, stamps: dict[bytes, bytes], ident: str, *, is_news: bool = True
    ) -> Command:
        """The command by which *ident* deletes names up to their *stamps*, and publishes those under which
        nothing lies if that *is_news*."""
        channel = self._news_channel if is_news else ""
        return link.script(DROP, tuple(stamps), channel, ident, *stamps.values())

    def _ending(self, link: Link, records: tuple[bytes, ...], stamp: bytes, ident: str) -> Command:
        """The command by which *ident* ends tags as of *stamp*, or as of now."""
        last = self._layout.last_end(records[0])
        # In a cluster everybody hears what is published in one part, and the first one ends first.
        is_first = self._layout.part_of(records[0]) == self._layout.parts[0]
        told = "!" if is_first else ""
        how = (self._news_channel, ident, stamp, _RECORD_LIFE_MS, _AT_ONCE, last, told)
        return link.script(END_TAGS, (last, *records), *how)

    def _reclaiming(self, link: Link, records: tuple[bytes, ...], answer: Answer) -> Steps[int]:
        """Delete the values of ended tags that are too many for one step; how many all were."""
        count, _, *indexes = answer.replies[0]
        for record, index in zip(records, indexes, strict=True):
            left = 1 if index else 0
            while left:
                yield Pause(self._turn)
                step: Answer = yield Ask([link.script(RECLAIM, (index, record), self._step)])
                gone, left = step.replies[0]
                count += gone
        return int(count)

    def _read(self, name: bytes, data: bytes | None, default: Any) -> Any:
        """The value in *data*, counted as a hit, or *default*, counted as a miss."""
        value = default if data is None else self._decode(name, data, MISSING)
        if data is None or value is MISSING:
            self._misses += 1
            return default
        self._hits += 1
        return value

    def _decode(self, name: bytes, data: bytes, default: Any) -> Any:
        """The value in *data*, or *default*."""
        try:
            return self._codec.decode(name, data)
        except UnreadableValue:
            self._unreadable += 1
            return default

    def _lifetime(self, ttl: Ttl) -> float | None:
        return self._ttl if ttl is UNSET else seconds("ttl", ttl)

    def _spell_tags(self, tags: Iterable[str], name: bytes) -> tuple[bytes, ...]:
        """The names of the tags' records that lie beside *name*, each once."""
        return self._records_in(self._layout.part_of(name), tags)

    def _tags_everywhere(self, tags: Iterable[str]) -> list[tuple[bytes, ...]]:
        """The names of all records of the tags, those that lie together in one tuple."""
        named = tuple(tags)
        return [self._records_in(part, named) for part in self._layout.parts]

    def _records_in(self, part: bytes, tags: Iterable[str]) -> tuple[bytes, ...]:
        return tuple(dict.fromkeys(self._layout.tag(part, tag) for tag in texts("tags", tags)))

    def _spell_scope(self, scope: str, name: bytes) -> bytes:
        return self._layout.scope(self._layout.part_of(name), scope)

    def _spell_scope_of(self, key: Any, name: bytes) -> tuple[bytes, ...]:
        """What ends with the function of which *key*, spelled *name*, is a key, whoever stores under it."""
        scope = scope_of(key)
        return () if scope is None else (self._spell_scope(scope, name),)

    def _scope_everywhere(self, scope: str) -> list[tuple[bytes, ...]]:
        return [(self._layout.scope(part, scope),) for part in self._layout.parts]


def _files_of(tls: TlsFiles | None) -> tuple[str, str, str, bool] | None:
    if tls is None:
        return None
    return authorities(tls.ca_file or True), tls.cert_file, tls.key_file, tls.check_hostname


def _one(commands: Commands) -> Steps[list[Any]]:
    answer: Answer = yield Ask(commands)
    return answer.replies


_tiers: weakref.WeakSet[RedisTier] = weakref.WeakSet()


def _close_all() -> None:
    for tier in list(_tiers):
        tier.close()


atexit.register(_close_all)

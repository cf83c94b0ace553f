"""A Redis server as a cache that processes share."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import _core, config
from .._base._checks import integer, number, text
from .._base._durations import seconds
from .._base._registry import register_tier
from .._base._stats import Ttl
from ..errors import BackendUnavailable, ProtocolError
from ._codecs import Codec, UnreadableValue, ValueCodec
from ._keys import encode_key, spell
from ._url import parse_url

__all__ = ["UNSET", "Commands", "RedisTier", "TierStats", "raise_errors"]

UNSET: Any = ...
Commands = list[tuple[bytes | str | int, ...]]

# Stores a value and notes it under its tags, each a sorted set of names by the time when they expire.
_SET_TAGGED = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl = tonumber(ARGV[2])
if ttl > 0 then redis.call('SET', KEYS[1], ARGV[1], 'PX', ttl) else redis.call('SET', KEYS[1], ARGV[1]) end
for i = 2, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  local left = redis.call('PTTL', KEYS[i])
  redis.call('ZADD', KEYS[i], ttl > 0 and now + ttl or '+inf', KEYS[1])
  if ttl <= 0 then redis.call('PERSIST', KEYS[i])
  elseif left == -2 or (left >= 0 and left < ttl) then redis.call('PEXPIRE', KEYS[i], ttl) end
end
"""
# Deletes what is noted under the tags; answers the names.
_DROP_TAGGED = """
local names = {}
for i = 1, #KEYS do
  for _, name in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do
    if redis.call('DEL', name) == 1 then names[#names + 1] = name end
  end
  redis.call('DEL', KEYS[i])
end
return names
"""


@dataclass(frozen=True, slots=True)
class TierStats:
    """Figures of a :class:`RedisTier` and of every connection that was made from it."""

    hits: int = 0
    """Reads that found a value."""
    misses: int = 0
    """Reads that found none, or one that could not be read."""
    hit_rate: float = 0.0
    """``hits / (hits + misses)``; 0.0 when nothing was asked."""
    unreadable: int = 0
    """Values that were truncated, too large, forged, or of another codec. Counted in ``misses`` too."""
    unavailable: int = 0
    """Operations that failed because Redis could not serve them."""
    requests: int = 0
    """Requests sent."""
    refused: int = 0
    """Requests refused at once: the breaker was open, or too many were in flight."""
    timeouts: int = 0
    """Connections given up because an answer did not come in time."""
    connections: int = 0
    """Connections that were made."""
    losses: int = 0
    """Connections that were lost."""
    protocol_errors: int = 0
    """Connections dropped because the peer does not speak Redis."""
    invalidations: int = 0
    """Keys that the server announced as changed."""
    flushes: int = 0
    """Times that everything kept in memory was dropped."""
    in_flight: int = 0
    """Requests that wait for their answer now."""
    connected: bool = False
    """Whether a connection stands."""
    error_replies: Mapping[str, int] = field(default_factory=dict)
    """Error replies by their code, such as ``OOM`` or ``READONLY``."""


class RedisTier:
    """A Redis server as a shared cache. Safe from any thread, any event loop and across ``fork``.

    Nothing is opened before the first operation. One connection carries everything, pipelined; a command
    that is not answered within *timeout* closes it. While Redis is away operations fail at once, and a new
    connection is tried at growing distances of at most one second.

    Args:
        url: ``redis://[[user]:password@]host[:port][/database]`` or ``unix://[...@]/path[?db=database]``.
        namespace: stands in front of every key.
        codec: ``"msgpack"`` (plain types, tuples, sets, dates, decimals, UUIDs), ``"json"`` or ``"pickle"``.
        timeout: for a connection and for each command, seconds.
        ttl: of values that are stored without one.
        signing_key: at least 16 secret bytes, with which values are signed; required by ``"pickle"``.
        max_value_bytes: the largest value that is stored or read, bytes.
        compress_above: values larger than this are compressed, bytes; ``None``: never.
        max_in_flight: requests that may wait for answers at a time.
        name: what reports call it; the server's address if not given.

    Raises:
        ConfigurationError: a bad argument; a URL scheme that this build does not support.
    """

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
        self._name = name if name is not None else str(self._address)
        self._hits = self._misses = self._unreadable = self._unavailable = 0
        self._closed = False
        self._clients: weakref.WeakSet[_core.RedisClient] = weakref.WeakSet()
        self._client = self._connect(tracking=False)
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
        name = self._spell(key)
        return self._read(name, self._run([("GET", name)])[0], default)

    async def aget(self, key: Any, default: Any = None) -> Any:
        """:meth:`get` without blocking the event loop."""
        name = self._spell(key)
        return self._read(name, (await self._arun([("GET", name)]))[0], default)

    def set(self, key: Any, value: Any, *, ttl: Ttl = UNSET, tags: Iterable[str] = ()) -> None:
        """Store *value*; without *ttl*, for the tier's own time to live.

        Raises:
            BackendUnavailable, ProtocolError: as :meth:`get`; whether the value was stored is not known.
            SerializationError: *key* or *value* cannot be carried; nothing was sent.
        """
        self._run(self._storing(self._spell(key), value, ttl, tags))

    async def aset(self, key: Any, value: Any, *, ttl: Ttl = UNSET, tags: Iterable[str] = ()) -> None:
        """:meth:`set` without blocking the event loop."""
        await self._arun(self._storing(self._spell(key), value, ttl, tags))

    def delete(self, key: Any) -> bool:
        """Forget *key*; whether there was something to forget. Raises as :meth:`get`."""
        return bool(self._run([("DEL", self._spell(key))])[0])

    async def adelete(self, key: Any) -> bool:
        """:meth:`delete` without blocking the event loop."""
        return bool((await self._arun([("DEL", self._spell(key))]))[0])

    def invalidate_tags(self, *tags: str) -> int:
        """Forget every value that carries one of *tags*; how many there were. Raises as :meth:`get`."""
        return len(self._run([self._dropping(tags)])[0]) if tags else 0

    async def ainvalidate_tags(self, *tags: str) -> int:
        """:meth:`invalidate_tags` without blocking the event loop."""
        return len((await self._arun([self._dropping(tags)]))[0]) if tags else 0

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
        named = {figure: totals.get(figure, 0) for figure in _SUMMED}
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

    def _connect(self, *, tracking: bool) -> _core.RedisClient:
        address = self._address
        client = _core.RedisClient(
            host=address.host,
            port=address.port,
            unix_path=address.unix_path,
            username=address.username,
            password=address.password,
            database=address.database,
            timeout_s=self._timeout,
            tracking=tracking,
            ping_interval_s=1.0,
            max_in_flight=self._max_in_flight,
            max_reply_bytes=max(self._max_value_bytes + (1 << 20), 64 << 20),
        )
        if self._closed:
            client.close()
        self._clients.add(client)
        return client

    def _spell(self, key: Any) -> bytes:
        return spell(self._namespace, "", encode_key(key))

    def _run(self, commands: Commands) -> list[Any]:
        try:
            return raise_errors(self._client.call(commands)[0])
        except (BackendUnavailable, ProtocolError):
            self._unavailable += 1
            raise

    async def _arun(self, commands: Commands) -> list[Any]:
        try:
            return raise_errors((await self._client.start(commands))[0])
        except (BackendUnavailable, ProtocolError):
            self._unavailable += 1
            raise

    def _read(self, name: bytes, data: bytes | None, default: Any) -> Any:
        """The value in *data*, counted as a hit, or *default*, counted as a miss."""
        if data is not None:
            try:
                value = self._codec.decode(name, data)
            except UnreadableValue:
                self._unreadable += 1
            else:
                self._hits += 1
                return value
        self._misses += 1
        return default

    def _lifetime(self, ttl: Ttl) -> float | None:
        return self._ttl if ttl is UNSET else seconds("ttl", ttl)

    def _storing(self, name: bytes, value: Any, ttl: Ttl, tags: Iterable[str]) -> Commands:
        lifetime = self._lifetime(ttl)
        milliseconds = 0 if lifetime is None else max(1, round(lifetime * 1000))
        data = self._codec.encode(name, value)
        noted = [self._spell_tag(tag) for tag in tags]
        if noted:
            return [("EVAL", _SET_TAGGED, 1 + len(noted), name, *noted, data, milliseconds)]
        return [("SET", name, data, "PX", milliseconds) if milliseconds else ("SET", name, data)]

    def _dropping(self, tags: Iterable[str]) -> tuple[bytes | str | int, ...]:
        names = [self._spell_tag(tag) for tag in tags]
        return ("EVAL", _DROP_TAGGED, len(names), *names)

    def _spell_tag(self, tag: str) -> bytes:
        if not isinstance(tag, str):
            raise TypeError(f"tag {tag!r}: expected str")
        return spell(self._namespace, "@", encode_key(tag))


_SUMMED = (
    "requests",
    "refused",
    "timeouts",
    "connections",
    "losses",
    "protocol_errors",
    "invalidations",
    "flushes",
    "in_flight",
)


def _is_namespace(name: str) -> bool:
    return name.isprintable() and 0 < len(name) <= 100


def raise_errors(replies: list[Any]) -> list[Any]:
    """*replies*, unless one of them is an error of the server's: then that is raised."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


_tiers: weakref.WeakSet[RedisTier] = weakref.WeakSet()


def _close_all() -> None:
    for tier in list(_tiers):
        tier.close()


atexit.register(_close_all)

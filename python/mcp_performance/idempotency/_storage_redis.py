"""Records in Redis."""

from __future__ import annotations

from typing import Any

from ..errors import ProtocolError
from ..tiers._keys import encode_key, spell
from ..tiers._redis import RedisTier, raise_errors
from ._storage import TRIES, Claimed, Record, contended

__all__ = ["RedisStorage"]

_REDIS_COMPLETE = """
local held = redis.call('GET', KEYS[1])
if not held or string.sub(held, 1, #ARGV[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
return held == ARGV[2] and 1 or 0
"""
_REDIS_RENEW = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_REDIS_RELEASE = """
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisStorage:
    """Records in Redis, which forgets them itself.

    A claim is ``C<owner>:<fingerprint>``, a result ``D<fingerprint>:<bytes>``.
    """

    needs_bytes = True
    is_shared = True
    evicted = 0

    def __init__(self, tier: RedisTier) -> None:
        self._tier = tier

    def era(self) -> int:
        """The server that answers next may be another, or have begun anew."""
        return self._tier._losses()

    def claim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record:
        for _ in range(TRIES):
            taken, held = self._tier._run(self._claiming(key, fingerprint, owner, lease))
            if taken is not None or held == _claim_of(owner, fingerprint):
                return Claimed()
            if held is not None:
                return _read_record(held)
        raise contended(key)

    async def aclaim(self, key: str, fingerprint: str, owner: str, lease: float) -> Claimed | Record:
        for _ in range(TRIES):
            taken, held = await self._tier._arun(self._claiming(key, fingerprint, owner, lease))
            if taken is not None or held == _claim_of(owner, fingerprint):
                return Claimed()
            if held is not None:
                return _read_record(held)
        raise contended(key)

    def complete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool:
        return bool(self._tier._run(self._completing(key, fingerprint, owner, result, ttl))[0] == 1)

    async def acomplete(self, key: str, fingerprint: str, owner: str, result: Any, ttl: float) -> bool:
        return bool((await self._tier._arun(self._completing(key, fingerprint, owner, result, ttl)))[0] == 1)

    def renew(self, key: str, fingerprint: str, owner: str, lease: float) -> bool:
        milliseconds = max(1, round(lease * 1000))
        claim = _claim_of(owner, fingerprint)
        command = ("EVAL", _REDIS_RENEW, 1, self._name(key), claim, milliseconds)
        return bool(self._tier._run([command])[0] == 1)

    def release(self, key: str, owner: str) -> None:
        self._tier._run(self._releasing(key, owner))

    async def arelease(self, key: str, owner: str) -> None:
        await self._tier._arun(self._releasing(key, owner))

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def count(self) -> int | None:
        return None

    def _name(self, key: str) -> bytes:
        return spell(self._tier.namespace, "!", encode_key(key))

    def _claiming(self, key: str, fingerprint: str, owner: str, lease: float) -> list[tuple[Any, ...]]:
        name = self._name(key)
        milliseconds = max(1, round(lease * 1000))
        return [
            ("SET", name, _claim_of(owner, fingerprint), "NX", "PX", milliseconds),
            ("GET", name),
        ]

    def _completing(
        self, key: str, fingerprint: str, owner: str, result: bytes, ttl: float
    ) -> list[tuple[Any, ...]]:
        record = f"D{fingerprint}:".encode() + result
        milliseconds = max(1, round(ttl * 1000))
        return [("EVAL", _REDIS_COMPLETE, 1, self._name(key), f"C{owner}:", record, milliseconds)]

    def _releasing(self, key: str, owner: str) -> list[tuple[Any, ...]]:
        return [("EVAL", _REDIS_RELEASE, 1, self._name(key), f"C{owner}:")]


def _claim_of(owner: str, fingerprint: str) -> bytes:
    return f"C{owner}:{fingerprint}".encode()


def _read_record(held: Any) -> Record:
    raise_errors([held])
    head, separator, rest = bytes(held).partition(b":")
    if separator and head[:1] == b"C":
        return Record(rest.decode("ascii", "replace"), False)
    if separator and head[:1] == b"D":
        return Record(head[1:].decode("ascii", "replace"), True, rest)
    raise ProtocolError("an idempotency key holds something that is no record")

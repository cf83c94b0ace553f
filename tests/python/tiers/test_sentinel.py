"""redis+sentinel://: the master is found, and followed when another one takes over."""

from __future__ import annotations

import secrets
import warnings
from pathlib import Path

import pytest

from mcp_performance import BackendUnavailable, Cache, CacheError, RedisTier, TieredCache, cached
from redis_server import eventually, free_port
from sentinels import SERVICE, deployment

PATIENT = 20.0


def _serves(tier: RedisTier) -> bool:
    try:
        tier.set("probe", 1)
    except CacheError:
        return False
    return tier.get("probe") == 1


def test_the_master_is_found_and_followed(tmp_path: Path) -> None:
    with (
        deployment(tmp_path) as servers,
        # The first sentinel of the list is away for good.
        RedisTier(servers.url.replace("://", f"://127.0.0.1:{free_port()},"), timeout=PATIENT) as tier,
        TieredCache(Cache(), tier) as cache,
    ):
        loads = 0

        @cached(cache=cache, name="f")
        def f(n: int) -> int:
            nonlocal loads
            loads += 1
            return n

        assert servers.url.partition("://")[2] in repr(tier).replace("/0", "")
        cache.set("k", 1)
        assert [cache.get("k"), cache.get("k"), f(1), f(1), loads] == [1, 1, 1, 1, 1]
        assert servers.master.cli("DBSIZE") != "0"
        assert eventually(lambda: servers.replica.cli("DBSIZE") == servers.master.cli("DBSIZE"))
        servers.master.kill()
        assert eventually(lambda: _serves(tier))
        assert "role:master" in servers.role_of(servers.replica)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the cache has a connection of its own, which may follow later
            assert eventually(lambda: cache.get("k") == 1)  # it was replicated
        assert [f(1), loads] == [1, 1]
        with RedisTier(servers.replica.url, timeout=PATIENT) as direct:
            direct.set("k", 2)
        assert eventually(lambda: cache.get("k") == 2)  # announced by the new master


def test_a_planned_failover_is_followed(tmp_path: Path) -> None:
    """The old master stays, as a replica that takes no writes."""
    with deployment(tmp_path) as servers, RedisTier(servers.url, timeout=PATIENT) as tier:
        assert _serves(tier)
        assert servers.sentinels[0].cli("SENTINEL", "FAILOVER", SERVICE).strip() == "OK"
        with RedisTier(servers.replica.url, timeout=PATIENT) as promoted:
            assert eventually(lambda: _serves(promoted))
            assert eventually(lambda: _lands(tier, promoted))


def _lands(tier: RedisTier, promoted: RedisTier) -> bool:
    """Whether what *tier* writes is at the new master."""
    word = secrets.token_hex(8)
    try:
        tier.set("word", word)
    except CacheError:
        return False
    return promoted.get("word") == word


def test_servers_and_sentinels_with_passwords_of_their_own(tmp_path: Path) -> None:
    with deployment(tmp_path, secret="s3cret", sentinel_secret="s3ntinel") as servers:
        where = f"{servers.nodes}/{SERVICE}/2"
        with RedisTier(
            f"redis+sentinel://:s3cret@{where}?sentinel_password=s3ntinel", timeout=PATIENT
        ) as tier:
            assert eventually(lambda: _serves(tier))
        for who, reason in (
            (f":s3cret@{where}?sentinel_password=wr0ng", "refused AUTH: WRONGPASS"),
            (f":s3cret@{where}", "refused SENTINEL: NOAUTH"),
            (f":wr0ng@{where}?sentinel_password=s3ntinel", "refused AUTH: WRONGPASS"),
            (f"{where}?sentinel_password=s3ntinel", "refused ROLE: NOAUTH"),
        ):
            with (
                RedisTier(f"redis+sentinel://{who}", timeout=PATIENT) as tier,
                pytest.raises(BackendUnavailable, match=reason) as failure,
            ):
                tier.ping()
            assert not any(word in str(failure.value) for word in ("s3cret", "s3ntinel", "wr0ng"))

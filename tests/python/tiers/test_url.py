"""URLs of shared tiers: what each says, what is wrong with a bad one, and that no password is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_performance import Cache, ConfigurationError, RedisTier, TieredCache
from mcp_performance.tiers._url import masked, parse_url
from redis_server import RedisServer, redis_server

SECRET = "s3cr3t/word"
ESCAPED = "s3cr3t%2Fword"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://", "redis://localhost:6379/0"),
        ("redis://:7", "redis://localhost:7/0"),
        ("redis://H", "redis://h:6379/0"),
        ("redis://h:1/", "redis://h:1/0"),
        ("redis://h:1/2", "redis://h:1/2"),
        ("redis://h?db=3", "redis://h:6379/3"),
        ("redis://h/3?db=3", "redis://h:6379/3"),
        ("redis://[::1]:5/1", "redis://[::1]:5/1"),
        (f"redis://u:{ESCAPED}@10.0.0.1", "redis://10.0.0.1:6379/0"),
        (f"redis://:{ESCAPED}@h", "redis://h:6379/0"),
        ("rediss://h", "rediss://h:6379/0"),
        ("redis+sentinel://a,b:7/s", "redis+sentinel://a:26379,b:7/s/0"),
        (f"redis+cluster://:{ESCAPED}@a,b:7", "redis+cluster://a:6379,b:7"),
        ("unix:///run/r.sock", "unix:///run/r.sock?db=0"),
        (f"unix://:{ESCAPED}@/run/a%20b@c.sock?db=4", "unix:///run/a b@c.sock?db=4"),
    ],
)
def test_a_good_url(url: str, shown: str) -> None:
    with RedisTier(url) as tier:
        assert shown in repr(tier)
        assert tier.name == shown
        assert "s3cr3t" not in repr(tier)


@pytest.mark.parametrize(
    ("url", "shown", "said"),
    [
        (
            "rediss://h",
            "rediss://h:6379/0",
            {"tls.check_hostname": True, "tls.ca_file": "", "tls.key_file": ""},
        ),
        (
            "rediss://h:1/2?ssl_ca_certs=/a%20b.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem&ssl_check_hostname=false",
            "rediss://h:1/2",
            {
                "tls.ca_file": "/a b.pem",
                "tls.cert_file": "/c.pem",
                "tls.key_file": "/k.pem",
                "tls.check_hostname": False,
            },
        ),
        ("rediss://h?ssl_certfile=/c.pem", "rediss://h:6379/0", {"tls.key_file": "/c.pem"}),
        (
            f"redis+sentinel://u:{ESCAPED}@a,b:7,[::1]:8/my%20db/5?sentinel_username=w&sentinel_password={ESCAPED}",
            "redis+sentinel://a:26379,b:7,[::1]:8/my db/5",
            {
                "kind": "sentinel",
                "service": "my db",
                "database": 5,
                "username": "u",
                "password": SECRET,
                "sentinel_username": "w",
                "sentinel_password": SECRET,
                "tls": None,
            },
        ),
        ("redis+sentinel://a/s", "redis+sentinel://a:26379/s/0", {"sentinel_password": ""}),
        ("rediss+sentinel://a/s", "rediss+sentinel://a:26379/s/0", {"tls.check_hostname": True}),
        ("redis+cluster://a,b:2", "redis+cluster://a:6379,b:2", {"kind": "cluster", "database": 0}),
        (f"rediss+cluster://:{ESCAPED}@a", "rediss+cluster://a:6379", {"password": SECRET}),
    ],
)
def test_the_parts_of_a_url(url: str, shown: str, said: dict[str, object]) -> None:
    address = parse_url(url)
    assert str(address) == shown
    assert "s3cr3t" not in repr(address)
    for path, value in said.items():
        found: object = address
        for name in path.split("."):
            found = getattr(found, name)
        assert (path, found) == (path, value)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("", "scheme"),
        ("localhost:6379", "scheme"),
        ("http://h", "scheme"),
        ("REDIS://h", "scheme"),
        ("redis:/h", "scheme"),
        ("mysql://h/db", "scheme"),
        ("redis://h:0", "port"),
        ("redis://h:99999", "port"),
        ("redis://h:port", "port"),
        ("redis://h:", "port"),
        ("redis://h: 1", "port"),
        ("redis://h:٣", "port"),
        ("redis://h/x", "database"),
        ("redis://h/-1", "database"),
        ("redis://h/1/2", "database"),
        ("redis://h/123456", "database"),
        ("redis://h?db=x", "db"),
        ("redis://h?db=", "option db"),
        ("redis://h?db=1&db=2", "option db"),
        ("redis://h/1?db=2", "db"),
        ("redis://h?a=1", "option a"),
        ("redis://h?ssl_ca_certs=/ca.pem", "option ssl_ca_certs"),
        ("redis://h?sentinel_password=x", "option sentinel_password"),
        ("redis://a,b", "host"),
        ("redis://a b", "host"),
        ("redis://a\0b", "host"),
        ("redis://::1", "port"),
        ("redis://[::1", "host"),
        ("redis://h#f", "fragment"),
        ("redis://user@h", "password"),
        ("redis://@h", "password"),
        ("redis://u:%zz@h", "password"),
        ("redis://u%:p@h", "user"),
        ("redis://u:%ff@h", "password"),
        ("unix://", "path"),
        ("unix:///", "path"),
        ("unix://h/run/r.sock", "host"),
        ("unix:///" + "x" * 200, "path"),
        ("unix:///a%00b", "path"),
        ("unix:///a?ssl_ca_certs=/ca.pem", "option ssl_ca_certs"),
        ("rediss://h?ssl_keyfile=/k.pem", "option ssl_keyfile"),
        ("rediss://h?ssl_check_hostname=maybe", "option ssl_check_hostname"),
        ("rediss://h?ssl_ca_certs=", "option ssl_ca_certs"),
        ("rediss://h?ssl_cert_reqs=none", "option ssl_cert_reqs"),
        ("redis+sentinel:///s", "host"),
        ("redis+sentinel://a,,b/s", "host"),
        ("redis+sentinel://a,b", "service"),
        ("redis+sentinel://a/", "service"),
        ("redis+sentinel://a/%0a", "service"),
        ("redis+sentinel://a/s/x", "database"),
        ("redis+sentinel://a/s?sentinel_username=u", "option sentinel_username"),
        ("redis+cluster://", "host"),
        ("redis+cluster://a/1", "database"),
        ("redis+cluster://a?db=1", "option db"),
    ],
)
def test_a_bad_url_is_a_configuration_error_that_names_the_part(url: str, part: str) -> None:
    for make in (RedisTier, lambda url: TieredCache(url=url)):
        with pytest.raises(ConfigurationError, match=rf"^url=.*: {part}: expected "):
            make(url)


@pytest.mark.parametrize("url", [None, 1, b"redis://h"])
def test_a_url_of_another_type(url: object) -> None:
    with pytest.raises(TypeError, match="url"):
        RedisTier(url)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:s3cr3t@h:0",
        "redis://u:s3cr3t@h:99999/0",
        "redis://:s3cr3t@h/x",
        "redis://:s3cr3t",
        "redis://u:s3cr3t",
        "redis://u:s3cr3t/more@h",
        "redis://u:s3cr3t?more@h",
        "redis://u:s3cr3t#more@h",
        "redis://u:more?s3cr3t=@h",
        "redis://u:s3cr3t@more@h:x",
        "redis://s3cr3t@h",
        "redis:u:s3cr3t@h",
        "redis://u:x://s3cr3t@h:0",
        "u:s3cr3t",
        "http://u:s3cr3t@h",
        "rediss://u:s3cr3t@h?ssl_check_hostname=maybe",
        "redis://u:%s3cr3t@h",
        "unix://:s3cr3t@h/x",
        "redis+sentinel://a?sentinel_password=s3cr3t",
        "redis+sentinel://a/s?sentinel_password=s3cr3t&x=1",
        "redis+sentinel://a/s?s3cr3t",
        "redis+sentinel://:s3cr3t@a,b:x/s",
        "redis+cluster://:s3cr3t@a/3",
    ],
)
def test_no_error_about_a_url_shows_what_may_be_a_password(url: str) -> None:
    assert "s3cr3t" not in masked(url)
    for make in (RedisTier, lambda url: TieredCache(url=url)):
        with pytest.raises(ConfigurationError) as failure:
            make(url)
        error: BaseException | None = failure.value
        while error is not None:
            assert "s3cr3t" not in f"{error!r} {error}"
            error = error.__cause__ or error.__context__


# -- TieredCache(url=...)


def test_a_url_makes_a_cache_with_a_tier_of_its_own(server: RedisServer) -> None:
    with TieredCache(url=server.url, timeout=20, namespace="mine", codec="json") as cache:
        cache.set("k", [1])
        assert cache.get("k") == [1]
        assert cache.shared.namespace == "mine"
        with RedisTier(server.url, timeout=20, namespace="mine", codec="json") as other:
            assert other.get("k") == [1]
    assert not cache.shared.stats().connected
    with pytest.raises(Exception, match="closed"):
        cache.shared.ping()


async def test_the_memory_in_front_may_be_given(server: RedisServer) -> None:
    memory: Cache[str, int] = Cache(5)
    async with TieredCache(memory, url=f"unix://{server.unix_path}", timeout=20) as cache:
        await cache.aset("k", 1)
        assert await cache.aget("k") == 1
        assert "k" in memory
        assert cache.memory is memory


def test_a_tier_that_was_given_stays_open(server: RedisServer) -> None:
    with RedisTier(server.url, timeout=20) as tier:
        with TieredCache(shared=tier) as cache:
            cache.set("k", 1)
        tier.ping()


def test_what_belongs_to_a_tier_is_given_once(tmp_path: Path) -> None:
    tier = RedisTier("redis://h")
    with pytest.raises(ConfigurationError, match="url=None"):
        TieredCache()
    with pytest.raises(ConfigurationError, match="url: expected none"):
        TieredCache(shared=tier, url="redis://h")
    for option in ({"namespace": "a"}, {"codec": "json"}, {"timeout": 1.0}, {"signing_key": b"x" * 16}):
        with pytest.raises(ConfigurationError, match=f"{next(iter(option))}: expected none"):
            TieredCache(shared=tier, **option)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="namespace="):
        TieredCache(url="redis://h", namespace="")
    with pytest.raises(ConfigurationError, match="signing_key"):
        TieredCache(url="redis://h", codec="pickle", signing_key=b"")

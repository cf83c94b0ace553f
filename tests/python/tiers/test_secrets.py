"""No password is shown: in no repr, name, message, warning, log or traceback, however it fails."""

from __future__ import annotations

import contextlib
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from certificates import Authority
from mcp_performance import BackendUnavailable, Cache, IdempotencyStore, RedisTier, TieredCache
from mcp_performance.cli import main
from mcp_performance.tiers._url import parse_url
from redis_server import free_port, redis_server

USER, SECRET, OTHER = "visitor-name", "s3cr3t word", "s3ntinel word"
IN_URL, OTHER_IN_URL = "s3cr3t%20word", "s3ntinel%20word"
SHOWN_NOWHERE = (SECRET, OTHER, IN_URL, OTHER_IN_URL, USER)


@dataclass(frozen=True)
class Place:
    open_port: int
    locked_port: int
    unix_path: str
    ca_file: str
    closed_port: int


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    ca_file = Authority(tmp_path_factory.mktemp("certificates"), "right").ca_file
    with redis_server() as server, redis_server("--requirepass", "another") as locked:
        yield Place(server.port, locked.port, locked.unix_path, ca_file, free_port())


TABLE: dict[str, Callable[[Place], str]] = {
    "wrong password": lambda at: f"redis://:{IN_URL}@127.0.0.1:{at.locked_port}",
    "wrong user": lambda at: f"redis://{USER}:{IN_URL}@127.0.0.1:{at.locked_port}",
    "wrong password over a socket": lambda at: f"unix://:{IN_URL}@{at.unix_path}",
    "no such socket": lambda at: f"unix://{USER}:{IN_URL}@{at.unix_path}x",
    "a password where none is": lambda at: f"redis://:{IN_URL}@127.0.0.1:{at.open_port}",
    "refused connection": lambda at: f"redis://{USER}:{IN_URL}@127.0.0.1:{at.closed_port}/3",
    "no such host": lambda at: f"redis://{USER}:{IN_URL}@nowhere.invalid",
    "no TLS there": lambda at: f"rediss://{USER}:{IN_URL}@127.0.0.1:{at.open_port}?ssl_ca_certs={at.ca_file}",
    "no TLS anywhere": lambda at: f"rediss://:{IN_URL}@127.0.0.1:{at.closed_port}?ssl_ca_certs={at.ca_file}",
    "sentinels refuse": lambda at: (
        f"redis+sentinel://{USER}:{IN_URL}@127.0.0.1:{at.locked_port}/s?sentinel_password={OTHER_IN_URL}"
    ),
    "sentinels are away": lambda at: (
        f"redis+sentinel://:{IN_URL}@127.0.0.1:{at.closed_port}/s"
        f"?sentinel_username={USER}&sentinel_password={OTHER_IN_URL}"
    ),
    "a cluster that refuses": lambda at: f"redis+cluster://{USER}:{IN_URL}@127.0.0.1:{at.locked_port}",
    "a cluster that is none": lambda at: f"redis+cluster://127.0.0.1:{at.open_port}",
    "a cluster that is away": lambda at: f"redis+cluster://:{IN_URL}@127.0.0.1:{at.closed_port},127.0.0.1",
    "no sentinel": lambda at: f"redis+sentinel://:{IN_URL}@127.0.0.1:{at.open_port}/s",
}


@contextlib.contextmanager
def _everything_said(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Logs and warnings, and what is appended; none of it shows a secret."""
    said: list[str] = []
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield said
    said += [record.getMessage() for record in caplog.records]
    said += [str(each.message) for each in warned]
    assert said
    for text in said:
        assert [word for word in SHOWN_NOWHERE if word in text] == []


def _chain(error: BaseException) -> list[str]:
    """All that can be seen of *error*, its causes and its context."""
    said = traceback.format_exception(error)
    seen: BaseException | None = error
    while seen is not None:
        said += [repr(seen), str(seen), repr(seen.args), repr(vars(seen))]
        seen = seen.__cause__ or seen.__context__
    return said


@pytest.mark.parametrize("case", TABLE)
async def test_no_password_is_shown(
    case: str, place: Place, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    url = TABLE[case](place)
    with _everything_said(caplog) as said, RedisTier(url) as tier:
        cache = TieredCache(Cache(), tier)
        store = IdempotencyStore(tier)
        said += [repr(parse_url(url)), str(parse_url(url))]
        said += [repr(tier), str(tier), tier.name, repr(cache), repr(store), repr(tier._client)]
        for _ in range(2):  # when it fails, and while it is away
            with pytest.raises(BackendUnavailable) as failure:
                tier.ping()
            said += _chain(failure.value)
            with pytest.raises(BackendUnavailable) as failure:
                await tier.aget("k")
            said += _chain(failure.value)
        cache.set("k", 1)
        assert cache.get("k") == 1
        said += [repr(tier.stats()), repr(cache.stats())]
        cache.close()
        main(["doctor", "--redis", url])
        said += [*capsys.readouterr()]


def test_a_password_that_is_right_is_shown_no_more_than_a_wrong_one(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        redis_server("--requirepass", SECRET) as server,
        _everything_said(caplog) as said,
        RedisTier(f"redis://:{IN_URL}@127.0.0.1:{server.port}", timeout=20) as tier,
    ):
        tier.set("k", 1)
        said += [repr(tier), repr(tier.stats())]
        main(["doctor", "--redis", f"redis://:{IN_URL}@127.0.0.1:{server.port}"])
        said += [*capsys.readouterr()]
        server.kill()
        with pytest.raises(BackendUnavailable) as failure:
            tier.get("k")
        said += _chain(failure.value)


def test_options_that_are_files_are_shown_and_contents_are_not(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text(SECRET)
    certificate = Authority(tmp_path, "a").issue("client")[0]
    with pytest.raises(ValueError, match="ssl_keyfile") as failure:
        RedisTier(f"rediss://h?ssl_certfile={certificate}&ssl_keyfile={key}")
    assert not any(SECRET in text for text in _chain(failure.value))

"""rediss://: who the server is, who we are, and what is said when either is not believed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from certificates import Authority, openssl
from mcp_performance import BackendUnavailable, ConfigurationError, RedisTier, TieredCache
from redis_server import RedisServer, eventually, free_port, redis_server

PATIENT = 20.0


class TlsServer:
    """A server that takes TLS connections alone, and wants a certificate for them."""

    def __init__(self, authority: Authority, certificate: tuple[str, str], *options: str) -> None:
        self.port = free_port()
        files = ("--tls-cert-file", certificate[0], "--tls-key-file", certificate[1])
        ours = ("--tls-ca-cert-file", authority.ca_file, "--tls-port", str(self.port), "--port", "0")
        self._running = redis_server(*files, *ours, *options)
        self.server: RedisServer = self._running.__enter__()

    def __enter__(self) -> TlsServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.__exit__(None, None, None)

    def url(self, host: str = "127.0.0.1", **options: str) -> str:
        query = "&".join(f"{name}={quote(value)}" for name, value in options.items())
        return f"rediss://{host}:{self.port}?{query}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder, "right")


@pytest.fixture(scope="module")
def ours(authority: Authority) -> dict[str, str]:
    certificate, key = authority.issue("client")
    return {"ssl_ca_certs": authority.ca_file, "ssl_certfile": certificate, "ssl_keyfile": key}


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[TlsServer]:
    with TlsServer(authority, authority.issue("server")) as running:
        yield running


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_cache_over_tls(server: TlsServer, ours: dict[str, str], host: str) -> None:
    with TieredCache(url=server.url(host, **ours), timeout=PATIENT) as cache:
        cache.set("k", "v" * 300_000)  # many records of TLS, in both directions
        assert cache.get("k") == "v" * 300_000
        assert cache.get("k") == "v" * 300_000
        assert cache.stats().hits == 2
        with RedisTier(server.url(host, **ours), timeout=PATIENT) as other:
            other.set("k", 2)
            assert eventually(lambda: cache.get("k") == 2)  # announced over TLS too


async def test_many_at_once_over_tls(server: TlsServer, ours: dict[str, str]) -> None:
    async with RedisTier(server.url(**ours), timeout=PATIENT) as tier:
        threads = [threading.Thread(target=tier.set, args=(n, "x" * 10_000 + str(n))) for n in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [await tier.aget(n) for n in range(50)] == ["x" * 10_000 + str(n) for n in range(50)]


def test_a_key_may_lie_in_the_file_of_its_certificate(
    server: TlsServer, ours: dict[str, str], tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_text(Path(ours["ssl_certfile"]).read_text() + Path(ours["ssl_keyfile"]).read_text())
    url = server.url(ssl_ca_certs=ours["ssl_ca_certs"], ssl_certfile=str(both))
    with RedisTier(url, timeout=PATIENT) as tier:
        tier.ping()


def test_a_certificate_that_is_replaced_is_read_again(
    server: TlsServer, authority: Authority, ours: dict[str, str], tmp_path: Path
) -> None:
    stranger, key = Authority(tmp_path, "stranger").issue("client")
    certificate, secret = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_text(Path(stranger).read_text())
    secret.write_text(Path(key).read_text())
    files = {**ours, "ssl_certfile": str(certificate), "ssl_keyfile": str(secret)}
    with RedisTier(server.url(**files), timeout=PATIENT) as tier:
        with pytest.raises(BackendUnavailable):
            tier.ping()
        certificate.write_text(Path(ours["ssl_certfile"]).read_text())
        secret.write_text(Path(ours["ssl_keyfile"]).read_text())
        assert eventually(lambda: _answers(tier))


def _answers(tier: RedisTier) -> bool:
    try:
        tier.ping()
    except BackendUnavailable:
        return False
    return True


# -- Not believed


def _wrong_authority(server: TlsServer, ours: dict[str, str], folder: Path) -> str:
    return server.url(**{**ours, "ssl_ca_certs": Authority(folder, "wrong").ca_file})


def _system_authorities(server: TlsServer, ours: dict[str, str], folder: Path) -> str:
    return server.url(**{name: path for name, path in ours.items() if name != "ssl_ca_certs"})


def _no_client_certificate(server: TlsServer, ours: dict[str, str], folder: Path) -> str:
    return server.url(ssl_ca_certs=ours["ssl_ca_certs"])


def _client_of_a_stranger(server: TlsServer, ours: dict[str, str], folder: Path) -> str:
    certificate, key = Authority(folder, "stranger").issue("client")
    return server.url(**{**ours, "ssl_certfile": certificate, "ssl_keyfile": key})


def _no_tls_there(server: TlsServer, ours: dict[str, str], folder: Path) -> str:
    return server.url().replace("rediss", "redis")


Scene = Callable[[TlsServer, dict[str, str], Path], str]


@pytest.mark.parametrize("protocols", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize(
    ("scene", "reason"),
    [
        (_wrong_authority, "certificate is refused: (unable to get local issuer|self-signed)"),
        (_system_authorities, "certificate is refused: (unable to get local issuer|self-signed)"),
        (_no_client_certificate, "certificate required|handshake failure"),
        (_client_of_a_stranger, "unknown ca"),
        (_no_tls_there, "closed the connection"),
    ],
)
def test_the_reason_is_told(
    authority: Authority,
    ours: dict[str, str],
    tmp_path: Path,
    scene: Scene,
    reason: str,
    protocols: str,
) -> None:
    with (
        TlsServer(authority, authority.issue("server"), "--tls-protocols", protocols) as server,
        RedisTier(scene(server, ours, tmp_path), timeout=PATIENT) as tier,
    ):
        for _ in range(2):  # when it fails, and while it is away
            with pytest.raises(BackendUnavailable, match=rf"127\.0\.0\.1:{server.port} .*({reason})"):
                tier.ping()


@pytest.mark.parametrize(
    ("subjects", "host", "refused"),
    [
        ("DNS:elsewhere.example", "localhost", "hostname mismatch"),
        ("DNS:elsewhere.example", "127.0.0.1", "IP address mismatch"),
        ("DNS:127.0.0.1", "127.0.0.1", "IP address mismatch"),
        ("IP:127.0.0.1", "localhost", "hostname mismatch"),
    ],
)
def test_a_certificate_of_another_host(
    authority: Authority, ours: dict[str, str], subjects: str, host: str, refused: str
) -> None:
    with TlsServer(authority, authority.issue("other", subjects)) as server:
        with (
            RedisTier(server.url(host, **ours), timeout=PATIENT) as tier,
            pytest.raises(BackendUnavailable, match=rf"(?i)certificate is refused: {refused}"),
        ):
            tier.ping()
        unchecked = server.url(host, **ours, ssl_check_hostname="false")
        with RedisTier(unchecked, timeout=PATIENT) as tier:
            tier.ping()


def test_a_certificate_of_a_stranger_is_refused_also_without_a_hostname_check(
    server: TlsServer, ours: dict[str, str], tmp_path: Path
) -> None:
    files = {**ours, "ssl_ca_certs": Authority(tmp_path, "wrong").ca_file, "ssl_check_hostname": "false"}
    with (
        RedisTier(server.url(**files), timeout=PATIENT) as tier,
        pytest.raises(BackendUnavailable, match="certificate is refused"),
    ):
        tier.ping()


def test_a_server_that_speaks_no_tls_is_told_apart(ours: dict[str, str]) -> None:
    with (
        redis_server() as plain,
        RedisTier(f"rediss://127.0.0.1:{plain.port}?ssl_ca_certs={ours['ssl_ca_certs']}") as tier,
        pytest.raises(BackendUnavailable, match=r"within 0\.25 s: it waited for the TLS handshake"),
    ):
        tier.ping()


def test_a_handshake_that_nobody_answers_ends_with_the_timeout(ours: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rediss://127.0.0.1:{silent.getsockname()[1]}?ssl_ca_certs={ours['ssl_ca_certs']}"
        handshake = "it waited for the TLS handshake"
        with (
            RedisTier(url, timeout=0.1) as tier,
            pytest.raises(BackendUnavailable, match=rf"within 0\.1 s: {handshake}"),
        ):
            tier.ping()


@pytest.mark.parametrize(
    ("option", "content"),
    [
        ("ssl_ca_certs", None),
        ("ssl_ca_certs", "nonsense"),
        ("ssl_certfile", None),
        ("ssl_certfile", "nonsense"),
        ("ssl_keyfile", None),
        ("ssl_keyfile", "nonsense"),
        ("ssl_keyfile", "another"),
        ("ssl_keyfile", "locked"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_at_once(
    server: TlsServer,
    authority: Authority,
    ours: dict[str, str],
    tmp_path: Path,
    option: str,
    content: str | None,
) -> None:
    bad = tmp_path / "bad.pem"
    if content == "another":
        bad.write_text(Path(authority.issue("another")[1]).read_text())
    elif content == "locked":
        openssl("pkey", "-in", ours["ssl_keyfile"], "-aes256", "-passout", "pass:secret", "-out", str(bad))
    elif content is not None:
        bad.write_text(content)
    for make in (RedisTier, lambda url: TieredCache(url=url)):
        with pytest.raises(ConfigurationError, match=rf"{option}='{bad}': \w+"):
            make(server.url(**{**ours, option: str(bad)}))

"""Reads the URL of a shared tier. No error names more of one than what cannot be a password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

from ..errors import ConfigurationError

__all__ = ["REDIS_SCHEMES", "RedisAddress", "TlsFiles", "masked", "parse_url", "scheme_of"]

_USER = "[[user]:password@]"
REDIS_SCHEMES: dict[str, str] = {
    "redis": f"redis://{_USER}host[:port][/database]",
    "rediss": f"rediss://{_USER}host[:port][/database][?ssl_ca_certs=path&...]",
    "unix": f"unix://{_USER}/path[?db=database]",
    "redis+sentinel": f"redis+sentinel://{_USER}host[:port],host[:port],.../service[/database]",
    "rediss+sentinel": f"rediss+sentinel://{_USER}host[:port],host[:port],.../service[/database]",
    "redis+cluster": f"redis+cluster://{_USER}host[:port],host[:port],...",
    "rediss+cluster": f"rediss+cluster://{_USER}host[:port],host[:port],...",
}
"""What names a Redis, and how it is written."""
_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_LONGEST_PATH = 107
"""What a socket address holds, bytes."""
_HOST = re.compile(r"\[[0-9a-fA-F:.%\w]+\]|[^\s\x00-\x20\x7f\[\]:@,%]+")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """How a server proves who it is, and how we do."""

    ca_file: str = ""
    """PEM; empty for the system's."""
    cert_file: str = ""
    """Our certificate, PEM; empty for none."""
    key_file: str = ""
    check_hostname: bool = True


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where a Redis is, and who asks."""

    scheme: str
    kind: Literal["server", "sentinel", "cluster"]
    nodes: tuple[tuple[str, int], ...]
    """Hosts and ports: of the server, of the sentinels, or of some nodes of the cluster."""
    unix_path: str
    database: int
    service: str
    """What the sentinels call the master."""
    tls: TlsFiles | None
    username: str = field(repr=False)
    password: str = field(repr=False)
    sentinel_username: str = field(repr=False)
    sentinel_password: str = field(repr=False)

    def __str__(self) -> str:
        if self.unix_path:
            return f"unix://{self.unix_path}?db={self.database}"
        nodes = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)
        if self.kind == "cluster":
            return f"{self.scheme}://{nodes}"
        service = f"/{self.service}" if self.kind == "sentinel" else ""
        return f"{self.scheme}://{nodes}{service}/{self.database}"


def scheme_of(url: object) -> str:
    """What stands before ``://``, by which the kind of a tier is chosen.

    Raises:
        ConfigurationError: there is nothing.
        TypeError: *url* is no str.
    """
    if not isinstance(url, str):
        raise TypeError(f"url: expected a str such as redis://host:6379/0, not {type(url).__name__}")
    scheme, separator, _ = url.partition("://")
    if not separator or not re.fullmatch(r"[a-z][a-z0-9+]*", scheme):
        raise ConfigurationError(f"url={masked(url)!r}: scheme: expected a URL such as redis://host:6379/0")
    return scheme


def masked(url: str) -> str:
    """*url* without what may be secret: all before its last ``@``, what is no list of hosts, the options."""
    scheme, separator, rest = url.rpartition("://") if "@" not in url else url.partition("://")
    if not separator:
        return url if re.fullmatch(r"[\w.-]*(:\d*)?", url) else "***"
    if "@" in rest:
        rest = "***@" + rest.rpartition("@")[2]
    before, question, _ = rest.partition("?")
    nodes, slash, path = before.partition("/")
    hosts = nodes.removeprefix("***@")
    if hosts and not all(re.fullmatch(rf"({_HOST.pattern})?(:\d*)?", node) for node in hosts.split(",")):
        nodes = "***"
    return f"{scheme}://{nodes}{slash}{path}{question and '?...'}"


def parse_url(url: str) -> RedisAddress:
    """The parts of *url*.

    Raises:
        ConfigurationError: it is no such URL; the message names the part.
        TypeError: it is no str.
    """
    scheme = scheme_of(url)
    if scheme not in REDIS_SCHEMES:
        expected = ", ".join(f"{each}://" for each in REDIS_SCHEMES)
        raise ConfigurationError(f"url={masked(url)!r}: scheme: expected one of {expected}")
    return _Parts(url, scheme).address()


class _Parts:
    """A URL taken apart."""

    def __init__(self, url: str, scheme: str) -> None:
        self._url, self._scheme = url, scheme
        self._kind: Literal["server", "sentinel", "cluster"] = "server"
        if scheme.endswith("+sentinel"):
            self._kind = "sentinel"
        elif scheme.endswith("+cluster"):
            self._kind = "cluster"
        rest, hash_sign, _ = url.partition("://")[2].partition("#")
        rest, _, self._query = rest.partition("?")
        authority, slash, path = rest.partition("/")
        self._userinfo, at_sign, self._hosts = authority.rpartition("@")
        self._has_user = bool(at_sign)
        self._path = slash + path
        if hash_sign:
            raise self._wrong("fragment", "none; write # in a user or password as %23")

    def _wrong(self, part: str, expected: str) -> ConfigurationError:
        return ConfigurationError(
            f"url={masked(self._url)!r}: {part}: expected {expected} ({REDIS_SCHEMES[self._scheme]})"
        )

    def address(self) -> RedisAddress:
        username, password = self._user()
        unix_path = self._unix_path() if self._scheme == "unix" else ""
        nodes = () if unix_path else self._nodes()
        service, database = self._service_and_database()
        options = self._options()
        asked = self._number(options.pop("db", "0"), "db", 99_999)
        if database is not None and asked not in (0, database):
            raise self._wrong("db", "the same database as in the path")
        if self._kind == "cluster" and (database or asked):
            raise self._wrong("database", "none: a cluster has database 0 alone")
        return RedisAddress(
            scheme=self._scheme,
            kind=self._kind,
            nodes=nodes,
            unix_path=unix_path,
            database=asked if database is None else database,
            service=service,
            tls=self._tls(options) if self._scheme.startswith("rediss") else None,
            username=username,
            password=password,
            sentinel_username=options.get("sentinel_username", ""),
            sentinel_password=options.get("sentinel_password", ""),
        )

    def _user(self) -> tuple[str, str]:
        user, colon, password = self._userinfo.partition(":")
        if self._has_user and not (colon and password):
            raise self._wrong("password", "one behind the user and a colon, or no @ at all")
        return self._plain("user", user), self._plain("password", password)

    def _plain(self, part: str, text: str) -> str:
        """*text* with its percent escapes resolved."""
        if re.search(r"%(?![0-9a-fA-F]{2})", text):
            raise self._wrong(part, "two hexadecimal digits behind each %; write % itself as %25")
        try:
            return unquote(text, errors="strict")
        except UnicodeDecodeError:
            raise self._wrong(part, "UTF-8") from None

    def _unix_path(self) -> str:
        path = self._plain("path", self._path)
        if self._hosts:
            raise self._wrong("host", "none before the path")
        if len(path) < 2 or "\0" in path or len(path.encode()) > _LONGEST_PATH:
            raise self._wrong("path", f"a path of at most {_LONGEST_PATH} bytes")
        return path

    def _nodes(self) -> tuple[tuple[str, int], ...]:
        listed = self._hosts.split(",")
        if self._kind == "server" and len(listed) > 1:
            raise self._wrong("host", "one; several are for redis+sentinel:// and redis+cluster://")
        return tuple(self._node(node) for node in listed)

    def _node(self, node: str) -> tuple[str, int]:
        port = 26379 if self._kind == "sentinel" else 6379
        found = re.fullmatch(rf"(?P<host>{_HOST.pattern})?(?::(?P<port>.*))?", node, re.DOTALL)
        if found is None:
            raise self._wrong("host", "a name, an IPv4 address, or an IPv6 address in brackets")
        host = (found["host"] or "").strip("[]").lower()
        if not host and self._kind != "server":
            raise self._wrong("host", "one before and behind each comma")
        if found["port"] is not None:
            port = self._number(found["port"], "port", 65_535, 1)
        return host or "localhost", port

    def _number(self, text: str, part: str, high: int, low: int = 0) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 5 and low <= int(text) <= high):
            raise self._wrong(part, f"a whole number from {low} to {high}")
        return int(text)

    def _service_and_database(self) -> tuple[str, int | None]:
        if self._scheme == "unix":
            return "", None
        service, path = "", self._path.removeprefix("/")
        if self._kind == "sentinel":
            service, _, path = path.partition("/")
            service = self._plain("service", service)
            if not service or not service.isprintable():
                raise self._wrong("service", "the name that the sentinels have for the master")
        return service, self._number(path, "database", 99_999) if path else None

    def _options(self) -> dict[str, str]:
        allowed: tuple[str, ...] = () if self._kind == "cluster" else ("db",)
        if self._scheme.startswith("rediss"):
            allowed += _TLS_OPTIONS
        if self._kind == "sentinel":
            allowed += _SENTINEL_OPTIONS
        options: dict[str, str] = {}
        for piece in self._query.split("&") if self._query else ():
            name, separator, value = piece.partition("=")
            if name not in allowed:
                shown = f"option {name}" if re.fullmatch(r"[a-z_]{1,30}", name) and separator else "option"
                raise self._wrong(shown, f"one of {', '.join(allowed) or 'none'}")
            if name in options:
                raise self._wrong(f"option {name}", "it once")
            value = self._plain(f"option {name}", value.replace("+", " "))
            if not value or "\0" in value:
                raise self._wrong(f"option {name}", "a value")
            options[name] = value
        if "sentinel_username" in options and "sentinel_password" not in options:
            raise self._wrong("option sentinel_username", "sentinel_password with it")
        return options

    def _tls(self, options: dict[str, str]) -> TlsFiles:
        if "ssl_keyfile" in options and "ssl_certfile" not in options:
            raise self._wrong("option ssl_keyfile", "ssl_certfile with it")
        check = {"true": True, "false": False}.get(options.get("ssl_check_hostname", "true").lower())
        if check is None:
            raise self._wrong("option ssl_check_hostname", "true or false")
        certificate = options.get("ssl_certfile", "")
        return TlsFiles(
            ca_file=options.get("ssl_ca_certs", ""),
            cert_file=certificate,
            key_file=options.get("ssl_keyfile", certificate),
            check_hostname=check,
        )

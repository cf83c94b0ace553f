"""``mcp-performance doctor``: what this installation consists of, what it lacks, and how to get that."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import resource
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .. import _core, config
from .._base._checks import file_name
from ..errors import ConfigurationError, Error
from ..sqlite._library import copy_in_use, is_shared
from ..tiers import RedisTier

__all__ = ["Finding", "add_doctor", "examine"]

_LOCAL_REDIS = "redis://127.0.0.1:6379"
_REDIS_TIMEOUT = 1.0  # seconds
_FEW_FILES = 4096
_MIB = 1 << 20
_WITH_SQLITE = ("apsw", "pysqlite3", "pysqlcipher3", "sqlean")
_NETWORK_FILESYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs", "lustre"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "note", "wrong"]
    """``note``: something optional is not there, or worth knowing; ``wrong``: something will fail."""
    says: str
    advice: str = ""


def examine(*, redis: str | None = None, database: Path | None = None) -> Iterator[Finding]:
    """Look at everything.

    Args:
        redis: of a Redis that is needed; without, one on this machine is looked for.
        database: a SQLite file to look at.
    """
    yield _package()
    yield _python()
    yield _system()
    yield _sqlite()
    yield from _more_sqlite()
    yield from _built_in()
    yield _redis(redis)
    yield from _limits()
    if database is not None:
        yield from _database(database)
    yield from _extras()
    yield from _settings()


def _package() -> Finding:
    folder = Path(_core.__file__).parent
    kind = "a wheel" if (folder / "_sqlite").is_dir() else "built from source"
    return Finding("mcp-performance", "ok", f"{_core.__version__}, {kind}, in {folder}")


def _python() -> Finding:
    says = f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
    enabled = getattr(sys, "_is_gil_enabled", None)  # CPython 3.13 and newer
    if enabled is not None and not enabled():
        return Finding("Python", "note", f"{says}, without the interpreter lock", "this is not tested")
    return Finding("Python", "ok", says)


def _system() -> Finding:
    name, version = platform.libc_ver()
    system = f"{platform.system()} {platform.release()} on {platform.machine()}"
    return Finding("system", "ok", f"{system}, {name or 'an unknown C library'} {version}")


def _sqlite() -> Finding:
    if is_shared():
        return Finding(
            "SQLite", "ok", f"{_core.SQLITE_VERSION}, the copy that Python's sqlite3 uses: {copy_in_use()}"
        )
    return Finding(
        "SQLite",
        "note",
        f"{_core.SQLITE_VERSION} of {copy_in_use()}; Python's sqlite3 has another, {sqlite3.sqlite_version}",
        "one file is never open through both in one process: pools and sqlite3 refuse it. A Python whose "
        "sqlite3 uses a shared libsqlite3 of 3.37 or newer has one copy",
    )


def _more_sqlite() -> Iterator[Finding]:
    for module in _WITH_SQLITE:
        if importlib.util.find_spec(module) is not None:
            yield Finding(
                f"SQLite of {module}",
                "note",
                f"{module} has a copy of SQLite of its own",
                "never open the file of a pool with it in the same process: the one that closes it drops the "
                "locks of the other",
            )


def _built_in() -> Iterator[Finding]:
    if _core.HTTP2_BUILT_IN:
        yield Finding("HTTP/2", "ok", "built in")
    else:
        yield Finding(
            "HTTP/2",
            "note",
            "not built in: libnghttp2 was not found",
            "install libnghttp2-dev (Debian), libnghttp2-devel (Fedora), nghttp2-dev (Alpine); build again",
        )


# What to do about a Redis, by a part of what it or the system said; the first that fits.
_REDIS_REMEDIES = (
    ("NOAUTH", "give the password in the URL: redis://:PASSWORD@host or redis://USER:PASSWORD@host"),
    ("WRONGPASS", "mend the user or the password in the URL"),
    ("refused SELECT", "mend the number of the database, the path of the URL: the server has no such one"),
    ("NOPERM", "let the user of the URL run this command: ACL SETUSER on the server"),
    ("certificate required", "give a certificate: ?ssl_certfile=FILE&ssl_keyfile=FILE in the URL"),
    ("certificate", "trust its authority with ?ssl_ca_certs=FILE in the URL, or mend the host's name"),
    ("TLS", "is it the server's port for TLS (tls-port)? The other port is redis://, not rediss://"),
    ("has no address", "mend the name of the host in the URL"),
    ("No such file", "start it, or mend the path of its socket in the URL"),
    ("Permission denied", "let this user open the socket: unixsocketperm of the server"),
    ("LOADING", "wait: it is reading its data"),
    ("first answers", "is it a Redis, and does it speak TLS? Then the URL begins with rediss://"),
    ("closed the connection", "does it speak TLS? Then the URL begins with rediss://"),
    ("protocol", "another service is there: mend the port in the URL"),
)


def _redis(url: str | None) -> Finding:
    try:
        with RedisTier(url or _LOCAL_REDIS, timeout=_REDIS_TIMEOUT) as tier:
            tier.ping()
            return Finding("Redis", "ok", f"{tier.name} answers")
    except ConfigurationError as error:
        return Finding("Redis", "wrong", str(error), "give a URL such as redis://host:6379/0")
    except Error as error:
        says = str(error)
    if url is None:
        none = f"none at {_LOCAL_REDIS}" if "Connection refused" in says else says
        return Finding("Redis", "note", none, "it is optional; --redis URL looks elsewhere")
    remedies = (remedy for part, remedy in _REDIS_REMEDIES if part in says)
    return Finding("Redis", "wrong", says, next(remedies, "start it, or mend the address in the URL"))


def _limits() -> Iterator[Finding]:
    stats = _core.process_stats()
    owner = "the container" if stats["limited_by_cgroup"] else "the machine"
    cores, memory = stats["cpu_cores"], stats["memory_limit_bytes"]
    used = stats["memory_used_bytes"]
    says = f"{cores:g} cores and {memory / _MIB:,.0f} MiB of {owner}, {used / _MIB:,.0f} MiB used"
    if stats["throttled_seconds"] > 0:
        yield Finding(
            "limits",
            "note",
            f"{says}; kept off the processor for {stats['throttled_seconds']:.1f} s so far",
            "raise the container's CPU limit, or start fewer workers",
        )
    else:
        yield Finding("limits", "ok", says)
    pages = config.DB_POOL_SIZE * config.DB_CACHE_SIZE * 4096
    if memory and pages > memory / 4:
        yield Finding(
            "page cache",
            "note",
            f"a pool of {config.DB_POOL_SIZE} connections may keep {pages / _MIB:,.0f} MiB of pages, "
            f"of {memory / _MIB:,.0f} MiB",
            "lower MCP_PERFORMANCE_DB_CACHE_SIZE or MCP_PERFORMANCE_DB_POOL_SIZE",
        )
    else:
        yield Finding("page cache", "ok", f"{pages / _MIB:,.0f} MiB at most of a pool with default settings")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < _FEW_FILES:
        yield Finding(
            "open files", "note", f"{soft}, could be {hard}", f"ulimit -n {_FEW_FILES}, for load tests"
        )
    else:
        yield Finding("open files", "ok", f"{soft}")


def _database(path: Path) -> Iterator[Finding]:
    name = f"database {file_name('database', path)}"
    if not os.path.isfile(path):
        yield Finding(name, "wrong", "there is no such file", "give the path of a SQLite file")
        return
    kind = _filesystem(path)
    if kind in _NETWORK_FILESYSTEMS:
        yield Finding(
            name,
            "wrong",
            f"lies on {kind}, a network file system",
            "the write-ahead log needs memory that all processes share: put the file on a local disk",
        )
        return
    try:
        # In a process without a pool on it: two copies of SQLite do no harm here.
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            mode, pages, size = (
                connection.execute(f"PRAGMA {one}").fetchone()[0]
                for one in ("journal_mode", "page_count", "page_size")
            )
    except sqlite3.Error as error:
        yield Finding(name, "wrong", str(error), "is it a SQLite database, and may you read it?")
        return
    says = f"{pages * size / _MIB:,.1f} MiB on {kind}, journal_mode={mode}"
    if not os.access(path.parent, os.W_OK):
        yield Finding(
            name, "wrong", f"{says}; its folder cannot be written", "SQLite makes its log beside the file"
        )
    elif pages * size > config.DB_CACHE_SIZE * size:
        yield Finding(
            name,
            "note",
            f"{says}; a connection's page cache has {config.DB_CACHE_SIZE * size / _MIB:,.0f} MiB",
            "cache_pages= of the pool, or MCP_PERFORMANCE_DB_CACHE_SIZE",
        )
    else:
        yield Finding(name, "ok", says)


def _filesystem(path: Path) -> str:
    """The type of the file system that *path* lies on."""
    found, kind = "", "an unknown file system"
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return kind
    for line in mounts:
        _, place, name, *_ = line.split(" ")
        if path.resolve().is_relative_to(place) and len(place) >= len(found):
            found, kind = place, name
    return kind


def _extras() -> Iterator[Finding]:
    """What each extra brings, as this installation declares it."""
    for extra, packages in _declared_extras().items():
        versions = {package: _version_of(package) for package in packages}
        lacking = [package for package, version in versions.items() if not version]
        if lacking:
            how = f"pip install 'mcp-performance[{extra}]'"
            yield Finding(f"extra {extra}", "note", f"{', '.join(lacking)} not installed", how)
        else:
            says = ", ".join(f"{package} {version}" for package, version in versions.items())
            yield Finding(f"extra {extra}", "ok", says)


def _declared_extras() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    try:
        required = importlib.metadata.requires("mcp-performance") or []
    except importlib.metadata.PackageNotFoundError:  # on the path, and not installed
        return found
    for requirement in required:
        matched = re.match(r"([\w.-]+).*;.*\bextra == [\"'](\w+)[\"']", requirement)
        if matched is not None:
            found.setdefault(matched[2], []).append(matched[1])
    return found


def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _settings() -> Iterator[Finding]:
    for name in sorted(os.environ):
        if not name.startswith("MCP_PERFORMANCE_"):
            continue
        setting = name.removeprefix("MCP_PERFORMANCE_")
        if setting in config._REFUSED:
            yield Finding(
                f"setting {setting}", "wrong", config._REFUSED[setting], f"mend {name}, or leave it out"
            )
        elif setting in config.__all__:
            yield Finding(f"setting {setting}", "ok", f"{getattr(config, setting)!r}, of the environment")
        else:
            known = ", ".join(config.__all__)
            yield Finding(f"setting {setting}", "wrong", f"{name} means nothing", f"known are {known}")


def _doctor(options: argparse.Namespace) -> int:
    found = list(examine(redis=options.redis, database=options.database))
    if options.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
    else:
        width = max(len(one.name) for one in found)
        for one in found:
            print(f"{one.state:5}  {one.name:{width}}  {one.says}")
            if one.advice:
                print(f"{'':5}  {'':{width}}  -> {one.advice}")
    return 1 if any(one.state == "wrong" for one in found) else 0


def add_doctor(commands: Any) -> None:
    """Add the command to the parser's."""
    doctor = commands.add_parser("doctor", help="say what is installed, what is missing, and how to get it")
    doctor.add_argument("--redis", metavar="URL", help="a Redis that has to answer")
    doctor.add_argument("--database", type=Path, metavar="FILE", help="a SQLite file to look at")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(run=_doctor)

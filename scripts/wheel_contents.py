#!/usr/bin/env python3
"""Writes into a repaired wheel what it contains, holds it to what it promises, and packs it.

    scripts/wheel_contents.py WHEEL FOLDER

Into `*.dist-info/` go `licenses/` of all that is inside, and `sboms/mcp_performance.cdx.json` (CycloneDX
1.6), with the versions of the packages that it was built from. SOURCE_DATE_EPOCH is the time of every file,
so that the same contents are the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

ALLOWED = re.compile(
    r"(linux-vdso|ld-linux-|libc\.musl-|libc\.so|libm\.so|libstdc\+\+\.so|libgcc_s\.so|libpthread|libdl|librt)"
)
PRIVATE = re.compile(r"libmcp_(sqlite3|z)\.so")


@dataclass(frozen=True)
class Part:
    """Something that is inside: its licence, and a file of the package that it came from."""

    name: str
    licence: str
    file: str


PARTS = [
    Part("hiredis", "BSD-3-Clause", "hiredis/hiredis.h"),
    Part("oneTBB", "Apache-2.0", "oneapi/tbb/version.h"),
    Part("spdlog", "MIT", "spdlog/spdlog.h"),
    Part("fmt", "MIT", "fmt/core.h"),
    Part("nghttp2", "MIT", "nghttp2/nghttp2.h"),
    Part("OpenSSL", "Apache-2.0", "openssl/ssl.h"),
    Part("zlib", "Zlib", "zlib.h"),
    Part("SQLite", "blessing", "sqlite3.h"),
]


def package_of(part: Part) -> tuple[str, str, str]:
    """The package of a part: a package URL, its version, and its licence texts."""
    header = next(
        path
        for path in (Path("/usr/include") / part.file, Path("/usr/local/include") / part.file)
        if path.exists()
    )
    if Path("/usr/bin/dpkg").exists():
        owner = _run("dpkg", "-S", str(header)).split(":")[0]
        version = _run("dpkg-query", "-W", "-f=${Version}", owner)
        text = Path(f"/usr/share/doc/{owner}/copyright").read_text()
        if part.licence == "Apache-2.0":
            text += "\n" + Path("/usr/share/common-licenses/Apache-2.0").read_text()
        return f"pkg:deb/debian/{owner}@{version}", version, text
    if Path("/sbin/apk").exists():
        named = _run("apk", "info", "-q", "-W", str(header))  # NAME-VERSION-rRELEASE
        owner, version = re.fullmatch(r"(.+?)-(\d[^-]*-r\d+)", named).groups()  # type: ignore[union-attr]
        # Alpine ships no licence texts.
        return (
            f"pkg:apk/alpine/{owner}@{version}",
            version,
            f"{part.licence}: {_run('apk', 'info', '-q', '-w', owner)}\n",
        )
    owner = _run("rpm", "-qf", "--qf", "%{NAME}", str(header))
    version = _run("rpm", "-q", "--qf", "%{VERSION}-%{RELEASE}", owner)
    texts = [Path(line) for line in _run("rpm", "-qL", owner).split() if Path(line).is_file()]
    return f"pkg:rpm/{owner}@{version}", version, "\n".join(path.read_text() for path in texts)


def pybind11() -> tuple[str, str, str]:
    """The same of pybind11, which comes from the build's own environment."""
    found = importlib.metadata.distribution("pybind11")
    text = next(file for file in found.files or [] if file.name == "LICENSE")
    return f"pkg:pypi/pybind11@{found.version}", found.version, text.read_text()


def bill(wheel: str, version: str, parts: list[tuple[Part, tuple[str, str, str]]]) -> str:
    """The bill of materials, as CycloneDX."""
    root = f"pkg:pypi/mcp-performance@{version}?file_name={wheel}"
    components = [
        {
            "type": "library",
            "bom-ref": url,
            "name": part.name,
            "version": number,
            "purl": url,
            "licenses": [{"license": {"id": part.licence}}],
        }
        for part, (url, number, _) in parts
    ]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": root,
                "name": "mcp-performance",
                "version": version,
                "purl": root,
            }
        },
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": [one["bom-ref"] for one in components]}],
    }
    return json.dumps(document, indent=1) + "\n"


def check_libraries(wheel: str, files: dict[str, bytes]) -> None:
    """Raise unless every library of *wheel* needs only those beside it, and those that each system has."""
    given = re.compile(r"libsqlite3\.so\.0" if "musllinux" in wheel else r"(?!)")
    inside = {Path(name).name for name in files}
    for name, data in files.items():
        if not data.startswith(b"\x7fELF"):
            continue
        with tempfile.NamedTemporaryFile() as copy:
            copy.write(data)
            copy.flush()
            needed = re.findall(r"NEEDED.*\[(.+)\]", _run("readelf", "-d", copy.name))
        shared = "/shared/" in name and needed[:1] == ["libsqlite3.so.0"]  # is the process's, or not loaded
        for one in needed[1:] if shared else needed:
            known = ALLOWED.match(one) or PRIVATE.fullmatch(one) or given.fullmatch(one)
            if one not in inside and not known:
                raise SystemExit(f"{name} needs {one}, which is neither inside nor on every system")


def pack(target: Path, files: dict[str, bytes], modes: dict[str, int], record: str) -> None:
    """One archive: its order, times and compression are always the same."""
    lines = []
    for name in sorted(files):
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(files[name])}")
    files = {**files, record: ("\n".join([*lines, f"{record},,"]) + "\n").encode()}
    at = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files, key=lambda name: (".dist-info/" in name, name)):
            info = zipfile.ZipInfo(name, at)
            info.external_attr = (0o100755 if modes.get(name, 0) & 0o100 else 0o100644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            archive.writestr(info, files[name])


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
    record = next(name for name in files if name.endswith(".dist-info/RECORD"))
    info = record.removesuffix("RECORD")
    del files[record]
    files.pop(f"{info}sboms/auditwheel.cdx.json", None)  # knows less
    version = wheel.name.split("-")[1]
    parts = [(part, package_of(part)) for part in PARTS]
    parts.append((Part("pybind11", "BSD-3-Clause", ""), pybind11()))
    lines = []
    for part, (_, _, text) in parts:
        files[f"{info}licenses/third_party/{part.name}.txt"] = text.encode()
        lines.append(f"License-File: third_party/{part.name}.txt\n")
    head, blank, body = files[f"{info}METADATA"].decode().partition("\n\n")
    files[f"{info}METADATA"] = f"{head}\n{''.join(lines)}".rstrip("\n").encode() + (blank + body).encode()
    files[f"{info}sboms/mcp_performance.cdx.json"] = bill(wheel.name, version, parts).encode()
    check_libraries(wheel.name, files)
    folder.mkdir(exist_ok=True)
    pack(folder / wheel.name, files, modes, record)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))

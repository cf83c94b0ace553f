"""The wheel, installed in an empty environment: run by scripts/ci-matrix with the Python that it is for.

WHEEL is the file. Nothing of this checkout is on the path of what is run.
"""

import json
import os
import re
import subprocess
import sys
import textwrap
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WHEEL = Path(os.environ["WHEEL"]).resolve()
ON_EVERY_SYSTEM = re.compile(r"linux-vdso|ld-linux-|lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)\.so")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The folder of the commands of an environment with nothing but the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", WHEEL], check=True)
    return folder / "bin"


def run(environment, folder, *command, **options):
    clean = {"PATH": f"{environment}:/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}
    return subprocess.run(
        [environment / command[0], *command[1:]], cwd=folder, env=clean, capture_output=True, text=True,
        timeout=300, **options,
    )  # fmt: skip


def program(environment, folder, text, *arguments):
    return run(environment, folder, "python", "-c", textwrap.dedent(text), *arguments)


def test_the_first_command_of_the_readme_runs(environment, tmp_path):
    readme = (ROOT / "README.md").read_text()
    first = re.search(r"^mcp-performance .*$", readme, re.MULTILINE)[0].split()
    ran = run(environment, tmp_path, *first)
    assert ran.returncode in {0, 3}, ran.stderr  # 3: the machine was too busy to trust the numbers
    assert "p99" in ran.stdout.lower()


def test_the_programs_of_the_readme_run_that_need_no_more_than_the_wheel(environment, tmp_path):
    readme = (ROOT / "README.md").read_text()
    programs = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    alone = [one for one in programs if "starlette" not in one and "await LoadTester" not in one]
    assert len(alone) >= 2
    for one in alone:
        ran = program(environment, tmp_path, one)
        assert (ran.returncode, ran.stderr) == (0, "")


def test_the_helper_process_and_the_shared_files_are_inside(environment, tmp_path):
    ran = program(
        environment,
        tmp_path,
        """
        import asyncio
        from mcp_performance import SQLitePool, TieredCache, aiosqlite, analyze_untrusted

        async def main():
            async with aiosqlite.connect("app.db") as db:
                await db.executescript("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2);")
            async with SQLitePool("app.db") as pool:
                print(await pool.fetch("SELECT a FROM t"))
            print((await analyze_untrusted("app.db", "SELECT * FROM t"))["issues"])
            cache = TieredCache(url="sqlite:///cache.db")
            cache.set("key", "value")
            print(cache.get("key"))
            cache.close()

        asyncio.run(main())
        """,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[::2] == ["[(1,), (2,)]", "value"]
    assert "select-star" in ran.stdout


def test_the_doctor_finds_nothing_wrong_and_one_copy_of_sqlite(environment, tmp_path):
    ran = run(environment, tmp_path, "mcp-performance", "doctor", "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = {one["name"]: one for one in json.loads(ran.stdout)}
    assert "a wheel" in found["mcp-performance"]["says"]
    assert found["SQLite"]["state"] == "ok"
    assert "libsqlite3.so" in found["SQLite"]["says"]
    assert found["HTTP/2"]["state"] == "ok"


def test_it_needs_no_library_that_not_every_system_has(environment, tmp_path):
    ran = program(
        environment,
        tmp_path,
        """
        import mcp_performance, os
        mcp_performance.SQLitePool(":memory:").blocking.fetch("SELECT 1")
        for line in open("/proc/self/maps"):
            if ".so" in line:
                print(os.path.realpath(line.split()[-1]))
        """,
    )
    assert ran.returncode == 0, ran.stderr
    site = environment.parent.resolve()
    interpreter = Path(sys.base_prefix).resolve()
    loaded = {Path(name) for name in ran.stdout.split()}
    assert any(path.is_relative_to(site) and path.name.startswith("_core") for path in loaded)
    elsewhere = [
        path for path in loaded if not path.is_relative_to(site) and not path.is_relative_to(interpreter)
    ]
    of_python = {
        "libsqlite3",
        "libffi",
        "libcrypto",
        "libssl",
        "libz",
        "libbz2",
        "liblzma",
        "libuuid",
        "libexpat",
    }
    strange = [
        path for path in elsewhere
        if not ON_EVERY_SYSTEM.match(path.name) and path.name.split(".")[0] not in of_python
    ]  # fmt: skip
    assert strange == []
    copies = [path for path in loaded if "sqlite3.so" in path.name and path.stat().st_size > 1_000_000]
    assert len(copies) == 1


def test_two_real_copies_never_open_one_file(environment, tmp_path):
    ran = program(
        environment,
        tmp_path,
        """
        import ctypes, importlib.util, pathlib, sqlite3, sys
        package = pathlib.Path(importlib.util.find_spec("mcp_performance").origin).parent
        ctypes.CDLL(str(package / "_sqlite" / "bundled" / "libmcp_sqlite3.so"))  # as if Python's were old
        import mcp_performance
        from mcp_performance.sqlite._library import copy_in_use, is_shared
        print(is_shared(), "bundled" in copy_in_use())
        kept = sqlite3.connect("app.db")
        kept.execute("CREATE TABLE t (a)")
        try:
            mcp_performance.SQLitePool("app.db")
        except mcp_performance.DatabaseError as error:
            print("two copies of SQLite" in str(error))
        kept.close()
        pool = mcp_performance.SQLitePool("app.db")
        print(pool.blocking.fetchval("SELECT count(*) FROM t"))
        try:
            sqlite3.connect("app.db")
        except mcp_performance.DatabaseError as error:
            print("two copies of SQLite" in str(error))
        """,
    )
    assert (ran.stdout, ran.stderr) == ("False True\nTrue\n0\nTrue\n", "")


def test_what_is_inside_is_listed_with_licences():
    with zipfile.ZipFile(WHEEL) as archive:
        names = archive.namelist()
        info = next(name for name in names if name.endswith(".dist-info/METADATA")).removesuffix("METADATA")
        bill = json.loads(archive.read(f"{info}sboms/mcp_performance.cdx.json"))
        metadata = archive.read(f"{info}METADATA").decode()
    parts = {part["name"]: part for part in bill["components"]}
    inside = {"hiredis", "oneTBB", "spdlog", "fmt", "nghttp2", "OpenSSL", "zlib", "SQLite", "pybind11"}
    assert set(parts) == inside
    for name, part in parts.items():
        assert part["version"]
        assert part["licenses"]
        assert f"{info}licenses/third_party/{name}.txt" in names
        assert f"License-File: third_party/{name}.txt\n" in metadata
    assert WHEEL.stat().st_size <= 6_000_000


def test_the_times_and_the_order_of_its_files_say_nothing_of_the_build():
    with zipfile.ZipFile(WHEEL) as archive:
        entries = archive.infolist()
    assert len({entry.date_time for entry in entries}) == 1
    assert [entry.filename for entry in entries] == sorted(
        (entry.filename for entry in entries), key=lambda name: (".dist-info/" in name, name)
    )

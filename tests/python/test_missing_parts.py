"""A build from source where something is missing: one message, which names the package on each system."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Path:
    """A folder for all cases: what the compiler is, which takes most of the time, is found out once."""
    return tmp_path_factory.mktemp("build")


def configure(folder: Path, *options: str, **environment: str) -> str:
    """The error of a build that cannot begin, without line breaks."""
    run = subprocess.run(
        ["cmake", "-G", "Ninja", "-S", ROOT, "-B", folder, *options],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert run.returncode != 0
    assert run.stderr.count("CMake Error") == 1
    assert "Call Stack" not in run.stderr
    return " ".join(run.stderr.split())


@pytest.mark.parametrize(
    ("package", "says", "packages"),
    [
        ("SQLite3", "SQLite 3.37 or newer", ["libsqlite3-dev", "sqlite-devel", "sqlite-dev", "sqlite"]),
        ("spdlog", "spdlog", ["libspdlog-dev", "spdlog-devel", "spdlog-dev", "spdlog"]),
        ("OpenSSL", "OpenSSL 3", ["libssl-dev", "openssl-devel", "openssl-dev", "openssl@3"]),
        ("ZLIB", "zlib, with its header", ["zlib1g-dev", "zlib-devel", "zlib-dev", "zlib"]),
        ("TBB", "oneTBB 2021 or newer", ["libtbb-dev", "tbb-devel", "onetbb-dev", "tbb"]),
        ("Python", "headers of Python 3.11", ["python3-dev", "python3-devel", "python3-dev", "python"]),
    ],
)
def test_what_is_missing_is_named_with_its_packages(package, says, packages, build):
    error = configure(build, "-UCMAKE_DISABLE_FIND_PACKAGE_*", f"-DCMAKE_DISABLE_FIND_PACKAGE_{package}=ON")
    assert says in error
    for command, name in zip(
        ["apt-get install", "dnf install", "apk add", "brew install"], packages, strict=True
    ):
        assert f"{command} {name} " in f"{error} "
    assert "pip install --only-binary mcp-performance" in error


def test_all_that_is_missing_is_said_at_once(tmp_path):
    error = configure(tmp_path, "-DCMAKE_DISABLE_FIND_PACKAGE_TBB=ON", PKG_CONFIG_LIBDIR=str(tmp_path))
    assert "apt-get install libhiredis-dev libtbb-dev Fedora" in error  # a line to paste, of nothing else
    assert "brew install hiredis tbb A wheel" in error


def path_of(folder: Path, *tools: str) -> str:
    """A PATH of these tools alone."""
    folder.mkdir()
    for tool in tools:
        (folder / tool).symlink_to(shutil.which(tool))
    return str(folder)


def test_pkg_config_is_named_too(tmp_path):
    path = path_of(tmp_path / "bin", "cmake", "ninja", "cc", "c++", "as", "ld", "ar", "ranlib", "nm")
    error = configure(tmp_path / "build", "-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF", PATH=path)
    for command in ("apt-get install pkg-config", "dnf install pkgconf-pkg-config", "apk add pkgconf"):
        assert command in error


def test_without_a_compiler_there_is_a_sentence_too(tmp_path):
    error = configure(tmp_path / "build", PATH=path_of(tmp_path / "bin", "cmake", "ninja"), CC="", CXX="")
    assert "there is no C++ compiler" in error
    for command in ("apt-get install g++", "dnf install gcc-c++", "apk add g++", "brew install llvm"):
        assert command in error
    # What cannot be looked for without one is named as well: nobody comes here twice.
    for package in ("pkg-config", "libsqlite3-dev", "libtbb-dev", "libssl-dev", "python3-dev"):
        assert f" {package} " in error


def test_a_compiler_that_is_too_old_is_named_with_newer_ones(tmp_path):
    old = tmp_path / "g++-10"
    old.write_text(f'#!/bin/sh\nexec {shutil.which("g++")} -U__GNUC__ -D__GNUC__=10 "$@" 2>/dev/null\n')
    old.chmod(0o755)
    error = configure(tmp_path / "build", "-DCMAKE_DISABLE_FIND_PACKAGE_TBB=ON", CXX=str(old))
    assert f"g++ 12, clang 14 or newer; {old} is GNU 10." in error
    assert "apt-get install g++-12 libtbb-dev Fedora" in error
    assert "dnf install gcc-toolset-12-gcc-c++ tbb-devel Alpine" in error


def test_pybind11_is_named_where_pip_was_told_not_to_bring_it(build):
    error = configure(build, "-UCMAKE_DISABLE_FIND_PACKAGE_*", "-DCMAKE_DISABLE_FIND_PACKAGE_pybind11=ON")
    assert "pip install scikit-build-core 'pybind11>=3'" in error
    assert "apt-get" not in error  # it is nobody's package

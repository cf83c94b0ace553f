"""What is built, and where it refuses to be."""

import _sqlite3
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

from mcp_performance import _core

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("system", ["Darwin", "FreeBSD"])
def test_another_system_is_refused_with_a_sentence(system: str, tmp_path: Path) -> None:
    command = ["cmake", "-G", "Ninja", "-S", ROOT, "-B", tmp_path, f"-DCMAKE_SYSTEM_NAME={system}"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode != 0
    assert f"mcp-performance needs Linux (epoll, eventfd, timerfd); this is {system}." in run.stderr


def test_a_landing_runs_all_rounds_of_what_the_sanitizers_try_less_of() -> None:
    rooms = {
        path.parent.name for path in ROOT.glob("tests/cpp/*/*.cpp") if "test_rounds(" in path.read_text()
    }
    landing = re.search(r'^export MCP_TEST_ROOMS="(.*)"$', (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert landing is not None
    assert sorted(landing[1].split(";")) == sorted(rooms)


def test_an_older_python_is_refused() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    assert "Python 3.11 REQUIRED" in (ROOT / "bindings" / "CMakeLists.txt").read_text()


def test_there_is_one_copy_of_sqlite_and_python_uses_it_too() -> None:
    """Whether the module was linked with the system's library, or is of a wheel, which chooses at import."""
    program = """
import mcp_performance, sqlite3
mcp_performance.SQLitePool(":memory:").blocking.fetchval("SELECT 1")
print(*{line.split()[-1] for line in open("/proc/self/maps") if "libsqlite3.so" in line})
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = subprocess.run(["ldd", _sqlite3.__file__], capture_output=True, text=True, check=True).stdout
    python_s = next(line.split("=>")[1].split()[0] for line in lines.splitlines() if "libsqlite3.so" in line)
    assert [Path(name).resolve() for name in run.stdout.split()] == [Path(python_s).resolve()]


def test_an_sdist_has_all_that_a_build_reads(tmp_path: Path) -> None:
    # Of what is tracked alone: looking through the environment and the build takes many times as long.
    source = tmp_path / "source"
    subprocess.run(["git", "checkout-index", "--all", f"--prefix={source}/"], cwd=ROOT, check=True)
    program = "import sys, scikit_build_core.build as build; print(build.build_sdist(sys.argv[1]))"
    run = subprocess.run(
        [sys.executable, "-c", program, tmp_path], cwd=source, capture_output=True, text=True, check=True
    )
    with tarfile.open(tmp_path / run.stdout.split()[-1]) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    wanted = [
        "CMakeLists.txt",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "cmake",
        "cpp",
        "bindings",
        "python",
    ]
    listed = subprocess.run(
        ["git", "ls-files", *wanted], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(listed) > 300
    assert set(listed) - inside == set()


def test_the_version_stands_in_one_place() -> None:
    lists = (ROOT / "CMakeLists.txt").read_text()
    assert f"project(mcp_performance VERSION {_core.__version__} " in lists
    assert importlib.metadata.version("mcp-performance") == _core.__version__
    assert "version" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"]


def test_the_command_is_installed_and_says_its_version() -> None:
    command = shutil.which("mcp-performance", path=str(Path(sys.executable).parent))
    assert command is not None
    run = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert run.stdout == f"mcp-performance {_core.__version__}\n"

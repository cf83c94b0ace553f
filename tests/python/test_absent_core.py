"""The package without its native module for this interpreter: one sentence that says why, and what to do."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mcp_performance

PACKAGE = Path(mcp_performance.__file__).parent


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """The package's Python files."""
    folder = tmp_path_factory.mktemp("sources")
    native = shutil.ignore_patterns("_core.*.so", "__pycache__", "mcp_analyze")
    shutil.copytree(PACKAGE, folder / "mcp_performance", ignore=native)
    return folder


def error_of(path: Path) -> str:
    """The last line of what an import from *path* says."""
    code = f"import sys; sys.path.insert(0, {str(path)!r}); import mcp_performance"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    return run.stderr.splitlines()[-1]


def test_files_without_it_say_how_to_install_it(sources):
    error = error_of(sources)
    assert error.startswith("ImportError: mcp_performance has no native module for cpython-")
    assert "only its Python files" in error
    assert error.endswith(f"{sys.executable} -m pip install --force-reinstall mcp-performance")


def test_those_of_other_interpreters_are_named(sources):
    other = sources / "mcp_performance" / "_core.cpython-39-x86_64-linux-gnu.so"
    other.touch()
    assert f"only {other.name};" in error_of(sources)
    other.unlink()


def test_an_archive_is_said_to_be_one(sources, tmp_path):
    archive = tmp_path / "app.pyz"
    with zipfile.ZipFile(archive, "w") as zipped:
        for file in sources.rglob("*.py"):
            zipped.write(file, file.relative_to(sources))
    error = error_of(archive)
    assert "cannot be loaded from inside an archive" in error
    assert str(archive) in error


def test_one_that_is_damaged_speaks_for_itself(sources):
    [suffix] = {"".join(file.suffixes) for file in PACKAGE.glob("_core.*.so")}
    damaged = sources / "mcp_performance" / f"_core{suffix}"
    damaged.write_bytes(b"\x7fELF")
    assert f"{damaged.name}: file too short" in error_of(sources)
    damaged.unlink()

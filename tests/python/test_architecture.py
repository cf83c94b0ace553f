"""The rooms and the arrows between them are what ARCHITECTURE.md says."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ARROWS = ROOT / "scripts" / "arrows.py"


def test_every_include_follows_an_arrow_of_the_table() -> None:
    run = subprocess.run([sys.executable, ARROWS], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_a_forbidden_arrow_and_python_in_the_core_are_both_found(tmp_path: Path) -> None:
    room = tmp_path / "cpp" / "cache"
    room.mkdir(parents=True)
    (room / "bad.h").write_text('#include "sqlite/pool.h"\n#include <Python.h>\n')
    run = subprocess.run([sys.executable, ARROWS, tmp_path], capture_output=True, text=True)
    assert run.returncode == 1
    assert "cpp/cache/bad.h:1: cache may not include sqlite" in run.stdout
    assert "cpp/cache/bad.h:2: Python.h and pybind11 belong in bindings/" in run.stdout

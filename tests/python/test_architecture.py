"""The rooms and the arrows between them are what scripts/arrows.toml says, on every floor."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ARROWS = ROOT / "scripts" / "arrows.py"


def check(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, ARROWS, root], capture_output=True, text=True)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_every_include_and_import_follows_an_arrow_of_the_table() -> None:
    run = check(ROOT)
    assert run.returncode == 0, run.stdout


def test_a_forbidden_arrow_and_python_in_the_core_are_both_found(tmp_path: Path) -> None:
    room = tmp_path / "cpp" / "cache"
    room.mkdir(parents=True)
    (room / "bad.h").write_text('#include "sqlite/pool.h"\n#include <Python.h>\n')
    run = check(tmp_path)
    assert run.returncode == 1
    assert "cpp/cache/bad.h:1: cache may not include sqlite" in run.stdout
    assert "cpp/cache/bad.h:2: Python.h and pybind11 belong in bindings/" in run.stdout


P = "python/mcp_performance"
NATIVE = "# ---- query\nclass Analyzer:\n    pass\ndef _analyze(sql: str) -> str: ...\n"
PACKAGE = {f"{P}/__init__.py": "", f"{P}/query/__init__.py": "", f"{P}/query/_report.py": ""}


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"bindings/cache/a.cpp": '#include "bindings/redis/b.h"\n'}, "cache may not include redis"),
        ({"bindings/cache/a.cpp": '#include "redis/b.h"\n'}, "cache may not include redis"),
        ({"bindings/cellar/a.cpp": '#include "base/b.h"\n'}, "cellar is not a room of the table"),
        ({f"{P}/cache/_a.py": "from ..query import x\n"}, "cache may not import query"),
        ({f"{P}/cache/_a.py": "from ..query._report import x\n"}, "cache may not import query"),
        ({f"{P}/cache/_a.py": "from .. import query\n"}, "cache may not import query"),
        ({f"{P}/cache/_a.py": "import mcp_performance.query._report\n"}, "cache may not import query"),
        ({f"{P}/cache/_a.py": "def f():\n    from ..query import x\n"}, "cache may not import query"),
        (
            {f"{P}/cache/_a.py": "if TYPE_CHECKING:\n    from ..query import x\n"},
            "cache may not import query",
        ),
        ({f"{P}/cache/_a.py": "from mcp_performance import x\n"}, "cache may not import the whole package"),
        ({f"{P}/errors.py": "from .query import x\n"}, "base may not import query"),
        (
            {f"{P}/cache/_a.py": "if TYPE_CHECKING:\n    x = 1\nelse:\n    from ..query import x\n"},
            "cache may not import query",
        ),
        (
            {f"{P}/cache/_a.py": "x = importlib.import_module('mcp_performance.query')\n"},
            "cache may not import query",
        ),
        ({f"{P}/cache/_a.py": "x = import_module('..query', __package__)\n"}, "cache may not import query"),
        ({f"{P}/cache/_a.py": "x = __import__('mcp_performance.query')\n"}, "cache may not import query"),
        ({f"{P}/cache/_a.py": "import mcp_performance_v2\n"}, "mcp_performance_v2 is for those outside"),
        (
            {f"{P}/cache/_a.py": "x = _core._analyze\n", f"{P}/_core.pyi": NATIVE},
            "cache may not use what query has in _core",
        ),
        (
            {f"{P}/cache/_a.py": "from .._core import Analyzer\n", f"{P}/_core.pyi": NATIVE},
            "cache may not use what query has in _core",
        ),
        ({"cpp/cache/a.h": "#include <query/b.h>\n"}, "cache may not include query"),
        (
            {"cpp/cache/a.h": '#include "../query/b.h"\n', "cpp/query/b.h": ""},
            "cache may not include query",
        ),
        ({"cpp/cache/a.ipp": '#  include "query/b.h"\n'}, "cache may not include query"),
        ({"cpp/cache/a.h": "#include WHATEVER\n"}, "an include by a macro cannot be followed"),
        ({"cpp/a.h": '#include "base/b.h"\n'}, "a is not a room of the table"),
        ({"cpp/cache/a.h": '#include "Python.h"\n'}, "Python.h and pybind11 belong in bindings/"),
        ({"cpp/cache/a.h": '#include "pybind11/stl.h"\n'}, "Python.h and pybind11 belong in bindings/"),
        ({"cpp/cache/a.h": '#include "bindings/cache/b.h"\n'}, "the core may not include bindings/"),
        ({"tests/cpp/cache/a_test.cpp": '#include "query/b.h"\n'}, "cache may not include query"),
        (
            {"tests/python/cache/test_a.py": "from mcp_performance.query import x\n"},
            "cache may not import query",
        ),
        (
            {"tests/python/cellar/test_a.py": "import mcp_performance.cache\n"},
            "cellar is not a room of the table",
        ),
        (
            {"bindings/cache/a.cpp": 'PyImport_ImportModule("mcp_performance.query._report");\n'},
            "cache may not import query",
        ),
        ({f"{P}/cellar.py": "from .query import x\n"}, "cellar is not a room of the table"),
    ],
)
def test_a_forbidden_arrow_of_the_other_floors_is_found(
    tmp_path: Path, files: dict[str, str], sentence: str
) -> None:
    write(tmp_path, PACKAGE | files)
    run = check(tmp_path)
    assert run.returncode == 1
    where = next(iter(files))
    assert len(run.stdout.splitlines()) == 1
    assert run.stdout.startswith(f"{where}:")
    assert run.stdout.endswith(f": {sentence}\n")


@pytest.mark.parametrize(
    ("files", "circle"),
    [
        (
            {"cpp/cache/a.h": '#include "cache/b.h"\n', "cpp/cache/b.h": '#include "cache/a.h"\n'},
            "cpp/cache/a.h -> cpp/cache/b.h -> cpp/cache/a.h",
        ),
        (
            {
                "bindings/sqlite/a.h": '#include "bindings/sqlite/b.h"\n',
                "bindings/sqlite/b.h": '#include "bindings/sqlite/a.h"\n',
            },
            "bindings/sqlite/a.h -> bindings/sqlite/b.h -> bindings/sqlite/a.h",
        ),
        (
            {
                f"{P}/query/_a.py": "if x:\n    from . import _b\n",
                f"{P}/query/_b.py": "from ._a import f\n",
            },
            f"{P}/query/_a.py -> {P}/query/_b.py -> {P}/query/_a.py",
        ),
    ],
)
def test_a_circle_within_a_room_is_found(tmp_path: Path, files: dict[str, str], circle: str) -> None:
    write(tmp_path, PACKAGE | files)
    run = check(tmp_path)
    assert (run.returncode, run.stdout) == (1, f"a circle: {circle}\n")


def test_what_only_a_type_checker_follows_makes_no_circle(tmp_path: Path) -> None:
    later = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ._b import x\n"
    write(tmp_path, PACKAGE | {f"{P}/query/_a.py": later, f"{P}/query/_b.py": "from ._a import f\n"})
    assert check(tmp_path).returncode == 0


def test_a_room_that_cmake_links_to_another_than_the_table_is_found(tmp_path: Path) -> None:
    write(tmp_path, {"CMakeLists.txt": "mcp_room(metrics ROOMS base)\nmcp_room(cache ROOMS base LINK x)\n"})
    run = check(tmp_path)
    assert run.returncode == 1
    assert run.stdout == (
        "CMakeLists.txt: cache links ['base', 'cache'], and the table says ['base', 'cache', 'metrics']\n"
    )


def test_a_room_that_is_linked_by_hand_is_found(tmp_path: Path) -> None:
    write(tmp_path, {"CMakeLists.txt": "target_link_libraries(mcp_cache\n  PRIVATE mcp_query)\n"})
    assert check(tmp_path).stdout == "CMakeLists.txt: cache may not link query\n"


FLOORS = ("benchmarks", "bindings", "cmake", "cpp", "docs", "python", "scripts", "tests")
SOURCES = {".cpp", ".h", ".py", ".pyi", ".md", ".toml", ".cmake", ".txt", ""}
# What others have: headers of CPython and of Linux.
FOREIGN = {"Python.h", "linux/landlock.h"}


def sources() -> list[Path]:
    inside = (path for floor in FLOORS for path in (ROOT / floor).rglob("*"))
    return [path for path in (*inside, *ROOT.glob("*")) if path.is_file() and path.suffix in SOURCES]


def named_files() -> Iterator[tuple[str, str]]:
    """(where, the name of a file) in code of ARCHITECTURE.md and CONTRIBUTING.md, and in comments."""
    for document in ("ARCHITECTURE.md", "CONTRIBUTING.md"):
        for name in re.findall(r"`([\w./]+\.(?:py|pyi|h|cpp|toml|md))`", (ROOT / document).read_text()):
            yield document, name
    for path in sources():
        if path.suffix not in {".cpp", ".h", ".py"} or "tests" in path.parts:
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            comment = re.match(r"\s*(?://|#(?!\s*include))(.*)", line)
            for name in re.findall(r"\b[\w/]+\.(?:h|cpp|py|pyi)\b", comment[1] if comment else ""):
                yield f"{path.relative_to(ROOT)}:{number}", name


def test_every_file_that_a_document_or_a_comment_names_is_there() -> None:
    there = ["/" + path.relative_to(ROOT).as_posix() for path in sources()]
    gone = [
        f"{where}: {name}"
        for where, name in named_files()
        if name not in FOREIGN and "NAME" not in name and not any(path.endswith("/" + name) for path in there)
    ]
    assert gone == []


# Of others, and how names are to look.
NO_NAMES = {"hiredis_ssl", "PascalCase", "snake_case", "member_", "_ns", "_s"}
CODE = re.compile(r"`(?:[\w./]+[ .:])?(_?[A-Za-z]\w*)(?:\(\))?`")


def test_every_name_of_code_that_a_document_has_is_there() -> None:
    """Names with an underscore or a capital within them, or with parentheses: words of English are none."""
    words = set()
    for path in sources():
        if path.suffix != ".md":
            words |= set(re.findall(r"\w+", path.read_text()))
    gone = [
        f"{document}: {name}"
        for document in ("ARCHITECTURE.md", "CONTRIBUTING.md")
        for whole in re.findall(r"`[^`\n]+`", (ROOT / document).read_text())
        if (match := CODE.fullmatch(whole)) is not None
        for name in [match[1]]
        if ("_" in name or whole.endswith("()`") or re.search(r"[a-z][A-Z]", name)) and "X" not in name
        if name not in words | NO_NAMES
    ]
    assert gone == []

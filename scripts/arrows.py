#!/usr/bin/env python3
"""Fails when a source uses a room that its own room may not use, and when sources use each other in a circle.

The table is arrows.toml, one for all floors. Read are the includes of cpp/, bindings/ and tests/cpp, the
imports of python/mcp_performance and tests/python (those in functions, for type checkers and by
``import_module`` too), the modules that bindings name, the names that Python takes from ``_core``, which its
stub has by rooms, and the rooms that CMakeLists.txt links. Python.h and pybind11 belong in bindings/ alone.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TABLE = tomllib.loads(Path(__file__).with_name("arrows.toml").read_text())
ROOMS: dict[str, list[str]] = TABLE["rooms"]
MODULES: dict[str, str] = TABLE["modules"]
FREE: list[str] = TABLE["tests"]["free"]
TESTS_ALSO: list[str] = TABLE["tests"]["also"]
PACKAGE = "mcp_performance"
STUB = f"python/{PACKAGE}/_core.pyi"
SOURCES = {".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".hxx", ".inc", ".inl", ".ipp"}
INCLUDE = re.compile(r"^\s*#\s*(?:include|include_next|import)\b\s*(.*)")
INCLUDED = re.compile(r'["<]([^">]+)[">]')
NAMED = re.compile(rf'mport\w*\(\s*"({PACKAGE}(?:\.\w+)*)"')
LINKED = re.compile(r"mcp_room\((\w+) ROOMS ([a-z ]+)")
LINKED_BY_HAND = re.compile(r"target_link_libraries\(\s*mcp_(\w+)([^)]*)\)")


class Use(NamedTuple):
    """One include or import: where it stands, the file that it means, and the rooms of both."""

    where: str
    source: str
    target: str
    source_room: str
    target_room: str
    loads: bool = True
    """Not so for what only a type checker follows."""


def reachable(room: str, rooms: dict[str, list[str]]) -> set[str]:
    """The room itself and every room that an arrow leads to from it."""
    found = {room}
    for target in rooms.get(room, ()):
        if target not in found:
            found |= reachable(target, rooms)
    return found


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """The first circle among *arrows*, its start named twice; nothing where there is none."""
    done: set[str] = set()
    path: list[str] = []

    def visit(node: str) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        path.append(node)
        for target in sorted(arrows.get(node, ())):
            if found := visit(target):
                return found
        done.add(path.pop())
        return []

    return next((found for node in sorted(arrows) if (found := visit(node))), [])


def room_of(path: Path) -> str:
    """The room of a file below cpp/, bindings/ or the package; empty for what stands above the rooms."""
    if len(path.parts) > 1:
        return path.parts[0].lstrip("_")
    return "" if path.stem in {"__init__", "__main__"} else MODULES.get(path.stem, path.stem)


def included_file(root: Path, source: Path, name: str) -> Path | None:
    """The file of this project, from *root*, that *source* includes as *name*; None where it is another's."""
    beside, *elsewhere = (source.parent, Path(), Path("cpp"), Path("tests", "cpp"))
    if (root / beside / name).is_file() or name.startswith("."):
        return (root / beside / name).resolve().relative_to(root.resolve())
    there = next((folder / name for folder in elsewhere if (root / folder / name).is_file()), None)
    first, *rest = name.split("/")
    if there is None and rest and first in {*ROOMS, "bindings"}:  # a file that is yet to come
        return Path(name) if first == "bindings" else Path("cpp", name)
    return there


def floor_of(path: Path) -> Path:
    """The floor that *path*, from the root, stands on."""
    return Path(*path.parts[: 2 if path.parts[0] in {"tests", "python"} else 1])


def includes(root: Path, floor: str) -> Iterator[Use | str]:
    """What the sources below *floor* include of this project; a sentence for what only bindings/ may."""
    for path in sorted((root / floor).rglob("*")):
        if path.suffix not in SOURCES:
            continue
        source = path.relative_to(root)
        room = room_of(source.relative_to(floor))
        if floor.startswith("tests") and len(source.parts) == 3:
            room = ""  # what tests of all rooms share
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            where = f"{source}:{number}"
            if floor == "bindings":
                yield from named_modules(root, source, room, where, line)
            if (match := INCLUDE.match(line)) is None:
                continue
            name = INCLUDED.match(match[1])
            if name is None:
                yield f"{where}: an include by a macro cannot be followed"
            elif name[1] == "Python.h" or name[1].startswith("pybind11/"):
                if floor != "bindings":
                    yield f"{where}: Python.h and pybind11 belong in bindings/"
            elif (target := included_file(root, source, name[1])) is not None:
                inside = target.relative_to(floor_of(target))
                there = room_of(inside) if len(inside.parts) > 1 else room
                yield Use(where, str(source), str(target), room, there)


def named_modules(root: Path, source: Path, room: str, where: str, line: str) -> Iterator[Use]:
    """The modules of the package that a binding imports by their names."""
    for name in NAMED.findall(line):
        target = module_file(root / "python", tuple(name.split(".")))
        if target is not None:
            there = room_of(target.relative_to(root / "python" / PACKAGE))
            yield Use(where, str(source), str(target.relative_to(root)), room, there)


def modules(root: Path) -> Iterator[tuple[Path, str]]:
    """The modules of the package and of the tests, from *root*, and the room of each."""
    for floor in (Path("python", PACKAGE), Path("tests", "python")):
        for path in sorted((root / floor).rglob("*.py*")):
            if path.suffix in {".py", ".pyi"}:
                inside = path.relative_to(root / floor)
                is_test = floor.parts[0] == "tests"
                free = is_test and (len(inside.parts) == 1 or inside.parts[0] in FREE)
                yield path.relative_to(root), "" if free else room_of(inside)


def imports(root: Path) -> Iterator[Use | str]:
    """What the modules of the package and of the tests import of the package."""
    python, natives = root / "python", native_names(root)
    for source, room in modules(root):
        tests = source.parts[0] == "tests"
        package = () if tests else source.relative_to("python").parent.parts
        tree = ast.parse((root / source).read_text())
        typed = {
            id(node)
            for block in ast.walk(tree)
            if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING"
            for statement in block.body
            for node in ast.walk(statement)
        }
        for node in ast.walk(tree):
            where = f"{source}:{getattr(node, 'lineno', 0)}"
            for parts in imported(node, package):
                target = module_file(python, parts)
                if target is not None:
                    there = room_of(target.relative_to(python / PACKAGE))
                    if tests and (there in TESTS_ALSO or not there):
                        there = room
                    loads = id(node) not in typed and source.suffix == ".py"
                    yield Use(where, str(source), str(target.relative_to(root)), room, there, loads)
                elif parts[0] == f"{PACKAGE}_v2" and not tests:
                    yield f"{where}: {PACKAGE}_v2 is for those outside"
            for name in taken_from_core(node):
                if name in natives and not tests:
                    yield Use(where, str(source), STUB, room, natives[name], False)


def native_names(root: Path) -> dict[str, str]:
    """The room of each name of ``_core``, by the headings of its stub."""
    found: dict[str, str] = {}
    room = ""
    stub = root / STUB
    for line in stub.read_text().splitlines() if stub.is_file() else ():
        if heading := re.match(r"# ---- (\w+)", line):
            room = heading[1]
        elif room and (name := re.match(r"(?:class |def |async def )?(\w+)\b", line)):
            found[name[1]] = room
    return found


def taken_from_core(node: ast.AST) -> Iterator[str]:
    """The names of ``_core`` that *node* uses."""
    if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "_core":
        yield node.attr
    elif isinstance(node, ast.ImportFrom) and (node.module or "").endswith("_core"):
        yield from (name.name for name in node.names)


def imported(node: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The dotted names, in parts, that an import statement in *package* asks for."""
    if isinstance(node, ast.Import):
        yield from (tuple(name.name.split(".")) for name in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else ()
        module = (*above, *(node.module.split(".") if node.module else ()))
        yield from ((*module, name.name) for name in node.names)
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        name = node.args[0].value
        if called in {"import_module", "__import__"} and isinstance(name, str):
            dots = len(name) - len(name.lstrip("."))
            above = package[: len(package) - dots + 1] if dots else ()
            yield (*above, *name.lstrip(".").split("."))


def module_file(python: Path, parts: tuple[str, ...]) -> Path | None:
    """The file of the module *parts*, or of the one that has the last of them as a name, in the package."""
    if parts[0] != PACKAGE:
        return None
    for end in (parts, parts[:-1]):
        base = python.joinpath(*end)
        for file in (base.with_suffix(".py"), base.with_suffix(".pyi"), base / "__init__.py"):
            if end and file.is_file():
                return file
    return None


def forbidden(use: Use) -> str | None:
    """What is wrong with *use*, in a sentence."""
    for room in (use.source_room, use.target_room):
        if room and room not in ROOMS:
            return f"{use.where}: {room} is not a room of the table"
    if use.target.startswith("bindings/") and not use.source.startswith("bindings/"):
        return f"{use.where}: the core may not include bindings/"
    if not use.source_room or use.target_room in reachable(use.source_room, ROOMS):
        return None
    if use.target == STUB:
        return f"{use.where}: {use.source_room} may not use what {use.target_room} has in _core"
    verb = (
        "include" if Path(use.source).suffix in SOURCES and Path(use.target).suffix in SOURCES else "import"
    )
    return f"{use.where}: {use.source_room} may not {verb} {use.target_room or 'the whole package'}"


def linked(root: Path) -> Iterator[str]:
    """Where CMakeLists.txt links a room to others than the table does, as far as cpp/ has them."""
    lists = root / "CMakeLists.txt"
    text = lists.read_text() if lists.is_file() else ""
    links = {room: targets.split() for room, targets in LINKED.findall(text)}
    core = links.keys() | {"base"}
    for room in sorted(links):
        said, meant = reachable(room, links), reachable(room, ROOMS) & core
        if said != meant:
            yield f"CMakeLists.txt: {room} links {sorted(said)}, and the table says {sorted(meant)}"
    for room, targets in LINKED_BY_HAND.findall(text):
        named = {name for name in re.findall(r"\bmcp_(\w+)", targets) if name in ROOMS}
        if room in ROOMS and not named <= reachable(room, ROOMS):
            yield f"CMakeLists.txt: {room} may not link {', '.join(sorted(named - reachable(room, ROOMS)))}"


def violations(root: Path) -> list[str]:
    """Everything below *root* that the table does not allow, one sentence each."""
    found = []
    if around := circle({room: set(targets) for room, targets in ROOMS.items()}):
        return [f"arrows.toml: {' -> '.join(around)}"]
    native = ("cpp", "bindings", "tests/cpp")
    for floor in (*({*includes(root, name)} for name in native), {*imports(root)}):
        uses = sorted(use for use in floor if isinstance(use, Use))
        found += sorted(sentence for sentence in floor if isinstance(sentence, str))
        found += [sentence for use in uses if (sentence := forbidden(use))]
        files: dict[str, set[str]] = {}
        for use in uses:
            if use.loads:
                files.setdefault(use.source, set()).add(use.target)
        if around := circle(files):
            found.append(f"a circle: {' -> '.join(around)}")
    return found + list(linked(root))


if __name__ == "__main__":
    problems = violations(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
    print("\n".join(problems) or "every include and import follows an arrow")
    sys.exit(bool(problems))

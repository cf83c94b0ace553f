#!/usr/bin/env python3
"""Fails when a source uses a room that its own room may not use, and when sources use each other in a circle.

The table is arrows.toml, one for all floors. Read are the includes of cpp/ and bindings/, the imports of
python/mcp_performance, and the rooms that CMakeLists.txt links. Python.h and pybind11 belong in
bindings/ alone.
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
PACKAGE = "mcp_performance"
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<(Python\.h|pybind11/))')
LINKED = re.compile(r"mcp_room\((\w+) ROOMS ([a-z ]+)")


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


def includes(root: Path, floor: str) -> Iterator[Use | str]:
    """What the sources below *floor* include of this project; a sentence for what only bindings/ may."""
    for path in sorted((root / floor).rglob("*/*")):
        if path.suffix not in {".h", ".cpp"}:
            continue
        source = path.relative_to(root)
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            match = INCLUDE.match(line)
            if match is None:
                continue
            where = f"{source}:{number}"
            if match[2] and floor != "bindings":
                yield f"{where}: Python.h and pybind11 belong in bindings/"
            elif match[1] and "/" in match[1]:
                target = Path(match[1] if match[1].startswith("bindings/") else f"cpp/{match[1]}")
                rooms = room_of(source.relative_to(floor)), target.parts[1]
                if rooms[1] in ROOMS:
                    yield Use(where, str(source), str(target), *rooms)


def imports(root: Path) -> Iterator[Use]:
    """What the modules of the package import of each other."""
    python = root / "python"
    for path in sorted((python / PACKAGE).rglob("*.py*")):
        if path.suffix not in {".py", ".pyi"}:
            continue
        source, package = path.relative_to(root), path.relative_to(python).parent.parts
        tree = ast.parse(path.read_text())
        typed = {
            id(node)
            for block in ast.walk(tree)
            if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING"
            for node in ast.walk(block)
        }
        for node in ast.walk(tree):
            for parts in imported(node, package):
                target = module_file(python, parts)
                if target is not None:
                    inside = source.relative_to("python", PACKAGE), target.relative_to(python / PACKAGE)
                    where, rooms = f"{source}:{node.lineno}", (room_of(inside[0]), room_of(inside[1]))
                    loads = id(node) not in typed and path.suffix == ".py"
                    yield Use(where, str(source), str(target.relative_to(root)), *rooms, loads)


def imported(node: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The dotted names, in parts, that an import statement in *package* asks for."""
    if isinstance(node, ast.Import):
        yield from (tuple(name.name.split(".")) for name in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else ()
        module = (*above, *(node.module.split(".") if node.module else ()))
        yield from ((*module, name.name) for name in node.names)


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
    if not use.source_room or use.target_room in reachable(use.source_room, ROOMS):
        return None
    verb = "import" if use.source.startswith("python") else "include"
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


def violations(root: Path) -> list[str]:
    """Everything below *root* that the table does not allow, one sentence each."""
    found = []
    if around := circle({room: set(targets) for room, targets in ROOMS.items()}):
        return [f"arrows.toml: {' -> '.join(around)}"]
    for floor in ({*includes(root, "cpp")}, {*includes(root, "bindings")}, {*imports(root)}):
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

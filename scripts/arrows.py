#!/usr/bin/env python3
"""Fails when a source includes a room that its own room may not use.

The table is the one of ARCHITECTURE.md: a room may include itself, the rooms named here, and
theirs. Python.h and pybind11 belong in bindings/ alone.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ARROWS: dict[str, set[str]] = {
    "base": set(),
    "metrics": {"base"},
    "cache": {"metrics"},
    "redis": {"cache"},
    "sqlite": {"metrics"},
    "query": {"sqlite"},
    "batch": {"metrics"},
    "loadtest": {"metrics"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([a-z]+)/|<(Python\.h|pybind11/))')


def reachable(room: str) -> set[str]:
    """The room itself and every room that an arrow leads to from it."""
    found = {room}
    for target in ARROWS[room]:
        found |= reachable(target)
    return found


def violations(root: Path) -> list[str]:
    """Every forbidden include below ``root/cpp``, one sentence each."""
    found = []
    for path in sorted((root / "cpp").rglob("*")):
        if path.suffix not in {".h", ".cpp"}:
            continue
        room = path.relative_to(root / "cpp").parts[0]
        where = path.relative_to(root)
        if room not in ARROWS:
            found.append(f"{where}: {room} is not a room of the table")
            continue
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            match = INCLUDE.match(line)
            if match is None:
                continue
            if match[2]:
                found.append(f"{where}:{number}: Python.h and pybind11 belong in bindings/")
            elif match[1] in ARROWS and match[1] not in reachable(room):
                found.append(f"{where}:{number}: {room} may not include {match[1]}")
    return found


if __name__ == "__main__":
    problems = violations(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
    print("\n".join(problems) or "every include follows an arrow")
    sys.exit(bool(problems))

#!/usr/bin/env python3
"""Fails on a source of more than 600 lines, and on a function of more than 60: each hides a second idea.
Also on a .cpp whose first line does not say what it is for.

Functions of C++ are found by the layout that clang-format gives them: a definition ends its line with
``) ... {``, and its ``}`` stands no deeper.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MOST_LINES = 600
MOST_FUNCTION_LINES = 60
FOLDERS = ("cpp", "bindings", "python", "benchmarks", "scripts")
NATIVE = ("cpp/", "bindings/")
TESTS = ("tests",)  # held to the length of a file alone
DEFINITION = re.compile(
    r"^(\s*+)(?!(?:namespace|class|struct|enum|union|switch|if|for|while|else|do\b|extern|\}))\S.*\).*\{$"
)
CLOSING = re.compile(r"^(\s*)\}")


def python_functions(text: str) -> Iterator[tuple[str, int, int]]:
    """(name, line, lines without docstring) of every function."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0]
        documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        described = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
        signature = node.body[0].lineno - node.lineno
        yield (
            node.name,
            node.lineno,
            (node.end_lineno or 0) - node.lineno + 1 - described - max(signature - 1, 0),
        )


def cpp_functions(text: str) -> Iterator[tuple[str, int, int]]:
    """(head, line, lines) of every function that is not inside another."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        match = DEFINITION.match(lines[number])
        if match is None:
            number += 1
            continue
        end = number
        for end in range(number + 1, len(lines)):
            closed = CLOSING.match(lines[end])
            if closed is not None and len(closed[1]) <= len(match[1]):
                break
        yield lines[number].strip()[:60], number + 1, end - number + 1
        number = end + 1


def problems(root: Path) -> list[str]:
    """One sentence for each file and function that is too long."""
    listed = subprocess.run(
        ["git", "ls-files", *FOLDERS, *TESTS], cwd=root, check=True, capture_output=True, text=True
    ).stdout.split()
    found = []
    for name in listed:
        path = root / name
        if path.suffix not in {".py", ".h", ".cpp"} or not path.exists():
            continue
        text = path.read_text()
        lines = text.count("\n")
        if lines > MOST_LINES:
            found.append(f"{name}: {lines} lines, {MOST_LINES} at most")
        if name.startswith(TESTS):
            continue
        if path.suffix == ".cpp" and name.startswith(NATIVE) and not text.startswith("// "):
            found.append(f"{name}: its first line does not say what it is for")
        functions = python_functions(text) if path.suffix == ".py" else cpp_functions(text)
        found += [
            f"{name}:{line}: {what} has {size} lines, {MOST_FUNCTION_LINES} at most"
            for what, line, size in functions
            if size > MOST_FUNCTION_LINES
        ]
    return found


if __name__ == "__main__":
    too_long = problems(Path(__file__).parents[1])
    print("\n".join(too_long) or "no file and no function is too long, and each .cpp says what it is for")
    sys.exit(bool(too_long))

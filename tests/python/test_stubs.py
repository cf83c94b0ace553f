"""The types of the native module: written by scripts/stubs.py from what its docstrings declare."""

from __future__ import annotations

import ast
import inspect
import runpy
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import SQLitePool, _core

ROOT = Path(__file__).parents[2]
stubs = runpy.run_path(str(ROOT / "scripts/stubs.py"))


def declarations(text: str) -> list[str]:
    """What a stub says, without its layout and its prose."""
    tree = ast.parse(text)
    imported = {
        f"{node.module}.{name.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [each for each in node.body if not isinstance(each, ast.Expr)]
    said = [ast.unparse(node) for node in tree.body if not isinstance(node, ast.ImportFrom)]
    return [*sorted(imported), *said]


def test_the_stub_says_what_the_module_says() -> None:
    assert declarations(stubs["generate"](_core)) == declarations(stubs["STUB"].read_text())


@pytest.mark.parametrize(
    ("doc", "signatures", "result", "text"),
    [
        ("f(x: int) -> str", ["f(x: int) -> str"], "", ""),
        ("f(x: int) -> str\nf(x: str) -> int\n\nTwo.", ["f(x: int) -> str", "f(x: str) -> int"], "", "Two."),
        ("f(x: object) -> list\n\nf(x: int) -> list[str]\n\nText.", ["f(x: int) -> list[str]"], "", "Text."),
        ("-> int | None\n\nText.", [], "int | None", "Text."),
        ("fetch(x: int) is no declaration.", [], "", "fetch(x: int) is no declaration."),
    ],
)
def test_a_docstring_declares_types(doc: str, signatures: list[str], result: str, text: str) -> None:
    class Thing:
        __doc__ = doc

    declared: Any = stubs["Declared"]("f", Thing())
    assert (declared.signatures, declared.result, declared.text) == (signatures, result, text)


def test_native_methods_have_signatures(tmp_path: Path) -> None:
    pool = SQLitePool(tmp_path / "a.db")
    assert list(inspect.signature(pool.fetch).parameters) == ["sql", "params", "timeout", "cache", "row_type"]
    assert list(inspect.signature(_core.CacheBase.set).parameters) == ["self", "key", "value", "ttl", "tags"]

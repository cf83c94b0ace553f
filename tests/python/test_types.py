"""What a type checker sees: a program that uses every public name, and wrong uses that must be errors."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import mcp_performance
from mcp_performance import _core
from mcp_performance.cache._cache import Policy
from mcp_performance.load._keywords import AnswerKeywords, RequestKeywords, TargetKeywords

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests/typing"


def errors_of(*programs: str) -> str:
    """What mypy says of the programs, as strict as of the package, whose cache it shares, in a process."""
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", *(str(PROGRAMS / name) for name in programs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not checked.stderr
    return checked.stdout


def test_the_program_is_sound_and_each_wrong_use_is_an_error() -> None:
    assert errors_of("program.py", "peers.py", "wrong.py") == ""


def test_the_program_uses_every_public_name() -> None:
    used = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(ast.parse((PROGRAMS / "program.py").read_text()))
        if isinstance(node, ast.Attribute | ast.Name)
    }
    assert set(mcp_performance.__all__) - used == set()


@pytest.mark.parametrize(
    "module", ["cache", "sqlite", "query", "batch", "load", "monitor", "middleware", "errors"]
)
def test_the_public_names_of_the_modules_are_those_of_the_package(module: str) -> None:
    names = importlib.import_module(f"mcp_performance.{module}").__all__
    assert set(names) <= {*mcp_performance.__all__}


def test_the_types_of_options_are_what_is_accepted() -> None:
    assert get_args(Policy) == _core.CACHE_POLICIES


def keywords_of(function: object) -> set[str]:
    return {
        name
        for name, parameter in inspect.signature(function).parameters.items()  # type: ignore[arg-type]
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def test_what_is_passed_on_by_name_has_the_names_of_where_it_goes() -> None:
    of_a_tester = keywords_of(mcp_performance.LoadTester) - {"url", "scenario", "order"}
    assert set(TargetKeywords.__annotations__) == of_a_tester
    assert set(AnswerKeywords.__annotations__) == keywords_of(mcp_performance.User.request)
    of_a_request = keywords_of(mcp_performance.Request) - {"headers", "body", "json", "name", "json_rpc"}
    assert set(RequestKeywords.__annotations__) == of_a_request

"""A benchmark checks what it times: a wrong answer ends its run and says where."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PROGRAMS = sorted(path.stem for path in BENCHMARKS.glob("[a-z]*.py"))


def load_check() -> Any:
    """benchmarks/_check.py, without its folder on the path: redis.py there would hide the library."""
    spec = importlib.util.spec_from_file_location("benchmark_check", BENCHMARKS / "_check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = load_check()
ROWS = [(number, f"name {number}", number * 0.5, None, b"x") for number in range(1000)]


def changed(index: int, row: Any) -> list[Any]:
    return [*ROWS[:index], row, *ROWS[index + 1 :]]


WRONG: dict[str, tuple[Any, Any, str]] = {
    "a wrong value": (
        changed(7, (7, "name 8", 3.5, None, b"x")),
        ROWS,
        r"at \[7\]\[1\]: 'name 8', not 'name 7'",
    ),
    "a row missing": (
        ROWS[:500] + ROWS[501:],
        ROWS,
        r"at \[500\]\[0\]: 501, not 500 \(999 entries, not 1,000\)",
    ),
    "the last row missing": (ROWS[:-1], ROWS, r"at \[999\]: \(999, .* is missing \(999 entries, not 1,000\)"),
    "a row twice": (
        [*ROWS, ROWS[-1]],
        ROWS,
        r"at \[1000\]: \(999, .* is too much \(1,001 entries, not 1,000\)",
    ),
    "no row": ([], ROWS, r"at \[0\]: \(0, .* is missing"),
    "another order": ([ROWS[1], ROWS[0], *ROWS[2:]], ROWS, r"at \[0\]\[0\]: 1, not 0"),
    "a float for an int": (
        changed(3, (3.0, *ROWS[3][1:])),
        ROWS,
        r"at \[3\]\[0\]: 3.0 of type float, not 3 of int",
    ),
    "a bool for an int": ([True, 1], [1, 1], r"at \[0\]: True of type bool, not 1 of int"),
    "bytes for a str": ([("a", b"b")], [("a", "b")], r"at \[0\]\[1\]: b'b' of type bytes"),
    "a list for a row": (changed(3, list(ROWS[3])), ROWS, r"at \[3\]: .* of type list, not .* of tuple"),
    "another kind of sequence": (tuple(ROWS), ROWS, r"\(\(0, .* of type tuple, not .* of list"),
    "a shorter row": (changed(9, ROWS[9][:-1]), ROWS, r"at \[9\]\[4\]: b'x' is missing"),
    "nothing": (None, ROWS, r"None of type NoneType"),
    "a value deep inside": (
        [{"a": [1, {"b": 2}]}],
        [{"a": [1, {"b": 3}]}],
        r"at \[0\]\['a'\]\[1\]\['b'\]: 2, not 3",
    ),
    "another order of keys": ({"a": 1, "b": 2}, {"b": 2, "a": 1}, r"at keys\[0\]: 'a', not 'b'"),
    "a type deep inside": ([[(1, (2.0,))]], [[(1, (2,))]], r"at \[0\]\[0\]\[1\]\[0\]: 2.0 of type float"),
    "no number": ([float("nan")], [1.0], r"at \[0\]: nan, not 1.0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_difference_is_named_with_its_place(case: str) -> None:
    got, want, message = WRONG[case]
    with pytest.raises(check.WrongAnswer, match=r"^all rows: " + message):
        check.same("all rows", got, want)


@pytest.mark.parametrize(
    "rows", [ROWS, [], [()], {"a": ROWS}, [float("nan")], [None, 1, 1.0, True], [[(1, [2])]]]
)
def test_what_is_the_same_passes(rows: Any) -> None:
    check.same("all rows", rows, rows)


def test_parts_are_each_compared_in_full() -> None:
    items = list(range(2 * check.PART + 10))

    def work(part: Any) -> list[int]:
        return [item * 2 + (item == check.PART + 5) for item in part]

    with pytest.raises(check.WrongAnswer, match=rf"doubles, calls from {check.PART}: at \[5\]"):
        check.seconds_each("doubles", work, items, lambda item: item * 2)
    assert check.seconds_each("doubles", work, items[: check.PART], lambda item: item * 2) > 0


@pytest.mark.parametrize("figure", [9, 21])
def test_a_figure_out_of_its_bounds_is_wrong(figure: int) -> None:
    check.within("requests", 10, 10, 20)
    with pytest.raises(check.WrongAnswer, match=f"requests: {figure} is not within 10 and 20"):
        check.within("requests", figure, 10, 20)


def run(*command: str | Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = os.pathsep.join([str(path), environment.get("PYTHONPATH", "")])
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("name", PROGRAMS)
def test_quick_run(name: str) -> None:
    """Every answer of every contestant that is installed is right."""
    done = run(BENCHMARKS / f"{name}.py", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


# Each is done to the package before the benchmark starts, in all of its processes.
FAULTS = {
    "batch": """
        real = m.BatchProcessor.map
        async def swapped(self, *args, **options):
            result = await real(self, *args, **options)
            result.results[10], result.results[11] = result.results[11], result.results[10]
            return result
        m.BatchProcessor.map = swapped
        """,
    "cache": """
        real = m.cached
        def wrong(*options, **named):
            return lambda f: real(*options, **named)(lambda *args, **kwargs: 0)
        m.cached = wrong
        """,
    "load": """
        real = m.LoadTester.run_load_test
        async def one_more(self, *args, **options):
            result = await real(self, *args, **options)
            return dataclasses.replace(result, total_requests=result.total_requests + 1)
        m.LoadTester.run_load_test = one_more
        """,
    "monitoring": """
        real = m.PerformanceMonitor.metrics
        def one_less(self):
            metrics = real(self)
            metrics["requests"]["count"] -= 1
            metrics["requests"]["routes"][0]["count"] -= 1
            return metrics
        m.PerformanceMonitor.metrics = one_less
        """,
    "query": """
        m._core.fingerprint = lambda sql: ("SELECT ?", "0")
        """,
    "redis": """
        real = m.RedisTier.get
        m.RedisTier.get = lambda self, key, *rest: real(self, "key:7", *rest)
        """,
    "sqlite": """
        real = m.SQLitePool.fetch
        async def out_of_order(self, *args, **options):
            rows = await real(self, *args, **options)
            return [*rows[:512], *rows[1024:1536], *rows[512:1024], *rows[1536:]]
        m.SQLitePool.fetch = out_of_order
        """,
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_answer_ends_the_run(name: str, tmp_path: Path) -> None:
    lines = [
        "import dataclasses",
        "import mcp_performance as m",
        *(line[8:] for line in FAULTS[name].splitlines()),
    ]
    (tmp_path / "sitecustomize.py").write_text("\n".join(lines))
    done = run(BENCHMARKS / f"{name}.py", "--quick", path=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "WrongAnswer: " in done.stderr


@pytest.mark.parametrize(
    ("adaptive", "lru", "message"),
    [(2, 1, "hits of LRU: 1, not 2"), (3, 2, "hits of adaptive beside Belady's: 3 is not within 0 and 2")],
)
def test_hits_that_a_cache_cannot_have(adaptive: int, lru: int, message: str) -> None:
    """Of 1 2 1 3 1 2, with room for two, LRU and the optimum hit the second and the third 1."""
    script = f"""
import array, sys
sys.path.insert(0, {str(BENCHMARKS)!r})
import hit_ratio
hits = {{"adaptive": {{2: {adaptive}}}, "lru": {{2: {lru}}}}}
hit_ratio.check("a trace", array.array("Q", [1, 2, 1, 3, 1, 2]), hits)
"""
    done = run("-c", script)
    assert done.returncode == 1
    assert f"WrongAnswer: a trace, 2, {message}" in done.stderr

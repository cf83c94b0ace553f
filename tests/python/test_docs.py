"""The programs in the documents run: those of a page one after the other, in a fresh folder."""

import contextlib
import importlib.util
import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md"))
PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUNNER = """
import ast, asyncio, inspect, sys
source = open(sys.argv[1]).read()
code = compile(source, sys.argv[1], "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
async def main():
    running = eval(code, {"__name__": "__main__"})
    if inspect.iscoroutine(running):
        await running
asyncio.run(main())
"""


def with_programs():
    found = [page for page in PAGES if PROGRAM.search(page.read_text())]
    assert len(found) >= 10
    return found


@pytest.mark.parametrize("page", with_programs(), ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_the_programs_of_a_page_run(page, tmp_path):
    program = tmp_path / "page.py"
    program.write_text("\n".join(PROGRAM.findall(page.read_text())))
    run = subprocess.run(
        [sys.executable, "-c", RUNNER, program], cwd=tmp_path, capture_output=True, text=True, timeout=110
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""


def anchors_of(page):
    """Of its headings, as MkDocs makes them."""
    return {
        re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())
        for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    }


def broken_links(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text):
        target, _, anchor = (link[0] or link[1]).partition("#")
        if not target.startswith(("http://", "https://")):
            file = page.parent / target if target else page
            if not file.is_file() or (anchor and anchor not in anchors_of(file)):
                yield link[0] or link[1]


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *PAGES]
)
def test_no_link_leads_nowhere(page):
    assert list(broken_links(page)) == []


def test_a_link_to_nowhere_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One title\n[a](#one-title) [b](#two) [c](page.md#one-title) [d](none.md) [e](https://e)\n"
    )
    assert list(broken_links(page)) == ["#two", "none.md"]


def test_every_page_is_in_the_table_of_contents():
    contents = (ROOT / "mkdocs.yml").read_text()
    assert [page for page in PAGES if f" {page.relative_to(ROOT / 'docs')}\n" not in contents] == []


def test_every_public_name_has_a_reference():
    import mcp_performance

    reference = "".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    described = set(re.findall(r"^::: mcp_performance\.(?:\w+\.)*(\w+)$", reference, re.MULTILINE))
    described |= set(mcp_performance.errors.__all__) | {"config", "__version__"}
    assert set(mcp_performance.__all__) - described == set()


def options_of_public_names():
    """Names of parameters, of whatever is public and can be called."""
    import mcp_performance
    from mcp_performance.integrations import fastmcp
    from mcp_performance.load import _keywords
    from mcp_performance.sqlite._connection import ConnectOptions

    names = set()
    found = [fastmcp.PerformanceMiddleware]
    found += filter(callable, (getattr(mcp_performance, name) for name in mcp_performance.__all__))
    for each in found:
        methods = [value for _, value in inspect.getmembers(each, callable)] if isinstance(each, type) else []
        for function in [each, *methods, *typing.get_overloads(each)]:
            with contextlib.suppress(TypeError, ValueError):  # no signature
                names.update(inspect.signature(function).parameters)
    passed_on = (
        _keywords.AnswerKeywords,
        _keywords.RequestKeywords,
        _keywords.TargetKeywords,
        ConnectOptions,
    )
    for keywords in passed_on:
        names.update(keywords.__annotations__)
    return names


def options_in_the_text(page):
    """What is written as `option=` outside of programs, but for a first column, which has a peer's names."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for line in text.splitlines():
        of_ours = line.partition(" | ")[2] if line.startswith("|") else line
        for code in re.findall(r"`([^`]+)`", of_ours):
            yield from re.findall(r"\b([a-z_]+)=", code)


def test_an_option_that_a_text_names_exists():
    names = options_of_public_names() | {"creator"}  # SQLAlchemy's, which is said not to be there
    written = {(page.name, option) for page in PAGES for option in options_in_the_text(page)}
    assert len(written) > 30
    assert {(page, option) for page, option in written if option not in names} == set()


def test_the_comparison_is_of_what_the_benchmarks_recorded():
    where = importlib.util.spec_from_file_location("recorded", ROOT / "scripts" / "recorded.py")
    recorded = importlib.util.module_from_spec(where)
    sys.modules["recorded"] = recorded  # where its dataclass looks for its own names
    where.loader.exec_module(recorded)
    table = recorded.table((ROOT / "benchmarks" / "RESULTS.md").read_text())
    page = (ROOT / "docs" / "comparison.md").read_text()

    def peers(text):
        return re.findall(
            r"^\| ([^|]+) \| ([^|]+) \| [^|]*\d[^|]* \| [^|]*\d[^|]* \| [\d.]+ x \|$", text, re.M
        )

    assert peers(page) == peers(table)
    assert len(peers(table)) == len(recorded.PEERS)
    small = """
<!-- cache:begin -->
| case | ours | to | theirs | ratio | reach |
|---|--:|---|--:|--:|--:|
| hit | 30 ns | one | 60 ns | 0.50 | 0.60 |
|  | 30 ns | other 1.2.3 15.0 ns | 2.00 | 0.60 |

| case | all, ns |
|---|---|
| hit | ours 30, third 0.3, one 60 |
<!-- cache:end -->
"""
    found = [recorded.Peer(name, "cache", "hit", "a hit") for name in ("one", "other", "third")]
    recorded.PEERS[:] = found
    assert recorded.table(small).splitlines()[2:] == [
        "| one | a hit | 30 ns | 60 ns | 2.0 x |",
        "| other | a hit | 30 ns | 15.0 ns | 0.50 x |",
        "| third | a hit | 30 ns | 0.3 ns | 0.01 x |",
    ]

"""The demo's report says what was measured, in the terminal and on the page, and escapes what it quotes."""

from dataclasses import replace

import pytest

from mcp_performance.demo.report import Advice, Figures, Findings, Slow, as_html, as_text
from mcp_performance.demo.run import _Console
from mcp_performance.load import Progress

BEFORE = Figures("before", 1500, 40.0, 0.2, 0.4, 0.5, 1.0, None, 55.0, True, "")
AFTER = Figures(
    "after", 1500, 8000.0, 0.001, 0.002, 0.0005, 0.99, 0.913, 0.5, False, "the generator was busy"
)
FINDINGS = Findings(
    machine="2 cores",
    date="2026-01-01",
    flights=336_776,
    before=BEFORE,
    after=AFTER,
    slow=[Slow("SELECT '<b>' FROM t", 12, 0.06, 0.08, ["full-scan: reads all of t"])],
    advice=[Advice("CREATE INDEX i ON t (a)", 1, 336_776, 12, verified=True)],
    recommendations=["documents: raise maxsize"],
)


def test_the_text_shows_both_halves_and_the_gain() -> None:
    lines = as_text(FINDINGS).splitlines()
    row = {line.split("  ")[0]: line for line in lines}
    assert row["throughput"].split() == ["throughput", "40", "/s", "8,000", "/s", "200.0", "x"]
    assert row["cache hit rate"].split() == ["cache", "hit", "rate", "none", "91.3", "%"]
    assert row["P99"].split() == ["P99", "500.0", "ms", "500", "us", "1,000.0", "x"]
    assert row["database time"].endswith("110.0 x")
    assert row["trust in the numbers"].split()[-3:] == ["valid", "not", "valid"]
    assert "after is not valid: the generator was busy" in lines
    assert "    - full-scan: reads all of t" in lines
    assert "    1 query, 336,776 -> 12 steps, tried on a copy" in lines


def test_the_page_holds_the_same_and_escapes_sql() -> None:
    page = as_html(FINDINGS)
    for text in ("200.0 x", "91.3 %", "CREATE INDEX i ON t (a)", "documents: raise maxsize"):
        assert text in page
    assert "SELECT &#x27;&lt;b&gt;&#x27; FROM t" in page
    assert "<b>" not in page
    assert "http://" not in page
    assert "https://" not in page


@pytest.mark.parametrize("render", [as_text, as_html])
def test_nothing_found_is_said(render) -> None:
    empty = replace(FINDINGS, slow=[], advice=[], recommendations=[])
    assert render(empty).count("none") >= 3


def test_the_rate_that_is_shown_on_the_way_is_since_the_line_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = _Console()
    for elapsed, completed in ((2.5, 10), (5.0, 25), (5.25, 25), (10.0, 75)):
        console.progress(Progress(completed, 0, elapsed, None, 0.0))
    said = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert said == ["25 requests, 5 /s", "75 requests, 10 /s"]

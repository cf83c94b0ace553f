"""A result as CSV and JUnit XML."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ._stats import fields_of

if TYPE_CHECKING:
    from ._result import LoadTestResult

__all__ = ["csv_text", "junit_text"]


def csv_text(result: LoadTestResult) -> str:
    """One line a second."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = ("second", "seconds", "successful", "failed", "bytes", "p50", "p95", "p99", "max")
    writer.writerow(columns)
    for second in result.series:
        writer.writerow(["" if value is None else value for value in map(fields_of(second).get, columns)])
    return out.getvalue()


def junit_text(result: LoadTestResult) -> str:
    """A test suite with one case for the validity of the run and one for each threshold."""
    cases: list[tuple[str, str | None]] = [
        ("the run is valid", None if result.valid else f"{result.verdict}: {result.reason}")
    ]
    cases += [
        (expression, None if held else f"{expression} does not hold")
        for expression, held in result.thresholds.items()
    ]
    suite = ElementTree.Element(
        "testsuite",
        name=f"load test of {result.target}",
        tests=str(len(cases)),
        failures=str(sum(failure is not None for _, failure in cases)),
        time=f"{result.elapsed:.3f}",
    )
    for name, failure in cases:
        case = ElementTree.SubElement(suite, "testcase", classname="mcp_performance.load", name=name)
        if failure is not None:
            ElementTree.SubElement(case, "failure", message=failure)
    ElementTree.SubElement(suite, "system-out").text = result.summary()
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)

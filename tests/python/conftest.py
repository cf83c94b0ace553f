"""What every test relies on, however the run was started."""

import signal
from collections.abc import Generator

import pytest

# A shell without job control starts background jobs with SIGINT ignored, and their children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Spell out lone surrogates in what a test said: a report of a worker process could not be sent else."""
    report = yield
    report.sections = [(name, _encodable(text)) for name, text in report.sections]
    if isinstance(report.longrepr, str):
        report.longrepr = _encodable(report.longrepr)
    return report


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()

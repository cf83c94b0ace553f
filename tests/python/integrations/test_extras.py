"""What an integration says whose framework is not installed, and that it is not looked for before."""

from __future__ import annotations

import subprocess
import sys

import pytest

EXTRAS = {
    "fastmcp": "fastmcp",
    "mcp": "mcp",
    "django": "django",
    "sqlalchemy": "sqlalchemy",
    "opentelemetry": "opentelemetry",
}
CODE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import mcp_performance, mcp_performance.integrations
assert {package!r} not in sys.modules
try:
    import mcp_performance.integrations.{module}
except ModuleNotFoundError as error:
    print(error)
"""


@pytest.mark.parametrize(("module", "package"), EXTRAS.items())
def test_an_absent_framework_is_an_error_that_names_the_extra(module: str, package: str) -> None:
    code = CODE.format(module=module, package=package)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip().endswith(f"is not installed: pip install 'mcp-performance[{module}]'")

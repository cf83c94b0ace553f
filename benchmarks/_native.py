"""Builds the native benchmark programs and writes figures into RESULTS.md."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.md"


def build(name: str) -> Path:
    """Build benchmarks/<name>.cpp optimised; the path of the program."""
    directory = ROOT / "build" / "benchmarks"
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DMCP_BUILD_BENCHMARKS=ON", "-DMCP_BUILD_BINDINGS=OFF"]
    configure = ["cmake", "-S", str(ROOT), "-B", str(directory), "-G", "Ninja", *options]
    subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["cmake", "--build", str(directory), "--target", name, "-j2"], check=True, stdout=subprocess.DEVNULL
    )
    return directory / "benchmarks" / name


def machine() -> str:
    """The processor, its number of cores, and the day."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    model, cores = (models or ["unknown processor"])[0], os.cpu_count()
    return f"{model}, {cores} cores, Linux {platform.release()}, {date.today().isoformat()}"


def record(section: str, text: str) -> None:
    """Replace the part of RESULTS.md between the markers of *section*, or append it."""
    begin, end = f"<!-- {section}:begin -->", f"<!-- {section}:end -->"
    page = RESULTS.read_text() if RESULTS.exists() else "# Results\n"
    block = f"{begin}\n{text.strip()}\n{end}"
    if begin in page:
        page = page[: page.index(begin)] + block + page[page.index(end) + len(end) :]
    else:
        page = f"{page.rstrip()}\n\n{block}\n"
    RESULTS.write_text(page)

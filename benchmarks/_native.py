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


def program(name: str, quick: bool) -> Path:
    """The program of benchmarks/<name>.cpp; a *quick* run takes the one that was built with the tests."""
    with_tests = ROOT / "build" / "python" / "benchmarks" / name
    return with_tests if quick and with_tests.exists() else build(name)


def output_of(*command: str | Path, keys: bytes = b"") -> str:
    """What a native program prints. A program that finds a wrong answer says so, and ends this one."""
    done = subprocess.run(command, input=keys, stdout=subprocess.PIPE)
    if done.returncode:
        raise SystemExit(f"{Path(command[0]).name} ended with status {done.returncode}: see above")
    return done.stdout.decode()


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

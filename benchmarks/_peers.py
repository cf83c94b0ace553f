"""Libraries to measure against, in an environment of their own."""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib import metadata, util
from pathlib import Path

ENVIRONMENT = Path(__file__).resolve().parent.parent / ".cache" / "bench-venv"


def add(*requirements: str, install: bool = True) -> None:
    """Make *requirements* importable here, after our own; without *install*, those that are there.

    They are installed into the environment, once.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = str(ENVIRONMENT / "lib" / version / "site-packages")
    if packages not in sys.path:
        sys.path.append(packages)
    if not install:
        return
    if not (ENVIRONMENT / "bin" / "python").exists():
        venv.create(ENVIRONMENT, with_pip=True)
    marker = ENVIRONMENT / "installed.txt"
    installed = set(marker.read_text().split()) if marker.exists() else set()
    missing = sorted(set(requirements) - installed)
    if missing:
        pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", *missing], check=True)
        marker.write_text("\n".join(sorted(installed | set(requirements))))


def has(*modules: str) -> bool:
    """Whether all these can be imported."""
    return all(util.find_spec(module) is not None for module in modules)


def version(name: str) -> str:
    """``name 1.2.3``, as it is imported here."""
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"no {name}"

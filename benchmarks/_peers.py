"""Libraries to measure against, in an environment of their own."""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

ENVIRONMENT = Path(__file__).resolve().parent.parent / ".cache" / "bench-venv"


def add(*requirements: str) -> None:
    """Install *requirements* into the environment, once, and make them importable here, after our own."""
    if not (ENVIRONMENT / "bin" / "python").exists():
        venv.create(ENVIRONMENT, with_pip=True)
    marker = ENVIRONMENT / "installed.txt"
    installed = set(marker.read_text().split()) if marker.exists() else set()
    missing = sorted(set(requirements) - installed)
    if missing:
        pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", *missing], check=True)
        marker.write_text("\n".join(sorted(installed | set(requirements))))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    sys.path.append(str(ENVIRONMENT / "lib" / version / "site-packages"))


def version(name: str) -> str:
    """``name 1.2.3``, as it is imported here."""
    return f"{name} {metadata.version(name)}"

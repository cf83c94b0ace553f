"""When, where and by what a run is made, as a report of it says."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from .._core import __version__

__all__ = ["circumstances", "shown_command"]

_HIDDEN = "***"


def circumstances() -> dict[str, str]:
    """Of a run that begins now."""
    return {
        "date": datetime.now(UTC).isoformat(sep=" ", timespec="seconds"),
        "version": f"mcp-performance {__version__}, Python {platform.python_version()}",
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {platform.system()} "
        f"{platform.release()} {platform.machine()}",
        "command": "",
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return " ".join(value.split())
    except OSError:
        pass
    return platform.processor() or "unknown processor"


def shown_command(arguments: Sequence[str] | None = None) -> str:
    """The command line as a report may show it: without values of headers, and users of URLs."""
    shown = []
    hide = False
    for argument in sys.argv[1:] if arguments is None else arguments:
        text = re.sub(r"(?<=//)[^/@\s]*(?=@)", _HIDDEN, argument)
        of_header, attached, header = text.partition("=") if text.startswith("--header=") else ("", "", text)
        if text.startswith("-H") and len(text) > 2:
            of_header, header, attached = "-H", text[2:], "-"
        if hide or attached:
            name, colon, _ = header.partition(":")
            text = f"{of_header}{attached.strip('-')}{name}{colon} {_HIDDEN}"
        hide = text in ("-H", "--header")
        shown.append(text)
    return shlex.join(["mcp-performance", *shown])

"""What a command is given to print to: there, and able to take every character.

A shell can start a command without one (``>&-``). The first file that it opens would then stand in its place,
and take what was meant for the terminal.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys

__all__ = ["let_go_of_output", "make_sound"]


def make_sound() -> None:
    """A stream that is missing leads nowhere; a character that an encoding lacks is escaped."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", closefd=False))
        elif isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
            stream.reconfigure(errors="backslashreplace")


def let_go_of_output() -> None:
    """What is buffered and cannot be written goes nowhere; the interpreter would complain at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

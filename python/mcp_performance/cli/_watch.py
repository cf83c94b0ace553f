"""Watching a running service in a terminal: ``mcp-performance top``.

A look that fails leaves the last figures and says so; the next one that succeeds goes on.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from .._base._checks import number
from ..errors import Error
from ._frame import SORTS, VIEWS, View, frame
from ._source import Source

__all__ = ["SORTS", "VIEWS", "Source", "frame", "top"]

_LONGEST_PAUSE = 3.0
_KEYS = "q ends  w workers  c count  s rate  m mean  5 p95  9 p99  e errors  n name  r reverse"
_SORT_KEYS = {"c": "count", "s": "rate", "m": "mean", "5": "p95", "9": "p99", "e": "errors", "n": "name"}
_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


@dataclass(frozen=True)
class _Look:
    """What was seen last, and what came of the looks since."""

    report: dict[str, Any] | None = None
    before: dict[str, Any] | None = None
    each: bool = False
    at: float = 0.0
    failure: str = ""
    failures: int = 0

    def after(self, source: Source, each: bool) -> _Look:
        """The state after one more look.

        Raises:
            Error: it failed, and nothing was ever seen.
        """
        try:
            report = source.report(each=each)
        except Error as error:
            if self.report is None:
                raise
            return replace(self, failure=str(error), failures=self.failures + 1)
        return _Look(report, self.report if each == self.each else None, each, time.monotonic())

    def pause(self, interval: float) -> float:
        """Seconds until the next look: longer while they fail."""
        return min(interval * float(1 << min(self.failures, 8)), max(_LONGEST_PAUSE, interval))

    def note(self, keys: str) -> str:
        if not self.failures:
            return keys
        ago = time.monotonic() - self.at
        return f"no answer for {ago:.0f} s, trying again: {self.failure}"


def _framed(look: _Look, view: View, note: str) -> str:
    """What was seen, drawn.

    Raises:
        Error: it is no report as this version knows it.
    """
    try:
        return frame(look.report or {}, view, before=look.before, note=note)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise Error(f"the service's report is not of this version of mcp_performance: {error!r}") from None


def _key_pressed(key: str, view: View) -> View:
    if key == "w":
        return view._replace(by="route" if view.by == "worker" else "worker")
    if key == "r":
        return view._replace(reverse=not view.reverse)
    return view._replace(sort=_SORT_KEYS[key]) if key in _SORT_KEYS else view


@contextlib.contextmanager
def _screen() -> Iterator[bool]:
    """The other screen of a terminal, without a cursor; keys come one by one where the input is one, too."""
    import termios
    import tty

    keys = sys.stdin if sys.stdin is not None and sys.stdin.isatty() else None
    settings = None if keys is None else termios.tcgetattr(keys)
    sys.stdout.write(_ENTER)
    try:
        if keys is not None:
            tty.setcbreak(keys)
        yield keys is not None
    finally:
        if keys is not None and settings is not None:
            termios.tcsetattr(keys, termios.TCSADRAIN, settings)
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def _draw(text: str) -> None:
    lines = text.split("\n")
    sys.stdout.write(_HOME + "\n".join(line + _REST_OF_LINE for line in lines) + _REST)
    sys.stdout.flush()


def _watch(source: Source, view: View, interval: float) -> int:
    # Nothing is drawn before the service has answered once: what is wrong then is said as an error.
    look = _Look().after(source, view.by == "worker")
    with _screen() as takes_keys:
        due = time.monotonic() + interval
        while True:
            size = os.get_terminal_size(sys.stdout.fileno())  # not COLUMNS, which knows of no new size
            fitted = view._replace(width=size.columns, height=size.lines)
            if look.report is not None:
                note = look.note(_KEYS if takes_keys else "")
                _draw(_framed(look, fitted, note))
            left = max(0.0, due - time.monotonic())
            keys = ""
            if takes_keys and select.select([sys.stdin], [], [], left)[0]:
                keys = os.read(sys.stdin.fileno(), 64).decode("ascii", "ignore")
                if not keys or "q" in keys or "\x04" in keys:
                    return 0
            elif not takes_keys:
                time.sleep(left)
            by = view.by
            for key in keys:
                view = _key_pressed(key, view)
            if time.monotonic() >= due or view.by != by:
                look = look.after(source, view.by == "worker")
                due = time.monotonic() + look.pause(interval)


def top(
    url: str,
    *,
    token: str | None = None,
    interval: float = 1.0,
    once: bool = False,
    sort: str = "count",
    by: str = "route",
) -> int:
    """Show what a service does until Ctrl-C or ``q``; return the exit code. In a terminal, the screen is kept
    up to date; elsewhere a look follows the other.

    Args:
        url: of the service, or of its performance endpoints.
        token: their bearer token.
        interval: seconds between looks.
        once: look once and stop.
        sort: one of :data:`SORTS`.
        by: one of :data:`VIEWS`.

    Raises:
        Error: the service cannot be reached at the first look.
    """
    number("interval", interval, 0, 3600, above=True, unit="seconds")
    source, view = Source(url, token=token), View(by, sort, width=shutil.get_terminal_size((120, 0)).columns)
    if sys.stdout.isatty() and not once:
        return _watch(source, view, interval)
    look = _Look()
    while True:
        look = look.after(source, by == "worker")
        if look.report is not None:
            print(_framed(look, view, look.note("")), flush=True)
        if once:
            return 0
        time.sleep(look.pause(interval))

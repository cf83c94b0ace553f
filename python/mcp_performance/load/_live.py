"""Progress of a run in a terminal: with rich where it is installed, one line otherwise."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator

from .._base._checks import any_function
from ._supervision import Progress, ProgressCallback

__all__ = ["shown"]


@contextlib.contextmanager
def shown(progress: ProgressCallback | bool | None, title: str) -> Iterator[ProgressCallback | None]:
    """The callback that *progress* stands for: itself, or one that draws in the terminal."""
    if progress is None or progress is False:
        yield None
        return
    if progress is not True:
        yield any_function("progress", progress, "a bool, or a function of the progress")
        return
    with _rich(title) if _has_rich() else _plain(title) as callback:
        yield callback


def _has_rich() -> bool:
    return importlib.util.find_spec("rich") is not None


@contextlib.contextmanager
def _rich(title: str) -> Iterator[ProgressCallback]:
    bars = importlib.import_module("rich.progress")
    console = importlib.import_module("rich.console").Console(stderr=True)
    escape = importlib.import_module("rich.markup").escape
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TextColumn("{task.percentage:>3.0f}%"),
        bars.TextColumn("{task.fields[rate]} requests/s"),
        bars.TextColumn("{task.fields[failed]}"),
        bars.TimeElapsedColumn(),
    )
    with bars.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(escape(title), total=1.0, rate="-", failed="")

        def show(now: Progress) -> None:
            failed = f"[red]{now.failed:,} failed[/red]" if now.failed else ""
            total = 1.0 if now.fraction is not None else None
            bar.update(
                task,
                completed=now.fraction or 0.0,
                total=total,
                rate=f"{now.requests_per_second:,.0f}",
                failed=failed,
            )

        yield show


@contextlib.contextmanager
def _plain(title: str) -> Iterator[ProgressCallback]:
    terminal = sys.stderr.isatty()

    def show(now: Progress) -> None:
        if not terminal:
            return
        done = "" if now.fraction is None else f"{now.fraction:4.0%}  "
        failed = f"  {now.failed:,} failed" if now.failed else ""
        line = f"{title}  {done}{now.completed:,} requests  {now.requests_per_second:,.0f}/s{failed}"
        sys.stderr.write(f"\r\x1b[K{line[:200]}")
        sys.stderr.flush()

    try:
        yield show
    finally:
        if terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

"""The ``mcp-performance`` command: ``demo | load | analyze | top | dashboard | doctor | completion``.

Exit codes: 0 done, 2 the arguments, a setting of the environment or the target were refused, or something
cannot be read or written, 130 Ctrl-C, 141 nobody reads what is printed (``| head``). That of ``analyze``:
also 1 findings at the level of ``--fail-on`` or above. Those of ``load``: also 1 a threshold was crossed or
requests failed, 3 the run is invalid, and 143 SIGTERM. That of ``doctor``: also 1 something is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import config
from .._core import __version__
from ..errors import ConfigurationError, Error
from ._analyze import add_analyze
from ._completion import add_completion
from ._doctor import add_doctor
from ._frame import SORTS, VIEWS
from ._load import add_load
from ._streams import let_go_of_output, make_sound

__all__ = ["main"]


def _demo(options: argparse.Namespace) -> int:
    try:
        from ..demo import main as run
    except ModuleNotFoundError as missing:
        raise ConfigurationError(
            f"the demo needs {missing.name}: pip install 'mcp-performance[demo]'"
        ) from None
    return run(options)


def _top(options: argparse.Namespace) -> int:
    from ._watch import top

    return top(
        options.url,
        token=options.token,
        interval=options.interval,
        once=options.once,
        sort=options.sort,
        by=options.by,
    )


def _browse(options: argparse.Namespace) -> int:
    from ._dashboard import serve_dashboard

    return serve_dashboard(options.url, token=options.token, port=options.port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcp-performance", description="Caches, SQLite, load tests and monitoring for Python services."
    )
    parser.add_argument("--version", action="version", version=f"mcp-performance {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="a real service, load-tested before and after")
    demo.add_argument("--directory", type=Path, default=Path("mcp-performance-demo"), help="where files go")
    demo.add_argument("--requests", type=int, default=1500, help="requests of each half")
    demo.add_argument("--users", type=int, default=10, help="concurrent users")
    demo.add_argument("--serve", action="store_true", help="leave the service running afterwards")
    demo.add_argument("--host", default="127.0.0.1", help="with --serve: the address to listen on")
    demo.add_argument("--port", type=int, default=8000, help="with --serve: the port to listen on")
    demo.set_defaults(run=_demo)

    add_load(commands)

    add_analyze(commands)

    for name, run, text in (
        ("top", _top, "watch a running service in the terminal"),
        ("dashboard", _browse, "watch a running service in a browser"),
    ):
        watch = commands.add_parser(name, help=text)
        watch.add_argument("url", metavar="URL", help="of the service, or of its performance endpoints")
        watch.add_argument("--token", help="the bearer token of its performance endpoints")
        watch.set_defaults(run=run)
        if name == "top":
            watch.add_argument("--interval", type=float, default=1.0, help="seconds between looks")
            watch.add_argument("--once", action="store_true", help="look once and stop")
            watch.add_argument("--sort", choices=SORTS, default="count", help="what rows are sorted by")
            watch.add_argument("--by", choices=VIEWS, default="route", help="a row for each")
        else:
            watch.add_argument("--port", type=int, default=8080, help="of the page, on loopback")

    add_doctor(commands)
    add_completion(commands, _parser)
    return parser


def _check_settings(command: str) -> None:
    """The doctor alone lives with bad ones, as it tells of them."""
    if config._REFUSED and command != "doctor":
        raise ConfigurationError("; ".join(config._REFUSED.values()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    make_sound()
    options = _parser().parse_args(arguments)
    try:
        _check_settings(options.command)
        code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        let_go_of_output()
        return 141
    except (Error, UnicodeError) as error:
        print(f"mcp-performance: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a disk that is full, a folder that may not be written
        let_go_of_output()
        print(f"mcp-performance: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return code

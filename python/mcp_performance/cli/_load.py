"""``mcp-performance load``: one load test from the command line.

Exit codes: 0 valid and every threshold held, 1 a threshold was crossed, or more than 1 % of the requests
failed and no threshold on failures allows it, 2 the arguments or the target were refused, 3 the thresholds
held but the run is invalid (its verdict says why), 130 and 143 SIGINT (Ctrl-C) and SIGTERM ended the run,
whose results so far are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .._base._durations import seconds
from ..errors import ConfigurationError, LoadTestError
from ..load import LoadTester, LoadTestResult, Request
from ..load._circumstances import shown_command
from ..load._targets import McpCall, WebSocketCall, split_url, takes_asgi
from ..load._thresholds import THRESHOLDS_HELP

__all__ = ["add_load", "exit_code", "run_load"]

CROSSED, INVALID, INTERRUPTED, TERMINATED = 1, 3, 130, 143
_MOST_FAILURES = 0.01
_LONGEST_NAME = 255  # that Linux's file systems take
_STANDARD_OUTPUT = "-"


def _duration(text: str) -> float:
    """Seconds, as ``30``, ``30s`` or ``1m30s``."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return seconds("duration", text, zero=True) or 0.0
    except ConfigurationError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds, or text such as 30s") from None


def _stages(text: str) -> list[tuple[float, float]]:
    try:
        pairs = [piece.split(":") for piece in text.split(",")]
        return [(_duration(time), float(target)) for time, target in pairs]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected DURATION:TARGET,... such as 10s:50") from None


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r}: expected 'Name: value'")
    return name.strip(), value.strip()


def _think(text: str) -> float | tuple[float, float]:
    low, dash, high = text.partition("-")
    return (_duration(low), _duration(high)) if dash else _duration(low)


def add_load(commands: Any) -> None:
    """Add the command to *commands*, what ``add_subparsers`` returned."""
    load = commands.add_parser(
        "load",
        help="load-test a URL, an ASGI app or a function",
        description=__doc__,
        epilog=THRESHOLDS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    load.add_argument(
        "target",
        nargs="?",
        metavar="URL",
        help="http, https, ws or wss; or module:name of an ASGI app, a function, or an async function of a "
        "user; or, with --mcp-tool, stdio:COMMAND; the built-in sample service without one",
    )
    _add_model(load.add_argument_group("how much"))
    _add_request(load.add_argument_group("what is sent"))
    _add_output(load.add_argument_group("judgement and output"))
    load.set_defaults(run=run_load)


def _add_model(group: Any) -> None:
    group.add_argument("-n", "--requests", type=int, help="how many; 1000 unless --duration or --stages")
    group.add_argument("-c", "--users", type=int, default=10, help="concurrent users; 10 by default")
    group.add_argument("--duration", type=_duration, help="how long, such as 30 or 1m30s")
    group.add_argument("--rate", type=float, help="requests a second, whatever the target does (open model)")
    group.add_argument("--poisson", action="store_true", help="random arrivals at --rate")
    group.add_argument(
        "--stages",
        type=_stages,
        metavar="DURATION:TARGET,...",
        help="a profile of users, or with --rate of rates: 10s:50,1m:50,0:200,10s:200",
    )
    group.add_argument("--batch-size", type=int, default=1, help="requests that a user sends together")
    group.add_argument(
        "--think-time", type=_think, help="a user's pause between requests, or 1-3 for a range"
    )
    group.add_argument("--warmup", type=_duration, help="time that does not count")
    group.add_argument(
        "--timeout", type=_duration, default=30.0, help="that a request may take; 30 by default"
    )
    group.add_argument(
        "--drain",
        type=_duration,
        default=5.0,
        help="after the planned end, for answers to what is under way, whatever --timeout; 5 by default",
    )
    group.add_argument(
        "--workers",
        type=int,
        default=1,
        help="processes that make the run together, each of which can use a core; 1 by default",
    )
    group.add_argument(
        "--threads", type=int, default=1, help="generator threads of a worker, for a URL; 1 by default"
    )


def _add_request(group: Any) -> None:
    group.add_argument(
        "-H", "--header", type=_header, action="append", default=[], help="'Name: value'; may be repeated"
    )
    group.add_argument("--path", help="of the request; that of the URL by default, / of an ASGI app")
    group.add_argument("-X", "--method", help="GET by default, POST with --body")
    group.add_argument("--body", metavar="TEXT", help="of the request; @FILE for the content of a file")
    group.add_argument(
        "--scenario",
        metavar="FILE",
        help="requests instead of that one: a JSON list of objects with the arguments of Request",
    )
    group.add_argument("--cookies", action="store_true", help="each user keeps the cookies that it is given")
    group.add_argument("--data", metavar="FILE", help="CSV or JSON: {column} is that of the user's own row")
    group.add_argument(
        "--base", metavar="URL", help="where the paths that a function of a user asks for begin"
    )
    group.add_argument("--mcp-tool", metavar="NAME", help="call this tool of the MCP server at the URL")
    group.add_argument("--mcp-arguments", metavar="JSON", help="an object: of every call")
    group.add_argument(
        "--events", type=int, help="the answer is over after so many server-sent events, of a stream"
    )
    group.add_argument("--expect", metavar="TEXT", help="that the answer of a success contains")
    group.add_argument("--http2", action="store_true", help="by TLS, or to http:// from the first byte")
    group.add_argument(
        "--streams", type=int, default=100, help="requests that share an HTTP/2 connection at most; 100"
    )
    group.add_argument("--insecure", action="store_true", help="do not check the certificate")
    group.add_argument("--ca", type=Path, metavar="FILE", help="PEM file to check the certificate with")
    group.add_argument("--unix-socket", metavar="PATH", help="through which to reach the host")
    group.add_argument(
        "--allow-host", action="append", default=[], help="a host outside this machine's networks"
    )


def _add_output(group: Any) -> None:
    group.add_argument("--threshold", action="append", default=[], help='such as "p99<50ms"; may be repeated')
    group.add_argument(
        "--abort-on-fail", action="store_true", help="end the run once a threshold cannot hold any more"
    )
    group.add_argument(
        "--json",
        nargs="?",
        const=_STANDARD_OUTPUT,
        metavar="FILE",
        help="write the result as JSON; to standard output, instead of the summary, without FILE",
    )
    group.add_argument("--csv", metavar="FILE", help="write the figures of each second")
    group.add_argument("--html", metavar="FILE", help="write a report")
    group.add_argument(
        "--baseline", metavar="FILE", help="what --save wrote of another run, to compare this one with"
    )
    group.add_argument("--junit", metavar="FILE", help="write a JUnit test suite, one case a threshold")
    group.add_argument("--save", metavar="FILE", help="write everything, for merge_results()")
    group.add_argument("--quiet", action="store_true", help="no progress in the terminal")


def exit_code(result: LoadTestResult) -> int:
    """What a run of the command ends with, see this module."""
    if result.interrupted:
        return INTERRUPTED
    too_many = result.success_rate < 1 - _MOST_FAILURES and not result.failures_allowed
    if too_many or not result.passed or not result.successful:
        return CROSSED
    return 0 if result.valid else INVALID


def run_load(options: argparse.Namespace) -> int:
    """Run the load test that *options* describe, print and write its result."""
    _check_files(options)
    terminated: list[int] = []
    baseline = _baseline(options.baseline)
    result = asyncio.run(_run(options, terminated))
    result = dataclasses.replace(result, made={**result.made, "command": shown_command()})
    print(result.to_json() if options.json == _STANDARD_OUTPUT else result)
    compared = baseline is not None and baseline.histogram.count and result.histogram.count
    if baseline is not None and compared and options.json != _STANDARD_OUTPUT:
        print(f"{'against the baseline':<22}{baseline.compare(result).verdict}")
    writers: Sequence[tuple[str | None, Callable[[str], Any]]] = (
        (None if options.json == _STANDARD_OUTPUT else options.json, result.to_json),
        (options.csv, result.to_csv),
        (options.html, lambda path: result.to_html(path, baseline=baseline)),
        (options.junit, result.to_junit),
        (options.save, result.save),
    )
    for path, write in writers:
        if path is not None:
            write(path)
    return TERMINATED if terminated and result.interrupted else exit_code(result)


def _baseline(path: str | None) -> LoadTestResult | None:
    if path is None:
        return None
    try:
        return LoadTestResult.load(path)
    except (OSError, LoadTestError) as error:
        raise ConfigurationError(f"--baseline={path!r}: {error}") from None


@contextlib.contextmanager
def _ended_by_sigterm(tester: LoadTester, terminated: list[int]) -> Iterator[None]:
    """The first SIGTERM ends the run and keeps its results; a second one ends the process."""

    def end(number: int, _: Any) -> None:
        signal.signal(signal.SIGTERM, before)
        terminated.append(number)
        tester.stop()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a script's background jobs are started
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_files(options: argparse.Namespace) -> None:
    """A result that could not be written would be found out after the run."""
    for name in ("json", "csv", "html", "junit", "save"):
        path = getattr(options, name)
        if path is None or path == _STANDARD_OUTPUT:
            continue
        folder = Path(path).parent
        there = os.path.isdir(folder) and os.access(folder, os.W_OK)
        if not there or os.path.isdir(path) or len(os.path.basename(path)) > _LONGEST_NAME:
            raise ConfigurationError(f"--{name}={path!r}: expected a file in a folder that can be written to")


async def _run(options: argparse.Namespace, terminated: list[int]) -> LoadTestResult:
    target, scenario = _target(options)
    tester = LoadTester(
        target,
        headers=dict(options.header),
        scenario=scenario,
        url=options.base,
        cookies=options.cookies,
        data=options.data,
        think_time=options.think_time,
        verify=False if options.insecure else str(options.ca) if options.ca else True,
        unix_socket=options.unix_socket,
        allow_hosts=options.allow_host,
        http2=options.http2,
        streams=options.streams,
        threads=options.threads,
        workers=options.workers,
    )
    with _ended_by_sigterm(tester, terminated):
        return await tester.run_load_test(
            num_requests=options.requests,
            concurrent_users=options.users,
            duration=options.duration,
            rate=options.rate,
            stages=options.stages,
            batch_size=options.batch_size,
            warmup=options.warmup,
            timeout=options.timeout,
            drain=options.drain,
            thresholds=options.threshold or None,
            abort_on_fail=options.abort_on_fail,
            progress=not options.quiet and sys.stderr.isatty(),
            arrivals="poisson" if options.poisson else "uniform",
        )


def _target(options: argparse.Namespace) -> tuple[Any, Sequence[Request] | None]:
    """The target, and the requests where they are more than a GET of the URL or of an app's root."""
    text = options.target
    if options.mcp_tool is not None:
        return _mcp_target(options), None
    if text is not None and text.startswith(("ws://", "wss://")):
        _refuse(options, "a WebSocket", ("path", "method", "scenario", "events"))
        body = _body(options.body)
        return WebSocketCall(text, "" if body is None else body, options.expect or ""), None
    if options.mcp_arguments is not None:
        raise ConfigurationError("--mcp-arguments needs --mcp-tool")
    given = [name for name in _OF_A_REQUEST if getattr(options, name) is not None]
    if options.scenario is not None:
        _refuse(options, "--scenario", _OF_A_REQUEST)
        return (text if text is None or "://" in text else _imported(text)), _scenario(options.scenario)
    if text is None or "://" not in text:
        target = None if text is None else _imported(text)
        if not given:
            return target, None
        if target is None or not takes_asgi(target):
            raise ConfigurationError(f"--{given[0]} needs a URL or an ASGI app")
        return target, [_request(options, "/")]
    if not given:
        return text, None
    base, path = split_url(text)
    return base, [_request(options, path)]


_OF_A_REQUEST = ("path", "method", "body", "events", "expect")


def _refuse(options: argparse.Namespace, what: str, names: Sequence[str]) -> None:
    for name in names:
        if getattr(options, name) is not None:
            raise ConfigurationError(f"--{name} does not go with {what}")


def _mcp_target(options: argparse.Namespace) -> McpCall:
    if options.target is None:
        raise ConfigurationError("--mcp-tool needs the URL of an MCP server, or stdio:COMMAND")
    _refuse(options, "--mcp-tool", (*_OF_A_REQUEST, "scenario"))
    try:
        arguments = json.loads(options.mcp_arguments or "{}")
    except ValueError as error:
        raise ConfigurationError(f"--mcp-arguments={options.mcp_arguments!r}: {error}") from None
    if not isinstance(arguments, dict):
        raise ConfigurationError(f"--mcp-arguments={options.mcp_arguments!r}: expected a JSON object")
    return McpCall(options.target, options.mcp_tool, arguments)


def _scenario(path: str) -> list[Request]:
    """The requests of the JSON file *path*."""
    try:
        items = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"--scenario={path!r}: {error}") from None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ConfigurationError(f"--scenario={path!r}: expected a list of objects")
    try:
        return [Request(**item) for item in items]
    except TypeError as error:
        raise ConfigurationError(f"--scenario={path!r}: {error}") from None


def _request(options: argparse.Namespace, path: str) -> Request:
    body = _body(options.body)
    method = options.method or ("GET" if body is None else "POST")
    return Request(
        method,
        path if options.path is None else options.path,
        body=body,
        events=options.events or 0,
        expect_body=options.expect,
    )


def _body(text: str | None) -> str | bytes | None:
    if text is None or not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"--body={text!r}: {error.strerror}") from None


def _imported(text: str) -> Any:
    """What ``module:name`` names; modules are looked for in the current folder as well."""
    module, colon, name = text.partition(":")
    expected = "expected a URL, or module:name of an ASGI app or a function"
    if not colon or not name:
        raise ConfigurationError(f"target={text!r}: {expected}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"target={text!r}: {expected} ({error})") from None
    except Exception as error:
        kind = type(error).__name__
        raise ConfigurationError(f"target={text!r}: {module} cannot be imported: {kind}: {error}") from error
    if not callable(found):
        raise ConfigurationError(f"target={text!r}: {expected}, not {found!r}")
    return found

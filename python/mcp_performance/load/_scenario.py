"""What a load test sends: weighted requests, filled from data rows, drawn the same way by every run."""

from __future__ import annotations

import csv
import json as jsonlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

from .._base._checks import (
    content,
    flag,
    instance,
    integer,
    mapping,
    number,
    optional_text,
    several,
    text,
    texts,
)
from .._base._headers import header_line, headers_of
from ..errors import ConfigurationError
from ._values import NativeSource, Variables, native_checks, source, statuses

__all__ = ["Request"]

# The markers that the native core fills for each request, see cpp/loadtest/scenario.h.
_SEQUENCE_MARKER = "\x01sequence--\x01"
_UUID_MARKER = "\x01uuid------------------------------\x01"
_BUILT_IN = {"seq": _SEQUENCE_MARKER, "uuid": _UUID_MARKER}

# A value of a user that stands for a whole JSON value: it brings its own quotes.
_WHOLE_VALUE = re.compile(r'"\\u0001(v\d{4}w)\\u0001"')
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MOST_KINDS = 64

Order: TypeAlias = Literal["weighted", "sequential"]
Row = Mapping[str, Any]
Message = tuple[str, str, list[tuple[bytes, bytes]], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What makes a response a success."""

    low: int
    high: int
    contains: bytes
    checks: tuple[Any, ...] = ()
    saves: tuple[tuple[int, NativeSource], ...] = ()
    events: int = 0
    json_rpc: bool = False

    @property
    def looks(self) -> bool:
        """Whether more of a response than its status is looked at."""
        return bool(self.contains or self.checks or self.saves or self.events or self.json_rpc)

    def native(self) -> tuple[Any, ...]:
        return (
            self.low,
            self.high,
            self.contains,
            list(self.checks),
            list(self.saves),
            self.events,
            self.json_rpc,
        )


@dataclass(frozen=True, slots=True)
class Request:
    """One kind of request of a scenario.

    ``{column}`` in the path, in header values and in the body is filled from the rows of *data*;
    ``{seq}`` (twelve digits) and ``{uuid}`` differ in every request of a run. Values are
    percent-encoded in the path. In a ``json`` value, a string that is one placeholder and nothing
    else takes the row's value with its type; braces around anything else are left alone in bodies.
    ``{name}`` is also what the same user has saved of an earlier answer, or was given by its feed or
    its set-up.

    Example:
        ``Request("POST", "/bookings", json={"seat": "{seat}"}, headers={"Idempotency-Key": "{uuid}"},
        data=[{"seat": "12A"}, {"seat": "12B"}], weight=3)``

    Args:
        method: the HTTP method.
        path: path and query, from the target's base path on; begins with ``/``.
        headers: of this request, on top of the tester's. Values are sent as Latin-1.
        body: bytes, or text that is sent as UTF-8.
        json: instead of *body*: a value that is sent as JSON.
        data: rows, or the path of a CSV file with a header line or of a JSON file with a list of
            objects. Each row makes a variant of the request; variants are drawn evenly.
        weight: how often it is drawn, relative to the other requests.
        name: under which its figures are reported; the method and the path without query by default.
        tags: words under which the figures of several kinds of requests are reported together.
        expect_status: the status, or the lowest and highest one, of a success; anything below 400
            by default.
        expect_body: text that the body of a success contains.
        save: what the user keeps of a success, by name: ``{"token": "json:user.token"}``. Places are
            ``json:`` with keys and indexes between dots, or a JSON pointer (``json:/user/token``),
            ``header:`` with a name, and ``regex:`` with an expression (PCRE2), whose first group counts.
            An answer without it has failed.
        check: places as in *save*, and what is expected there, ``...`` for anything:
            ``{"json:status": "paid", "json:items.0": ..., "header:X-Cache": "HIT"}``.
        json_rpc: whether the answer is that of a JSON-RPC call, so that an error in it is a failure, and
            the failure of an MCP tool too.
        events: the answer is a stream of server-sent events, and is over after this many: its time is that
            to the last of them.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    body: bytes | str | None = field(default=None, kw_only=True)
    json: Any = field(default=None, kw_only=True)
    data: Sequence[Row] | str | Path | None = field(default=None, kw_only=True)
    weight: float = field(default=1, kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    tags: Sequence[str] = field(default=(), kw_only=True)
    expect_status: int | tuple[int, int] | None = field(default=None, kw_only=True)
    expect_body: str | bytes | None = field(default=None, kw_only=True)
    save: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    check: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    json_rpc: bool = field(default=False, kw_only=True)
    events: int = field(default=0, kw_only=True)

    @property
    def label(self) -> str:
        """The name under which figures are reported."""
        return self.name if self.name is not None else f"{self.method.upper()} {self.path.partition('?')[0]}"


@dataclass(slots=True)
class Kind:
    """Requests that are reported together, ready for the native core."""

    name: str
    weight: float
    check: Check
    messages: list[Message] = field(default_factory=list)

    def native(self) -> tuple[str, float, list[Message], tuple[Any, ...]]:
        return (self.name, self.weight, self.messages, self.check.native())


@dataclass(slots=True)
class Plan:
    """A scenario, expanded: kinds with their messages, and the order where there is one."""

    kinds: list[Kind]
    sequence: list[tuple[int, int]]
    variables: list[str] = field(default_factory=list)
    """Names under which users keep values."""


def checked_scenario(scenario: Sequence[Request] | None) -> list[Request] | None:
    """*scenario* if it is requests, whose fields are of the types that they should be."""
    if scenario is None:
        return None
    requests = list(several("scenario", scenario, "Request objects"))
    for request in requests:
        _check_types(instance("scenario", request, Request, "Request objects"))
    return requests


def _check_types(request: Request) -> None:
    text("method", request.method, "the method of a request")
    text("path", request.path, "a path that begins with /")
    for name in ("headers", "save", "check"):
        mapping(name, getattr(request, name), none=False)
    headers_of(request.headers)
    content("body", request.body)
    content("expect_body", request.expect_body)
    if request.data is not None and not isinstance(request.data, str | Path):
        several("data", request.data, "rows, or the path of a CSV or JSON file")
    number("weight", request.weight, 0, 1e12, above=True)
    optional_text("name", request.name)
    texts("tags", request.tags)
    statuses(request.expect_status)
    flag("json_rpc", request.json_rpc)
    integer("events", request.events, 0, 1_000_000)


def tags_of(scenario: Sequence[Request]) -> dict[str, list[str]]:
    """The tags of the requests of *scenario*, by their names; those that share a name share their tags."""
    found: dict[str, list[str]] = {}
    for request in scenario:
        found.setdefault(request.label, []).extend(request.tags)
    return {name: list(dict.fromkeys(tags)) for name, tags in found.items() if tags}


def saved_names(scenario: Sequence[Request]) -> list[str]:
    """The names under which the requests of *scenario* save values."""
    return [name for request in scenario for name in request.save]


def expand(
    scenario: Sequence[Request],
    *,
    prefix: str,
    headers: Mapping[str, str],
    order: str,
    variables: Variables | None = None,
) -> Plan:
    """Fill every request from its data and group the messages by name and check.

    *variables* are what users know before their first request; what requests save is added.
    """
    if not scenario:
        raise ConfigurationError("scenario=[]: expected at least one Request")
    known = Variables() if variables is None else variables
    for name in saved_names(scenario):
        known.number(name)
    # Within a kind messages are drawn evenly, so only those of the same weight share one.
    kinds: dict[tuple[str, Check, float], int] = {}
    plan = Plan([], [])
    for request in scenario:
        check = _check(request, known)
        messages = [
            _message(request, _Values(row, known), prefix, headers) for row in read_rows(request.data)
        ]
        share = 0.0 if order == "sequential" else request.weight / len(messages)
        key = (request.label, check, share)
        if key not in kinds and len(kinds) >= _MOST_KINDS:
            key = ("other requests", check, share)
        if key not in kinds:
            kinds[key] = len(plan.kinds)
            plan.kinds.append(Kind(key[0], 0.0, check))
        number = kinds[key]
        kind = plan.kinds[number]
        if order == "sequential":
            plan.sequence.extend((number, len(kind.messages) + i) for i in range(len(messages)))
        kind.messages.extend(messages)
        kind.weight += request.weight
    plan.variables = known.names
    return plan


def _check(request: Request, known: Variables) -> Check:
    low, high = statuses(request.expect_status)
    return Check(
        low=low,
        high=high,
        contains=content("expect_body", request.expect_body),
        checks=native_checks(request.check),
        saves=tuple((known.number(name), source("save", place)) for name, place in request.save.items()),
        events=request.events,
        json_rpc=request.json_rpc,
    )


def read_rows(data: Sequence[Row] | str | Path | None) -> Sequence[Row]:
    """The rows that *data* is or names; one without columns for None."""
    if data is None:
        return [{}]
    if isinstance(data, str | Path):
        path = Path(data)
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows: Any = jsonlib.load(file) if path.suffix == ".json" else list(csv.DictReader(file))
        except OSError as error:
            raise ConfigurationError(f"data={str(data)!r}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigurationError(f"data={str(data)!r}: {error}") from error
    else:
        rows = data
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        raise ConfigurationError(f"data={data!r}: expected at least one row, each a mapping")
    result: Sequence[Row] = rows
    return result


class _Values:
    """What placeholders stand for in one message: columns of a row, what its user knows, what is built in."""

    def __init__(self, row: Row, known: Variables) -> None:
        self.row = row
        self.known = known

    def marker(self, name: str, encoding: str, *, needed: bool = False) -> str | None:
        if name in _BUILT_IN and name not in self.known.names:
            return _BUILT_IN[name]
        return self.known.marker(name, encoding, needed=needed)


def _message(request: Request, values: _Values, prefix: str, headers: Mapping[str, str]) -> Message:
    method = request.method.upper()
    if not request.path.startswith("/"):
        raise ConfigurationError(f"path={request.path!r}: expected a path that begins with /")
    target = prefix + _fill_strict(request.path, values, "p", where="path")
    merged = {name.lower(): (name, value) for name, value in headers.items()}
    merged.update({name.lower(): (name, value) for name, value in request.headers.items()})
    body = _body(request, values)
    if request.json is not None and "content-type" not in merged:
        merged["content-type"] = ("Content-Type", "application/json")
    lines = [
        header_line(name, _fill_strict(value, values, "h", where="headers"))
        for name, value in merged.values()
    ]
    return (method, target, lines, body)


def _clean(text: str, where: str) -> str:
    if any(ord(character) < 0x20 and character != "\t" for character in text):
        raise ConfigurationError(f"{where}={text!r}: expected no control characters")
    return text


def _fill_strict(text: str, values: _Values, encoding: str, *, where: str) -> str:
    """*text* of a path or a header, in which a placeholder that nothing fills is an error."""
    _clean(text, where)
    quoted = encoding == "p"

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name in values.row:
            filled = str(values.row[name])
            return quote(filled, safe="") if quoted else _clean(filled, where)
        marker = values.marker(name, encoding, needed=True)
        if marker is None:
            raise ConfigurationError(f"{where}={text!r}: no column {name!r} in data, and nothing saves it")
        return marker

    filled = _PLACEHOLDER.sub(value, text)
    if quoted:  # what is not ASCII, and spaces, never reach the request line as they are
        filled = quote(filled, safe="\x01%/?:@!$&'()*+,;=-._~[]")
    return filled


def _fill_loose(text: str, values: _Values, encoding: str) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name in values.row:
            return str(values.row[name])
        return values.marker(name, encoding) or match[0]

    return _PLACEHOLDER.sub(value, text)


def _fill_json(value: Any, values: _Values) -> Any:
    if isinstance(value, str):
        whole = _PLACEHOLDER.fullmatch(value)
        if whole and whole[1] in values.row:
            return values.row[whole[1]]
        return _fill_loose(value, values, "w" if whole else "j")
    if isinstance(value, Mapping):
        return {key: _fill_json(item, values) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_fill_json(item, values) for item in value]
    return value


def _body(request: Request, values: _Values) -> bytes:
    if request.json is not None:
        if request.body is not None:
            raise ConfigurationError(f"json={request.json!r}: expected either body or json, not both")
        try:
            text = jsonlib.dumps(_fill_json(request.json, values), allow_nan=False, separators=(",", ":"))
        except ValueError as error:
            raise ConfigurationError(f"json={request.json!r}: {error}") from None
        except TypeError as error:
            raise TypeError(f"json={request.json!r}: {error}") from None
        # json escapes the markers' control character.
        return _WHOLE_VALUE.sub("\x01\\1\x01", text).replace("\\u0001", "\x01").encode()
    if request.body is None:
        return b""
    if isinstance(request.body, bytes):
        if not values.row and not values.known.names:
            return request.body
        return _fill_loose(request.body.decode("latin-1"), values, "b").encode("latin-1")
    return _fill_loose(request.body, values, "b").encode()

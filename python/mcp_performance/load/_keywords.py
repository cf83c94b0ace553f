"""What is passed on by name, for type checkers: a wrong one is a type error where it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from ._crowd import Feed, UserStep
from ._scenario import Row

__all__ = ["AnswerKeywords", "RequestKeywords", "TargetKeywords"]


class TargetKeywords(TypedDict, total=False):
    """Of :class:`LoadTester`, but for its target and what makes one."""

    headers: Mapping[str, str] | None
    cookies: bool
    data: Feed
    setup: UserStep | None
    teardown: UserStep | None
    think_time: float | tuple[float, float] | None
    verify: bool | str
    unix_socket: str | None
    allow_hosts: Sequence[str]
    http2: bool
    streams: int
    follow_redirects: bool
    max_body: int
    threads: int
    workers: int
    seed: int | None


class RequestKeywords(TypedDict, total=False):
    """Of :class:`Request`, but for its body and headers."""

    data: Sequence[Row] | str | Path | None
    weight: float
    tags: Sequence[str]
    expect_status: int | tuple[int, int] | None
    expect_body: str | bytes | None
    save: Mapping[str, str]
    check: Mapping[str, Any]
    events: int


class AnswerKeywords(TypedDict, total=False):
    """Of :meth:`User.request`."""

    body: bytes | str | None
    json: Any
    headers: Mapping[str, str] | None
    name: str | None
    tags: Sequence[str]
    expect_status: int | tuple[int, int] | None
    expect_body: str | bytes | None

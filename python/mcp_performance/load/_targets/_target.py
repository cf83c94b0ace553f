"""What every target has, and the options that say how to talk to it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..._base._url import PRODUCT
from ...errors import LoadTestError
from .._drive import Driven
from .._options import RunOptions
from .._scenario import Order, Plan, Request, expand

__all__ = ["USER_AGENT", "Target", "TargetOptions", "name_of", "plan"]

USER_AGENT = f"{PRODUCT} (load test)"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOptions:
    """How to talk to the target; see :class:`LoadTester`."""

    headers: Mapping[str, str] = field(default_factory=dict)
    scenario: Sequence[Request] | None = None
    order: Order = "weighted"
    verify: bool | str = True
    unix_socket: str | None = None
    allow_hosts: Sequence[str] = ()
    http2: bool = False
    streams: int = 100
    follow_redirects: bool = True
    max_body: int = 64 << 20
    threads: int = 1
    seed: int | None = None

    @property
    def seed_number(self) -> int:
        return 0 if self.seed is None else self.seed

    def salt(self) -> int:
        """What UUIDs start from: the seed if one was given, chance otherwise."""
        return 0 if self.seed is not None else secrets.randbits(63)


class Target:
    """Something that requests can be sent to."""

    name: str
    kinds: list[str]
    """Names of its requests."""
    http = False

    async def drive(self, options: RunOptions, supervisor: Callable[[Any, Any, Any, Any], Any]) -> Driven:
        raise LoadTestError(f"{type(self).__name__} cannot be driven")

    async def null_cost(self) -> float | None:
        """Seconds that a request costs when the target does nothing; None where that is not measured."""
        return None


def plan(options: TargetOptions, path: str, query: str) -> Plan:
    """What is sent: the scenario, or ``GET`` of *path* and *query*."""
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*", **options.headers}
    if options.scenario is not None:
        return expand(options.scenario, prefix=path.rstrip("/"), headers=headers, order=options.order)
    # The path comes from a URL, in which braces mean themselves.
    only = expand([Request("GET", "/")], prefix="", headers=headers, order="weighted")
    method, _, lines, body = only.kinds[0].messages[0]
    target = (path or "/") + (f"?{query}" if query else "")
    only.kinds[0].name = f"GET {path or '/'}"
    only.kinds[0].messages[0] = (method, target, lines, body)
    return only


def name_of(target: Any) -> str:
    """What reports call the function or object *target*."""
    return getattr(target, "__qualname__", None) or type(target).__qualname__

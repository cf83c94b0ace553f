"""What every target has, and the options that say how to talk to it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..._base._authorities import checked_verify
from ..._base._checks import any_function, choice, file_name, flag, integer, optional_text, text, texts
from ..._base._headers import headers_of
from ..._base._url import PRODUCT
from ...errors import LoadTestError
from .._crowd import Crowd, Feed, UserStep, checked_feed
from .._options import RunOptions
from .._scenario import Order, Plan, Request, checked_scenario, expand, saved_names
from .._supervision import Driven, Supervision
from .._values import Variables
from .._wire import Origins

__all__ = ["USER_AGENT", "Target", "TargetOptions", "TargetSpec", "name_of", "plan"]

USER_AGENT = f"{PRODUCT} (load test)"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOptions:
    """How to talk to the target; see :class:`LoadTester`."""

    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    scenario: Sequence[Request] | None = None
    order: Order | None = None
    cookies: bool = False
    data: Feed = None
    setup: UserStep | None = None
    teardown: UserStep | None = None
    verify: bool | str = True
    unix_socket: str | None = None
    allow_hosts: Sequence[str] = ()
    http2: bool = False
    streams: int = 100
    follow_redirects: bool = True
    max_body: int = 64 << 20
    threads: int = 1
    seed: int | None = None

    @classmethod
    def checked(cls, **given: Any) -> TargetOptions:
        """The options as a caller gave them. Raises ``TypeError`` or :class:`ConfigurationError`."""
        return cls(**{name: _CHECKS[name](value) for name, value in given.items()})

    @property
    def of_users(self) -> dict[str, Any]:
        """The options that are about users with something of their own, as far as they are given."""
        given = {
            "cookies": self.cookies or None,
            "data": self.data,
            "setup": self.setup,
            "teardown": self.teardown,
        }
        return {name: value for name, value in given.items() if value is not None}

    def crowd(self, base: str | None) -> Crowd:
        """What users are made of that go to *base*, or wherever they like."""
        return Crowd(
            self.origins(base),
            feed=self.data,
            setup=self.setup,
            teardown=self.teardown,
            seed=self.seed_number,
        )

    def origins(self, base: str | None) -> Origins:
        """Where users may go."""
        return Origins(
            base=base,
            headers={"User-Agent": USER_AGENT, "Accept": "*/*", **self.headers},
            verify=self.verify,
            unix_socket=self.unix_socket,
            allow_hosts=tuple(self.allow_hosts),
            max_body=self.max_body,
            follow_redirects=self.follow_redirects,
        )

    @property
    def seed_number(self) -> int:
        return 0 if self.seed is None else self.seed

    def salt(self) -> int:
        """What UUIDs start from: the seed if one was given, chance otherwise."""
        return 0 if self.seed is not None else secrets.randbits(63)


def _step(name: str, value: Any) -> Any:
    return None if value is None else any_function(name, value)


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "url": lambda value: optional_text("url", value),
    "headers": headers_of,
    "scenario": checked_scenario,
    "order": lambda value: None if value is None else choice("order", value, ("weighted", "sequential")),
    "cookies": lambda value: flag("cookies", value),
    "data": checked_feed,
    "setup": lambda value: _step("setup", value),
    "teardown": lambda value: _step("teardown", value),
    "verify": checked_verify,
    "unix_socket": lambda value: None if value is None else file_name("unix_socket", value),
    "allow_hosts": lambda value: tuple(text("allow_hosts", host) for host in texts("allow_hosts", value)),
    "http2": lambda value: flag("http2", value),
    "streams": lambda value: integer("streams", value, 1, 100_000),
    "follow_redirects": lambda value: flag("follow_redirects", value),
    "max_body": lambda value: integer("max_body", value, 1, 2**62),
    "threads": lambda value: integer("threads", value, 1, 256),
    "seed": lambda value: None if value is None else integer("seed", value),
}


class Target:
    """Something that requests can be sent to."""

    name: str
    kinds: list[str] | None
    """Names of its requests; None where they are not known beforehand."""
    tags: Mapping[str, Sequence[str]] = MappingProxyType({})
    """Of its requests, by their names."""
    http = False
    """Whether the native engine drives it over HTTP."""
    apart = False
    """Whether it runs elsewhere: all that this process does is the generator's."""
    stateful = False
    """Whether each user has something of its own, so that it sends one request at a time."""

    async def drive(self, options: RunOptions, supervisor: Supervision) -> Driven:
        raise LoadTestError(f"{type(self).__name__} cannot be driven")

    async def null_cost(self) -> float | None:
        """Seconds that a request costs when the target does nothing; None where that is not measured."""
        return None


class TargetSpec:
    """What is given as ``target=`` in place of a URL, an app or a function: it makes the :class:`Target`."""

    __slots__ = ()

    def target(self, options: TargetOptions) -> Target:
        """What a load test is pointed at. Raises ``TypeError`` or :class:`ConfigurationError`."""
        raise NotImplementedError


def plan(options: TargetOptions, path: str, query: str, variables: Variables | None = None) -> Plan:
    """What is sent: the scenario, or ``GET`` of *path* and *query*. *variables* are what users know."""
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*", **options.headers}
    if options.scenario is not None:
        return expand(
            options.scenario,
            prefix=path.rstrip("/"),
            headers=headers,
            order=_order(options),
            variables=variables,
        )
    # The path comes from a URL, in which braces mean themselves.
    only = expand([Request("GET", "/")], prefix="", headers=headers, order="weighted", variables=variables)
    method, _, lines, body = only.kinds[0].messages[0]
    target = (path or "/") + (f"?{query}" if query else "")
    only.kinds[0].name = f"GET {path or '/'}"
    only.kinds[0].messages[0] = (method, target, lines, body)
    return only


def _order(options: TargetOptions) -> str:
    """Users that get further by what they keep go through a scenario in its order."""
    if options.order is not None:
        return options.order
    scenario = options.scenario or ()
    keeps = options.cookies or bool(saved_names(scenario))
    return "sequential" if keeps and all(request.weight == 1 for request in scenario) else "weighted"


def name_of(target: Any) -> str:
    """What reports call the function or object *target*."""
    return getattr(target, "__qualname__", None) or type(target).__qualname__

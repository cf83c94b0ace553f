"""A URL as a target."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..._base._authorities import authorities
from ..._base._url import HttpUrl
from ..._core import HTTP2_BUILT_IN, HttpRun
from ...errors import ConfigurationError
from .._drive import drive_http
from .._options import RunOptions
from .._scenario import Plan, tags_of
from .._supervision import Driven, Supervision
from .._user import User
from .._values import Variables
from ._target import Target, TargetOptions, plan

__all__ = ["HttpTarget"]


class HttpTarget(Target):
    """A URL, through the native engine."""

    http = True

    def __init__(self, url: str, options: TargetOptions) -> None:
        self._url = HttpUrl.parse(url, name="target", unix_socket=options.unix_socket)
        if options.http2 and not HTTP2_BUILT_IN:
            raise ConfigurationError(
                "http2=True: expected False, because this build found no libnghttp2 "
                "(on Debian: apt-get install libnghttp2-dev, and install this package again)"
            )
        self.name = url.partition("?")[0] if options.scenario else url
        self._options = options
        self._crowd = options.crowd(url.partition("?")[0])
        self._plan = self._plan_for([])
        self.kinds = [kind.name for kind in self._plan.kinds]
        self.tags = tags_of(options.scenario or ())
        self._salt = options.salt()
        self.stateful = bool(self._plan.variables or options.of_users)
        if options.http2 and any(kind.check.events for kind in self._plan.kinds):
            raise ConfigurationError("http2=True: expected False with events=, which HTTP/1.1 brings")

    async def drive(self, options: RunOptions, supervisor: Supervision) -> Driven:
        threads = min(self._options.threads, options.users)
        if not self.stateful:
            return await self._drive(options, supervisor, threads, [])
        if options.batch_size > 1:
            raise ConfigurationError(
                f"batch_size={options.batch_size}: expected 1 with users that have something of their own"
            )
        async with self._crowd.users(options) as users:
            driven = await self._drive(options, supervisor, threads, users)
        driven.notes += self._crowd.troubles
        return driven

    async def _drive(
        self, options: RunOptions, supervisor: Supervision, threads: int, users: Sequence[User]
    ) -> Driven:
        # Resolving the name and reading certificates may block.
        run = await asyncio.to_thread(self.make_run, options, threads, users=users)
        await supervisor.ready()
        return await drive_http(run, supervisor)

    def _plan_for(self, users: Sequence[User]) -> Plan:
        """What is sent by *users*; before they have been set up, by none."""
        return self._expanded(self._options, users)

    def _expanded(self, options: TargetOptions, users: Sequence[User]) -> Plan:
        names = dict.fromkeys([*self._crowd.columns, *(name for user in users for name in user.known)])
        variables = Variables(names, any_name=self._crowd.knows_more)
        return plan(options, self._url.path, self._url.query, variables)

    def make_run(
        self,
        options: RunOptions,
        threads: int,
        *,
        live_kinds: bool = False,
        users: Sequence[User] = (),
    ) -> HttpRun:
        """A run that has not begun. With *live_kinds* its report has kinds and errors each second."""
        sent = self._plan_for(users) if users else self._plan
        cookies = self._options.cookies
        verify = self._options.verify
        return HttpRun(
            **options.native(),
            threads=threads,
            host=self._url.host,
            port=self._url.port,
            authority=self._url.authority,
            tls=self._url.tls,
            verify=verify is not False,
            ca_file=authorities(verify, tls=self._url.tls),
            unix_socket=self._url.unix_socket,
            allow_hosts=list(self._options.allow_hosts),
            http2=self._options.http2,
            streams=self._options.streams,
            live_kinds=live_kinds,
            follow_redirects=self._options.follow_redirects,
            body_limit=self._options.max_body,
            scenario=[kind.native() for kind in sent.kinds],
            sequence=sent.sequence,
            crowd=self._crowd.native(users, sent.variables, cookies=cookies),
            salt=self._salt,
        )

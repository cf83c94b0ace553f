"""A URL as a target."""

from __future__ import annotations

import asyncio

from ..._base._authorities import authorities
from ..._base._url import HttpUrl
from ..._core import HTTP2_BUILT_IN, HttpRun
from ...errors import ConfigurationError
from .._drive import Driven, Supervisor, drive_http
from .._options import RunOptions
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
        self._plan = plan(options, self._url.path, self._url.query)
        self.kinds = [kind.name for kind in self._plan.kinds]
        self._salt = options.salt()

    async def drive(self, options: RunOptions, supervisor: Supervisor) -> Driven:
        threads = min(self._options.threads, options.users)
        # Resolving the name and reading certificates may block.
        run = await asyncio.to_thread(self.make_run, options, threads)
        return await drive_http(run, supervisor)

    def make_run(self, options: RunOptions, threads: int, *, live_kinds: bool = False) -> HttpRun:
        """A run that has not begun. With *live_kinds* its report has kinds and errors each second."""
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
            scenario=[kind.native() for kind in self._plan.kinds],
            sequence=self._plan.sequence,
            salt=self._salt,
        )

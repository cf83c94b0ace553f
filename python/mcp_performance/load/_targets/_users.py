"""A virtual user that is an async Python function, as a target."""

from __future__ import annotations

from ..._core import CallRun
from ...errors import ConfigurationError
from .._drive_users import MOST_KINDS, UserFunction, drive_users
from .._options import RunOptions
from .._supervision import Driven, Supervision
from ._target import Target, TargetOptions, name_of

__all__ = ["UserTarget"]


class UserTarget(Target):
    """Whatever the requests of an async function of a user go to."""

    apart = True
    stateful = True
    kinds = None

    def __init__(self, function: UserFunction, options: TargetOptions) -> None:
        if options.scenario is not None:
            raise ConfigurationError("scenario: expected none with a function of a user, which is one")
        self.name = name_of(function) if options.url is None else f"{name_of(function)} at {options.url}"
        self._function = function
        self._crowd = options.crowd(options.url)

    async def drive(self, options: RunOptions, supervisor: Supervision) -> Driven:
        if options.batch_size > 1:
            raise ConfigurationError(f"batch_size={options.batch_size}: expected 1 with a function of a user")
        async with self._crowd.users(options) as users:
            await supervisor.ready()
            kinds = [str(number) for number in range(MOST_KINDS)]
            run = CallRun(**options.native(), kinds=kinds, first_byte=True, threaded=False)
            name = name_of(self._function)
            driven = await drive_users(run, users, self._function, name, options, supervisor)
        driven.notes += self._crowd.troubles
        return driven

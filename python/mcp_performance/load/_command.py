"""Programs as targets of a load test: servers over standard input and output, and command lines."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence

from .._base._checks import content, file_name
from ..errors import ConfigurationError, LoadTestError

__all__ = ["Command", "CommandFailed"]

_KEPT = 200  # characters of the program's last words


class CommandFailed(LoadTestError):
    """The program ended with another status than 0; the message has the status and its last line."""


class Command:
    """A program that is run once for each request: ``LoadTester(Command(["convert", "a.png", "b.jpg"]))``.

    A request is the program's life, from its start to its end. What it writes to standard output is
    dropped. Status 0 is success, all else a failure of the kind :class:`CommandFailed`. A program that
    takes longer than ``timeout=`` of the run is killed.

    Args:
        arguments: the program and its arguments; no shell reads them.
        input: what it reads from standard input.
        cwd: the folder that it runs in.

    Raises:
        ConfigurationError: there is no program in *arguments*.
        TypeError: *arguments* is one string, or *input* is neither bytes nor a string.
    """

    def __init__(
        self,
        arguments: Sequence[str | os.PathLike[str]],
        *,
        input: bytes | str | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> None:
        if isinstance(arguments, str | bytes) or not isinstance(arguments, Sequence):
            raise TypeError(f"arguments={arguments!r}: expected a sequence of strings")
        if not arguments:
            raise ConfigurationError(f"arguments={arguments!r}: expected a program")
        for argument in arguments:
            if not isinstance(argument, str | os.PathLike):
                raise TypeError(f"arguments: {argument!r}: expected text or a path")
        self._arguments = [os.fspath(argument) for argument in arguments]
        self._input = None if input is None else content("input", input)
        self._cwd = None if cwd is None else file_name("cwd", cwd)
        self.__qualname__ = f"command {os.path.basename(self._arguments[0])}"

    async def __call__(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._arguments,
            stdin=DEVNULL if self._input is None else PIPE,
            stdout=DEVNULL,
            stderr=PIPE,
            cwd=self._cwd,
        )
        try:
            _, errors = await process.communicate(self._input)
        except BaseException:
            if process.returncode is None:
                process.kill()
                await asyncio.shield(process.wait())
            raise
        if process.returncode:
            words = errors.decode(errors="replace").strip().rpartition("\n")[2][:_KEPT]
            raise CommandFailed(f"exit status {process.returncode}" + (f": {words}" if words else ""))

"""Work on a Redis server in steps, written once and run by threads and by event loops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from .. import _core
from ..errors import CacheError
from ._cluster import Client, ClusterClient
from ._scripts import Command, Script, digest_of, in_full

__all__ = ["Answer", "Ask", "Asks", "Link", "Pause", "Reads", "Steps", "raise_errors"]

_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Ask:
    """Commands for the server."""

    commands: list[Command]
    fill_key: bytes | None = None
    """The key whose value may be kept in memory afterwards."""
    changes: tuple[bytes, ...] = ()
    """The keys that the commands change."""
    beside: bytes | None = None
    """Where they name no key: one whose server is asked."""


@dataclass(frozen=True, slots=True)
class Asks:
    """Reads that are sent together, each with its own fill. Answered with a list: an
    :class:`Answer` for each, or the error that the server replied with."""

    asks: list[Ask]


@dataclass(frozen=True, slots=True)
class Reads:
    """Values that *codec* reads natively. Answered with ``(values, others)``: by index, *missing* where there
    is none; and (index, record) of those that it cannot read, which are missing in the former."""

    names: list[bytes]
    codec: _core.PlainCodec
    missing: Any


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait, in which others run."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The server's replies to an :class:`Ask`, none of which is an error."""

    replies: list[Any]
    fill: _core.RedisFill | None
    age: float
    """Seconds since the commands were given, at most."""


Step = Ask | Asks | Reads | Pause
Steps = Generator[Step, Any, _R]
"""Yields what is to be done; is sent an :class:`Answer` (or what the step says), or thrown what it failed
with."""


class Link:
    """A connection to one server, and what the server is known to know.

    Args:
        own: what scripts take as their last argument, see ``_scripts.py``: the channel that only this client
            listens to, or ``""``. ``None`` for what runs no scripts.
    """

    def __init__(self, client: Client, own: str | None = None) -> None:
        self.client = client
        # The client, which is asked so only where it is one server's.
        self._native = cast("_core.RedisClient", client)
        self._last: tuple[str, ...] = () if own is None else (own,)
        self._known: set[str] = set()  # digests of scripts that the server has run

    def script(self, script: Script, names: tuple[bytes, ...], *arguments: bytes | str | int) -> Command:
        """The command that runs *script*."""
        command = script.by_digest(names, *arguments, *self._last)
        return command if script.digest in self._known else in_full(command)

    def run(self, steps: Steps[_R]) -> _R:
        """Take *steps* on this thread; what they return.

        Raises:
            CacheError: as from the steps; an error reply is one.
        """
        reply: Any = None
        error: BaseException | None = None
        while True:
            try:
                ask = steps.send(reply) if error is None else steps.throw(error)
            except StopIteration as end:
                result: _R = end.value
                return result
            reply = error = None
            try:
                reply = self._take(ask)
            except BaseException as failure:
                error = failure

    async def arun(self, steps: Steps[_R]) -> _R:
        """:meth:`run` without blocking the event loop. Cancelled, it throws that into the steps."""
        reply: Any = None
        error: BaseException | None = None
        while True:
            try:
                ask = steps.send(reply) if error is None else steps.throw(error)
            except StopIteration as end:
                result: _R = end.value
                return result
            reply = error = None
            try:
                reply = await self._atake(ask)
            except BaseException as failure:
                error = failure

    def _take(self, step: Step) -> Any:
        if isinstance(step, Ask):
            return self._call(step)
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        if isinstance(step, Reads):
            return self._native.call_reads(step.names, step.codec, step.missing)
        answers = self._native.call_each([(ask.commands, ask.fill_key) for ask in step.asks])
        return [_checked(answer) for answer in answers]

    async def _atake(self, step: Step) -> Any:
        if isinstance(step, Ask):
            return await self._acall(step)
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        if isinstance(step, Reads):
            return await self._native.start_reads(step.names, step.codec, step.missing)
        pending = [self._native.start(ask.commands, ask.fill_key) for ask in step.asks]
        return [_checked(answer) for answer in await asyncio.gather(*pending)]

    def _call(self, ask: Ask) -> Answer:
        while True:
            answer = self._client_for(ask).call(ask.commands, ask.fill_key, ask.changes)
            again = self._read(ask, answer)
            if again is None:
                return Answer(*answer)
            ask = again

    async def _acall(self, ask: Ask) -> Answer:
        while True:
            answer = await self._client_for(ask).start(ask.commands, ask.fill_key, ask.changes)
            again = self._read(ask, answer)
            if again is None:
                return Answer(*answer)
            ask = again

    def _client_for(self, ask: Ask) -> Client:
        if ask.beside is not None and isinstance(self.client, ClusterClient):
            return self.client.beside(ask.beside)
        return self.client

    def _read(self, ask: Ask, answer: tuple[list[Any], Any, float]) -> Ask | None:
        """Raises the error replies in *answer*; what to ask instead if the server does not know a script."""
        first = ask.commands[0]
        unknown = [isinstance(reply, CacheError) and "NOSCRIPT" in str(reply) for reply in answer[0]]
        if first[0] == "EVALSHA" and any(unknown):
            self._known.discard(str(first[1]))
            commands = [in_full(each) if each[0] == "EVALSHA" else each for each in ask.commands]
            return Ask(commands, ask.fill_key, ask.changes, ask.beside)
        raise_errors(answer[0])
        if first[0] == "EVAL":
            self._known.add(digest_of(str(first[1])))
        return None


def _checked(answer: tuple[list[Any], Any, float]) -> Answer | CacheError:
    for reply in answer[0]:
        if isinstance(reply, CacheError):
            return reply
    return Answer(*answer)


def raise_errors(replies: list[Any]) -> list[Any]:
    """*replies*, unless one of them is an error of the server's: then that is raised."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies

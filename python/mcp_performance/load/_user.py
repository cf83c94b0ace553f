"""One virtual user: what it knows, and the requests it makes."""

from __future__ import annotations

import asyncio
import json as jsonlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from .._base._checks import content, text, texts
from .._base._headers import headers_of
from .._core import Cookies
from ._values import statuses
from ._wire import Origins, UserReply, Wire

if TYPE_CHECKING:
    from ._keywords import AnswerKeywords

__all__ = ["Send", "Turns", "User"]


Send = Callable[[], Awaitable[tuple[UserReply, float]]]
"""Sends a request: the reply, and when it was sent."""


class Turns(Protocol):
    """Who says when a user may send, and counts its requests."""

    async def request(self, user: User, name: str, tags: tuple[str, ...], sent: Send) -> UserReply: ...


class User:
    """One virtual user of a load test, with cookies, connections and values of its own.

    ``user["name"]`` is what it knows: the columns of its row of the feed, and what was put there. In a
    scenario, ``{name}`` stands for those values.

    Each request is one of the load test's: it waits for its turn, and it counts, but for those of a
    set-up or tear-down.
    """

    def __init__(self, number: int, origins: Origins, row: Mapping[str, Any], seed: int) -> None:
        self.number = number
        """From 0 on."""
        self.cookies = Cookies()
        self.random = random.Random(f"{seed} {number}")
        """The same in every run with the same seed."""
        self.requests_made = 0
        self.known: dict[str, Any] = dict(row)
        self._wire = Wire(origins, asyncio.get_running_loop())
        self._turns: Turns | None = None

    def __getitem__(self, name: str) -> Any:
        return self.known[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.known[name] = value

    def __contains__(self, name: object) -> bool:
        return name in self.known

    @property
    def wire(self) -> Wire:
        """The connections."""
        return self._wire

    def take_turns(self, turns: Turns | None) -> None:
        """From here on requests wait for their turn, and count; or none of that."""
        self._turns = turns

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | str | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        name: str | None = None,
        tags: Sequence[str] = (),
        expect_status: int | tuple[int, int] | None = None,
        expect_body: str | bytes | None = None,
    ) -> UserReply:
        """Send a request and wait for the answer.

        Args:
            method: the HTTP method.
            url: a URL, or a path from the tester's *url* on.
            body: bytes, or text that is sent as UTF-8.
            json: instead of *body*: a value that is sent as JSON.
            headers: on top of the tester's.
            name: under which its figures are reported; the method and the path by default.
            tags: words under which the figures of requests of several names are reported together.
            expect_status: the status, or the lowest and highest one, of a success; anything below 400 by
                default.
            expect_body: text that the body of a success contains.

        Raises:
            HttpError: there was no answer (no connection, one that broke, no HTTP).
            HttpTimeout: the answer did not come in time.
        """
        method = text("method", method, "the method of a request").upper()
        fields = headers_of(headers)
        data = content("body", body)
        if json is not None:
            data = jsonlib.dumps(json, separators=(",", ":")).encode()
            if not any(field.lower() == "content-type" for field in fields):
                fields["Content-Type"] = "application/json"
        low, high = statuses(expect_status)
        wanted = content("expect_body", expect_body)

        async def sent() -> tuple[UserReply, float]:
            answer, began = await self._wire.send(method, url, fields, data, self.cookies)
            failure = None
            if not low <= answer.status <= high:
                failure = f"status {answer.status}"
            elif wanted not in answer.body:
                failure = "check failed: body"
            line = self._wire.line
            took = 0.0 if line is None else line.last_byte_at - began
            return UserReply(answer.status, tuple(answer.headers), answer.body, took, failure), began

        if self._turns is None:
            return (await sent())[0]
        self.requests_made += 1
        label = name if name is not None else f"{method} {_path(url)}"
        return await self._turns.request(self, label, tuple(texts("tags", tags)), sent)

    async def get(self, url: str, **options: Unpack[AnswerKeywords]) -> UserReply:
        """:meth:`request` with GET."""
        return await self.request("GET", url, **options)

    async def head(self, url: str, **options: Unpack[AnswerKeywords]) -> UserReply:
        """:meth:`request` with HEAD."""
        return await self.request("HEAD", url, **options)

    async def post(self, url: str, **options: Unpack[AnswerKeywords]) -> UserReply:
        """:meth:`request` with POST."""
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Unpack[AnswerKeywords]) -> UserReply:
        """:meth:`request` with PUT."""
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: Unpack[AnswerKeywords]) -> UserReply:
        """:meth:`request` with PATCH."""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str, **options: Unpack[AnswerKeywords]) -> UserReply:
        """:meth:`request` with DELETE."""
        return await self.request("DELETE", url, **options)

    async def think(self, low: float, high: float | None = None) -> None:
        """Pause for *low* seconds, or for a time between the two."""
        await asyncio.sleep(low if high is None else self.random.uniform(low, high))

    def close(self) -> None:
        """Close the user's connections."""
        self._wire.close()


def _path(url: str) -> str:
    if not url.startswith("/"):
        url = "/" + url.partition("://")[2].partition("/")[2]
    return url.partition("?")[0]

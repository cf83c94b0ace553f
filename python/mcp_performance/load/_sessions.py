"""What users say over a connection that they keep: opened before a run, and anew when it breaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol, TypeAlias

from ..errors import LoadTestError

__all__ = ["Closed", "Outcome", "Session", "SessionUser", "close_all", "open_all"]

Outcome: TypeAlias = tuple[str | None, int, int, float]
"""Why a call failed, if it did, the number of its kind, its bytes, and its time to the first byte."""

_TOGETHER = 50
_BACKOFF = 0.005
# For each step of an end: a farewell, a request to end, an end.
_PATIENCE, _STEPS = 2.0, 3


class Closed(LoadTestError):
    """The other side has ended the session, or does not speak its protocol."""


class Session(Protocol):
    """One user's connection. Every error of it is an :class:`OSError` or a :class:`Closed`."""

    async def open(self) -> None: ...
    async def call(self) -> tuple[str | None, str, int]:
        """Why the call failed, if it did; what its answer looked like, if it failed; its bytes."""
        ...

    async def close(self, patience: float) -> None:
        """End it, and give up on a polite end after *patience* seconds."""
        ...


class SessionUser:
    """Makes the calls of one user, in a session that is opened anew after it broke."""

    def __init__(self, session: Session, examples: dict[str, str], opened: list[float]) -> None:
        self._session = session
        self._examples = examples
        self._opened = opened
        self._is_open = False

    async def open(self) -> None:
        began = time.monotonic()
        await self._session.open()
        self._opened.append(time.monotonic() - began)
        self._is_open = True

    async def close(self, patience: float = _PATIENCE) -> None:
        self._is_open = False
        await self._session.close(patience)

    async def __call__(self, number: int) -> Outcome:
        whole = False
        try:
            if not self._is_open:
                await self.close()
                await self.open()
            failure, example, size = await self._session.call()
            whole = True
        except (OSError, Closed) as error:
            await asyncio.sleep(_BACKOFF)
            failure, example, size = _kind(error), str(error), 0
        finally:
            if not whole:  # what was being said is lost, and its answer must not be the next one's
                self._is_open = False
        if failure is not None:
            self._examples.setdefault(failure, example)
        return failure, 0, size, -1.0


def _kind(error: Exception) -> str:
    if isinstance(error, Closed):
        return str(error)
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return "connection reset" if isinstance(error, ConnectionError) else type(error).__name__


async def open_all(users: Sequence[SessionUser], limit: float) -> None:
    """Raises :class:`LoadTestError` where a session cannot be opened within *limit* seconds."""
    places = asyncio.Semaphore(_TOGETHER)

    async def one(user: SessionUser) -> None:
        async with places, asyncio.timeout(limit):
            await user.open()

    tasks = [asyncio.ensure_future(one(user)) for user in users]
    try:
        await asyncio.gather(*tasks)
    except TimeoutError:
        raise LoadTestError(f"a session took over {limit:.3g} s to open") from None
    except OSError as error:
        raise LoadTestError(f"a session could not be opened: {error}") from error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def close_all(users: Sequence[SessionUser], limit: float) -> None:
    """Close every session within *limit* seconds or so, whatever becomes of it."""
    patience = min(_PATIENCE, limit / _STEPS)
    await asyncio.gather(*(user.close(patience) for user in users), return_exceptions=True)

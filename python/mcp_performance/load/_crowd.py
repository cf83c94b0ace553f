"""The users of a run before it begins and after it has ended: their feed, set-up and tear-down."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from .._base._checks import several
from ..errors import ConfigurationError, LoadTestError
from ._options import RunOptions
from ._scenario import read_rows
from ._user import User
from ._values import native_value
from ._wire import Origins

__all__ = ["Crowd", "Feed", "UserStep"]

UserStep = Callable[[User], Awaitable[Any]]
Feed: TypeAlias = Iterable[Mapping[str, Any]] | str | Path | None

# Users that are set up, or torn down, at a time.
_TOGETHER = 100
_CANCELLED = 0.2
_MOST_ROWS = 1_000_000


def checked_feed(data: Any) -> Any:
    """*data* if it can be a feed."""
    if data is None or isinstance(data, str | Path):
        return data
    return several("data", data, "rows, or the path of a CSV or JSON file")


def _rows(feed: Feed) -> Sequence[Mapping[str, Any]]:
    if feed is None:
        return ()
    if isinstance(feed, str | Path | Sequence):
        return read_rows(feed)
    return read_rows(list(itertools.islice(feed, _MOST_ROWS)))


class Crowd:
    """What users are made of.

    Args:
        origins: where they may go.
        feed: rows; user *i* has row *i*, from the first again after the last.
        setup: called with each user before the run.
        teardown: called with each user after it, whatever became of it.
        seed: of the users' own chance.
    """

    def __init__(
        self,
        origins: Origins,
        *,
        feed: Feed = None,
        setup: UserStep | None = None,
        teardown: UserStep | None = None,
        seed: int = 0,
    ) -> None:
        self._origins = origins
        self._rows = _rows(feed)
        self._setup = setup
        self._teardown = teardown
        self._seed = seed
        self.troubles: list[str] = []
        """What went wrong after the latest run."""

    @property
    def columns(self) -> list[str]:
        """Names that the rows give to users."""
        return list(dict.fromkeys(name for row in self._rows for name in row))

    @property
    def knows_more(self) -> bool:
        """Whether a set-up may give users values of any name."""
        return self._setup is not None

    @asynccontextmanager
    async def users(self, options: RunOptions) -> AsyncIterator[list[User]]:
        """The users of a run, set up, and torn down at the end.

        Raises:
            LoadTestError: a set-up failed, or took longer than a request may, or than the run would have.
        """
        loop = asyncio.get_running_loop()
        self.troubles = []
        began = loop.time()
        users = [self._user(i * options.shares + options.share) for i in range(options.users)]
        try:
            await self._set_up(users, options.before(options.timeout))
            began = loop.time()
            yield users
        finally:
            try:
                await self._tear_down(users, options.afterwards(loop.time() - began))
            finally:
                for user in users:
                    user.close()

    def _user(self, number: int) -> User:
        row = self._rows[number % len(self._rows)] if self._rows else {}
        return User(number, self._origins, row, self._seed)

    async def _set_up(self, users: Sequence[User], limit: float) -> None:
        step = self._setup
        if step is None:
            return
        places = asyncio.Semaphore(_TOGETHER)

        async def one(user: User) -> None:
            async with places:
                try:
                    async with asyncio.timeout(limit):
                        await step(user)
                except TimeoutError as error:
                    raise LoadTestError(f"setup of user {user.number}: took over {limit:.3g} s") from error
                except LoadTestError as error:
                    raise type(error)(f"setup of user {user.number}: {error}") from error
                except Exception as error:
                    raise LoadTestError(f"setup of user {user.number}: {error!r}") from error

        tasks = [asyncio.ensure_future(one(user)) for user in users]
        try:
            await asyncio.gather(*tasks)
        except asyncio.CancelledError as error:
            own = asyncio.current_task()
            if own is None or own.cancelling():
                raise
            number = next(user.number for user, task in zip(users, tasks, strict=True) if task.cancelled())
            raise LoadTestError(f"setup of user {number}: {error!r}, by the setup itself") from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tear_down(self, users: Sequence[User], limit: float) -> None:
        """What goes wrong is told, and takes nothing from the run that has been made."""
        step = self._teardown
        if step is None or not users:
            return
        places = asyncio.Semaphore(_TOGETHER)

        async def one(user: User) -> None:
            async with places:
                await step(user)

        tasks = [asyncio.ensure_future(one(user)) for user in users]
        try:
            await asyncio.wait(tasks, timeout=limit)
        finally:
            late = [task for task in tasks if not task.done()]
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_CANCELLED)
        failed = []
        for user, task in zip(users, tasks, strict=True):
            if task in late:
                failed.append((user, f"took over {limit:.2g} s"))
            elif task.cancelled():
                failed.append((user, "CancelledError, by the teardown itself"))
            elif (error := task.exception()) is not None:
                failed.append((user, repr(error)))
        if failed:
            user, why = failed[0]
            many = f"{len(failed):,} of {len(users):,} users"
            self.troubles.append(f"teardown of {many} failed, such as that of user {user.number}: {why}")

    def native(self, users: Sequence[User], names: Sequence[str], *, cookies: bool) -> dict[str, Any]:
        """What *users* know of *names*, for the native engine."""
        return {
            "cookies": cookies,
            "variables": list(names),
            "values": [[_known(user, name) for name in names] for user in users] if names else [],
            "jars": [user.cookies for user in users] if cookies else [],
        }


def _known(user: User, name: str) -> tuple[str, str] | None:
    value = user.known.get(name)
    if value is None:
        return None
    try:
        return native_value(value)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"user[{name!r}]={value!r}: expected text, or a JSON value") from error

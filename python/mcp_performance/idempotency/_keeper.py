"""What goes on beside the work: claims are renewed, and what the storage did not take is tried again."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import Error

if TYPE_CHECKING:
    from ._store import IdempotencyStore, Reservation

__all__ = ["Keeper"]

_logger = logging.getLogger("mcp_performance.idempotency")
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0
_LOOK_EVERY = 0.25
"""How soon claims are made anew after the storage has lost them, seconds."""
_MOST = 10_000
"""How many steps are tried again at a time; past that the oldest are given up."""


class _Step:
    """A change of a record that the storage did not take, or did not answer."""

    def __init__(
        self, act: Callable[[], None], ends: Callable[[], float], give_up: Callable[[], None]
    ) -> None:
        self.act = act
        self.ends = ends
        self.give_up = give_up


class Keeper:
    """One thread of a store, which runs while there is something to keep or to try again."""

    def __init__(self, store: IdempotencyStore) -> None:
        self._store = weakref.ref(store)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._steps: dict[object, _Step] = {}
        self._pause = _FIRST_PAUSE
        self._runs = False

    def start(self) -> None:
        """Watch over the executions of the store."""
        with self._lock:
            if not self._runs:
                self._runs = True
                threading.Thread(
                    target=_keep, args=(weakref.ref(self), self._wake), name="mcp-idempotency", daemon=True
                ).start()

    def try_again(
        self, of: object, act: Callable[[], None], ends: Callable[[], float], give_up: Callable[[], None]
    ) -> None:
        """Call *act* until it raises no error, or until *ends()* on the monotonic clock: then *give_up*."""
        with self._lock:
            self._steps[of] = _Step(act, ends, give_up)
            dropped = [self._steps.pop(next(iter(self._steps)))] if len(self._steps) > _MOST else []
            self._pause = _FIRST_PAUSE
        for step in dropped:
            step.give_up()
        self.start()
        self._wake.set()

    def forget(self, of: object) -> bool:
        """Try no more; whether it was to be tried."""
        with self._lock:
            return self._steps.pop(of, None) is not None

    def tick(self) -> float | None:
        """Do what is due: seconds until the next, or ``None`` at the end."""
        store = self._store()
        if store is None:
            return None
        running = store._executing()
        fails = self._renew(store, running)
        fails = self._act() or fails
        self._pause = min(2 * self._pause, _LONGEST_PAUSE) if fails else _FIRST_PAUSE
        with self._lock:
            if not self._steps and not store._executing():
                self._runs = False
                return None
        if fails:
            return self._pause
        due = min((one.renew_at for one in running), default=0.0) - time.monotonic()
        return min(max(_FIRST_PAUSE, due), _LOOK_EVERY)

    def _renew(self, store: IdempotencyStore, running: list[Reservation]) -> bool:
        """Renew what is due, and what the storage may have lost; whether it failed."""
        for one in running:
            now, era = time.monotonic(), store._storage.era()
            if (one.renew_at > now and one.era == era) or not one._enter_renewal():
                continue
            try:
                held = store._storage.renew(one.key, one.fingerprint, one.owner, store._lease)
            except Error:
                return True
            finally:
                one._leave_renewal()
            one.renew_at, one.era = now + store._lease / 3, era
            if held:
                one.lapses_at = now + store._lease
            elif one.executes:
                _logger.error("the claim of an idempotency key had lapsed while its work ran")
        return False

    def _act(self) -> bool:
        """Try each step; whether the storage failed."""
        with self._lock:
            steps = list(self._steps.items())
        for of, step in steps:
            try:
                step.act()
            except Error:
                if time.monotonic() < step.ends():
                    return True
                if self.forget(of):
                    step.give_up()
            else:
                self.forget(of)
        return False


def _keep(owner: weakref.ref[Keeper], wake: threading.Event) -> None:
    pause: float | None = 0.0
    while pause is not None:
        wake.wait(pause)
        wake.clear()
        keeper = owner()
        pause = None if keeper is None else keeper.tick()
        del keeper

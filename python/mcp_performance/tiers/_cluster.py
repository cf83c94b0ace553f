"""A Redis Cluster as one client: a native client for each node, and whoever has the key is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from .. import _core
from ..errors import BackendUnavailable, CacheError
from ._layout import slot_of
from ._resharding import Split, split
from ._scripts import Command
from ._slots import Node, SlotMap, redirection_in

__all__ = ["Client", "ClusterClient"]

Answered = tuple[list[Any], Any, float]


@dataclass(frozen=True, slots=True)
class _Call:
    """What one node is asked."""

    client: _core.RedisClient
    commands: list[Command]
    fill_key: bytes | None = None
    changes: Sequence[bytes] = ()


_Steps = Generator[_Call | float, Any, Answered]
"""Yields what a node is asked, or for how long to wait."""
_LookingUp = Generator[_Call | float, Any, None]

_REDIRECTIONS = 5
"""As many follow each other without a pause."""
_BETWEEN_LOOKS = 0.5
"""Between looks at who has which slot, seconds."""
_PAUSE = 0.005
"""Before what was refused because keys are on their way is tried again, seconds."""
_PATIENCE = 0.25
"""For as long it is tried again, seconds; or for the timeout."""


class ClusterClient:
    """Does what a ``_core.RedisClient`` does, on the node that has the key. Safe from any thread.

    Each node's client decides what may be kept of what was read there, as it does for a single server, and
    all announce on one feed. When a slot of ours is served by another node than before, everything kept is
    dropped: what was read from the old one may be announced by nobody. So it is when a node says that it has
    lost touch with the others, who may have replaced it.

    A node that is asked for what it has not says who has it (MOVED), or will have it (ASK). While keys of
    a slot are on their way, scripts of several keys are refused there (TRYAGAIN). What can be done key by
    key is done so then (``_resharding.py``); the rest is tried again for a while, and fails.
    """

    def __init__(
        self,
        seeds: Sequence[Node],
        connect: Callable[[Node, _core.RedisClient | None], _core.RedisClient],
        timeout: float,
        slots: Sequence[int],
    ) -> None:
        """*connect* makes a client for a node: without another one to share the feed of, one that keeps
        nothing. *slots* are those of what is kept."""
        self._connect = connect
        self._timeout = timeout
        self._slots = slots
        self._seeds = {seed: connect(seed, None) for seed in dict.fromkeys(seeds)}
        self._feeder = next(iter(self._seeds.values()))
        self._nodes: dict[Node, _core.RedisClient] = {}
        self._retired: list[_core.RedisClient] = []  # for their figures
        self._map: SlotMap | None = None
        self._looked_at = 0.0
        self._closed = False

    # -- As a client

    def call(self, commands: list[Command], fill_key: bytes | None, changes: Sequence[bytes]) -> Answered:
        steps = self._serving(commands, fill_key, changes)
        reply: Any = None
        error: BaseException | None = None
        while True:
            try:
                step = steps.send(reply) if error is None else steps.throw(error)
            except StopIteration as end:
                answered: Answered = end.value
                return answered
            reply = error = None
            try:
                if isinstance(step, _Call):
                    reply = step.client.call(step.commands, step.fill_key, step.changes)
                else:
                    time.sleep(step)
            except BaseException as failure:
                error = failure

    async def start(
        self, commands: list[Command], fill_key: bytes | None, changes: Sequence[bytes]
    ) -> Answered:
        steps = self._serving(commands, fill_key, changes)
        reply: Any = None
        error: BaseException | None = None
        while True:
            try:
                step = steps.send(reply) if error is None else steps.throw(error)
            except StopIteration as end:
                answered: Answered = end.value
                return answered
            reply = error = None
            try:
                if isinstance(step, _Call):
                    reply = await step.client.start(step.commands, step.fill_key, step.changes)
                else:
                    await asyncio.sleep(step)
            except BaseException as failure:
                error = failure

    def beside(self, name: bytes) -> _core.RedisClient:
        """The client of the node that has *name*, for what names no key itself."""
        return self._client_of(slot_of(name)) or self._feeder

    def post(self, commands: list[Command], changes: Sequence[bytes] = ()) -> None:
        name = _name_in(commands, None, changes)
        client = self._client_of(None if name is None else slot_of(name))
        if client is not None:
            client.post(commands, changes)

    def changed(self, name: bytes) -> None:
        for client in self._everyone():
            client.changed(name)

    def begin_away(self, name: bytes) -> _core.RedisFill | None:
        return self.beside(name).begin_away(name)

    def hold(self, token: str, renewal: list[Command]) -> None:
        name = _name_in(renewal, None, ())
        client = self._client_of(None if name is None else slot_of(name))
        if client is not None:
            client.hold(token, renewal)

    def let_go(self, token: str) -> None:
        for client in list(self._nodes.values()):
            client.let_go(token)

    def was_lost_within(self, seconds: float) -> bool:
        return any(client.was_lost_within(seconds) for client in self._everyone())

    def latest_server_time(self) -> int | None:
        """The latest that the clock of any node can show; ``None`` while one is not known."""
        times = [client.latest_server_time() for client in list(self._nodes.values())]
        return max((time for time in times if time is not None), default=None) if all(times) else None

    def has_life(self) -> bool:
        return all(client.has_life() for client in list(self._nodes.values()))

    def arrived(self) -> int:
        return self._feeder.arrived()

    def take_news(self) -> tuple[bool, list[bytes]]:
        return self._feeder.take_news()

    def feed(self) -> Any:
        return self._feeder.feed()

    def close(self) -> None:
        self._closed = True
        for client in self._everyone():
            client.close()

    # -- Who has what

    def _everyone(self) -> list[_core.RedisClient]:
        return [*self._seeds.values(), *list(self._nodes.values())]

    def _client_of(self, slot: int | None) -> _core.RedisClient | None:
        """The client of who has *slot*, or of anybody; ``None`` while that is not known."""
        slots = self._map
        if slots is None:
            return None
        node = slots.masters()[0] if slot is None else slots.owner(slot)
        return None if node is None else self._client_at(node)

    def _client_at(self, node: Node) -> _core.RedisClient:
        client = self._nodes.get(node)
        if client is None:
            made = self._connect(node, self._feeder)
            client = self._nodes.setdefault(node, made)
            if client is not made or self._closed:
                made.close()
            else:
                client.post([("PING",)])  # so that it is connected, and its clock known, when it is needed
        return client

    def _look_up(self) -> _LookingUp:
        """Ask whoever answers who has which slot, unless somebody has just done so."""
        now = time.monotonic()
        if self._map is not None and now - self._looked_at < _BETWEEN_LOOKS:
            return
        self._looked_at = now
        last = "none was asked"
        for node, client in [*self._nodes.items(), *self._seeds.items()]:
            try:
                replies, _, _ = yield _Call(client, [("CLUSTER", "SLOTS")])
            except CacheError as error:
                last = str(error)
                continue
            found = SlotMap.read(replies[0], node[0])
            if found is not None:
                return self._install(found)
            last = str(replies[0]) if isinstance(replies[0], Exception) else "it names no slots"
        if self._map is None:
            raise BackendUnavailable(f"no node of the redis cluster says who has which slot: {last}")

    def _install(self, found: SlotMap) -> None:
        known, self._map = self._map, found
        masters = found.masters()
        for node in masters:
            self._client_at(node)
        for node in [node for node in self._nodes if node not in masters]:
            client = self._nodes.pop(node, None)
            if client is not None:
                client.close()
                self._retired.append(client)
        if known is None or any(known.owner(slot) != found.owner(slot) for slot in self._slots):
            self._drop_all()

    def _drop_all(self) -> None:
        for client in self._everyone():
            client.drop_all()

    # -- Serving

    def _serving(self, commands: list[Command], fill_key: bytes | None, changes: Sequence[bytes]) -> _Steps:
        """What is answered to *commands*; with a *fill_key* they name no other key, or are one command."""
        name = _name_in(commands, fill_key, changes)
        slot = None if name is None else slot_of(name)
        gives_up_at = time.monotonic() + self._timeout
        asked: Node | None = None
        refusals = 0
        while True:
            node = asked or (yield from self._owner(slot))
            sent = commands
            if asked is not None:
                sent = [each for command in commands for each in (("ASKING",), command)]
            try:
                replies, fill, age = yield _Call(self._client_at(node), sent, fill_key, changes)
            except BackendUnavailable:
                yield from self._look_up()
                if asked is not None or (yield from self._owner(slot)) == node:
                    raise
                continue  # somebody else has taken over; what we send may be sent twice
            if asked is not None:
                replies, asked = replies[1::2], None
            refused = redirection_in(replies, node[0])
            if refused is None or time.monotonic() >= gives_up_at:
                return replies, fill, age
            if len(commands) > 1 and fill_key is None:
                return (yield from self._serving_refused(commands, changes, replies, age, node))
            refusals += 1
            if refused.kind == "ASK":
                asked = refused.node
            elif refused.kind == "MOVED":
                self._move(refused.slot, refused.node)
            if refused.kind in ("MOVED", "CLUSTERDOWN"):
                yield from self._look_up()
            if refused.kind == "CLUSTERDOWN":
                return replies, fill, age
            if refused.kind == "TRYAGAIN":
                parts = split(commands[0])
                if parts is not None:
                    return (yield from self._serving_parts(parts, fill_key, changes))
                gives_up_at = min(gives_up_at, time.monotonic() + _PATIENCE)
            if refused.kind == "TRYAGAIN" or refusals > _REDIRECTIONS:
                yield _PAUSE

    def _serving_refused(
        self,
        commands: list[Command],
        changes: Sequence[bytes],
        replies: list[Any],
        age: float,
        node: Node,
    ) -> _Steps:
        """Serve those of *commands* that *node* has refused in *replies*, each where its key is; no other a
        second time, and none where its key is not."""
        answers = list(replies)
        for place, reply in enumerate(replies):
            if redirection_in([reply], node[0]) is not None:
                again, _, longer = yield from self._serving([commands[place]], None, changes)
                answers[place], age = again[0], age + longer
        return answers, None, age

    def _serving_parts(self, whole: Split, fill_key: bytes | None, changes: Sequence[bytes]) -> _Steps:
        """Serve a command part by part; if one fails, its error is the reply."""
        answers: list[list[Any]] = []
        fill, longest = None, 0.0
        for name, commands in whole.parts:
            own = name if name == fill_key else None
            changed = [name] if name in changes else []
            replies, made, age = yield from self._serving(commands, own, changed)
            failed = next((reply for reply in replies if isinstance(reply, Exception)), None)
            if failed is not None:
                return [failed], None, age
            fill, longest = made if own is not None else fill, longest + age
            answers.append(replies)
        return [whole.join(answers)], fill, longest

    def _owner(self, slot: int | None) -> Generator[_Call | float, Any, Node]:
        """Who has *slot*, or anybody."""
        for attempt in range(2):
            slots = self._map
            if slots is not None:
                node = slots.masters()[0] if slot is None else slots.owner(slot)
                if node is not None:
                    return node
            if attempt == 0:
                yield from self._look_up()
        raise BackendUnavailable(f"no node of the redis cluster has slot {slot}")

    def _move(self, slot: int, node: Node) -> None:
        slots = self._map
        if slots is not None and slots.move(slot, node) and slot in self._slots:
            self._drop_all()


def _name_in(commands: list[Command], fill_key: bytes | None, changes: Sequence[bytes]) -> bytes | None:
    """A name of which the slot is that of all."""
    if fill_key is not None:
        return fill_key
    first = commands[0]
    place = 3 if first[0] in ("EVAL", "EVALSHA") else 1
    name = first[place] if len(first) > place else None
    if isinstance(name, bytes):
        return name
    return changes[0] if changes else None


Client = _core.RedisClient | ClusterClient

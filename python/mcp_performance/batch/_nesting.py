"""Which processors the running code is an item of.

An item that waits for a map of its own processor would wait for ever where the threads are all
taken by items like it. So the threads of a processor come in levels: a map that is called from
within an item gets those of the next level, however it was called: on the item's thread, on its
loop, or through another processor or a batched function. The level is a context variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context, ContextVar, copy_context
from types import MappingProxyType

__all__ = ["NO_LEVELS", "Levels", "Nesting", "deepest", "levels"]

Levels = Mapping[object, int]
NO_LEVELS: Levels = MappingProxyType({})

levels: ContextVar[Levels] = ContextVar("mcp_performance_batch_levels", default=NO_LEVELS)


class Nesting:
    """The levels of one processor."""

    def __init__(self) -> None:
        self._key = object()  # the context of an item does not keep the processor alive

    def is_inside(self) -> bool:
        """Whether the running code is an item of the processor."""
        return self._key in levels.get()

    def level(self) -> int:
        """The level of threads that the running code may wait for."""
        return levels.get().get(self._key, 0)

    def context(self, *, on_threads: bool) -> Context:
        """The context of items of a map that is called here; do they keep threads of this level?"""
        context = copy_context()
        level = self.level() + (1 if on_threads else 0)
        context.run(levels.set, MappingProxyType({**levels.get(), self._key: level}))
        return context


def deepest(one: Levels, other: Levels) -> Levels:
    """The levels of code that both wait for."""
    return MappingProxyType({**one, **{key: max(level, one.get(key, 0)) for key, level in other.items()}})

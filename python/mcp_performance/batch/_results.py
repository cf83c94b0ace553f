"""What became of the items of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar, cast

__all__ = ["BatchItem", "BatchResult"]

_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class BatchResult(Generic[_R]):
    """What became of each item of one :meth:`BatchProcessor.map`."""

    results: list[_R | None]
    """One value an item, in the order of the items; ``None`` where the item failed."""
    errors: dict[int, BaseException]
    """The exception of each item that failed, by its index, in ascending order."""
    elapsed: float
    """Seconds from the call to the last outcome."""
    kind: str = "cpu"
    """How it was run: ``"cpu"``, ``"blocking"``, ``"async"`` or ``"executor"``."""
    workers: int = 1
    """How many items, or chunks of them, ran at the same time at most."""
    cpu_seconds: float = 0.0
    """Processor time that native threads spent in the function; 0 where it ran elsewhere."""

    @property
    def succeeded(self) -> int:
        """How many items have a result."""
        return len(self.results) - len(self.errors)

    @property
    def failed(self) -> int:
        """How many items have an error."""
        return len(self.errors)

    @property
    def throughput(self) -> float:
        """Items that succeeded, per second. Errors are never throughput."""
        return self.succeeded / self.elapsed if self.elapsed > 0 else 0.0

    def raise_errors(self) -> None:
        """Raise the errors of all failed items as one ``ExceptionGroup``; do nothing without any."""
        if self.errors:
            message = f"{self.failed} of {len(self.results)} items failed"
            raise BaseExceptionGroup(message, list(self.errors.values()))

    def __repr__(self) -> str:
        return (
            f"BatchResult(succeeded={self.succeeded}, failed={self.failed}, "
            f"elapsed={self.elapsed:.6f}, throughput={self.throughput:.1f}, kind={self.kind!r})"
        )


@dataclass(frozen=True, slots=True)
class BatchItem(Generic[_R]):
    """The outcome of one item of :meth:`BatchProcessor.stream`."""

    index: int
    """The item's place in the input, from 0."""
    value: _R | None
    """What the function returned; ``None`` where it failed."""
    error: BaseException | None
    """What the function raised."""

    def result(self) -> _R:
        """The value.

        Raises:
            BaseException: the item's own error, where it failed.
        """
        if self.error is not None:
            raise self.error
        return cast(_R, self.value)

"""Where in the user's program a warning of ours belongs."""

from __future__ import annotations

import sys

__all__ = ["level_outside"]

_NOT_THE_USERS = (__name__.partition(".")[0], "asyncio", "threading")


def level_outside() -> int:
    """For ``warnings.warn(..., stacklevel=level_outside())``: the nearest frame that is neither this
    package's nor the event loop's; in a task of ours that is who runs the loop.

    1, the place of the warning itself, where there is none: in a thread of ours.
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THE_USERS:
        if frame.f_back is None:
            return 1
        level, frame = level + 1, frame.f_back
    return level

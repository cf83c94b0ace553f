"""How long the control group of this process has been kept off the processor by its CPU quota."""

from __future__ import annotations

from pathlib import Path

__all__ = ["throttled_seconds"]

_ROOT = Path("/sys/fs/cgroup")


def throttled_seconds() -> float:
    """So far, of all its processes; 0 where the system does not say."""
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="ascii")
    except (OSError, ValueError):
        return 0.0
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = [controllers, "cpu"] if controllers else ["", "unified"]
        for mount in mounts:
            # Within a container, the group is the root of what can be seen.
            for folder in (_ROOT / mount / path.lstrip("/"), _ROOT / mount):
                seconds = _read(folder / "cpu.stat")
                if seconds is not None:
                    return seconds
    return 0.0


def _read(file: Path) -> float | None:
    try:
        lines = dict(line.split() for line in file.read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return None
    if "throttled_usec" in lines:
        return int(lines["throttled_usec"]) / 1e6
    return int(lines["throttled_time"]) / 1e9 if "throttled_time" in lines else None

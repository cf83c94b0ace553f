"""Pseudo terminals, also in a root folder where nobody has mounted them."""

import fcntl
import os
import pty
import struct
import subprocess
import tempfile

UNLOCK = 0x40045431  # TIOCSPTLCK
NUMBER = 0x80045430  # TIOCGPTN


def open_terminal() -> tuple[int, int]:
    """Its two ends, as those of ``pty.openpty()``. Without a mounted ``/dev/pts`` it takes root."""
    try:
        return pty.openpty()
    except OSError:
        with tempfile.TemporaryDirectory() as folder:
            options = "newinstance,ptmxmode=0600"
            subprocess.run(["mount", "-t", "devpts", "-o", options, "devpts", folder], check=True)
            try:
                return _opened(folder)
            finally:
                # What is open stays so.
                subprocess.run(["umount", "--lazy", folder], check=True)


def _opened(folder: str) -> tuple[int, int]:
    master = os.open(f"{folder}/ptmx", os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(master, UNLOCK, struct.pack("i", 0))
    (number,) = struct.unpack("i", fcntl.ioctl(master, NUMBER, b"\0" * 4))
    return master, os.open(f"{folder}/{number}", os.O_RDWR | os.O_NOCTTY)

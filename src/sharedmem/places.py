"""Where the files of a user can be, and why not: what an error at import tells."""

from __future__ import annotations

import os
import re

__all__ = ["DIRECTORIES", "REMEDY", "file_system", "why_not"]

# As src/c/os/place.c looks through them.
DIRECTORIES = ("/dev/shm", "/tmp", "/var/tmp")
REMEDY = "mount a tmpfs on /dev/shm: mount -t tmpfs -o mode=1777 tmpfs /dev/shm"


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), path)


def file_system(path: str) -> str:
    """What is mounted where the path leads, or 'an unknown file system'."""
    path = os.path.realpath(path)
    best, found = "", "an unknown file system"
    try:
        with open("/proc/self/mountinfo", errors="surrogateescape") as mounts:
            for line in mounts:
                before, _, after = line.partition(" - ")
                point = _unescaped(before.split()[4])
                if len(point) >= len(best) and os.path.commonpath((path, point)) == point:
                    best, found = point, after.split()[0]
    except (OSError, ValueError, IndexError):
        pass
    return found


def why_not(path: str) -> str:
    """Why a directory that was not chosen could not be."""
    if not os.path.isdir(path):
        return f"{path} is missing"
    if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
        return f"{path} cannot be written to"
    return f"on {path}, {file_system(path)}, a mapping does not keep the lock of its file"

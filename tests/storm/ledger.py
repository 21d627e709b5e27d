"""What the storm knows of itself: a file that all its processes map, and locks on another.

It is no part of what is tested, lies outside of /dev/shm, and is right whoever is
killed at any moment: a number has one writer, or is changed under a lock of the
kernel's that goes with its holder.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

PROCESSES = 8192  # in one round
SERIALS = 4096  # for each of them
NAMES = 24
PERSISTENT = range(16, NAMES)  # names of arrays that stay until they are unlinked
LOCK, CONDITION = NAMES, NAMES + 1  # these stay, too
KEPT = (*PERSISTENT, LOCK, CONDITION)
ITEMS = 2048  # that a process puts into the queue
SLOTS = 16
RECORD = 2048  # bytes of a message, whole: at most PIPE_BUF, so written and read at once

OPERATIONS = tuple(
    "create zeros create_named replace attach_or_create create_persistent attach send receive view drop "
    "unlink verify look reclaim trim lock notify await_notice put get fork kill_sharing worker execute "
    "daemonise leave_family exit die kill".split()
)
OUTCOMES = tuple(
    "arrays received_by_name received_by_content words exists missing excused mailbox_full forgotten too_large "
    "reclaimed inherited killed processes ended lost owners_dead notices queues items queue_full items_excused".split()
)
COUNTED = OPERATIONS + OUTCOMES

# Columns of a process.
PID, STEPS, OPERATION, FAMILY = range(4)
MAIN_FAMILY = 0

_FINISH, _VANISHED, _ENTERED, _DAEMONS = range(4)
_COUNTERS_LOCK, _GONE_LOCK, _FILL_LOCK = 1000, 1001, 2000


def _request(kind: int, byte: int) -> bytes:
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0)


class Ledger:
    """The facts of one round."""

    def __init__(self, folder: Path, settings: dict[str, Any] | None = None) -> None:
        self.folder = folder
        if settings is not None:
            self._make(settings)
        self.settings = json.loads((folder / "settings").read_text())
        with open(folder / "ledger", "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        at = 0

        def part(dtype: type, *shape: int) -> np.ndarray:
            nonlocal at
            made = np.ndarray(shape, dtype, self._map, at)
            at += made.nbytes
            return made

        self._flags = part(np.uint64, 8)
        self._begun = part(np.uint64, NAMES)
        self._standing = part(np.uint64, NAMES, 3)
        self.processes = part(np.uint64, PROCESSES, 4)
        self.counts = part(np.uint64, PROCESSES, 64)
        self.guarded = part(np.uint64, len(KEPT) - len(PERSISTENT), 4)  # by LOCK and CONDITION
        self.put = part(np.uint64, PROCESSES, 2)  # items begun, and done
        self.gone = part(np.uint8, PROCESSES * SERIALS)
        self.name_of = part(np.uint8, PROCESSES * SERIALS)
        self.got = part(np.uint8, PROCESSES * ITEMS)

    def _make(self, settings: dict[str, Any]) -> None:
        (self.folder / "settings").write_text(json.dumps(settings))
        for name in "locks", "failures", "crashes", "stacks":
            (self.folder / name).touch()
        for slot in range(SLOTS):
            os.mkfifo(self.folder / f"mailbox-{slot}")
        size = 8 * (8 + NAMES * 4 + 8 + PROCESSES * (4 + 64 + 2)) + PROCESSES * (2 * SERIALS + ITEMS)
        with open(self.folder / "ledger", "wb") as file:
            file.truncate(size)

    # ---- locks -----------------------------------------------------------------

    @contextmanager
    def _locked(self, byte: int, kind: int = fcntl.F_WRLCK) -> Iterator[int]:
        fd = os.open(self.folder / "locks", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _request(kind, byte))
            yield fd
        finally:
            os.close(fd)

    def filling(self, name: int) -> Any:
        """Hold this while an array that can be found by its name is filled."""
        return self._locked(_FILL_LOCK + name)

    # ---- the round ---------------------------------------------------------------

    @property
    def finish(self) -> bool:
        return bool(self._flags[_FINISH])

    def set_finish(self) -> None:
        self._flags[_FINISH] = 1

    @property
    def vanished(self) -> bool:
        """Were files removed? Then nothing needs to be found any more."""
        return bool(self._flags[_VANISHED])

    def set_vanished(self) -> None:
        self._flags[_VANISHED] = 1

    def add_daemon(self, most: int) -> bool:
        with self._locked(_COUNTERS_LOCK):
            if self._flags[_DAEMONS] >= most:
                return False
            self._flags[_DAEMONS] += np.uint64(1)
            return True

    # ---- processes ----------------------------------------------------------------

    @property
    def entered(self) -> int:
        return int(self._flags[_ENTERED])

    @property
    def crowded(self) -> bool:
        return self.entered > PROCESSES - 500

    def enter(self, family: int) -> int:
        """A number for the process that calls this."""
        with self._locked(_COUNTERS_LOCK):
            number = self.entered
            self._flags[_ENTERED] += np.uint64(1)
        self.processes[number] = os.getpid(), 0, 0, family
        return number

    def leave(self, number: int) -> None:
        self.processes[number, PID] = 0

    def listed(self) -> list[int]:
        """Numbers of the processes that have not said that they end. Some were killed."""
        return [int(i) for i in np.flatnonzero(self.processes[: self.entered, PID])]

    def totals(self) -> dict[str, int]:
        sums = self.counts[: self.entered].sum(axis=0)
        return {name: int(sums[i]) for i, name in enumerate(COUNTED)}

    def lost_items(self) -> tuple[int, int]:
        """How many were put and not taken; how many may be, their consumers having died in `get`."""
        lost = 0
        for number in range(self.entered):
            got = self.got[number * ITEMS : number * ITEMS + int(self.put[number, 1])]
            lost += len(got) - int(np.count_nonzero(got))
        in_get = self.processes[: self.entered, OPERATION] == COUNTED.index("get") + 1
        return lost, int(np.count_nonzero(in_get)) + self.totals()["items_excused"]

    def agree_on_family(self, name: str) -> str:
        """The name that the first one gave."""
        with self._locked(_COUNTERS_LOCK):
            path = self.folder / "family"
            if not path.exists():
                path.write_text(name)
            return path.read_text()

    def fail(self, text: str) -> None:
        with open(self.folder / "failures", "a") as file:
            file.write(text.rstrip("\n") + "\n\n")

    # ---- what must be there -----------------------------------------------------------

    def mark_gone(self, serial: int) -> None:
        """Before an array without a name of its own is unlinked. Counts who did so."""
        with self._locked(_GONE_LOCK):
            self.gone[serial] = min(2, self.gone[serial] + 1)

    def _others_take(self, fd: int, name: int) -> bool:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _request(fcntl.F_WRLCK, name))
        return struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK

    @contextmanager
    def taking(self, name: int) -> Iterator[int | None]:
        """Around whatever takes the name from an array. Gives a stamp as since() does."""
        with self._locked(name, fcntl.F_RDLCK) as fd:
            with self._locked(_COUNTERS_LOCK):
                self._begun[name] += np.uint64(1)
                stamp = int(self._begun[name])
            yield None if self._others_take(fd, name) else stamp

    def since(self, name: int) -> int | None:
        """A stamp: while unchanged() says so nobody has begun to take the name since.

        None where somebody is about it now.
        """
        stamp = int(self._begun[name])
        fd = os.open(self.folder / "locks", os.O_RDWR | os.O_CLOEXEC)
        try:
            return None if self._others_take(fd, name) else stamp
        finally:
            os.close(fd)

    def unchanged(self, name: int, stamp: int | None) -> bool:
        return stamp is not None and int(self._begun[name]) == stamp

    def stands(self, name: int, stamp: int | None, serial: int, count: int) -> None:
        """A persistent array has this name."""
        row = self._standing[name]
        row[0] = 0
        row[1], row[2] = serial, count
        row[0] = 0 if stamp is None else stamp + 1

    def standing(self, name: int) -> tuple[int, int] | None:
        """Serial number and length of the array that must be found under the name, if one must."""
        stamp, serial, count = (int(word) for word in self._standing[name])
        return (serial, count) if stamp and self.unchanged(name, stamp - 1) else None

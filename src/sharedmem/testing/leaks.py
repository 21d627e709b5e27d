"""What code leaves behind in the kernel, asked from the kernel.

Only what was not there before counts, and of that only what this process or
one that it started may have made: a neighbour's segment is no leak of ours.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import select
import sys
import time
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sharedmem.names import SegmentInfo, list_segments
from sharedmem.participant import reclaim
from sharedmem.warm import trim

__all__ = ["Held", "Leak", "LeakError", "held", "leak_guard", "left_since"]

PATIENCE = 5.0  # seconds; for processes and threads that were told to end

_DIRECTORY = "/dev/shm"
_SYSV_TABLE = "/proc/sysvipc/shm"
# multiprocessing's heap keeps the fd of a file without a name as long as the process lives.
_ARENA = re.compile(r"/pym-\d+-\w+ \(deleted\)$")


@dataclass(frozen=True)
class Leak:
    """One thing that was left behind.

    Attributes
    ----------
    kind : str
        ``'POSIX segment'``, ``'SysV segment'``, ``'file'``, ``'fd'`` or ``'process'``.
    name : str
        What the kernel calls it.
    number : int
        By which the kernel knows it: inode, shmid, fd or pid.
    size : int or None
        In bytes, where it has one.
    holders : tuple of (int, str)
        pid and command of each process that maps it, as far as can be seen; of
        a process, itself.
    facts : str
        What else is known of it.
    """

    kind: str
    name: str
    number: int
    size: int | None = None
    holders: tuple[tuple[int, str], ...] = ()
    facts: str = ""

    def __str__(self) -> str:
        parts = [f"{self.kind} {self.name}"]
        if self.facts:
            parts.append(self.facts)
        if self.size is not None:
            parts.append(f"{self.size:,} bytes")
            mapped = ", ".join(f"{pid} ({command})" for pid, command in self.holders)
            parts.append(f"mapped by {mapped or 'nobody'}")
        return "; ".join(parts)


class LeakError(AssertionError):
    """Something was left behind. ``leaks`` lists it."""

    def __init__(self, leaks: Iterable[Leak]) -> None:
        self.leaks = tuple(leaks)
        super().__init__("left behind:\n" + "\n".join(f"  {leak}" for leak in self.leaks))


@dataclass(frozen=True)
class Held:
    """What there was at one time."""

    keys: frozenset[Hashable]
    ticks: float  # when; in the kernel's unit for the start of processes


Found = dict[Hashable, Leak]


# ---- looking ---------------------------------------------------------------


def _files() -> Found:
    """The user's entries in /dev/shm. Files that name no memory are known by name alone."""
    own = f"smem.{os.geteuid()}."
    found: Found = {}
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(_DIRECTORY):
            try:
                facts = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if facts.st_uid != os.geteuid() and not entry.name.startswith(own):
                continue
            bookkeeping = entry.name.startswith((own + "f.", own + "u."))
            kind = "POSIX segment" if entry.name.startswith(own + "s.") else "file"
            key = ("file", entry.name if bookkeeping else facts.st_ino)
            found[key] = Leak(kind, entry.path, facts.st_ino, facts.st_size)
    return _without_locks_of_families(found, own)


def _without_locks_of_families(found: Found, own: str) -> Found:
    """Leave out locks that are files: they belong to the family's file that they are named after."""
    families = {
        f"{leak.number:x}" for leak in found.values() if leak.name.startswith(f"{_DIRECTORY}/{own}f.")
    }
    lock = f"{_DIRECTORY}/{own}l."
    return {
        key: leak
        for key, leak in found.items()
        if not (leak.name.startswith(lock) and leak.name[len(lock) :].split(".")[0] in families)
    }


def _sysv() -> Found:
    found: Found = {}
    with contextlib.suppress(FileNotFoundError), open(_SYSV_TABLE) as table:
        columns = table.readline().split()
        for line in table:
            row = dict(zip(columns, line.split(), strict=True))
            if int(row["uid"]) == os.geteuid():
                number = int(row["shmid"])
                found["sysv", number] = Leak("SysV segment", f"id {number}", number, int(row["size"]))
    return found


def _fds() -> Found:
    _, exempt = _long_lived()
    found: Found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue  # the listing's own
        if int(fd) not in exempt and not _ARENA.search(target):
            found["fd", fd, target] = Leak("fd", f"{fd} -> {target}", int(fd))
    return found


def _processes() -> Found:
    """Children of this process and of its forkserver, those not waited for included."""
    exempt, _ = _long_lived()
    found: Found = {}
    for parent in {os.getpid(), *exempt}:
        for pid in _children(parent) - exempt:
            status = _status(pid)
            if status is not None:
                command = _command(pid)
                if _is_reaper(pid, command):
                    continue
                facts = command + (", ended, not waited for" if status.ended else "")
                found["process", pid, status.started] = Leak(
                    "process", str(pid), pid, None, ((pid, command),), facts
                )
    return found


def _is_reaper(pid: int, command: str) -> bool:
    """Whether it is a family's reaper, which belongs to nobody and ends by itself.

    It is a child of the process that adopts orphans, which may be this one.
    """
    if command != "sharedmem-reape":  # comm has 15 bytes
        return False
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return True


def _long_lived() -> tuple[set[int], set[int]]:
    """pids and fds that multiprocessing makes once and keeps as long as the process lives."""
    tracker = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
    server = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    pids = (getattr(tracker, "_pid", None), getattr(server, "_forkserver_pid", None))
    fds = (getattr(tracker, "_fd", None), getattr(server, "_forkserver_alive_fd", None))
    return {pid for pid in pids if pid}, {fd for fd in fds if fd is not None}


def _found() -> Found:
    return _files() | _sysv() | _fds() | _processes()


def held() -> Held:
    """What there is now."""
    ticks = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")
    return Held(frozenset(_found()), ticks)


# ---- processes -------------------------------------------------------------


@dataclass(frozen=True)
class _Status:
    parent: int
    started: int
    ended: bool


def _status(pid: int) -> _Status | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return _Status(int(fields[1]), int(fields[19]), fields[0] in (b"Z", b"X"))


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return "?"


def _children(pid: int) -> set[int]:
    found: set[int] = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found.update(map(int, (task / "children").read_text().split()))
    return found


def _is_neighbour(pid: int, ticks: float) -> bool:
    """Whether a process is none of ours, and descends from one older than the guard.

    An orphan that was born since is not: it may have been started here.
    """
    own, older = os.getpid(), False
    while pid not in (0, own):
        status = _status(pid)
        if status is None:
            return False
        older = older or (pid != 1 and status.started < int(ticks))
        pid = status.parent
    return older and pid != own


# ---- judging ---------------------------------------------------------------


def _mappings() -> Iterator[tuple[int, tuple[bool, int]]]:
    """pid, and whether SysV and number, for each mapping of shared memory that can be seen.

    The path would not do: a file that was made before it had a name has none there.
    """
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            lines = Path(f"/proc/{entry}/maps").read_text(errors="surrogateescape").splitlines()
        except OSError:
            continue  # it has ended, or is another user's
        for line in lines:
            fields = line.split(maxsplit=5)
            path = fields[5] if len(fields) == 6 else ""
            if path.startswith(("/SYSV", _DIRECTORY + "/")):
                yield int(entry), (path.startswith("/SYSV"), int(fields[4]))


def _with_holders(left: Found) -> Found:
    """The same with who maps each."""
    holders: dict[tuple[bool, int], set[int]] = {}
    for pid, mapped in _mappings():
        holders.setdefault(mapped, set()).add(pid)
    named: Found = {}
    for key, leak in left.items():
        if leak.size is not None:
            pids = holders.get((leak.kind == "SysV segment", leak.number), ())
            leak = replace(leak, holders=tuple((pid, _command(pid)) for pid in sorted(pids)))
        named[key] = leak
    return named


def _may_stay(leak: Leak, ticks: float) -> bool:
    """Whether it is a neighbour's, or a file that living participants need."""
    own = f"{_DIRECTORY}/smem.{os.geteuid()}."
    if leak.name.startswith(own + "f."):
        return bool(leak.holders)
    if leak.name.startswith(own + "u."):
        return bool(_sysv())
    if leak.size is None or not leak.holders:
        return False
    return all(_is_neighbour(pid, ticks) for pid, _ in leak.holders)


def _facts(info: SegmentInfo) -> str:
    text = f"array {info.name!r} of shape {info.shape} and dtype {info.dtype}"
    if info.tickets + info.pins:
        text += f", {info.tickets + info.pins} in flight"
    return text + (", persistent" if info.persistent else "")


def _described(left: Iterable[Leak]) -> tuple[Leak, ...]:
    """The same with what sharedmem knows of its own."""
    numbers = {(info.backend, info.kernel_id): _facts(info) for info in list_segments(internal=True)}
    backends = {"POSIX segment": "posix", "SysV segment": "sysv"}
    described = (
        replace(leak, facts=numbers.get((backends.get(leak.kind), leak.number), leak.facts))
        for leak in left
    )
    return tuple(sorted(described, key=str))


def _wait_for_change(left: Iterable[Leak]) -> None:
    """Return when one of the processes ends that have what is left, or soon without any."""
    poll, fds = select.poll(), []
    try:
        for pid in {pid for leak in left for pid, _ in leak.holders} - {os.getpid()}:
            status = _status(pid)
            if status is not None and not status.ended:
                with contextlib.suppress(ProcessLookupError):
                    fds.append(os.pidfd_open(pid))
                    poll.register(fds[-1], select.POLLIN)
        poll.poll(100 if fds else 10)
    finally:
        for fd in fds:
            os.close(fd)


def left_since(before: Held, patience: float = PATIENCE) -> tuple[Leak, ...]:
    """What is there now, was not there before, and does not go within `patience` seconds."""
    deadline = time.monotonic() + patience
    while new := {key: leak for key, leak in _found().items() if key not in before.keys}:
        gc.collect()
        trim()  # what is idle is no leak
        reclaim()
        new = _with_holders({key: leak for key, leak in _found().items() if key in new})
        left = [leak for leak in new.values() if not _may_stay(leak, before.ticks)]
        if not left:
            break
        if time.monotonic() > deadline:
            return _described(left)
        _wait_for_change(left)
    return ()


@contextlib.contextmanager
def leak_guard(patience: float = PATIENCE) -> Iterator[None]:
    """A context that code must leave as it found it.

    When the context ends without an exception, these must be gone that were
    made in it: segments of either backend, whoever's library made them; other
    files in ``/dev/shm``; family files without a living participant; fds of
    this process; its children, those not waited for included, and those of its
    forkserver.

    Parameters
    ----------
    patience : float, default 5
        Seconds to wait for processes and threads that are just ending. The wait
        ends at once when nothing is left, and looks again whenever a process
        ends that has something.

    Yields
    ------
    None
        Nothing; what counts is what is left afterwards.

    Raises
    ------
    LeakError
        (an AssertionError) if something is left. It names each, its size, and
        who maps it.

    Notes
    -----
    Garbage is collected, `sharedmem.trim` and `sharedmem.reclaim` are called
    before anything is called a leak. What multiprocessing keeps for the life of the process (its
    resource tracker, the forkserver, its heap) is none. What is mapped only by
    processes older than the context that are no descendants of this one belongs
    to them. A segment that a neighbour of the same user keeps without mapping
    it cannot be told from one's own.

    If the context ends with an exception nothing is judged: the traceback keeps
    what the code had.

    Examples
    --------
    >>> import sharedmem
    >>> from sharedmem.testing import leak_guard
    >>> with leak_guard():
    ...     a = sharedmem.zeros(3)
    ...     del a
    >>> kept = []
    >>> with leak_guard(patience=0):
    ...     kept.append(sharedmem.zeros(3, name='leak-example'))
    Traceback (most recent call last):
    ...
    sharedmem.testing.leaks.LeakError: left behind:
      POSIX segment /dev/shm/smem....s.leak-example; array 'leak-example' of shape (3,) ...
    >>> kept.clear()
    """
    before = held()
    yield
    left = left_since(before, patience)
    if left:
        raise LeakError(left)

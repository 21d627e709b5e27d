"""What is there of the library's, told by the kernel alone; and the end of all processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from storm.ledger import KEPT

SHM = Path("/dev/shm")


def files() -> set[str]:
    return {path.name for path in SHM.iterdir() if path.name.startswith("smem.")}


def segments() -> set[str]:
    """Both backends: names of files, and ids."""
    rows = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return {name for name in files() if ".s." in name} | {f"SysV {row.split()[1]}" for row in rows}


def everything() -> set[str]:
    return files() | segments()


def beside_persistent() -> set[str]:
    """All that is there but persistent arrays, and the journal where one of them is SysV's."""
    left = everything()
    kept = {name for name in left if name.partition(".s.storm-")[2] in map(str, KEPT)}
    ids = {name for name in left if name.startswith("SysV ")}
    if ids and len(ids) + len(kept) <= len(KEPT):
        kept |= ids | {name for name in left if name.endswith(".u.journal")}
    return left - kept


def reapers() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().startswith("sharedmem-reape"):  # cut to 15 bytes
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def tell_of(pid: int) -> str:
    """What a process is about: what it waits in, its memory, its files."""
    proc = Path(f"/proc/{pid}")
    try:
        fds = [f"{fd.name}: {os.readlink(fd)}" for fd in (proc / "fd").iterdir()]
        return (
            f"{pid} in {(proc / 'wchan').read_text()} {(proc / 'syscall').read_text()} {fds}\n"
            + "".join(
                line
                for line in (proc / "maps").read_text().splitlines(True)
                if "smem" in line or "SYSV" in line
            )
        )
    except OSError as error:
        return f"{pid}: {error}"


def processes() -> list[int]:
    """All but this one and reapers: in these namespaces there are no others.

    One that is being ended counts until it was waited for. It has no memory any more,
    and so no environment to tell it by, while it still has its locks.
    """
    pids = {int(path.name) for path in Path("/proc").glob("[0-9]*")}
    return sorted(pids - {os.getpid(), *reapers()})


def kill_all() -> int:
    """Until none is left, though they fork. How many signals it took."""
    sent = 0
    while pids := processes():
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
                sent += 1
            except ProcessLookupError:
                pass
        reap({})
        time.sleep(0.001)
    return sent


def reap(ends: dict[int, int]) -> None:
    """Wait for all children that have ended, adopted ones too."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        ends[pid] = os.waitstatus_to_exitcode(status)

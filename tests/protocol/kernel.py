"""What the kernel holds for a user, this one by default, asked without the library under test."""

import errno
import fcntl
import os
import struct
import sys
import tempfile
import time
from pathlib import Path

DIRECTORY = "/dev/shm"
SYSV_TABLE = "/proc/sysvipc/shm"
STATE_AT, IDLE = 116, 2  # of a segment's header: doc/reference/segment-format.rst
PATIENCE = 5  # seconds; for a reaper that does not end


def _uid(uid):
    return os.geteuid() if uid is None else uid


def files(kind, uid=None):
    """Names of a user's files of one kind: 's' segments, 'f' families."""
    prefix = f"smem.{_uid(uid)}.{kind}."
    return {entry.removeprefix(prefix) for entry in os.listdir(DIRECTORY) if entry.startswith(prefix)}


def posix_segments(uid=None):
    """Names of the POSIX segments that still have one, but for those a living process keeps idle."""
    return {name for name in files("s", uid) if not _is_idle(f"{DIRECTORY}/smem.{_uid(uid)}.s.{name}")}


def _is_idle(path):
    """Whether its header says so, and somebody's mapping has it locked."""
    try:
        with open(path, "rb") as file:
            file.seek(STATE_AT)
            state = int.from_bytes(file.read(4), sys.byteorder)
            return state == IDLE and _locked(file, 0) == fcntl.F_RDLCK
    except FileNotFoundError:
        return False


def sysv_segments(uid=None):
    """Ids of the user's SysV segments, those marked for destruction included."""
    with open(SYSV_TABLE) as table:
        columns = table.readline().split()
        rows = [dict(zip(columns, line.split())) for line in table]
    return {int(row["shmid"]) for row in rows if int(row["uid"]) == _uid(uid)}


def segments(uid=None):
    """Every segment of the user on either backend."""
    posix = {("posix", name) for name in posix_segments(uid)}
    return posix | {("sysv", id) for id in sysv_segments(uid)}


def families(uid=None):
    """Names of the family files."""
    return files("f", uid)


def user_file(uid=None):
    """Whether the per-user file is there: a gate is held or a SysV segment journalled."""
    return os.path.exists(f"{DIRECTORY}/smem.{_uid(uid)}.u.journal")


def held(uid=None):
    """All that the library keeps in the kernel for a user, to be compared before and after.

    A reaper that is ending its family is waited for: it holds some of that.
    """
    deadline = time.monotonic() + PATIENCE
    while any(map(_is_ending, _reapers())) and time.monotonic() < deadline:
        time.sleep(0.005)
    return {
        "segments": segments(uid),
        "families": families(uid),
        "user file": user_file(uid),
    }


def _reapers():
    """Pid, uid and family of all reapers."""
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdecimal() else []
            if command[:1] == [b"sharedmem-reaper"]:
                yield int(entry.name), entry.stat().st_uid, os.fsdecode(command[2])
        except (FileNotFoundError, ProcessLookupError):
            continue


def reapers(family=None):
    """Pids of the reapers of a family, or of all families."""
    return {pid for pid, _, its in _reapers() if family in (None, its)}


def _locked(file, byte):
    """How a byte of an open file is locked by others."""
    layout = "hhqqi4x"  # struct flock
    question = struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    try:
        return struct.unpack(layout, fcntl.fcntl(file, fcntl.F_OFD_GETLK, question))[0]
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return _flock(file.name, byte, os.fstat(file.fileno()).st_uid)


def has_byte_locks():
    """Whether locks may belong to open files and single bytes; else flock stands in."""
    with tempfile.TemporaryFile() as file:
        try:
            fcntl.fcntl(file, fcntl.F_OFD_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 1, 0))
        except OSError:
            return False
    return True


def _lock(family, byte, uid=None):
    """How a byte of the family's file is locked, F_UNLCK when there is no such file."""
    try:
        with open(f"{DIRECTORY}/smem.{_uid(uid)}.f.{family}", "rb") as file:
            return _locked(file, byte)
    except FileNotFoundError:
        return fcntl.F_UNLCK


def lock_file(path, byte, uid=None):
    """Where a byte of a file is locked when the kernel has no locks on bytes."""
    return f"{DIRECTORY}/smem.{_uid(uid)}.l.{os.stat(path).st_ino:x}.{byte:x}" if byte else path


def _flock(path, byte, uid):
    """As _lock() where the kernel has no locks on bytes: each but the first is a file beside it."""
    inode = os.stat(lock_file(path, byte, uid)).st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        _, kind, _, mode, _, file, *_ = line.split()
        if kind == "FLOCK" and file.endswith(f":{inode}"):
            return {"READ": fcntl.F_RDLCK, "WRITE": fcntl.F_WRLCK}[mode]
    return fcntl.F_UNLCK


def is_guarded(family, uid=None):
    """Whether somebody holds the byte of the family's file that is a reaper's."""
    return _lock(family, 1, uid) != fcntl.F_UNLCK


def _is_ending(reaper):
    """Whether it works, and its family has no member any more."""
    pid, uid, family = reaper
    try:
        return state(pid) != "T" and _lock(family, 0, uid) != fcntl.F_RDLCK
    except (FileNotFoundError, ProcessLookupError):
        return False


def wakeups(pid):
    """How often a process has gone to sleep."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            return int(line.split()[1])
    raise AssertionError("the kernel does not count")


def _timeout(pid):
    """Milliseconds of the poll(2) that a process is in, -1 for none, else None.

    PermissionError where it is secret.
    """
    call = Path(f"/proc/{pid}/syscall").read_text().split()
    if len(call) < 4:
        return None  # running
    if os.uname().machine != "x86_64":  # ppoll(fds, count, timeout, ...)
        return None if int(call[0]) != 73 else -1 if int(call[3], 16) == 0 else 0
    timeout = int(call[3], 16) & 0xFFFFFFFF
    return None if int(call[0]) != 7 else -1 if timeout == 0xFFFFFFFF else timeout


def sleeps(pid):
    """Whether a reaper has looked, and looked again: at most its last look is to come."""
    timeout = _timeout(pid)
    return timeout is not None and (timeout == -1 or timeout >= 5000)


def sleeps_for_ever(pid):
    """Whether a reaper waits for the next death, and for nothing else."""
    return _timeout(pid) == -1


def state(pid):
    """The letter that says what a process does: 'S' sleeps, 'T' is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

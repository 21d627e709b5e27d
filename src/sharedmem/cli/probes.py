"""What this kernel can do, found by doing it on a page or two that nobody else sees.

Each probe uses a file without a name (but for a moment), or a SysV segment that is marked for
destruction while it is attached: nothing is left, whenever the process ends.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sharedmem.places import file_system

__all__ = ["NO_SUCH_LOCKS", "PROBES", "Probe"]

Probe = Callable[[str], None]  # of a directory; OSError: it cannot
_PAGE = mmap.PAGESIZE
_HUGE = 1 << 21
_POPULATE_WRITE, _COLLAPSE = 23, 25
_RMID, _REMAP, _PRIVATE, _FIXED = 0, 0o40000, 0, 0x10
NO_SUCH_LOCKS = (errno.EINVAL, errno.ENOSYS)  # what a kernel says that has none
_FAILED = ctypes.c_void_p(-1).value


def _error() -> OSError:
    return OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    address, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    libc.mmap.restype = libc.shmat.restype = address
    libc.mmap.argtypes = [address, size, number, number, number, ctypes.c_long]
    libc.munmap.argtypes = [address, size]
    libc.madvise.argtypes = [address, size, number]
    libc.shmget.argtypes = [number, size, number]
    libc.shmat.argtypes = [number, address, number]
    libc.shmctl.argtypes = [number, number, address]
    libc.shmdt.argtypes = [address]
    return libc


@contextmanager
def _nameless(directory: str, size: int) -> Iterator[int]:
    fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _opened_twice(directory: str) -> Iterator[tuple[int, int]]:
    """The same page-long file by two open ones, of which the second is to be closed.

    By a name of the library's own, since it needs no /proc: one that stays behind is
    swept.
    """
    path = f"{directory}/smem.{os.geteuid()}.t.{secrets.token_hex(16)}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.ftruncate(fd, _PAGE)
            again = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        finally:
            os.unlink(path)
        yield fd, again
    finally:
        os.close(fd)


def tmpfile(directory: str) -> None:
    with _nameless(directory, _PAGE):
        pass


def locks(directory: str) -> None:
    """A lock of an open file that lives on in a mapping when the fd is closed.

    Not through `mmap.mmap`, which keeps an fd of its own open.
    """
    libc = _libc()
    shared, exclusive = (
        struct.pack("hhqqi4x", kind, 0, 0, 1, 0) for kind in (fcntl.F_RDLCK, fcntl.F_WRLCK)
    )
    with _opened_twice(directory) as (fd, again):
        try:
            fcntl.fcntl(again, fcntl.F_OFD_SETLK, shared)
            at = libc.mmap(None, _PAGE, 0, mmap.MAP_SHARED, again, 0)
            if at == _FAILED:
                raise _error()
        finally:
            os.close(again)
        try:
            kind = struct.unpack("hhqqi4x", fcntl.fcntl(fd, fcntl.F_OFD_GETLK, exclusive))[0]
        finally:
            libc.munmap(at, _PAGE)
        if kind != fcntl.F_RDLCK:
            raise OSError(0, f"{file_system(directory)} does not")


def populate(directory: str) -> None:
    with _nameless(directory, _PAGE) as fd, mmap.mmap(fd, _PAGE) as mapping:
        mapping.madvise(_POPULATE_WRITE)


def collapse(directory: str) -> None:
    """One huge page, of a mapping at a multiple of its size, with one page resident."""
    libc = _libc()
    with _nameless(directory, _HUGE) as fd:
        area = libc.mmap(None, 2 * _HUGE, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        if area == _FAILED:
            raise _error()
        at = area + -area % _HUGE
        try:
            flags = mmap.MAP_SHARED | _FIXED
            if libc.mmap(at, _HUGE, mmap.PROT_READ | mmap.PROT_WRITE, flags, fd, 0) == _FAILED:
                raise _error()
            ctypes.memset(at, 1, 1)
            if libc.madvise(at, _HUGE, _COLLAPSE) != 0:
                raise _error()
        finally:
            libc.munmap(area, 2 * _HUGE)


def sysv(directory: str) -> None:
    """Make a segment, lay an attachment over itself as is done at exit, leave it."""
    libc = _libc()
    segment = libc.shmget(_PRIVATE, _PAGE, 0o600)
    if segment < 0:
        raise _error()
    at = libc.shmat(segment, None, 0)
    error = _error() if at == _FAILED else None
    libc.shmctl(segment, _RMID, None)
    if error is None:
        if libc.shmat(segment, at, _REMAP) == _FAILED:
            error = _error()
        libc.shmdt(at)
    if error is not None:
        raise error


# What it is called, whether the library can do without it, what its absence means.
PROBES: dict[str, tuple[Probe, str, str]] = {
    "lock kept by a mapping": (locks, "problem", "Linux 4.18 or newer is needed"),
    "file without a name": (tmpfile, "warning", "a temporary name is used instead"),
    "SysV segments": (sysv, "warning", "only the posix backend can be used"),
    "pages made at once": (populate, "ok", "Linux 5.14 and newer: first use of new memory is slower"),
    "huge pages on demand": (collapse, "ok", "Linux 6.1 and newer: large arrays are slower to make"),
}

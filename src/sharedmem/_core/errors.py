"""Exceptions, and the one place where a result code becomes one.

Every exception of the library is also the built-in exception that a caller
would expect, and carries ``errno``, ``name`` (of the segment, or None) and
``remedy`` (what to do).
"""

from __future__ import annotations

import errno as _errno
import queue
import threading


class SharedmemError(Exception):
    """Base of all exceptions of this library.

    Attributes
    ----------
    errno : int
        What the operating system calls it.
    name : str or None
        Of the segment.
    remedy : str
        What to do.
    """

    errno: int | None
    name: str | None = None
    remedy: str = ""


class SegmentExistsError(SharedmemError, FileExistsError):
    """The name is taken by a segment that somebody uses. ``holders`` lists them."""

    holders: tuple[tuple[int, str], ...] = ()


class SegmentNotFoundError(SharedmemError, FileNotFoundError):
    """No such segment; the text says what is gone: segment, family, boot or namespace."""


class SegmentFormatError(SharedmemError, ValueError):
    """What stands under the name is not a segment of this library's, or is damaged."""


class SegmentSecurityError(SharedmemError, PermissionError):
    """What stands under the name is somebody else's, may be changed by others, or is no plain file."""


class SegmentBusyError(SharedmemError, BlockingIOError):
    """Another process holds the lock of this name and does not let go."""


class SegmentNameError(SharedmemError, ValueError):
    """Not a valid name."""


class SegmentSizeError(SharedmemError, ValueError):
    """The size is negative or too large for the address space."""


class NoRoomError(SharedmemError, MemoryError):
    """No room for the segment: memory or ``/dev/shm`` is full."""


class ShareLimitError(SharedmemError, OSError):
    """A limit on the number of segments or descriptors in flight is reached."""


class LayoutMismatchError(SharedmemError, ValueError):
    """A segment has another shape or dtype than was asked for."""


class SegmentArgumentError(SharedmemError, ValueError):
    """An argument has no valid value."""


class ShutDown(SharedmemError, getattr(queue, "ShutDown", Exception)):  # type: ignore[misc]
    """The queue was shut down; as `queue.ShutDown`, which Python has from 3.13 on.

    Examples
    --------
    >>> import sharedmem
    >>> queue = sharedmem.Queue()
    >>> queue.shutdown()
    >>> queue.get()
    Traceback (most recent call last):
        ...
    sharedmem.errors.ShutDown: ...
    """


class OwnerDiedError(SharedmemError, RuntimeError):
    """The holder of a lock has died: what the lock guards may be half-changed."""


class NotHeldError(SharedmemError, RuntimeError):
    """A lock is given back, or counted on, that this process or thread does not hold."""


class LocksHeldError(SharedmemError, RuntimeError):
    """The process holds locks, and what it asks for would make it another holder."""


class SegmentKindError(SharedmemError, TypeError):
    """A segment holds something else than was asked for: an array, or another synchroniser."""


class OverReleasedError(SharedmemError, ValueError):
    """A semaphore is released more often than it was acquired."""


class BrokenBarrierError(SharedmemError, threading.BrokenBarrierError):
    """Somebody gave up waiting at a barrier, reset it or died: nobody passes it."""


class TornFrameError(SharedmemError, OSError):
    """The writer of a frame died, or gave up, in the middle of it."""


# Users meet them, and pickles of them, under the package's own name.
for _class in [c for c in list(globals().values()) if isinstance(c, type)]:
    _class.__module__ = "sharedmem.errors"
del _class

_CLASSES: dict[str, type[SharedmemError]] = {
    "SMEM_E_EXISTS": SegmentExistsError,
    "SMEM_E_NOT_FOUND": SegmentNotFoundError,
    "SMEM_E_REUSED": SegmentNotFoundError,
    "SMEM_E_UNLINKED": SegmentNotFoundError,
    "SMEM_E_FORMAT": SegmentFormatError,
    "SMEM_E_VERSION": SegmentFormatError,
    "SMEM_E_SECURITY": SegmentSecurityError,
    "SMEM_E_UNMAPPED": SegmentSecurityError,
    "SMEM_E_EXPOSED": SegmentSecurityError,
    "SMEM_E_JOURNAL": SegmentSecurityError,
    "SMEM_E_NO_ROOM": NoRoomError,
    "SMEM_E_LIMIT": ShareLimitError,
    "SMEM_E_TICKETS": ShareLimitError,
    "SMEM_E_NAME": SegmentNameError,
    "SMEM_E_SIZE": SegmentSizeError,
    "SMEM_E_ARGUMENT": SegmentArgumentError,
    "SMEM_E_BUSY": SegmentBusyError,
    "SMEM_E_PLACE": ShareLimitError,
    "SMEM_E_SHUT": ShutDown,
    "SMEM_E_LENGTH": SegmentSizeError,
    "SMEM_E_OWNER_DIED": OwnerDiedError,
    "SMEM_E_NOT_HELD": NotHeldError,
    "SMEM_E_HELD": LocksHeldError,
    "SMEM_E_KIND": SegmentKindError,
    "SMEM_E_RELEASED": OverReleasedError,
    "SMEM_E_BROKEN": BrokenBarrierError,
    "SMEM_E_TORN": TornFrameError,
}


def make(
    cls: type[SharedmemError], errno: int, text: str, remedy: str, name: str | None
) -> SharedmemError:
    """Make an exception of the library with all its facts."""
    message = f"{text} ({remedy})" if remedy else text
    error: SharedmemError
    if issubclass(cls, OSError):
        error = cls(errno, message, name) if name is not None else cls(errno, message)
    else:
        error = cls(f"{message}: {name!r}" if name is not None else message)
        error.errno = errno
    error.name = name
    error.remedy = remedy
    return error


def from_code(code: str, errno: int, text: str, remedy: str, name: str | None) -> Exception:
    """Turn a result code of the C core into the exception to raise."""
    cls = _CLASSES.get(code)
    if cls is not None:
        return make(cls, errno, text, remedy, name)
    if errno == _errno.ENOMEM:
        return MemoryError(text)
    return OSError(errno, text, name) if name is not None else OSError(errno, text)

"""NumPy arrays that several processes share, that pickle by name, and that are
freed by their last user, however it ends.

>>> import sharedmem
>>> a = sharedmem.zeros((2, 2))
"""

from __future__ import annotations

import os as _os
from typing import TYPE_CHECKING as _TYPE_CHECKING

from sharedmem import _core, atomic, errors  # noqa: F401  (_core first: it refuses sub-interpreters)
from sharedmem._core.segment import VERSION as __version__  # noqa: F401
from sharedmem.calls import background
from sharedmem.creation import (
    array,
    asshared,
    attach_or_create,
    copy,
    empty,
    empty_like,
    fromiter,
    full,
    full_like,
    ones,
    ones_like,
    wrap,
    zeros,
    zeros_like,
)
from sharedmem.dtypes import register_dtype
from sharedmem.errors import (
    BrokenBarrierError,
    LayoutMismatchError,
    LocksHeldError,
    NoRoomError,
    NotHeldError,
    OverReleasedError,
    OwnerDiedError,
    SegmentArgumentError,
    SegmentBusyError,
    SegmentExistsError,
    SegmentFormatError,
    SegmentKindError,
    SegmentNameError,
    SegmentNotFoundError,
    SegmentSecurityError,
    SegmentSizeError,
    SharedmemError,
    ShareLimitError,
    ShutDown,
    TornFrameError,
)
from sharedmem.executor import LoadError, ProcessPoolExecutor
from sharedmem.failures import LostExceptionType, SlaveException, WorkerException
from sharedmem.installation import install, uninstall
from sharedmem.machine import cpu_count, total_memory
from sharedmem.mapreduce import (
    MapReduce,
    MapReduceByThread,
    ProcessBackend,
    ThreadBackend,
    get_debug,
    set_debug,
    set_timeout,
)
from sharedmem.names import SegmentInfo, attach, exists, list_segments, stat, unlink
from sharedmem.participant import family, new_family, reclaim
from sharedmem.pickling import by_content, forget, register
from sharedmem.pool import Pool, TPool, array_split
from sharedmem.queue import JoinableQueue, Queue
from sharedmem.sharedarray import SharedArray, SharedMemArray
from sharedmem.sync import Barrier, BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore
from sharedmem.transport import dumps, loads
from sharedmem.warm import stats, trim

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Condition",
    "Event",
    "JoinableQueue",
    "LayoutMismatchError",
    "LoadError",
    "Lock",
    "LocksHeldError",
    "LostExceptionType",
    "MapReduce",
    "MapReduceByThread",
    "NoRoomError",
    "NotHeldError",
    "OverReleasedError",
    "OwnerDiedError",
    "Pool",
    "ProcessBackend",
    "ProcessPoolExecutor",
    "Queue",
    "RLock",
    "SegmentArgumentError",
    "SegmentBusyError",
    "SegmentExistsError",
    "SegmentFormatError",
    "SegmentInfo",
    "SegmentKindError",
    "SegmentNameError",
    "SegmentNotFoundError",
    "SegmentSecurityError",
    "SegmentSizeError",
    "Semaphore",
    "ShareLimitError",
    "SharedArray",
    "SharedMemArray",
    "SharedmemError",
    "ShutDown",
    "SlaveException",
    "TPool",
    "ThreadBackend",
    "TornFrameError",
    "WorkerException",
    "array",
    "array_split",
    "asshared",
    "atomic",
    "attach",
    "attach_or_create",
    "background",
    "by_content",
    "copy",
    "cpu_count",
    "dumps",
    "empty",
    "empty_like",
    "errors",
    "exists",
    "family",
    "forget",
    "fromiter",
    "full",
    "full_like",
    "get_debug",
    "get_include",
    "install",
    "list_segments",
    "loads",
    "new_family",
    "ones",
    "ones_like",
    "reclaim",
    "register_dtype",
    "set_debug",
    "set_timeout",
    "stat",
    "stats",
    "total_memory",
    "trim",
    "uninstall",
    "unlink",
    "wrap",
    "zeros",
    "zeros_like",
]

register(SharedArray)
del register, annotations

_OF_2012 = {"SharedMemArray", "SlaveException", "wrap"}  # there, and not shown to who looks around
# What NumPy makes, and those who look for it here expect to be made shared.
_NUMPYS = {
    "arange",
    "asanyarray",
    "ascontiguousarray",
    "asfortranarray",
    "concatenate",
    "diag",
    "eye",
    "frombuffer",
    "fromfile",
    "fromfunction",
    "fromstring",
    "genfromtxt",
    "geomspace",
    "identity",
    "linspace",
    "load",
    "loadtxt",
    "logspace",
    "stack",
    "tri",
    "tril",
    "triu",
}


def __dir__() -> list[str]:
    return sorted((set(__all__) - _OF_2012) | {name for name in globals() if name.startswith("__")})


if not _TYPE_CHECKING:  # else every name would be one to type checkers

    def __getattr__(name: str) -> None:
        text = f"module 'sharedmem' has no attribute {name!r}"
        if name == "asarray":
            text += ": sharedmem.asshared(...) copies only what is not shared yet"
        elif name in _NUMPYS:
            text += f": a shared copy of what NumPy makes is sharedmem.copy(np.{name}(...))"
        raise AttributeError(text)


def get_include() -> str:
    """The folder of ``sharedmem.h``, for C programs.

    Returns
    -------
    str
        To be given to the compiler with ``-I``.

    Examples
    --------
    >>> import os, sharedmem
    >>> os.listdir(sharedmem.get_include())
    ['sharedmem.h']
    """
    return _os.path.join(_os.path.dirname(__file__), "include")

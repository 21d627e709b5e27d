"""NumPy arrays that several processes share, that pickle by name, and that are
freed by their last user, however it ends.

>>> import sharedmem
>>> a = sharedmem.zeros((2, 2))
"""

from __future__ import annotations

import os

from sharedmem import errors
from sharedmem._core.segment import VERSION as __version__  # noqa: F401
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
    zeros,
    zeros_like,
)
from sharedmem.errors import (
    LayoutMismatchError,
    NoRoomError,
    SegmentArgumentError,
    SegmentBusyError,
    SegmentExistsError,
    SegmentFormatError,
    SegmentNameError,
    SegmentNotFoundError,
    SegmentSecurityError,
    SegmentSizeError,
    SharedmemError,
    ShareLimitError,
)
from sharedmem.machine import cpu_count, total_memory
from sharedmem.mapreduce import (
    LostExceptionType,
    MapReduce,
    MapReduceByThread,
    ProcessBackend,
    ThreadBackend,
    WorkerException,
    get_debug,
    set_debug,
    set_timeout,
)
from sharedmem.names import SegmentInfo, attach, exists, list_segments, stat, unlink
from sharedmem.participant import family, new_family, reclaim
from sharedmem.pickling import by_content, forget, install, register, uninstall
from sharedmem.sharedarray import SharedArray

__all__ = [
    "LayoutMismatchError",
    "NoRoomError",
    "SegmentArgumentError",
    "SegmentBusyError",
    "SegmentExistsError",
    "SegmentFormatError",
    "SegmentInfo",
    "SegmentNameError",
    "SegmentNotFoundError",
    "SegmentSecurityError",
    "SegmentSizeError",
    "ShareLimitError",
    "SharedArray",
    "SharedmemError",
    "array",
    "asshared",
    "attach",
    "attach_or_create",
    "by_content",
    "copy",
    "empty",
    "empty_like",
    "errors",
    "exists",
    "family",
    "forget",
    "fromiter",
    "full",
    "full_like",
    "get_include",
    "install",
    "list_segments",
    "new_family",
    "ones",
    "ones_like",
    "reclaim",
    "stat",
    "uninstall",
    "unlink",
    "zeros",
    "zeros_like",
]

register(SharedArray)
del register


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
    return os.path.join(os.path.dirname(__file__), "include")

"""What a worker's malloc keeps of the memory that is given back to it."""

from __future__ import annotations

import ctypes
import os

__all__ = ["keep_freed"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK = 32 << 20  # as much as glibc lets one block of its heap be
_KEPT = 64 << 20


def keep_freed() -> None:
    """Keep up to 64 MB of freed memory for the next temporary, instead of returning it.

    Work functions make the same temporaries for each item. glibc unmaps blocks of some MB
    when they are freed, and the kernel makes, zeroes and maps their pages anew for the next
    item, which takes longer than the arithmetic does. Where the environment says what glibc
    is to do, or the C library is another one, nothing is changed.
    """
    if {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys():
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)

"""Arrays by name: attach, look, take the name away."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from sharedmem import dtypes
from sharedmem._core.errors import (
    SegmentExistsError,
    SegmentFormatError,
    SegmentNotFoundError,
    make,
)
from sharedmem._core.segment import (
    COPY_ON_WRITE,
    READ_ONLY,
    READ_WRITE,
    Info,
    Segment,
)
from sharedmem.participant import context
from sharedmem.sharedarray import SharedArray, over

__all__ = ["SegmentInfo", "attach", "exists", "list_segments", "stat", "unlink"]

_MODES = {"r+": READ_WRITE, "r": READ_ONLY, "c": COPY_ON_WRITE}


class SegmentInfo:
    """What a segment is, as its header and the kernel said when it was looked at.

    Attributes
    ----------
    name, backend : str
    dtype : numpy.dtype
    shape, strides : tuple of int
    nbytes : int
        Of the data.
    size : int
        Of the segment, header included; bytes.
    persistent : bool
    owner : int
        uid, by the kernel's word.
    permissions : int
    created : int
        Seconds since 1970.
    nonce : int
        Tells apart segments that had one name.
    tickets, voided : int
        Descriptors in flight, and those whose family is dead.
    pins : int
        Living families that have too many descriptors in flight to count.
    oldest_ticket : int or None
        Seconds since 1970.
    mapped : bool
        Whether any process maps it, by the kernel's word: also one that cannot be
        seen from here.
    status : str
        Why it is there: 'mapped'; else 'persistent'; else 'in flight'; else
        'elsewhere' (another ``/dev/shm`` has its families, which cannot be judged from
        here); else 'stale': nobody can reach it, and the next sweep frees it.
    """

    __slots__ = ("_info",)
    _info: Info

    def __init__(self, info: Info) -> None:
        self._info = info

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        return getattr(self._info, attribute)

    @property
    def dtype(self) -> np.dtype[Any]:
        return _dtype_of(self._info)

    @property
    def status(self) -> str:
        if self._info.mapped:
            return "mapped"
        if self._info.persistent:
            return "persistent"
        if self._info.tickets or self._info.pins:
            return "in flight"
        return "elsewhere" if self._info.elsewhere else "stale"

    def holders(self) -> list[tuple[int, str]]:
        """pid and command of each process that maps it and can be seen from here."""
        return sorted(context.holders(self._info))

    def __repr__(self) -> str:
        return (
            f"<SegmentInfo {self.name!r} {self.backend} {self.shape} "
            f"{self._info.dtype} {self.size} bytes>"
        )


def _dtype_of(info: Info) -> np.dtype[Any]:
    try:
        dtype = dtypes.from_text(info.dtype)
        if dtype.itemsize == info.itemsize:
            return dtype
        reason = f"items of {info.itemsize} bytes"
    except ValueError as error:
        reason = str(error)
    raise make(SegmentFormatError, 22, f"the header's dtype does not hold: {reason}", "", info.name)


def array_of(segment: Segment) -> SharedArray:
    """The array that a segment's header describes."""
    info = segment.info
    return over(segment, info.shape, _dtype_of(info), info.start, info.strides)


def attach(
    name: str, mode: Literal["r+", "r", "c"] = "r+", *, owner: int | None = None
) -> SharedArray:
    """The shared array of this name, as it was made: shape, strides, dtype.

    Parameters
    ----------
    name : str
        ``'posix:x'`` and ``'sysv:x'`` look on one backend only.
    mode : {'r+', 'r', 'c'}
        Read and write; read only (enforced by the kernel); copy on write: changes
        are this array's own.
    owner : int, optional
        uid of another user whose array it is, permissions permitting. Visitors
        keep the memory for themselves, not the name.

    Raises
    ------
    SegmentNotFoundError, SegmentFormatError, SegmentSecurityError, PermissionError

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.ones(3, name='attach-example')
    >>> sharedmem.attach('attach-example', 'r').sum()
    np.float64(3.0)
    """
    if mode not in _MODES:
        raise ValueError(f"mode must be 'r+', 'r' or 'c', not {mode!r}")
    return array_of(context.attach(name, _MODES[mode], owner))


def unlink(name: str) -> None:
    """Take the name away: nobody can attach it any more; who has it keeps the memory.

    Raises
    ------
    SegmentNotFoundError
    """
    context.unlink(name)


def stat(name: str) -> SegmentInfo:
    """What the segment of this name is, without mapping it for use.

    Raises
    ------
    SegmentNotFoundError, SegmentFormatError, SegmentSecurityError
    """
    return SegmentInfo(context.stat(name))


def exists(name: str) -> bool:
    """Whether a segment of this name can be attached."""
    try:
        context.stat(name)
    except SegmentNotFoundError:
        return False
    return True


def list_segments() -> list[SegmentInfo]:
    """All segments of the user that can be seen from here, by name."""
    return sorted(map(SegmentInfo, context.list()), key=lambda info: info.name)


def explain_exists(error: SegmentExistsError) -> SegmentExistsError:
    """The same error with the holders of the segment in its text."""
    try:
        info = stat(error.name or "")
        holders = info.holders()
        kept = ", ".join(f"{pid} ({command})" for pid, command in holders) or "nobody"
        text = f"a segment of this name exists; mapped by {kept}; {info.tickets + info.pins} in flight"
        if info.persistent:
            text += "; persistent"
    except (SegmentNotFoundError, OSError):
        return error
    made = make(SegmentExistsError, error.errno or 17, text, error.remedy, error.name)
    assert isinstance(made, SegmentExistsError)
    made.holders = tuple(holders)
    return made

"""Arrays by name: attach, look, take the name away."""

from __future__ import annotations

import operator
import re
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
    BACKENDS,
    COPY_ON_WRITE,
    READ_ONLY,
    READ_WRITE,
    Info,
    Segment,
    whole,
)
from sharedmem.participant import context
from sharedmem.sharedarray import SharedArray, over

__all__ = ["SegmentInfo", "attach", "exists", "list_segments", "stat", "unlink"]

# dtypes of what the library makes for itself: results of workers, what a map's share, and locks and
# queues, whose random names say that no user named them.
_OWN = re.compile(
    r"\[\('(result of (executor|workers) |(lock|rlock|condition|event|semaphore|barrier|queue)-\d+ )"
    r"|\{'names': \['board of a map'\]"
)
_RANDOM_NAME = re.compile(r"[0-9a-f]{32}")
_MODES = {"r+": READ_WRITE, "r": READ_ONLY, "c": COPY_ON_WRITE}


class SegmentInfo:
    """What a segment is, as its header and the kernel said when it was looked at.

    Made by `stat` and `list_segments`. It maps nothing and keeps nothing alive.

    Attributes
    ----------
    name, backend : str
        What to attach it by, and where.
    dtype : numpy.dtype
        Of the elements; a ``TypeError`` if it has a type in it that this process
        does not know (see `register_dtype`).
    shape, strides : tuple of int
        As the maker made it; strides in bytes.
    nbytes : int
        Of the data.
    size : int
        Of the segment, header included; bytes.
    persistent : bool
        Whether it stays until it is unlinked.
    owner : int
        uid, by the kernel's word.
    permissions : int
        Of the segment.
    created : int
        Seconds since 1970.
    nonce : int
        Tells apart segments that had one name.
    tickets, voided : int
        Descriptors in flight, and those whose family is dead.
    pins : int
        Living families that have too many descriptors in flight to count.
    oldest_ticket : int or None
        Seconds since 1970 of the oldest descriptor that may be in flight.
    mapped : bool
        Whether any process maps it, by the kernel's word: also one that cannot be
        seen from here.
    status : str
        Why it is there: 'mapped'; 'idle' (a process keeps it warm for what it makes
        next, and nobody can attach it); else 'persistent'; else 'in flight'; else
        'elsewhere' (another ``/dev/shm`` has its families, which cannot be judged from
        here); else 'stale': nobody can reach it, and the next sweep frees it.

    See Also
    --------
    SegmentInfo.holders : Who maps it.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.zeros((2, 3), name='info-example')
    >>> info = sharedmem.stat('info-example')
    >>> info.shape, info.nbytes, info.tickets, info.persistent
    ((2, 3), 48, 0, False)
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
        """The data type of the elements."""
        return _dtype_of(self._info)

    @property
    def status(self) -> str:
        """Why it is there: 'mapped', 'idle', 'persistent', 'in flight', 'elsewhere' or 'stale'.

        Examples
        --------
        >>> import sharedmem
        >>> a = sharedmem.zeros(3, name='status-example')
        >>> sharedmem.stat('status-example').status
        'mapped'
        """
        if self._info.mapped:
            return "idle" if self._info.idle else "mapped"
        if self._info.persistent:
            return "persistent"
        if self._info.tickets or self._info.pins:
            return "in flight"
        return "elsewhere" if self._info.elsewhere else "stale"

    @property
    def internal(self) -> bool:
        """Whether it is the library's own: memory that is idle, a result on its way, an unnamed lock or queue.

        Examples
        --------
        >>> import sharedmem
        >>> a, lock = sharedmem.zeros(3), sharedmem.Lock()
        >>> sharedmem.stat(a.name).internal, sharedmem.stat(lock.name).internal
        (False, True)
        """
        if self._info.mapped and self._info.idle:
            return True
        unnamed = _RANDOM_NAME.fullmatch(self._info.name) is not None
        return unnamed and _OWN.match(self._info.dtype) is not None

    def holders(self) -> list[tuple[int, str]]:
        """Who maps it now.

        Returns
        -------
        list of (int, str)
            pid and command of each process that has it and can be seen from here:
            those of other users, and of PID namespaces that this one does not
            contain, cannot.

        Raises
        ------
        OSError
            If ``/proc`` cannot be read.

        References
        ----------
        :manpage:`proc_pid_maps(5)`

        Examples
        --------
        >>> import os, sharedmem
        >>> a = sharedmem.zeros(3)
        >>> [pid == os.getpid() for pid, command in sharedmem.stat(a.name).holders()]
        [True]
        """
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


def backend_number(backend: str | None) -> int:
    """What the core calls a backend; 0 for whichever has room."""
    if backend is None:
        return 0
    try:
        return BACKENDS[backend]
    except (KeyError, TypeError):
        raise ValueError(f"backend must be 'posix', 'sysv' or None, not {backend!r}") from None


def array_of(segment: Segment) -> SharedArray:
    """The array that a segment's header describes."""
    array: SharedArray | None
    try:
        array = whole(segment, dtypes.from_text(segment.dtype), SharedArray)
    except ValueError:
        array = None
    if array is None:
        info = segment.info
        array = over(segment, info.shape, _dtype_of(info), info.start, info.strides)
    return array


def _uid(owner: object) -> int:
    try:
        uid = operator.index(owner)  # type: ignore[arg-type]
    except TypeError:
        text = f"owner must be a uid, not {owner!r} (pwd.getpwnam(user).pw_uid is a user's)"
        raise TypeError(text) from None
    if not 0 <= uid < 2**32 - 1:
        raise ValueError(f"owner must be a uid, from 0 to 2**32 - 2, not {uid}")
    return uid


def attach(name: str, mode: Literal["r+", "r", "c"] = "r+", *, owner: int | None = None) -> SharedArray:
    """The shared array of this name, as it was made: shape, strides, dtype.

    Parameters
    ----------
    name : str
        ``'posix:x'`` and ``'sysv:x'`` look on one backend only.
    mode : {'r+', 'r', 'c'}
        Read and write; read only, which the kernel enforces; copy on write, where
        changes are this array's own.
    owner : int, optional
        uid of another user whose array it is, as its permissions permit. A visitor
        keeps the memory, not the name: it is the owner's processes that free it.

    Returns
    -------
    SharedArray
        The whole array, in the same memory. It keeps the segment like any other.

    Raises
    ------
    SegmentNotFoundError
        If there is none of this name that can be seen from here; a
        ``FileNotFoundError``.
    SegmentFormatError
        If what has the name is damaged, or made by another version; a ``ValueError``.
    SegmentSecurityError
        If it is not the owner's, or a link, a FIFO or the like; a ``PermissionError``.
    PermissionError
        If the permissions of the segment do not allow `mode`.
    SegmentNameError, ValueError
        If the name or the mode is not valid.
    TypeError
        If its dtype has a type in it that this process does not know: import the module
        that the text names first, since attaching imports nothing.
    MemoryError
        If the address space or the number of mappings is used up.

    See Also
    --------
    attach_or_create : Makes it when there is none.
    exists, stat : Look without attaching.

    Notes
    -----
    Nothing is copied, but with ``mode='c'``: on POSIX the kernel copies each page
    at the first write to it; on SysV, which has no such mapping, all is copied here.
    In one process attaching an array again costs no second mapping.

    References
    ----------
    The modes are those of `numpy.memmap`.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.ones(3, name='attach-example')
    >>> b = sharedmem.attach('attach-example', 'r')
    >>> a[0] = 7
    >>> b.tolist(), b.flags.writeable
    ([7.0, 1.0, 1.0], False)
    """
    if mode not in _MODES:
        raise ValueError(f"mode must be 'r+', 'r' or 'c', not {mode!r}")
    return array_of(context.attach(name, _MODES[mode], None if owner is None else _uid(owner)))


def unlink(name: str) -> None:
    """Take the name away: nobody can attach it any more; who has it keeps the memory.

    Parameters
    ----------
    name : str
        Of one's own segment, on either backend; ``'posix:x'`` and ``'sysv:x'`` mean
        one only.

    Raises
    ------
    SegmentNotFoundError
        If there is none of this name; a ``FileNotFoundError``.
    SegmentBusyError
        If another process holds the lock of the name for seconds.

    See Also
    --------
    SharedArray.unlink : For an array that one has.
    reclaim : For what the dead left.

    Notes
    -----
    The memory goes with the last view in the last process, at once if there is
    none. Descriptors in flight cannot be received any more. Only what is
    ``persistent`` needs it.

    References
    ----------
    As :manpage:`shm_unlink(3)`, and for SysV ``IPC_RMID`` of :manpage:`shmctl(2)`,
    which on Linux leaves the attached alone.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.zeros(3, name='unlink-example', persistent=True)
    >>> sharedmem.unlink('unlink-example')
    >>> sharedmem.exists('unlink-example'), a.tolist()
    (False, [0.0, 0.0, 0.0])
    """
    context.unlink(name)


def stat(name: str) -> SegmentInfo:
    """What the segment of this name is, without attaching it.

    Parameters
    ----------
    name : str
        ``'posix:x'`` and ``'sysv:x'`` look on one backend only.

    Returns
    -------
    SegmentInfo
        As it was at this moment.

    Raises
    ------
    SegmentNotFoundError
        If there is none of this name.
    SegmentFormatError, SegmentSecurityError
        If what has the name is not a segment of this library's, or not one's own.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.zeros(1000, 'u1', name='stat-example', backend='posix')
    >>> sharedmem.stat('stat-example')
    <SegmentInfo 'stat-example' posix (1000,) '|u1' 8192 bytes>
    """
    return SegmentInfo(context.stat(name))


def exists(name: str) -> bool:
    """Whether a segment of this name can be attached.

    Parameters
    ----------
    name : str
        ``'posix:x'`` and ``'sysv:x'`` look on one backend only.

    Returns
    -------
    bool
        As it was at this moment: another process may unlink it the next.

    Raises
    ------
    SegmentFormatError, SegmentSecurityError
        If something else has the name.

    See Also
    --------
    attach_or_create : Where processes race, instead of asking first.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.exists('nobody-made-this')
    False
    """
    try:
        context.stat(name)
    except SegmentNotFoundError:
        return False
    return True


def list_segments(internal: bool = False) -> list[SegmentInfo]:
    """The segments of this user that can be seen from here.

    Parameters
    ----------
    internal : bool, default False
        True: also those that the library has made for itself (see
        `SegmentInfo.internal`). Only with them is an empty list a proof that nothing is left.

    Returns
    -------
    list of SegmentInfo
        Sorted by name. Those on POSIX in this ``/dev/shm``, those on SysV in this
        IPC namespace.

    Raises
    ------
    OSError
        If the directory cannot be read.

    See Also
    --------
    reclaim : Free those that nobody uses.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.zeros(3, name='list-example')
    >>> [info.name for info in sharedmem.list_segments() if info.name == a.name]
    ['list-example']
    """
    found = sorted(map(SegmentInfo, context.list()), key=lambda info: info.name)
    return found if internal else [info for info in found if not info.internal]


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

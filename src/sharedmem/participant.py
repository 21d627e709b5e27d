"""This process as a participant: its family, and how it leaves."""

from __future__ import annotations

import atexit
import errno
import os
import select
import sys
from types import FrameType
from typing import Any

from sharedmem import _core, places
from sharedmem._core.errors import (
    SegmentFormatError,
    SegmentNameError,
    SegmentSecurityError,
    SharedmemError,
    ShareLimitError,
    make,
)
from sharedmem._core.segment import Context

__all__ = ["REAPER", "context", "family", "new_family", "reclaim"]

_VARIABLE = "SHAREDMEM_FAMILY"
REAPER = os.path.join(os.path.dirname(_core.__file__), "sharedmem-reaper")


def _is_being_started() -> bool:
    """Whether multiprocessing is still unpickling what this process is to run.

    It does not know its parent then, and has not cleared its finalizers yet.
    """
    process = sys.modules.get("multiprocessing.process")
    return process is not None and getattr(process.current_process(), "_inheriting", False)


def _parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return int(stat.read().rpartition(b")")[2].split()[1])


def _starter_lives() -> bool:
    """Whether the process that starts this one has not closed its end of the pipe.

    Who lost it has another parent by now: init, which lives for ever, and so would
    what it is said to have kept.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        sentinel = frame.f_locals.get("parent_sentinel") if frame.f_code.co_name == "_main" else None
        if isinstance(sentinel, int):
            poll = select.poll()
            poll.register(sentinel, 0)
            return not poll.poll(0)
        frame = frame.f_back
    return True


def _multiprocessing_parent() -> int:
    """The pid of the process that started this one through multiprocessing, or 0.

    With forkserver that is the kernel's grandparent.
    """
    process = sys.modules.get("multiprocessing.process")
    parent = process.parent_process() if process is not None else None
    if parent is not None:
        return parent.pid or 0
    if not _is_being_started():
        return 0
    by_server = any("multiprocessing.forkserver" in argument for argument in sys.orig_argv)
    starter = _parent_of(os.getppid()) if by_server else os.getppid()
    return starter if _starter_lives() else 0  # asked afterwards: it was the parent then


def _is_command_line() -> bool:
    """Whether this is the program ``sharedmem`` or ``python -m sharedmem``.

    It looks at what there is, so it must not sweep it first. While ``-m`` imports
    the package of a module, "-m" stands in the place of the program.
    """
    if sys.argv[:1] == ["-m"]:
        return sys.orig_argv[-len(sys.argv)] == "sharedmem"
    return os.path.basename(sys.argv[0] if sys.argv else "") == "sharedmem"


def _open() -> Context:
    try:
        if _is_command_line():
            return Context(observe=True)
        return Context(None, _multiprocessing_parent(), None, REAPER)
    except ShareLimitError as error:
        if error.errno != errno.ENOSYS:  # a limit, not the lack of a place
            raise
        reasons = "; ".join(map(places.why_not, places.DIRECTORIES))
        text = f"no directory can hold the files that processes share: {reasons}"
        raise make(ShareLimitError, errno.ENOSYS, text, places.REMEDY, None) from None


def _join() -> Context:
    try:
        return _open()
    except SegmentNameError as error:
        name = os.environ.get(_VARIABLE)
        raise make(
            SegmentNameError, 22, f"{_VARIABLE} holds no valid name", error.remedy, name
        ) from None
    except (SegmentSecurityError, SegmentFormatError) as error:
        if error.errno == errno.EPERM:  # no file's fault: users cannot be told apart
            raise
        name = os.environ.get(_VARIABLE, "")
        text = f"the file of the family in {_VARIABLE}, /dev/shm/smem.{os.geteuid()}.f.{name}: {error}"
        remedy = "choose another family, or remove the file if nobody lives in that one"
        raise make(type(error), error.errno or 22, text, remedy, name or None) from None


def _begin() -> Context:
    try:
        return _join()
    except SharedmemError as error:
        if not _is_command_line():
            raise
        sys.exit(f"sharedmem: {getattr(error, 'strerror', None) or error}")  # its errors are one line


context = _begin()
if context.family:
    os.environ.setdefault(_VARIABLE, context.family)


def family() -> str:
    """The name of the family that this process belongs to.

    Returns
    -------
    str
        Give it to other programs as ``SHAREDMEM_FAMILY`` to make them members.

    See Also
    --------
    new_family : Leave it.

    Notes
    -----
    A family keeps what its members have in flight, and nothing else.

    Examples
    --------
    >>> import os, sharedmem
    >>> sharedmem.family() == os.environ['SHAREDMEM_FAMILY']
    True
    """
    return context.family


def new_family(name: str | None = None) -> str:
    """Leave the family for a new one, as a daemon does that outlives its parent.

    Parameters
    ----------
    name : str, optional
        Of the new family; random when not given. If one of that name lives, this
        process joins it.

    Returns
    -------
    str
        The name, also put into ``os.environ["SHAREDMEM_FAMILY"]`` for the programs
        that this one starts.

    Raises
    ------
    SegmentNameError
        If it is not a valid name. The process stays in its family then.
    NoRoomError, OSError
        If the family's file cannot be made.

    Notes
    -----
    What this process has put in flight before stays the old family's, and is freed
    when that has no live participant. What it has attached stays attached.

    Examples
    --------
    >>> import subprocess, sys
    >>> program = "import sharedmem; print(sharedmem.new_family('of-its-own'))"
    >>> subprocess.run([sys.executable, '-c', program], capture_output=True).stdout.split()
    [b'of-its-own']
    """
    context.new_family(name)
    os.environ[_VARIABLE] = context.family
    return context.family


def reclaim() -> tuple[int, int, int]:
    """Free what the dead left behind, now.

    Returns
    -------
    segments, families, bytes : int
        How much was freed.

    Raises
    ------
    OSError
        If the directory or the journal cannot be read.

    See Also
    --------
    list_segments : What there is.

    Notes
    -----
    Frees every segment of the user that no process maps, no valid ticket holds and
    that is not persistent; whoever made it. The library does this by itself every so
    often, so there is seldom a need.

    Examples
    --------
    >>> import sharedmem
    >>> segments, families, freed = sharedmem.reclaim()
    """
    return context.reclaim()


# ---- leaving ---------------------------------------------------------------
#
# After multiprocessing: its queues send until its own exit function has run, and
# what they pickle after the leave would go by content. Where multiprocessing.util
# is there already, that is its finalizer of the lowest priority; where it is
# imported later its exit function runs before ours (atexit is last in, first
# out). Finalizers do not run in a forked child, atexit does not in those of
# multiprocessing, which clears the finalizers first: hence both hooks below.


def _leave_at_exit() -> None:
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        atexit.register(context.leave)
    else:
        util.Finalize(None, context.leave, exitpriority=-1000)


def _after_fork_in_child() -> None:
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        _leave_at_exit()
        util.register_after_fork(_after_fork_in_child, lambda _: _leave_at_exit())


_leave_at_exit()
os.register_at_fork(after_in_child=_after_fork_in_child)
if _is_being_started():
    _after_fork_in_child()

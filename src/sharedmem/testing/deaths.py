"""SIGKILL at every step of a function, one process per step."""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

__all__ = ["Death", "deaths"]

_REPORT_MAX = 4096  # bytes; the pipe takes them without a reader


@dataclass(frozen=True)
class Death:
    """How one child of `deaths` ended.

    Attributes
    ----------
    step : int
        Before which it was killed, from 1; one more than there are for the
        child that completed.
    place : str or None
        ``file:line in function`` of that step. None if the function completed.
    status : int
        Exit code, negative for a signal.
    """

    step: int
    place: str | None
    status: int

    @property
    def completed(self) -> bool:
        """Whether the function came to its end."""
        return self.place is None


def deaths(
    function: Callable[..., object],
    *args: object,
    within: Iterable[str] | None = None,
    at: Callable[[FrameType], bool] | None = None,
    timeout: float = 60.0,
) -> Iterator[Death]:
    """Run a function in forked children, and SIGKILL the n-th before its n-th step.

    A step is the moment before a line of Python is run. The first child dies
    before the first step, the second before the second, and so on; the last one
    completes. After each the loop that iterates can check what is left.

    Parameters
    ----------
    function : callable
        Called in each child, which then ends by ``os._exit``.
    *args : object
        What it is called with.
    within : iterable of str, optional
        Names of modules whose lines are steps; the name of a package stands for
        all that is in it. The function's own module when not given.
    at : callable, optional
        Gets the frame that is at a step, and returns whether it counts. For
        functions with more steps than there is time for.
    timeout : float, default 60
        Seconds that one child may take.

    Yields
    ------
    Death
        One for each child, when it is gone and was waited for.

    Raises
    ------
    RuntimeError
        If the function raises, or a child ends in a way that is not ours; the
        text has its traceback.
    TimeoutError
        If a child takes too long. It is killed.

    Notes
    -----
    A child has the parent's memory as it is when the child is forked: step n is
    the same in each run as long as the function and the loop's body let it be.
    Not steps, hence not deterministic: what other threads and processes do that
    the function starts, and what happens inside C code, where nobody is killed.
    A trace function (of a debugger, of coverage) is replaced in the child.

    Examples
    --------
    >>> import sharedmem
    >>> from sharedmem.testing import deaths
    >>> def write(name):
    ...     a = sharedmem.attach(name)
    ...     a[0] += 1
    ...     a[1] += 1
    >>> with sharedmem.zeros(2, name='deaths-example') as a:
    ...     for death in deaths(write, a.name):
    ...         print(death.step, death.status, a.astype(int).tolist())
    ...         a[:] = 0
    1 -9 [0, 0]
    2 -9 [0, 0]
    3 -9 [1, 0]
    4 0 [1, 1]
    >>> del a
    """
    if within is None:
        module = getattr(function, "__module__", None)
        if module is None:
            raise TypeError(f"{function!r} has no module: say with within= whose lines are steps")
        within = (module,)
    elif isinstance(within, str):
        within = (within,)
    return _each(function, args, tuple(within), at, timeout)


def _each(
    function: Callable[..., object],
    args: tuple[object, ...],
    within: tuple[str, ...],
    at: Callable[[FrameType], bool] | None,
    timeout: float,
) -> Iterator[Death]:
    step = 0
    while True:
        step += 1
        death = _run(function, args, _Killer(step, within, at), timeout)
        yield death
        if death.completed:
            return


class _Killer:
    """A trace function that ends its own process; not one that was forked from it."""

    def __init__(
        self, step: int, within: tuple[str, ...], at: Callable[[FrameType], bool] | None
    ) -> None:
        self.step = step
        self.left = step
        self.within = within
        self.at = at
        self.report = -1
        self.pid = 0

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        module = frame.f_globals.get("__name__", "")
        inside = any(module == each or module.startswith(each + ".") for each in self.within)
        return self.line if inside else None

    def line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if os.getpid() != self.pid:
            return None
        if event == "line" and (self.at is None or self.at(frame)):
            self.left -= 1
            if self.left == 0:
                code = frame.f_code
                place = f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"
                os.write(self.report, b"." + os.fsencode(place)[-_REPORT_MAX:])
                os.kill(os.getpid(), signal.SIGKILL)
        return self.line


def _run(
    function: Callable[..., object], args: tuple[object, ...], killer: _Killer, timeout: float
) -> Death:
    here, there = os.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            _be_child(function, args, killer, there)
        ended = False
        try:
            ended = _await_end(pid, timeout)
        finally:
            if not ended:
                os.kill(pid, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        # Whoever else has the pipe's other end may go on: nothing more is waited for.
        os.set_blocking(here, False)
        try:
            report = os.read(here, 2 * _REPORT_MAX)
        except BlockingIOError:
            report = b""
    finally:
        os.close(here)
        os.close(there)
    return _death(killer.step, status, report, ended, timeout)


def _await_end(pid: int, timeout: float) -> bool:
    pidfd = os.pidfd_open(pid)
    try:
        return bool(select.select([pidfd], [], [], timeout)[0])
    finally:
        os.close(pidfd)


def _be_child(
    function: Callable[..., object], args: tuple[object, ...], killer: _Killer, report: int
) -> None:
    """Never returns: what the parent would do next is the parent's."""
    status = 1
    try:
        killer.report, killer.pid = report, os.getpid()
        sys.settrace(killer)
        try:
            function(*args)
        finally:
            sys.settrace(None)
        status = 0
    except BaseException:
        os.write(report, b"!" + traceback.format_exc().encode(errors="replace")[-_REPORT_MAX:])
    finally:
        os._exit(status)


def _death(step: int, status: int, report: bytes, ended: bool, timeout: float) -> Death:
    if not ended:
        raise TimeoutError(f"step {step} was not reached within {timeout} s")
    if report.startswith(b".") and status == -signal.SIGKILL:
        return Death(step, os.fsdecode(report[1:]), status)
    if status == 0:
        return Death(step, None, status)
    why = report[1:].decode(errors="replace") or f"its child ended with {status}"
    raise RuntimeError(f"the function did not complete before step {step}: {why}")

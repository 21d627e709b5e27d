"""`background`: one call, while the caller goes on."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from sharedmem import functions, pickling
from sharedmem.failures import Failure, WorkerException
from sharedmem.lending import Lender
from sharedmem.mapreduce import ProcessBackend, ThreadBackend, patience
from sharedmem.transport import MIN_BYTES, Packer
from sharedmem.workers import Death, Says, Worker, Workers, level_of_caller, undisturbed

__all__ = ["background"]

_GRACE = 1.0  # seconds in which a process ends that has nothing left to do

Outcome = tuple[Any] | Failure  # a result in a tuple of its own


def _call(worker: Worker, call: Any, lends: bool) -> None:
    """What the process does."""
    try:
        if lends:
            worker.hear_rooms()
        if call is None:
            dumped, args, kwargs = pickle.loads(worker.hear())
            call = pickle.loads(dumped), args, kwargs
        function, args, kwargs = call
        worker.say((function(*args, **kwargs),))
    except BaseException as error:
        worker.say(Failure.of(error, True, take=worker.take))


def _call_here(call: Any, told: list[Outcome], is_told: threading.Event) -> None:
    """What the thread does."""
    function, args, kwargs = call
    try:
        told.append((function(*args, **kwargs),))
    except BaseException as error:
        told.append(Failure.of(error, False))
    finally:
        is_told.set()


class background:
    """Call a function in a process or thread, while the caller goes on.

    Parameters
    ----------
    function : callable
        What to call.
    *args
        What it is called with.
    backend : {ProcessBackend, ThreadBackend}, default ProcessBackend
        Where. It and `start_method` cannot be arguments of the function.
    start_method : {'fork', 'spawn', 'forkserver'}, default 'fork'
        How a process begins, as for `MapReduce`.
    **kwargs
        What it is called with.

    Raises
    ------
    TypeError, ValueError
        If there is no such backend or start method.
    pickle.PicklingError
        If the function has to be pickled, which only cloudpickle can do, and there is no
        cloudpickle.

    See Also
    --------
    MapReduce : Many calls.

    Notes
    -----
    The process goes on if nobody keeps what this returns, and is killed when the caller
    ends.

    Examples
    --------
    >>> import sharedmem
    >>> call = sharedmem.background(pow, 2, 10)
    >>> call.wait()
    1024
    """

    def __init__(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        backend: Any = ProcessBackend,
        start_method: str = "fork",
        **kwargs: Any,
    ) -> None:
        if backend not in (ProcessBackend, ThreadBackend):
            raise TypeError(f"backend must be ProcessBackend or ThreadBackend, not {backend!r}")
        self._lock = threading.RLock()  # ^C may come just when it is locked: who waits again gets in
        self._owner = os.getpid()
        self._outcome: Outcome | None = None
        self._lent: list[Any] = []  # until the outcome is there
        call = function, args, kwargs
        if backend is ThreadBackend:
            self._told: list[Outcome] = []
            self._is_told = threading.Event()
            told = call, self._told, self._is_told
            threading.Thread(target=_call_here, args=told, daemon=True).start()
        else:
            self._process = _Process(self._start(call, start_method))
            for each in list(_running):
                each._look(0)  # those that nobody waits for
            for process in list(_leaving):
                process.look(0)
            _running.add(self)

    _process: _Process | None = None

    def _start(self, call: Any, start_method: str) -> Workers:
        context = multiprocessing.get_context(start_method)
        lender = Lender(call[0], 1, 1)
        if start_method == "fork":
            lends = lender.lends()
            workers = Workers(1, _call, (call, lends), context, listen=lends, outlive_thread=True)
            workers.lend(lender, lends)
            return workers
        packer = Packer(MIN_BYTES, lend=True)
        message = packer.dump((functions.dump(call[0], False), *call[1:]))
        self._lent = [call, packer.parcels, packer.kept]  # nobody else may hold it
        workers = Workers(1, _call, (None, True), context, listen=True, outlive_thread=True)
        workers.lend(lender, True)
        workers.tell(0, message)
        return workers

    def wait(self, timeout: float | None = None) -> Any:
        """The result, once it is there.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.

        Returns
        -------
        object
            What the function has returned; the same object each time.

        Raises
        ------
        TimeoutError
            If it is not there in time. The call goes on, and can be waited for again.
        WorkerException
            If the function has raised, the process has died, or the result cannot be
            sent.
        RuntimeError
            In another process than the one that has made the call.

        Examples
        --------
        >>> import sharedmem, time
        >>> call = sharedmem.background(time.sleep, 0.1)
        >>> try:
        ...     call.wait(timeout=0.001)
        ... except TimeoutError:
        ...     call.wait()
        """
        if os.getpid() != self._owner:
            raise RuntimeError("only the process that has made the call can wait for it")
        if not self._look(timeout):
            raise TimeoutError(f"the call is not done within {timeout:g} s")
        if isinstance(self._outcome, Failure):
            reason = self._outcome.reason()
            raise WorkerException(reason, self._outcome.traceback) from reason
        assert self._outcome is not None
        return self._outcome[0]

    def _look(self, timeout: float | None) -> bool:
        """Whether the outcome is there, which is waited for."""
        until = None if timeout is None else time.monotonic() + timeout
        locked = False
        try:
            locked = self._lock.acquire(timeout=-1 if timeout is None else timeout)
            return locked and self._hear_until(until)
        finally:
            if locked:
                self._lock.release()

    def _hear_until(self, until: float | None) -> bool:
        while self._outcome is None:
            left = None if until is None else max(0.0, until - time.monotonic())
            self._outcome = self._hear(left)
            if self._outcome is None and left == 0:
                return False
        if self._process is not None and self in _running:
            self._process.leave()
            self._lent = []
            _running.discard(self)  # last: whoever was interrupted before does all of it again
            self._process.look(
                _GRACE if until is None else min(_GRACE, max(0.0, until - time.monotonic()))
            )
        return True

    def _hear(self, timeout: float | None) -> Outcome | None:
        if self._process is not None:
            return self._process.hear(timeout)
        self._is_told.wait(timeout)
        return self._told[0] if self._told else None


class _Process:
    """The process of a call. It may stay for a while when it has told the outcome."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._outcome: Outcome | None = None
        self._patience = self._until = 0.0
        self._lock = threading.Lock()

    def hear(self, timeout: float | None) -> Outcome | None:
        """The outcome, if it is there in time; the same until `leave`.

        A signal's handler that raises ends the sleep, which takes nothing. Between reading
        and keeping the outcome none runs: the next wait finds it.
        """
        heard = self._workers._unheard
        if self._outcome is None:
            self._workers.sleep(timeout)
        with undisturbed():
            if self._outcome is None:
                if not heard:
                    self._workers._wait(0)
                self._outcome = _outcome(heard[0]) if heard else None
        return self._outcome

    def leave(self) -> None:
        """The outcome was taken: from now on it has `patience` seconds to end."""
        heard = self._workers._unheard
        if heard and isinstance(heard[0], Says):
            heard.popleft()
        self._patience = patience()
        self._until = time.monotonic() + self._patience
        _leaving.add(self)

    def look(self, timeout: float) -> None:
        """Clear it away if it ends within `timeout`, or its time is over.

        Threads that the function has started may keep it, which is not the business of those
        who wait for the outcome. At the latest it is killed at the end of the caller.
        """
        if not self._lock.acquire(blocking=False):
            return  # another thread does
        try:
            if self in _leaving and self._has_ended(time.monotonic() + timeout):
                _leaving.discard(self)
                self._workers.kill()
        finally:
            self._lock.release()

    def _has_ended(self, until: float) -> bool:
        """Whether it has, which is waited for, or has had its time."""
        while True:
            now = time.monotonic()
            for event in self._workers.poll(max(0.0, until - now)):
                if isinstance(event, Death):
                    return True
                pickling.forget(event.data)
            if now >= self._until:
                warnings.warn(
                    "the process of a call in the background has done its work but does not end within "
                    f"{self._patience:g} s: it is killed. Threads that it started may keep it",
                    RuntimeWarning,
                    stacklevel=level_of_caller(),
                )
                return True
            if now >= until:
                return False


def _outcome(event: Says | Death) -> Outcome:
    if isinstance(event, Death):
        return Failure.of(RuntimeError(str(event)), False)._replace(traceback="")
    try:
        outcome: Outcome = pickle.loads(event.data)
    except Exception as error:
        pickling.forget(event.data)
        return Failure.of(pickle.UnpicklingError(f"the result cannot be received: {error}"), False)
    return outcome


_running: set[background] = set()
_leaving: set[_Process] = set()


def _after_fork_in_child() -> None:
    _running.clear()
    _leaving.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)

"""`background`: one call, while the caller goes on."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from sharedmem import functions, pickling
from sharedmem.failures import Failure, WorkerException
from sharedmem.mapreduce import ProcessBackend, ThreadBackend, patience
from sharedmem.transport import MIN_BYTES, Packer
from sharedmem.workers import Death, Says, Worker, Workers

__all__ = ["background"]

Outcome = tuple[Any] | Failure  # a result in a tuple of its own


def _call(worker: Worker, call: Any) -> None:
    """What the process does."""
    try:
        if call is None:
            dumped, args, kwargs = pickle.loads(worker.hear())
            call = pickle.loads(dumped), args, kwargs
        function, args, kwargs = call
        worker.say((function(*args, **kwargs),))
    except BaseException as error:
        worker.say(Failure.of(error, True))


def _call_here(call: Any, outcome: queue.SimpleQueue[Outcome]) -> None:
    """What the thread does."""
    function, args, kwargs = call
    try:
        outcome.put((function(*args, **kwargs),))
    except BaseException as error:
        outcome.put(Failure.of(error, False))


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
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._outcome: Outcome | None = None
        self._lent: list[Any] = []  # until the outcome is there
        call = function, args, kwargs
        if backend is ThreadBackend:
            self._answers: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
            threading.Thread(target=_call_here, args=(call, self._answers), daemon=True).start()
            self._workers = None
        else:
            self._workers = self._start(call, start_method)
            for each in list(_running):
                each._look(0)  # those that nobody waits for
            _running.add(self)

    _workers: Workers | None

    def _start(self, call: Any, start_method: str) -> Workers:
        context = multiprocessing.get_context(start_method)
        if start_method == "fork":
            return Workers(1, _call, (call,), context, outlive_thread=True)
        packer = Packer(MIN_BYTES, lend=True)
        message = packer.dump((functions.dump(call[0], False), *call[1:]))
        self._lent = [call, packer.parcels, packer.kept]  # nobody else may hold it
        workers = Workers(1, _call, (None,), context, listen=True, outlive_thread=True)
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
        if not self._lock.acquire(timeout=-1 if timeout is None else timeout):
            return False
        try:
            while self._outcome is None:
                left = None if until is None else max(0.0, until - time.monotonic())
                self._hear(left)
                if self._outcome is None and left == 0:
                    return False
            return True
        finally:
            self._lock.release()

    def _hear(self, timeout: float | None) -> None:
        if self._workers is None:
            try:
                self._outcome = self._answers.get(timeout=timeout)
            except queue.Empty:
                pass
            return
        for event in self._workers.poll(timeout):
            if self._outcome is None:
                self._outcome = _outcome(event)
        if self._outcome is not None:
            self._lent = []
            _running.discard(self)
            self._workers.join(patience())


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
os.register_at_fork(after_in_child=_running.clear)

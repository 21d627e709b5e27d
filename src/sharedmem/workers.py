"""Worker processes of one parent: started together, heard one by one, ended for sure.

Each worker has a pipe for what it says. That a worker has died is told by the
kernel (a pidfd, or multiprocessing's sentinel), never by a time that has passed.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import selectors
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

__all__ = ["Death", "Worker", "Workers", "Says"]

_PATIENCE = 5.0  # seconds from SIGTERM to SIGKILL, and from that to giving up


class Says(NamedTuple):
    """One message of one worker, as it was pickled there."""

    rank: int
    data: bytes


class Death(NamedTuple):
    """A worker has ended. [exitcode] as `multiprocessing.Process.exitcode` has it."""

    rank: int
    exitcode: int

    def __str__(self) -> str:
        if self.exitcode >= 0:
            return f"worker {self.rank} ended with exit code {self.exitcode} and left its work"
        try:
            name = signal.Signals(-self.exitcode).name
        except ValueError:
            name = "an unknown one"
        return f"worker {self.rank} was killed by signal {-self.exitcode} ({name})"


class _Source(NamedTuple):
    """What is readable: the pipe of a worker that speaks, or what tells of its death."""

    rank: int
    speaks: bool


class Worker:
    """The side of the process itself: its rank, and how it says something."""

    def __init__(self, rank: int, connection: Connection) -> None:
        self.rank = rank
        self._connection = connection

    def say(self, message: Any) -> None:
        """Pickle a message as multiprocessing does, and send it, or nothing of it."""
        self._connection.send_bytes(ForkingPickler.dumps(message))

    def hear(self) -> Any:
        """The next message of the parent. EOFError when there will be none."""
        return pickle.loads(self._connection.recv_bytes())


def _end_with_thread_of(parent: int) -> None:
    """Let the kernel kill this process when the thread that forked it has ended."""
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _end_with_parent() -> None:
    """The same where the kernel's parent is another one: a thread that waits for it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _run(
    rank: int, theirs: Connection, others: list[Connection], target: Callable[..., None], args: Any, parent: int
) -> None:
    """What a worker process does."""
    for connection in others:
        connection.close()  # those of the parent: who holds them keeps the others from hearing EOF
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is the parent's to act on
    if parent:
        _end_with_thread_of(parent)
    else:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target(Worker(rank, theirs), *args)


_warned = False


def _warn_of_threads(method: str) -> None:
    """Say once what forking with threads may do, and what to do about it."""
    global _warned
    if _warned or method != "fork" or threading.active_count() == 1:
        return
    _warned = True
    warnings.warn(
        f"workers are forked while {threading.active_count()} threads run: a lock that one of them holds "
        "stays locked in the workers. Use start_method='forkserver' or 'spawn', or start the workers first",
        RuntimeWarning,
        stacklevel=5,
    )


class Workers:
    """A number of workers that run ``target(worker, *args)``.

    To be used in a ``with`` statement: after it every process has ended, been
    killed, or been reported.
    """

    def __init__(
        self,
        count: int,
        target: Callable[..., None],
        args: tuple[Any, ...],
        context: BaseContext,
        patience: float,
    ) -> None:
        self._processes: list[BaseProcess] = []
        self._connections: list[Connection] = []
        self._pidfds: list[int] = []
        self._patience = patience
        self._selector = selectors.DefaultSelector()
        self._owner = os.getpid()
        method = context.get_start_method()
        _warn_of_threads(method)
        try:
            for rank in range(count):
                self._start(rank, target, args, context, method)
        except BaseException:
            self.kill()
            raise

    def _start(
        self, rank: int, target: Callable[..., None], args: Any, context: BaseContext, method: str
    ) -> None:
        ours, theirs = multiprocessing.Pipe()
        forked = method == "fork"
        others = [*self._connections, ours] if forked else []
        process = context.Process(  # type: ignore[attr-defined]
            target=_run,
            args=(rank, theirs, others, target, args, os.getpid() if forked else 0),
            name=f"sharedmem-worker-{rank}",
        )
        self._connections.append(ours)
        with theirs, warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
            process.start()
        self._processes.append(process)
        self._selector.register(ours, selectors.EVENT_READ, _Source(rank, True))
        self._selector.register(self._death_of(process), selectors.EVENT_READ, _Source(rank, False))

    def _death_of(self, process: BaseProcess) -> int:
        """What is readable when the process has ended, whoever holds its pipes."""
        try:
            self._pidfds.append(os.pidfd_open(process.pid))  # type: ignore[arg-type]
        except OSError:
            return process.sentinel
        return self._pidfds[-1]

    def __len__(self) -> int:
        return len(self._processes)

    def tell(self, rank: int, data: bytes) -> None:
        """Send a pickled message to one worker. Its death is heard of, not raised here."""
        try:
            self._connections[rank].send_bytes(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def events(self) -> Iterator[Says | Death]:
        """What workers say, as it arrives, and each of their deaths after its last word."""
        alive = len(self._processes)
        while alive:
            ready = [key for key, _ in self._selector.select()]
            for key in ready:
                if key.data.speaks:
                    yield from self._listen(key.data.rank)
            for key in ready:
                if not key.data.speaks:
                    self._selector.unregister(key.fileobj)
                    yield from self._last_words(key.data.rank)
                    alive -= 1
                    yield self._death(key.data.rank)

    def _listen(self, rank: int) -> Iterator[Says]:
        """Take one message. There is one, or the pipe has ended."""
        connection = self._connections[rank]
        try:
            data = connection.recv_bytes()
        except (EOFError, OSError):  # its death is heard of as well
            self._selector.unregister(connection)
            return
        yield Says(rank, data)

    def _last_words(self, rank: int) -> Iterator[Says]:
        """What the dead one said before; a child of its own may keep the pipe open."""
        connection = self._connections[rank]
        while connection.fileno() in self._selector.get_map() and connection.poll():
            yield from self._listen(rank)

    def _death(self, rank: int) -> Death:
        process = self._processes[rank]
        process.join()
        return Death(rank, process.exitcode or 0)

    # ---- the end ---------------------------------------------------------------

    def join(self) -> None:
        """Wait for the end of workers that have done all; report and kill who does not end."""
        until = time.monotonic() + self._patience
        for rank, process in enumerate(self._processes):
            process.join(max(0.0, until - time.monotonic()))
            if process.exitcode is None:
                warnings.warn(
                    f"worker {rank} (pid {process.pid}) has done its work but does not end within "
                    f"{self._patience:g} s: it is killed. Threads that it started may keep it",
                    RuntimeWarning,
                    stacklevel=3,
                )
        self.kill()

    def kill(self) -> None:
        """End all that are left: SIGTERM, then SIGKILL; report who outlives even that."""
        if os.getpid() != self._owner:
            return
        for end in (BaseProcess.terminate, BaseProcess.kill):
            left = [process for process in self._processes if process.exitcode is None]
            for process in left:
                end(process)
            until = time.monotonic() + _PATIENCE
            for process in left:
                process.join(max(0.0, until - time.monotonic()))
        for process in self._processes:
            if process.exitcode is None:
                warnings.warn(f"worker with pid {process.pid} does not end", RuntimeWarning, stacklevel=3)
        self._close()

    def _close(self) -> None:
        self._selector.close()
        for connection in self._connections:
            connection.close()
        while self._pidfds:
            os.close(self._pidfds.pop())
        for process in self._processes:
            if process.exitcode is not None:
                process.close()
        self._processes.clear()

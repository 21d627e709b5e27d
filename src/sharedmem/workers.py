"""Worker processes of one parent: started together, heard one by one, ended for sure.

Each worker has a pipe for what it says, which the parent never waits at: what has
arrived of a message stays here until the rest does, or its sender is dead. That a worker
has died is told by the kernel (a pidfd, or multiprocessing's sentinel), never by a time
that has passed.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found, unused-ignore]
import _thread
import ctypes
import gc
import multiprocessing
import os
import pickle
import secrets
import select
import selectors
import signal
import struct
import sys
import threading
import time
import warnings
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import util
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from sharedmem import ledger, pickling, threads
from sharedmem._core.segment import Segment
from sharedmem.heap import keep_freed
from sharedmem.ledger import Ledger
from sharedmem.lending import Lender, Room
from sharedmem.machine import said_count, usable_processors
from sharedmem.participant import context
from sharedmem.transport import MIN_BYTES, Packer, reclaim_marked

__all__ = [
    "Death",
    "Says",
    "Worker",
    "Workers",
    "default_number",
    "level_of_caller",
    "parent_fd",
    "starting",
    "undisturbed",
]

_PATIENCE = 5.0  # seconds from SIGTERM to SIGKILL, and from that to giving up
_NOTED = 1.0  # seconds for another thread to note an exit code
_LENGTH = 8  # bytes in front of each message to a worker
_HEAD = struct.Struct("<QQ")  # in front of each one of a worker: bytes of it, and of the notes before it
_NOTES = 1 << 14  # bytes of each worker's list of what it has put in flight
_READ = 1 << 16  # what a pipe holds; a larger buffer is mapped anew for each read (13 us, not 0.5)


class Says(NamedTuple):
    """One message of one worker, as it was pickled there. [held] is what it lies in."""

    rank: int
    data: bytes
    held: Any = ()


class Death(NamedTuple):
    """A worker has ended. [exitcode] as `multiprocessing.Process.exitcode` has it; None if it was lost."""

    rank: int
    exitcode: int | None

    def __str__(self) -> str:
        if self.exitcode is None:
            return (
                f"worker {self.rank} ended and left its work; its exit code was given to somebody else"
            )
        if self.exitcode >= 0:
            return f"worker {self.rank} ended with exit code {self.exitcode} and left its work"
        try:
            name = signal.Signals(-self.exitcode).name
        except ValueError:
            name = "one without a name"
        return f"worker {self.rank} was killed by signal {-self.exitcode} ({name})"


def level_of_caller() -> int:
    """The stacklevel for a warning that its caller gives: of what called this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("sharedmem."):
        frame, level = frame.f_back, level + 1
    return level


_warned_of_one = False


def default_number() -> int:
    """How many workers a pool has that was not told: what `cpu_count` says, within what there is.

    ``OMP_NUM_THREADS=1`` is mostly meant for BLAS, so it is said once that it counts here, too.
    """
    global _warned_of_one
    usable, said = usable_processors(), said_count()
    if said is None:
        return usable
    if said[1] == 1 < usable and not _warned_of_one:
        _warned_of_one = True
        warnings.warn(
            f"{said[0]}=1 leaves one worker, though {usable} processors can be used: say how many are "
            f"wanted (np=, max_workers=), or unset {said[0]}; workers limit BLAS and OpenMP by themselves",
            RuntimeWarning,
            stacklevel=level_of_caller(),
        )
    return min(said[1], usable)


def _exitcode(process: BaseProcess) -> int | None:
    """Of one that has ended.

    Another thread that starts a process reaps it, too, and may not have noted yet what it
    got. Where SIGCHLD is ignored nobody gets it.
    """
    process.join()
    until = time.monotonic() + (_NOTED if signal.getsignal(signal.SIGCHLD) is not signal.SIG_IGN else 0)
    while process.exitcode is None and time.monotonic() < until:
        time.sleep(0.0005)
    return process.exitcode


_handlers: dict[int, Any] = {}  # of signals that are postponed
_SIGNALS: tuple[int, ...] = tuple(signal.valid_signals())


def _after_fork_in_child() -> None:
    """What was postponed here was so for the parent's sake: the handlers are as ever."""
    for number, handler in _handlers.items():
        signal.signal(number, handler)
    _handlers.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)


@contextmanager
def _postponed(number: int) -> Iterator[None]:
    """The signal comes afterwards.

    A mask alone is this thread's: another one would take the signal, and its handler run
    here all the same. A child that is started within has the mask, until it unblocks it.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    noted: list[int] = []
    swaps = False
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})  # after that it may raise what came before
        before = signal.getsignal(number)
        here = threading.current_thread() is threading.main_thread()
        swaps = here and before is not None and before is not signal.SIG_IGN and number not in _handlers
        if swaps:
            _handlers[number] = before
            signal.signal(number, lambda number, frame: noted.append(number))
        yield
    finally:
        # The mask goes first: nothing raises yet. The handler would as soon as it is back, when
        # another thread has taken the signal, and the mask would stay.
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        finally:  # where it was not put away it may have raised twice by now
            if swaps:
                _handlers.pop(number, None)
                signal.signal(number, before)
                if noted:
                    signal.raise_signal(number)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Handlers of signals run afterwards, and what they raise comes then.

    No mask stays meanwhile: a child that is started within has none, and a forked one the
    handlers as ever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in _SIGNALS if callable(_signal.getsignal(number))]
    noted: set[int] = set()
    swapped: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # after that it may raise what came before
        for number in numbers:
            if number not in _handlers:
                _handlers[number] = _signal.getsignal(number)
                swapped.append(number)
                signal.signal(number, lambda number, frame: noted.add(number))
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield
    finally:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
            _give_back(swapped)
            for each in noted:
                signal.raise_signal(each)
        finally:
            _let_come(mask, len(noted))  # here they run, and each has its own


def _give_back(swapped: list[int]) -> None:
    """Each of the handlers, though one of them raises: another thread may take its signal."""
    try:
        while swapped:
            handler = _handlers.get(swapped[-1])
            if handler is not None:  # else this is a child that was forked meanwhile
                signal.signal(swapped[-1], handler)
            _handlers.pop(swapped[-1], None)
            swapped.pop()
    finally:
        if swapped:
            _give_back(swapped)


def _let_come(mask: set[Any], number: int) -> None:
    """The signals that are blocked. Each that raises has Python forget the others until it looks again."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    finally:
        if number > 1:
            _let_come(mask, number - 1)


@contextmanager
def starting(method: str) -> Iterator[None]:
    """Handlers run when the processes that are started within are noted: in between they would be lost.

    They have ^C blocked, until they unblock it. A fork server would keep it blocked for
    all that anybody starts by it: it has to be there before.
    """
    if method == "forkserver":
        from multiprocessing import (
            forkserver,  # imports the resource tracker, which an import does not need
        )

        forkserver.ensure_running()
    with _postponed(signal.SIGINT), undisturbed():
        yield


# ---- in the worker ---------------------------------------------------------------


class Worker:
    """The side of the process itself: its rank, and how it says and hears something."""

    def __init__(
        self,
        rank: int,
        speaks: Connection,
        hears: Connection | None,
        mark: bytes,
        notes: Ledger | None = None,
    ) -> None:
        self.rank = rank
        self._notes = notes
        self._speaks = speaks
        self._hears = hears
        self._mark = mark
        self._rooms: list[Room] = []

    def hear_rooms(self, data: bytes | None = None) -> None:
        """What the parent lends for the results of this job."""
        self._rooms = pickle.loads(data or self.hear())

    def say(self, message: Any) -> None:
        """Send a message, its large buffers through shared memory; or nothing of it."""
        # SIGTERM ends a worker between two messages: half of one could not be taken back.
        with _postponed(signal.SIGTERM):
            try:
                packed = self._pack(message)
            except BaseException:
                if self._notes is not None:
                    self._notes.clear()
                raise
            self._write(*packed)
            if self._notes is not None:
                self._notes.sent()

    def take(self, segment: Segment) -> int | None:
        """A ticket for what the next message names, noted where the parent finds it after a death."""
        return segment.ticket() if self._notes is None else self._notes.note(segment)

    def _pack(self, message: Any) -> tuple[bytes, bytes]:
        """Notes and message. Nothing that was lent is mapped any more: it may be dropped at once."""
        lent = {room[3] for room in self._rooms}
        packer = Packer(MIN_BYTES, rooms=self._rooms, mark=self._mark, take=self.take)
        data = packer.dump(message)
        notes = array("Q")
        for parcel in packer.parcels:
            nonce = parcel.segment.key[2]
            notes.extend((parcel.nbytes, nonce if nonce in lent else 0))
        return notes.tobytes(), data

    def _write(self, notes: bytes, data: bytes) -> None:
        view = memoryview(_HEAD.pack(len(data), len(notes)) + notes + data)
        try:
            while view:
                view = view[os.write(self._speaks.fileno(), view) :]
        except BrokenPipeError:  # nobody is there to hear that, nor anything else
            pickling.forget(data)
            os._exit(1)

    def hear(self) -> bytes:
        """The next message of the parent, which is dead if there is none."""
        assert self._hears is not None
        size = int.from_bytes(self._read(_LENGTH), "little")
        return self._read(size)

    def _read(self, size: int) -> bytes:
        assert self._hears is not None
        parts = []
        while size:
            part = os.read(self._hears.fileno(), min(size, 1 << 20))
            if not part:
                os._exit(1)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def parent_fd() -> int | None:
    """What can be read when the `multiprocessing` parent has ended.

    Of its sentinel forked siblings may hold the other end, so that it is the second choice.
    """
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        return None
    if not parent.is_alive():
        sys.exit(1)
    try:
        return os.pidfd_open(parent.pid)
    except (AttributeError, OSError):  # before Linux 5.3
        return parent.sentinel


_prctl: Any = ctypes.CDLL(None, use_errno=True).prctl
_PR_SET_PDEATHSIG = 1


def _end_with_thread_of(parent: int) -> None:
    """Let the kernel kill this process when the thread that forked it has ended."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _end_with_parent() -> None:
    """The same where that thread may end before its process, or the kernel's parent is another."""
    fd = parent_fd()
    if fd is not None:
        _thread.start_new_thread(_await_end, (fd,))


def _await_end(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll()
    os.kill(os.getpid(), signal.SIGKILL)


def _ignore(signum: int, frame: Any) -> None:
    """^C is the parent's to act on. SIG_IGN would be inherited by programs that are started."""


class _Start(NamedTuple):
    """What a worker process begins with."""

    rank: int
    forked: bool
    speaks: Connection
    hears: Connection | None
    not_its: list[Connection]  # the parent's: who holds them keeps others from hearing of an end
    parent: int  # whose thread it ends with, or 0
    threads: int | None
    mark: bytes
    notes: Ledger | tuple[int, str, int] | None  # of all workers, or what that is found by
    among: int  # how many workers

    def own_notes(self) -> Ledger | None:
        """The part that is this worker's."""
        notes = self.notes if isinstance(self.notes, Ledger) else Ledger.attach(self.notes)
        return None if notes is None else notes.part(self.rank, self.among)


def _run(start: _Start, target: Callable[..., None], args: tuple[Any, ...]) -> None:
    """What a worker process does."""
    if start.forked:
        gc.freeze()  # to look through what is inherited would copy every page of it
    for connection in start.not_its:
        connection.close()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _ignore)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    if start.parent:
        _end_with_thread_of(start.parent)
    else:
        _end_with_parent()
    keep_freed()
    context.limit_threads(start.threads or threads.said())
    limits = threads.limit(start.threads, inherited=start.forked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        worker = Worker(start.rank, start.speaks, start.hears, start.mark, start.own_notes())
        target(worker, *(args if start.forked else pickle.loads(worker.hear())))
    del limits


# ---- in the parent ---------------------------------------------------------------

_warned = False


def _warn_of_threads() -> None:
    """Say once what forking with threads may do, and what to do about it."""
    global _warned
    if _warned or threading.active_count() == 1:
        return
    _warned = True
    remedy = "Use start_method='forkserver' or 'spawn', or start the workers first"
    if "ipykernel" in sys.modules:
        remedy = (
            "A notebook's kernel has some always, and seldom does it harm; "
            "MapReduce(start_method='forkserver') is safe, and needs cloudpickle for functions of cells"
        )
    warnings.warn(
        f"workers are forked while {threading.active_count()} threads run: a lock that one of them holds "
        f"stays locked in the workers. {remedy}",
        RuntimeWarning,
        stacklevel=level_of_caller(),
    )


def _limiting(method: str, limit: int | None) -> AbstractContextManager[None]:
    """Within it workers are started whose libraries use so many threads."""
    if method == "fork":
        return threads.limited(limit)
    # A fork server would keep the variables for later workers.
    return threads.environment(limit if method == "spawn" else None)


class _Source(NamedTuple):
    """What is readable: the pipe of a worker that speaks, or what tells of its death."""

    rank: int
    speaks: bool


class Workers:
    """A number of workers that run ``target(worker, *args)``.

    Parameters
    ----------
    count : int
    target : callable
    args : tuple
        Inherited where `how` forks, else pickled, shared things by name.
    how : context of multiprocessing
    listen : bool
        Whether they are told something, by `tell`.
    outlive_thread : bool
        Whether they go on when the thread that has started them has ended.

    Notes
    -----
    `join` or `kill` ends them, as does the end of this process. Nothing of what they
    say stays in flight then, nor half of a message of one that was killed by somebody
    else: what it names was noted, before its ticket was taken, in memory of the parent.
    """

    def __init__(
        self,
        count: int,
        target: Callable[..., None],
        args: tuple[Any, ...],
        how: BaseContext,
        *,
        listen: bool = False,
        outlive_thread: bool = False,
    ) -> None:
        self._processes: list[BaseProcess] = []
        self._hearing: list[Connection] = []
        self._telling: list[Connection] = []
        self._args = args
        self._count = count
        self._told: dict[int, bytes] = {}  # the latest message to each
        self._received: dict[int, int] = {}  # how many whole messages of each
        self._lender: Lender | None = None
        self._deaths: list[int] = []  # fds, by rank
        self._pidfds: list[int] = []
        self._heard: list[bytearray] = []  # the beginnings of messages
        self._unheard: deque[Says | Death] = deque()
        self._alive: set[int] = set()
        self._abnormal = self._closed = False
        self._selector = selectors.DefaultSelector()
        self._owner = os.getpid()
        self._mark = f"[('result of workers {secrets.token_hex(8)}', '|u1')]".encode()
        self._notes = Ledger.new(self._mark, count * _NOTES)
        self._at_exit = util.Finalize(None, self.kill, exitpriority=10)
        self._forks = how.get_start_method() == "fork"
        self._thread_bound = self._forks and not outlive_thread
        if self._forks:
            _warn_of_threads()
        limit = threads.per_worker(count)
        try:
            with _limiting(how.get_start_method(), limit):
                for rank in range(count):
                    self._start(rank, target, args, how, listen or not self._forks, limit)
            self._tell_arguments()
        except BaseException:
            self.kill()
            raise

    def _start(
        self,
        rank: int,
        target: Callable[..., None],
        args: Any,
        how: BaseContext,
        listen: bool,
        limit: int | None,
    ) -> None:
        ours, speaks = multiprocessing.Pipe(duplex=False)
        self._hearing.append(ours)
        os.set_blocking(ours.fileno(), False)
        hears = None
        if listen:
            hears, telling = multiprocessing.Pipe(duplex=False)
            self._telling.append(telling)
            os.set_blocking(telling.fileno(), False)
        not_its = [*self._hearing, *self._telling] if self._forks else []
        parent = self._owner if self._thread_bound else 0
        notes: Any = self._notes  # which a forked worker inherits
        if notes is not None and not self._forks:
            notes = notes.key
        start = _Start(
            rank, self._forks, speaks, hears, not_its, parent, limit, self._mark, notes, self._count
        )
        process = how.Process(  # type: ignore[attr-defined]
            target=_run,
            args=(start, target, args if self._forks else ()),
            name=f"sharedmem-worker-{rank}",
        )
        try:
            with starting(how.get_start_method()), warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
                process.start()
                self._note(rank, process)
        finally:
            speaks.close()
            if hears is not None:
                hears.close()

    def _note(self, rank: int, process: BaseProcess) -> None:
        self._processes.append(process)
        self._alive.add(rank)
        self._heard.append(bytearray())
        self._deaths.append(self._death_of(process))
        self._selector.register(self._hearing[rank], selectors.EVENT_READ, _Source(rank, True))
        self._selector.register(self._deaths[rank], selectors.EVENT_READ, _Source(rank, False))

    def _death_of(self, process: BaseProcess) -> int:
        """What is readable when the process has ended, whoever holds its pipes."""
        try:
            self._pidfds.append(os.pidfd_open(process.pid))  # type: ignore[arg-type]
        except (AttributeError, OSError):
            return process.sentinel
        return self._pidfds[-1]

    def _tell_arguments(self) -> None:
        # By name, without tickets, which are kept meanwhile: multiprocessing would take tickets,
        # and nobody would free those of a worker that is killed while it begins.
        if not self._forks:
            data = pickle.dumps(self._args)
            for rank in range(len(self)):
                self.tell(rank, data)

    def __len__(self) -> int:
        return len(self._processes)

    # ---- talking -----------------------------------------------------------------

    def lend(self, lender: Lender, tells: bool) -> None:
        """A job begins. Tell each, if it hears that, what it may use for its results."""
        self._lender = lender
        if tells:
            for rank, rooms in enumerate(lender.messages()):
                self.tell(rank, rooms)

    def tell(self, rank: int, data: bytes) -> None:
        """Send a message to one worker. Its death is heard of, not raised here."""
        self._told[rank] = data
        fd = self._telling[rank].fileno()
        view = memoryview(len(data).to_bytes(_LENGTH, "little") + data)
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        poll.register(self._deaths[rank], select.POLLIN)
        while view and self._deaths[rank] not in dict(poll.poll()):
            try:
                view = view[os.write(fd, view) :]
            except BrokenPipeError:
                return

    def events(self) -> Iterator[Says | Death | None]:
        """What workers say, and each of their deaths after its last word; None while there is nothing."""
        while self._unheard or self._alive:
            if not self._unheard:
                self._wait(0)
            yield self._unheard.popleft() if self._unheard else None

    def sleep(self, timeout: float | None = None) -> None:
        """Until something has happened. Nothing is taken: what a signal's handler raises takes nothing."""
        if not self._unheard:
            self._selector.select(timeout)

    def poll(self, timeout: float | None = None) -> list[Says | Death]:
        """What has happened, waited for if nothing has."""
        if not self._unheard:
            self._wait(timeout)
        found = list(self._unheard)
        self._unheard.clear()
        return found

    def _wait(self, timeout: float | None) -> None:
        ready = [key.data for key, _ in self._selector.select(timeout)]
        dead = {source.rank for source in ready if not source.speaks}
        for rank in sorted(dead):  # before what others say, who may have been hit by it
            self._listen(rank)
            self._unheard.append(self._death(rank))
        for source in ready:
            if source.rank not in dead:
                self._listen(source.rank)

    def _listen(self, rank: int) -> None:
        """Take the messages of which the last byte has come."""
        connection, heard = self._hearing[rank], self._heard[rank]
        while True:
            try:
                part = os.read(connection.fileno(), _READ)
            except BlockingIOError:
                break
            heard += part
            if not part:
                if connection in self._selector.get_map():
                    self._selector.unregister(connection)
                break
            if len(part) < _READ:
                break
        while len(heard) >= _HEAD.size:
            size, noted = _HEAD.unpack_from(heard)
            begin = _HEAD.size + noted
            if len(heard) < begin + size:
                break
            notes = array("Q", bytes(heard[_HEAD.size : begin]))
            held = self._lender.received(notes) if notes and self._lender else ()
            self._received[rank] = self._received.get(rank, 0) + 1
            self._unheard.append(Says(rank, bytes(memoryview(heard)[begin : begin + size]), held))
            del heard[: begin + size]

    def _death(self, rank: int) -> Death:
        self._alive.discard(rank)
        self._selector.unregister(self._deaths[rank])
        death = Death(rank, _exitcode(self._processes[rank]))
        self._abnormal |= death.exitcode != 0
        return death

    # ---- the end -------------------------------------------------------------------

    def join(self, patience: float) -> None:
        """Wait for the end of workers that have done all; report and kill who does not end."""
        if self._closed:
            return
        try:
            self._await_deaths(patience)
            for rank in sorted(self._alive):
                warnings.warn(
                    f"worker {rank} (pid {self._processes[rank].pid}) has done its work but does not end within "
                    f"{patience:g} s: it is killed. Threads that it started may keep it",
                    RuntimeWarning,
                    stacklevel=level_of_caller(),
                )
        finally:  # after ^C, or a warning that is an error, as well
            self.kill()

    def kill(self) -> None:
        """End all that are left: SIGTERM, then SIGKILL; report who outlives even that."""
        if os.getpid() != self._owner or self._closed:
            return
        with undisturbed():
            for end in (BaseProcess.terminate, BaseProcess.kill):
                for rank in self._alive:
                    end(self._processes[rank])
                self._await_deaths(_PATIENCE)
            left = [self._processes[rank].pid for rank in sorted(self._alive)]
            self._close()
        for pid in left:
            warnings.warn(f"the worker with pid {pid} does not end", RuntimeWarning, stacklevel=2)

    def _await_deaths(self, patience: float) -> None:
        """For so long at most. What workers still say is taken back."""
        until = time.monotonic() + patience
        while self._alive and (left := until - time.monotonic()) > 0:
            self._wait(left)
            self._forget_unheard()
        self._forget_unheard()

    def _forget_unheard(self) -> None:
        while self._unheard:
            event = self._unheard.popleft()
            if isinstance(event, Says):
                self._forget(event.data)

    def _forget(self, data: bytes) -> None:
        try:
            pickling.forget(data)
        except Exception:  # nothing may keep workers from being ended
            self._abnormal = True  # what it did not reach is found by its mark

    def _close(self) -> None:
        self._closed = True
        self._at_exit.cancel()
        self._selector.close()
        for connection in (*self._hearing, *self._telling):
            connection.close()
        for fd in self._pidfds:
            os.close(fd)
        for rank, process in enumerate(self._processes):
            if rank not in self._alive and process.exitcode is not None:
                process.close()
        if self._abnormal:
            reclaim_marked(self._mark)
            self._take_back()
            for data in filter(None, self._told.values()):
                self._forget(data)  # what of it was not received
        if self._notes is not None:
            self._notes.unlink()
            self._notes = None
        if self._lender is not None:
            self._lender.end()
        self._args, self._told = (), {}

    def _take_back(self) -> None:
        """What workers that were killed had put in flight, but for messages that have come whole."""
        for heard in self._heard:
            if len(heard) >= _HEAD.size:
                pickling.take_back(heard[_HEAD.size + _HEAD.unpack_from(heard)[1] :])
        if self._notes is not None:
            for rank in range(self._count):
                notes = self._notes.part(rank, self._count)
                ledger.give_up(notes.unsent(self._received.get(rank, 0)))

"""`ProcessPoolExecutor`: the standard library's, with large buffers sent through shared memory.

What is different from the standard library's class happens while it pickles and
unpickles. A call goes as a `_Call`, which is pickled by the thread that feeds the
queue, when a worker can take it soon: its buffers are copied into parcels that
the parent *lends*, so that nothing is ever in flight that a killed worker, a
cancelled future or a shutdown could leave behind. The result goes as an
`_Answer`. It is copied into memory that the parent lent for it, when an earlier
answer showed how much it takes; else into a parcel that is handed over, marked so
that a parent whose pool has broken finds and frees it. For what a result names, tickets
are taken when it is written into the pipe, under the lock of that, and noted in the
parent's memory; so that this finds, of a worker that was killed, what was written and
what was not.

What cannot be loaded is the error of its own future, and of no other: all that is
pickled by users lies in bytes within the message, which says whose it is.

The queues and the thread that manages them are the standard library's; they
become ours by ``__class__``, since the constructors differ between versions.
"""

from __future__ import annotations

import errno
import os
import pickle
import secrets
import select
import signal
import sys
import traceback
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, process
from contextlib import nullcontext, suppress
from functools import partial
from multiprocessing import connection, queues
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, TypeVar

import numpy as np

from sharedmem import functions, ledger, pickling
from sharedmem._core.segment import Parcel, sole_parcels
from sharedmem.failures import pickle_of, text_of
from sharedmem.ledger import Descriptor, Ledger
from sharedmem.lending import Room, idle_parcel
from sharedmem.participant import context
from sharedmem.threads import environment, limit, per_worker, said
from sharedmem.transport import MIN_BYTES, Packer, Tally, is_plain_copy, reclaim_marked
from sharedmem.workers import default_number, parent_fd, starting

__all__ = ["LoadError", "ProcessPoolExecutor"]

T = TypeVar("T")
_NUMBERS = frozenset(np.dtype(char).type for char in "?bhilqBHILQefdgFDGmM")
_ATOMS = _NUMBERS | {int, float, complex, str, bytes, bool, type(None)}
_FEW = 256
_PIPE = 1 << 16  # what one holds


def _is_simple(thing: Any, min_bytes: int) -> bool:
    """Whether it is as well off in an ordinary pickle: atoms and small arrays, a few of them together."""
    found = [thing]
    for each in found:  # which grows meanwhile
        cls = type(each)
        if cls in _ATOMS or (cls is np.ndarray and is_plain_copy(each, min_bytes)):
            continue
        if cls not in (tuple, list, dict) or len(found) + len(each) > _FEW:
            return False
        found += each
        if cls is dict:
            found += each.values()
    return True


def _is_plain(fn: Any, min_bytes: int) -> bool:
    """Whether a callable is pickled as a name, or as names and atoms that it is called with."""
    cls = type(fn)
    if cls is partial:
        parts = fn.func, *fn.args, fn.keywords
        return all(_is_plain(each, min_bytes) or _is_simple(each, min_bytes) for each in parts)
    if cls is BuiltinFunctionType:  # a method of an object that is not Python's own, else
        return fn.__self__ is None or isinstance(fn.__self__, ModuleType)
    return cls in (FunctionType, type, np.ufunc)


# ---- what cannot be loaded -----------------------------------------------------


class LoadError(process.BrokenProcessPool):
    """A call, or what came of it, could not be loaded where it has arrived.

    Its text says on which side, and what; its ``__cause__`` is the exception of that
    side, where that can be sent. The pool goes on, though this is a
    ``BrokenProcessPool``: the standard library's class raises that here, and breaks.

    Examples
    --------
    >>> import sharedmem
    >>> from urllib.error import ContentTooShortError  # which cannot be unpickled
    >>> with sharedmem.ProcessPoolExecutor(1) as executor:
    ...     error = executor.submit(ContentTooShortError, 'text', b'').exception()
    >>> type(error).__name__, type(error.__cause__).__name__
    ('LoadError', 'TypeError')
    """


class _NotLoaded:
    """Stands for what could not be loaded, on its way to the future."""

    def __init__(self, where: str, what: str, error: BaseException, behind: str = "") -> None:
        self._text = (
            f"{where} could not load {what}: {text_of(error)}. The pool goes on. To be sent, an object must "
            "come back from pickle.loads(pickle.dumps(it)), and its modules be importable on both sides"
        )
        frames = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self._traceback = f"{behind}\n'''\n{frames}'''"
        self._cause: Any = error.with_traceback(None)  # whose frames may hold arrays

    def __getstate__(self) -> Any:
        return self._text, self._traceback, pickle_of(self._cause)

    def __setstate__(self, state: Any) -> None:
        self._text, self._traceback, cause = state
        try:
            self._cause = pickle.loads(cause) if cause else None
        except BaseException:  # its traceback has its text
            self._cause = None

    def error(self) -> LoadError:
        """What the future gets."""
        remote_traceback: Any = process._RemoteTraceback
        error, remote = LoadError(self._text), remote_traceback(self._traceback)
        error.__cause__ = remote if self._cause is None else self._cause
        if self._cause is not None and self._cause.__cause__ is None:
            self._cause.__cause__ = remote
        return error


# ---- in the parent -----------------------------------------------------------


class _Desk:
    """What calls and answers of one executor share in the parent."""

    def __init__(self, min_bytes: int, workers: int) -> None:
        self.min_bytes = min_bytes
        self.token = secrets.token_hex(8)
        self.mark = f"[('result of executor {self.token}', '|u1')]".encode()
        self.tally = Tally()
        self.ledger: Ledger | None = None  # of the workers
        # How much memory each of the latest large results took, for whose successor it is lent.
        # What executors before this one came to know is where it begins.
        self._wanted: deque[tuple[int, ...]] = deque(_latest, maxlen=2 * workers + 1)
        _desks[self.token] = self

    def answered(self, sizes: tuple[int, ...], numbers: tuple[int, int, int, int]) -> None:
        """An answer has come that said this."""
        self.tally.add(numbers)
        if sizes:
            self._wanted.append(sizes)
            _latest.append(sizes)

    def rooms(self) -> list[Parcel]:
        """Idle memory for one more answer like the last ones."""
        found: list[Parcel] = []
        for size in self._wanted.popleft() if self._wanted else ():
            room = idle_parcel(size)
            if room is None:
                break  # none to lend; the worker makes some, and it stays when it is dropped
            found.append(room)
        return found

    def wants(self) -> bool:
        """Whether there may be memory to lend for an answer."""
        return bool(self._wanted)

    def sweep(self) -> None:
        """Free what workers that are dead had put in flight."""
        if self.ledger is not None:
            ledger.give_up(self.ledger.read())
        self.close()
        reclaim_marked(self.mark)

    def close(self) -> None:
        """The workers are gone."""
        self.ledger = None


_latest: deque[tuple[int, ...]] = deque(maxlen=_FEW)
_desks: weakref.WeakValueDictionary[str, _Desk] = weakref.WeakValueDictionary()


class _Call:
    """A call that waits for a worker."""

    def __init__(
        self, desk: _Desk, by_name: bool, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._desk = desk
        self._by_name = by_name
        self._content: Any = fn, args, kwargs
        self._lent: list[Any] = []  # until the answer has come

    def release(self) -> None:
        """The answer has come, or will not: nobody needs the arguments any more."""
        self._content = None
        self._lent = []

    def reduce(self, work_id: int) -> Any:
        """What to pickle when it is sent."""
        if self._content is None:
            raise pickle.PicklingError("the pool has ended before this call was sent")
        fn, *others = self._content
        least = self._desk.min_bytes
        simple = self._by_name and not self._desk.wants()
        if simple and _is_simple(others, least) and _is_plain(fn, least):
            return _open_simple, (work_id, pickle.dumps(self._content, 5))
        packer = Packer(self._desk.min_bytes, lend=True, as_stdlib=True)
        data = packer.dump(self._content)
        rooms = self._desk.rooms()
        self._lent = [*packer.parcels, *packer.kept, *rooms]
        self._desk.tally.add(packer.tally.numbers())
        lent = [parcel.segment.key[2] for parcel in packer.parcels]
        return _open_call, (work_id, data, lent, [(room.nbytes, *room.segment.key) for room in rooms])


class _CallItem(process._CallItem):
    """The standard library's, in fewer words when it is pickled."""

    fn: _Call  # type: ignore[assignment, unused-ignore]

    def __reduce__(self) -> Any:
        return self.fn.reduce(self.work_id)


def open_answer(
    token: str,
    data: bytes,
    sizes: tuple[int, ...],
    numbers: tuple[int, int, int, int],
    tickets: list[Descriptor],
    raised: str | None,
) -> Any:
    """The result, or the exception. Called by unpickling, in the thread that manages the pool."""
    desk = _desks.get(token)
    if desk is not None:
        desk.answered(sizes, numbers)
    try:
        thing = pickle.loads(data)
    except BaseException as error:  # also SystemExit: it is not this thread's to exit for it
        pickling.take_back(data)
        what = "the result of a call" if raised is None else "the exception that a call has raised"
        thing = _NotLoaded("the process that submits", what, error, raised or "")
    ledger.give_up(tickets)  # last: what was loaded is mapped now
    return thing


class _Manager(process._ExecutorManagerThread):  # type: ignore[name-defined, misc, unused-ignore]
    """The thread that manages a pool. What was lent comes back, what a broken one sent is freed."""

    _broken = False

    def process_result_item(self, result_item: Any) -> None:
        """As the standard library's; memory that was lent is idle before the future is done."""
        if isinstance(result_item, process._ResultItem):
            # An executor that was shut down may go on holding its calls.
            work: Any = self.pending_work_items.get(result_item.work_id)
            if work is not None:
                work.fn.release()
            for thing in (result_item.exception, result_item.result):
                if type(thing) is _NotLoaded:
                    result_item.exception, result_item.result = thing.error(), None
        super().process_result_item(result_item)

    def join_executor_internals(self) -> None:
        """As the standard library's; by some versions of it also for a pool that is broken."""
        super().join_executor_internals()
        if not self._broken:
            queue: Any = self.call_queue
            queue.desk.close()

    def terminate_broken(self, cause: Any) -> None:
        """As the standard library's; the workers are gone after that."""
        self._broken = True
        pending: list[Any] = list(self.pending_work_items.values())
        # Not before: the feeder would fail at calls that it has yet to send, and report each of
        # them to a table of calls that is gone through now, under a lock that is held now.
        super().terminate_broken(cause)
        while pending:
            pending.pop().fn.release()
        answers: Any = self.result_queue
        answers._reader.forget()
        queue: Any = self.call_queue
        queue.desk.sweep()


# ---- in a worker ---------------------------------------------------------------


class _Worker:
    """What a worker knows of its executor."""

    min_bytes = MIN_BYTES
    token = ""
    mark = b"|u1"
    ledger: Ledger | None = None
    limits: Any = None  # of threads, for as long as it lives
    in_task = False


def _interrupt(signum: int, frame: Any) -> None:
    """^C in a worker: it ends a task, and nothing else.

    KeyboardInterrupt within the queues' own code could leave one of their locks locked
    for ever, with all workers waiting for it.
    """
    if _Worker.in_task:
        raise KeyboardInterrupt


def _open_simple(work_id: int, data: bytes) -> Any:
    """A call without large arguments. Called by unpickling."""
    try:
        return process._CallItem(work_id, _work, pickle.loads(data), {})
    except Exception as error:
        return _not_opened(work_id, error)


def _open_call(work_id: int, data: bytes, lent: list[int], rooms: list[Room]) -> Any:
    """One with some. Called by unpickling."""
    try:
        return process._CallItem(work_id, _Work(pickle.loads(data), frozenset(lent), rooms), (), {})
    except Exception as error:
        return _not_opened(work_id, error)


def _not_opened(work_id: int, error: Exception) -> Any:
    """A call in the place of one that cannot be loaded: it has that to say."""
    result = _NotLoaded(f"the worker with pid {os.getpid()}", "a call that was sent to it", error)
    return process._CallItem(work_id, _same, (result,), {})


def _same(thing: Any) -> Any:
    return thing


def _call(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The result, in a list that is the only one to have it."""
    _Worker.in_task = True
    try:
        return [fn(*args, **kwargs)]
    finally:
        _Worker.in_task = False


def _work(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    cell = _call(fn, args, kwargs)
    return cell[0] if _is_simple(cell[0], _Worker.min_bytes) else _Answer(cell)


class _Work:
    """A call in the worker, to be made once."""

    def __init__(self, content: Any, lent: frozenset[int], rooms: list[Room]) -> None:
        self._content = [content]
        self._lent = lent
        self._rooms = rooms

    def __call__(self) -> Any:
        # The arguments are gone before the answer is sent: memory that the parent lent is
        # then its alone again, or the result's.
        cell = _call(*self._content.pop())
        return (
            cell[0] if _is_simple(cell[0], _Worker.min_bytes) else _Answer(cell, self._lent, self._rooms)
        )


class _Answer:
    """A result, or an exception, on its way back. Pickled it is that."""

    def __init__(
        self,
        cell: list[Any],
        lent: frozenset[int] = frozenset(),
        rooms: list[Room] | None = None,
        raised: str | None = None,
    ) -> None:
        self._cell = cell
        self._lent = lent
        self._rooms = rooms
        self._raised = raised
        self._content: tuple[Any, ...] = ()

    def __reduce__(self) -> Any:
        return open_answer, self._content

    def pack(self, later: bool) -> Packer:
        """A packer that has packed it, and taken tickets for what it names unless `later`."""
        packer = Packer(
            _Worker.min_bytes,
            later=later,
            rooms=self._rooms,
            lent=self._lent,
            mark=_Worker.mark,
            sole=sole_parcels(self._cell),
            as_stdlib=True,
        )
        data = packer.dump(self._cell[0])
        self._content = data, tuple(packer.sizes), packer.tally.numbers()
        return packer

    def seal(self, tickets: list[Descriptor]) -> None:
        """It is to be sent with these."""
        self._cell.clear()
        self._content = _Worker.token, *self._content, tickets, self._raised


class _CallQueue(process._SafeQueue):  # type: ignore[name-defined, misc, unused-ignore]
    """The queue of calls. A worker that waits at it ends when the parent does."""

    desk: _Desk  # the parent's
    answers: Any  # where the parent reads the workers' answers
    _watch: Any = None

    def __getstate__(self) -> Any:
        return super().__getstate__(), self.answers

    def __setstate__(self, state: Any) -> None:
        state, self.answers = state
        super().__setstate__(state)

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """As the standard library's."""
        if type(obj) is process._CallItem:
            obj.__class__ = _CallItem
        super().put(obj, block, timeout)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """As the standard library's; in a worker, exit if the parent has ended."""
        queue: Any = self
        if queue._opid == os.getpid() or not block or timeout is not None:
            return super().get(block, timeout)
        if self._watch is None:
            self._watch = self._begin(queue._reader)
        with queue._rlock:
            # Only one worker polls. When it leaves the next one does, and leaves as well.
            ready = [fd for fd, _ in self._watch.poll()]
            if queue._reader.fileno() not in ready:
                sys.exit(1)
            data = queue._recv_bytes()
        queue._sem.release()
        return ForkingPickler.loads(data)

    def _begin(self, reader: Any) -> Any:
        # With no reader but the parent a worker that answers a dead one gets EPIPE.
        self.answers.close()
        watch = select.poll()
        watch.register(reader.fileno(), select.POLLIN)
        parent = parent_fd()
        if parent is not None:
            watch.register(parent, select.POLLIN)
        return watch


class _AnswerReader(connection.Connection):
    """The parent's end of the queue of answers, at which it never waits for the rest of one.

    A worker that is killed leaves half a message. The standard library's would wait for the
    other half as long as any worker has the pipe open.
    """

    _part: Any = bytearray()

    def __reduce__(self) -> Any:
        return connection.reduce_connection(self)  # type: ignore[attr-defined]

    def recv(self) -> Any:
        """The next answer, or None when it is not all there."""
        data = self._next()
        return None if data is None else ForkingPickler.loads(data)

    def _next(self) -> bytes | memoryview | None:
        try:
            whole = None if self._part else self._all_at_once()
            if whole is not None:
                return whole
            while missing := self._missing():
                part = os.read(self.fileno(), min(missing, _PIPE))
                if not part:
                    raise EOFError
                self._part = self._part or bytearray()
                self._part += part
        except BlockingIOError:
            return None
        part, self._part = self._part, bytearray()
        return self._content(part)

    def _all_at_once(self) -> bytes | None:
        """A message as most are: small, and all there. Else what has come of it is kept."""
        fd = self.fileno()
        head = os.read(fd, 4)
        if not head:
            raise EOFError
        self._part = bytearray(head)
        size = int.from_bytes(head, "big")
        if len(head) < 4 or size > _PIPE:
            return None
        data = os.read(fd, size)
        if len(data) == size:
            self._part = bytearray()
            return data
        self._part += data
        return None

    def _missing(self) -> int:
        """How many bytes of the message, or of its length, are still to come."""
        head = self._head(self._part)
        if len(self._part) < head:
            return head - len(self._part)
        size = int.from_bytes(self._part[:head][-8 if head == 12 else -4 :], "big")
        return head + size - len(self._part)

    @staticmethod
    def _head(part: bytearray) -> int:
        """How long the length is that a message begins with: 4 bytes, or as many of -1 and 8 more."""
        return 12 if part[:4] == b"\xff\xff\xff\xff" else 4

    def _content(self, part: bytearray) -> memoryview:
        return memoryview(part)[self._head(part) :]

    def forget(self) -> None:
        """Take back what was written and will not be read. All who write are gone."""
        with suppress(OSError, EOFError):
            while (data := self._next()) is not None:
                pickling.take_back(data)
        pickling.take_back(self._content(self._part))


class _AnswerQueue(queues.SimpleQueue):  # type: ignore[type-arg]
    """The queue of answers."""

    def put(self, obj: Any) -> None:
        """As the standard library's; exit without a word if the parent has ended."""
        raised: Any = getattr(obj, "exception", None)
        if raised:
            obj.exception = _Answer([raised], raised=raised.tb)
        answer: Any = obj.exception if raised else getattr(obj, "result", None)
        if type(answer) is _Answer:
            self._answer(obj, answer)
            if raised:
                raised.exc = None  # the worker has a name for it until its next exception
        else:
            # Atoms: multiprocessing's pickler, which takes longer to make, has nothing to add.
            self._write(obj)

    def _write(self, obj: Any) -> None:
        queue: Any = self
        data = pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)
        with queue._wlock:
            self._send(data)

    def _send(self, data: bytes) -> None:
        queue: Any = self
        try:
            queue._writer.send_bytes(data)
        except BrokenPipeError:  # not of pickling, which runs what is the user's
            sys.exit(1)

    def _answer(self, obj: Any, answer: _Answer) -> None:
        packer = answer.pack(later=True)
        if packer.kept:
            if self._with_tickets(obj, answer, packer):
                return
            packer.revoke()
            packer = answer.pack(later=False)  # what cannot be named any more goes by content
        packer.release()
        answer.seal([])
        self._write(obj)

    def _with_tickets(self, obj: Any, answer: _Answer, packer: Packer) -> bool:
        """Send it with tickets for what it names, if there are some to be had for all of that."""
        queue: Any = self
        notes = _Worker.ledger
        with queue._wlock:  # which excludes others from the ledger, too
            tickets = ledger.take(notes, {each.key: each for each in packer.kept}.values())
            if tickets is None:
                return False
            try:
                packer.release()
                answer.seal(tickets)
                self._send(pickle.dumps(obj, pickle.HIGHEST_PROTOCOL))
            except BaseException:
                ledger.give_up(tickets)
                raise
            finally:
                if notes is not None:
                    notes.clear()
        return True


# ---- how a worker begins ------------------------------------------------------------


def _begin_work(
    worker: tuple[str, bytes, int, int, tuple[int, str, int] | None],
    threads: int | None,
    initializer: Any,
    initargs: tuple[Any, ...],
) -> None:
    """The initializer of workers: ours, then the user's."""
    _Worker.token, _Worker.mark, _Worker.min_bytes, copies, key = worker
    _Worker.ledger = Ledger.attach(key)
    _Worker.in_task = False  # this may be a fork of a worker that has one
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # it was begun with that blocked
    context.limit_threads(copies)
    _Worker.limits = limit(threads)
    if initializer is not None:
        initializer(*initargs)


# What sem_open() says where there is no /dev/shm, or one that cannot be written to.
_NO_SEMAPHORES = frozenset(
    {errno.ENOENT, errno.ENOSYS, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC}
)


def _no_semaphores(error: OSError) -> OSError:
    return OSError(
        error.errno,
        "no POSIX semaphores can be made, which the queues of multiprocessing need: they are files in "
        f"/dev/shm, where sem_open() fails ({error.strerror}) (mount a tmpfs there that you can write to: "
        "mount -t tmpfs -o mode=1777 tmpfs /dev/shm; or use sharedmem.MapReduce, which needs none)",
    )


# ---- public ----------------------------------------------------------------------


class ProcessPoolExecutor(process.ProcessPoolExecutor):
    """`concurrent.futures.ProcessPoolExecutor`, with large buffers sent through shared memory.

    Parameters
    ----------
    max_workers : int, optional
        How many workers; when not given `cpu_count`, but no more than there are processors
        for this process.
    mp_context : context of multiprocessing, optional
        How workers are started; as for the standard library's class, and so the next two.
    initializer : callable, optional
        Called by each worker when it starts.
    initargs : tuple, default ()
        What it is called with.
    min_bytes : int, default 262144
        From which size on an array or buffer goes through shared memory.
    threads_per_worker : int, optional
        How many threads BLAS and OpenMP libraries use in a worker, and copies of large
        arrays (two at most), so that the workers together use each CPU once: by
        default the number of CPUs that this process may use, divided by the number of
        workers. Where the environment says it already (``OMP_NUM_THREADS``), the
        default is that.
    **options
        Further ones of the standard library's class, as ``max_tasks_per_child``.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.
    OSError
        If there is no ``/dev/shm`` that semaphores can be made in, which the queues of
        `multiprocessing` need.

    See Also
    --------
    dumps : What is sent how.

    Notes
    -----
    All that the standard library says of its class holds: start methods, exceptions,
    broken pools, cancelling, `map` with chunks. An argument that is no shared array is
    copied, and so is a result; a worker that writes into an argument, or goes on
    writing into what it returned, changes nothing here. A `SharedArray`, a view of one
    and ``np.asarray`` of one are the same memory in the worker.

    The copy is made once, into shared memory, when a worker is about to take the
    task. The parent owns that memory, and lends it until the result is there; it also
    lends idle memory for the result, which it has once an earlier result was
    dropped. A result that is most of an argument's memory, to
    which nothing else in the worker leads, goes without a copy.

    A function that a worker could not import (a lambda, one defined in a function or
    in an interactive session) goes by cloudpickle where that is installed; else
    `submit` raises ``pickle.PicklingError``.

    ^C reaches a worker while it has a task, whose error is then KeyboardInterrupt; it
    does not end a worker that waits. A worker whose parent was killed ends when it
    has no task in hand.

    Threads of libraries that are loaded in a forked worker can be limited only
    where threadpoolctl is installed.

    References
    ----------
    "ProcessPoolExecutor" in Python's documentation.

    Examples
    --------
    >>> import numpy as np, sharedmem
    >>> with sharedmem.ProcessPoolExecutor(2) as executor:
    ...     future = executor.submit(np.add, np.ones((1000, 1000)), 1)
    ...     float(future.result()[0, 0])
    2.0
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        min_bytes: int = MIN_BYTES,
        threads_per_worker: int | None = None,
        **options: Any,
    ) -> None:
        if min_bytes < 0:
            raise ValueError(f"min_bytes must not be negative, not {min_bytes}")
        if threads_per_worker is not None and threads_per_worker < 1:
            raise ValueError(f"threads_per_worker must be at least 1, not {threads_per_worker}")
        if max_workers is None:
            max_workers = max(1, default_number())
        try:
            super().__init__(max_workers, mp_context, initializer, initargs, **options)
        except OSError as error:
            if error.errno not in _NO_SEMAPHORES:
                raise
            raise _no_semaphores(error) from error
        ours: Any = self
        self._method = ours._mp_context.get_start_method(allow_none=False)
        self._desk = desk = _Desk(min_bytes, ours._max_workers)
        if threads_per_worker is None:
            threads_per_worker = per_worker(ours._max_workers)
        self._threads = threads_per_worker
        desk.ledger = Ledger.new(desk.mark)
        key = None if desk.ledger is None else desk.ledger.key
        worker = desk.token, desk.mark, min_bytes, self._threads or said(), key
        ours._initializer, ours._initargs = _begin_work, (worker, self._threads, initializer, initargs)
        ours._call_queue.__class__ = _CallQueue
        ours._call_queue.desk = desk
        ours._call_queue.answers = ours._result_queue._reader
        ours._result_queue.__class__ = _AnswerQueue
        ours._result_queue._reader.__class__ = _AnswerReader
        os.set_blocking(ours._result_queue._reader.fileno(), False)

    @property
    def _executor_manager_thread(self) -> Any:
        return self.__dict__["_executor_manager_thread"]

    @_executor_manager_thread.setter
    def _executor_manager_thread(self, thread: Any) -> None:
        # It is ours before it starts: it may answer a future before its starter goes on.
        if thread is not None:
            thread.__class__ = _Manager
        self.__dict__["_executor_manager_thread"] = thread

    def _spawn_process(self) -> None:
        # A fork has its libraries already, and a fork server would keep them for later pools.
        with environment(self._threads if self._method == "spawn" else None), starting(self._method):
            super()._spawn_process()  # type: ignore[misc]

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Schedule ``fn(*args, **kwargs)``.

        Parameters
        ----------
        fn : callable
            What a worker calls.
        *args, **kwargs
            Pickled when a worker is about to take the task.

        Returns
        -------
        concurrent.futures.Future
            Its result, if large, lies in memory that goes with its last view.

        Raises
        ------
        pickle.PicklingError
            If a worker could not import the function, and there is no cloudpickle.
        BrokenProcessPool, RuntimeError
            As the standard library's: if the pool is broken or was shut down.

        Examples
        --------
        >>> import numpy as np, sharedmem
        >>> with sharedmem.ProcessPoolExecutor(1) as executor:
        ...     int(executor.submit(np.sum, np.arange(5)).result())
        10
        """
        by_name = functions.check(fn, self._method == "fork")
        call: Any = _Call(self._desk, by_name, fn, args, kwargs)
        ours: Any = self
        # Until the thread that manages them is there nobody would end the first workers.
        begins = ours._executor_manager_thread is None
        try:
            with starting(self._method) if begins else nullcontext():
                return super().submit(call)
        except (OSError, RuntimeError) as error:  # of a fork, or of a thread
            self._abandon(error)
            raise

    def terminate_workers(self) -> None:
        """End the workers by SIGTERM, with what they have in hand.

        As the standard library's from 3.14 on, with every Python. Futures of tasks that
        were begun get ``BrokenProcessPool``, the others are cancelled or get that, too. What
        was lent comes back, what was on its way is freed. It does not wait.

        See Also
        --------
        kill_workers : The same for workers that are deaf to SIGTERM.

        Examples
        --------
        >>> import sharedmem, time
        >>> executor = sharedmem.ProcessPoolExecutor(1)
        >>> future = executor.submit(time.sleep, 3600)
        >>> executor.terminate_workers()
        >>> type(future.exception()).__name__
        'BrokenProcessPool'
        """
        self._end_workers(BaseProcess.terminate)

    def kill_workers(self) -> None:
        """End the workers by SIGKILL, with what they have in hand.

        See Also
        --------
        terminate_workers : Gives workers a chance to end in order; says what becomes of futures.

        Examples
        --------
        >>> import sharedmem, time
        >>> with sharedmem.ProcessPoolExecutor(1) as executor:
        ...     future = executor.submit(time.sleep, 3600)
        ...     executor.kill_workers()
        """
        self._end_workers(BaseProcess.kill)

    def _end_workers(self, end: Callable[[BaseProcess], None]) -> None:
        ours: Any = self
        workers = list((ours._processes or {}).values())  # before shutdown() forgets them
        self.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            with suppress(ValueError, ProcessLookupError):  # closed, or gone
                end(worker)

    def _abandon(self, error: Exception) -> None:
        """Workers of which some could be started, and then no more, or not the thread that manages them."""
        ours: Any = self
        manager = ours._executor_manager_thread
        if (manager is not None and manager.ident is not None) or not ours._processes:
            return
        ours._executor_manager_thread = None
        ours._broken = f"not all workers could be started: {error}"
        for worker in ours._processes.values():
            worker.kill()
            worker.join()
        ours._processes.clear()
        self._desk.sweep()

    def stats(self) -> dict[str, int]:
        """How many bytes went to workers and came back, by the way they took.

        Returns
        -------
        dict
            ``by_name``: of shared arrays, whose name was sent; ``handed_over``:
            that went without a copy; ``copied``: through shared memory;
            ``pickled``: of the pickles. Tasks of which neither arguments nor result
            can be large are not counted.

        Examples
        --------
        >>> import numpy as np, sharedmem
        >>> with sharedmem.ProcessPoolExecutor(1) as executor:
        ...     total = executor.submit(np.sum, np.ones(100_000)).result()
        ...     executor.stats()['copied']
        800000
        """
        by_name, handed_over, copied, pickled = self._desk.tally.numbers()
        return {"by_name": by_name, "handed_over": handed_over, "copied": copied, "pickled": pickled}

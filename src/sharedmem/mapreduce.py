"""`MapReduce`: a function over a sequence, in workers that share memory with the caller."""

from __future__ import annotations

import multiprocessing
import operator
import os
import pickle
import queue
import secrets
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from numbers import Integral
from types import SimpleNamespace, TracebackType
from typing import Any, Literal, NamedTuple, NoReturn, TypeAlias, TypeVar

from sharedmem import functions, pickling
from sharedmem.errors import OwnerDiedError
from sharedmem.failures import Failure, WorkerException
from sharedmem.jobs import Job, Message, Piece, Place, be_process, be_thread, do, places
from sharedmem.lending import Lender
from sharedmem.sections import Board, Ordered
from sharedmem.sync import Lock
from sharedmem.transport import MIN_BYTES, Packer
from sharedmem.workers import Death, Says, Workers, default_number, level_of_caller, undisturbed

__all__ = [
    "MapReduce",
    "MapReduceByThread",
    "ProcessBackend",
    "ThreadBackend",
    "get_debug",
    "indexable",
    "set_debug",
    "set_timeout",
]

_debug = False
_patience = 100.0
# What a map does step by step: results, or what is to be called between two of its steps.
Pause: TypeAlias = Callable[[], object]
Steps: TypeAlias = Generator[list[Piece] | Pause, None, None]


class ProcessBackend:
    """Workers are processes.

    Examples
    --------
    >>> import sharedmem
    >>> with sharedmem.MapReduce(backend=sharedmem.ProcessBackend, np=1) as pool:
    ...     pool.map(abs, [-1])
    [1]
    """


class ThreadBackend:
    """Workers are threads.

    Examples
    --------
    >>> import sharedmem
    >>> with sharedmem.MapReduce(backend=sharedmem.ThreadBackend, np=1) as pool:
    ...     pool.map(abs, [-1])
    [1]
    """


def set_debug(flag: bool) -> None:
    """Do all work of maps that start from now on in the calling process, or not.

    Parameters
    ----------
    flag : bool
        True: no workers; a debugger and ``print`` work as ever, and exceptions come
        as they are.

    Examples
    --------
    >>> import os, sharedmem
    >>> sharedmem.set_debug(True)
    >>> with sharedmem.MapReduce() as pool:
    ...     pool.map(lambda i: os.getpid(), [0]) == [os.getpid()]
    True
    >>> sharedmem.set_debug(False)
    """
    global _debug
    _debug = bool(flag)


def get_debug() -> bool:
    """Whether `set_debug` is on.

    Returns
    -------
    bool
        True: maps do their work in the calling process.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.get_debug()
    False
    """
    return _debug


def set_timeout(timeout: float) -> float:
    """How long a map waits at its end for workers that have done all.

    Parameters
    ----------
    timeout : float
        In units of ten seconds. 10 when it was never set.

    Returns
    -------
    float
        `timeout`.

    Notes
    -----
    A worker that does not end, since a thread of it goes on, is reported by a
    `RuntimeWarning` and killed then. A thread cannot be killed: it is reported, and left.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.set_timeout(10)
    10
    """
    global _patience
    _patience = 10.0 * timeout
    return timeout


def patience() -> float:
    """What `set_timeout` says, in seconds."""
    return _patience


class MapReduce:
    """Call a function for each item of a sequence, in workers.

    To be used in a ``with`` statement.

    Parameters
    ----------
    backend : {ProcessBackend, ThreadBackend}, default ProcessBackend
        What the workers are. An int in its place is `np`.
    np : int, optional
        How many workers; when not given `cpu_count`, but no more than there are processors
        for this process. With 0 all is done in the calling process.
    workers : {'process', 'thread'}, optional
        `backend`, spelled as in the standard library.
    start_method : {'fork', 'spawn', 'forkserver'}, default 'fork'
        How worker processes begin. Under fork nothing of function and sequence is
        pickled. Under the others they are, functions that a worker could not import by
        cloudpickle.
    reuse : bool, default False
        Keep worker processes from one map to the next, until the ``with`` statement
        ends. Function and sequence are pickled then; modules are as they were when the
        first map began.

    Attributes
    ----------
    np : int
        How many workers a map has at most.
    critical : lock
        ``with pool.critical:`` is entered by one worker at a time.
    ordered : context manager
        ``with pool.ordered:`` is entered in the order of the items. Either each item has
        to enter it, exactly once, or none.
    local : namespace or None
        ``pool.local.rank`` is the worker's number, from 0; None outside of a map.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range, or there is no such backend or start method.

    See Also
    --------
    background : One call, while the caller goes on.

    Notes
    -----
    Workers see all memory of the caller as it was when the map began. What they write is
    their own, but for shared arrays: those are the same memory. Results come back as
    `dumps` sends them: shared arrays by name, other large ones through shared memory.
    An array that a worker has made and returned, shared or not, is the caller's.

    Each worker begins with one item and then takes several at a time while they are
    short, fewer towards the end.

    A worker that dies, in whatever way and wherever it is, ends the map with
    `WorkerException`, and so does an exception in one. The others are stopped. ^C is the
    caller's to act on: it stops all. If the caller is killed its workers are, by the
    kernel. Threads cannot be stopped: they end after the item that they have in hand.

    Warnings of worker processes are not shown. BLAS and OpenMP use as many threads in
    each as there are CPUs for it, as in `ProcessPoolExecutor`.

    Maps can be nested. A map that forks while other threads run warns once: a lock that
    one of them holds stays locked in the workers for ever.

    References
    ----------
    `rainwoodman/sharedmem <https://github.com/rainwoodman/sharedmem>`_, whose interface
    this is.

    Examples
    --------
    >>> import sharedmem
    >>> squares = sharedmem.zeros(4, int)
    >>> with sharedmem.MapReduce(np=2) as pool:
    ...     def work(i):
    ...         squares[i] = i * i
    ...         return i
    ...     pool.map(work, range(4))
    [0, 1, 2, 3]
    >>> squares.tolist()
    [0, 1, 4, 9]
    """

    # After the first failure the workers that are left go on until all items are done.
    _lets_others_finish = False

    def __init__(
        self,
        backend: Any = None,
        np: int | None = None,
        *,
        workers: Literal["process", "thread"] | None = None,
        start_method: str = "fork",
        reuse: bool = False,
    ) -> None:
        if not isinstance(backend, bool) and isinstance(backend, Integral):
            backend, np = None, int(backend)
        named = {None: ProcessBackend, "process": ProcessBackend, "thread": ThreadBackend}
        if workers not in named:
            raise ValueError(f"workers must be 'process' or 'thread', not {workers!r}")
        backend = backend or named[workers]
        if backend not in (ProcessBackend, ThreadBackend):
            raise TypeError(f"backend must be ProcessBackend or ThreadBackend, not {backend!r}")
        np = default_number() if np is None else operator.index(np)
        if np < 0:
            raise ValueError(f"np must not be negative, but is {np}")
        self._begin(secrets.randbits(63), backend, np, start_method, reuse)

    def _begin(self, number: int, backend: Any, np: int, start_method: str, reuse: bool) -> None:
        self.backend = backend
        self.np = np
        self._number = number
        self._context = multiprocessing.get_context(start_method)
        self._reuse = reuse
        self._crew: _Crew | None = None
        self._turns: dict[int, object] = {}  # by process, of the map that runs
        self._critical: Any = None
        self._entered = False

    def __enter__(self: _Self) -> _Self:
        self._critical = Lock() if self.backend is ProcessBackend else threading.Lock()
        self._entered = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered = False
        crew, self._crew = self._crew, None
        if crew is not None and crew.owner == os.getpid():
            crew.dismiss()

    def __reduce__(self) -> Any:
        return _in_worker, (type(self), self._number, self.backend, self.np, self._method)

    @property
    def _method(self) -> str:
        return str(self._context.get_start_method())

    # ---- what work functions use ---------------------------------------------------

    def _place(self) -> Place | None:
        """What the process or thread is of this pool; None outside of work functions."""
        return places.find(self._number)

    @property
    def local(self) -> Any:
        """``local.rank`` is the worker's number, from 0; None outside of a map.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     sorted(pool.map(lambda _: pool.local.rank, range(2)))
        [0, 1]
        """
        place = self._place()
        return None if place is None else place.local

    @property
    def critical(self) -> Any:
        """A lock: one worker at a time.

        Examples
        --------
        >>> import sharedmem
        >>> total = sharedmem.zeros(1, int)
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     def add(n):
        ...         with pool.critical:
        ...             total[0] += n
        ...     _ = pool.map(add, range(100))
        >>> int(total[0])
        4950
        """
        place = self._place()
        return self._critical if place is None else place.critical

    @property
    def ordered(self) -> Ordered:
        """A section that is entered in the order of the items.

        Examples
        --------
        >>> import sharedmem
        >>> order = sharedmem.zeros(4, int)
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     def note(i):
        ...         with pool.ordered:
        ...             order[i] = order.max() + 1
        ...     _ = pool.map(note, range(4))
        >>> order.tolist()
        [1, 2, 3, 4]
        """
        place = self._place()
        return Ordered() if place is None else place.ordered

    # ---- maps ------------------------------------------------------------------------

    def map(
        self,
        func: Callable[..., Any],
        sequence: Any,
        reduce: Callable[..., Any] | None = None,
        star: bool = False,
        minlength: int = 0,
    ) -> list[Any]:
        """Call a function for each item, and wait for all results.

        Parameters
        ----------
        func : callable
            Takes an item; with `star` what the item holds, as arguments.
        sequence : sized
            Lists, arrays (by rows), ranges, sets. What has no ``[]`` is made a list, as
            ``list`` makes it, and so is what has keys: mappings and those of pandas.
        reduce : callable, optional
            Called here, for each result as it arrives; for a tuple with what it holds, as
            arguments. What it returns is the result then.
        star : bool, default False
            See `func`.
        minlength : int, default 0
            A sequence that is shorter is worked through here, without workers.

        Returns
        -------
        list
            The results, in the order of the items.

        Raises
        ------
        WorkerException
            If the function raises, a worker dies, or a result cannot be sent. The others
            are stopped. Without workers, what the function raises comes as it is.
        RuntimeError
            If it is called outside of the ``with`` statement.
        TypeError
            If the sequence has no length.
        pickle.PicklingError
            If a function has to be pickled, which only cloudpickle can do, and there is
            no cloudpickle.

        Notes
        -----
        What `reduce` raises comes as it is, once the workers are stopped.

        Examples
        --------
        >>> import sharedmem
        >>> total = 0
        >>> def add(n):
        ...     global total
        ...     total += n
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     _ = pool.map(lambda text: len(text), ['ab', 'cde', 'f'], reduce=add)
        >>> total
        6
        """
        return self._gather(func, sequence, reduce, star, minlength)

    def _gather(
        self,
        func: Callable[..., Any],
        sequence: Any,
        reduce: Callable[..., Any] | None,
        star: bool,
        minlength: int,
        chunk: int | None = None,
    ) -> list[Any]:
        items = indexable(sequence)
        results: list[Any] = [None] * len(items)
        # Closed, not dropped: a traceback of what `reduce` raises would keep the workers.
        with closing(self._batches(func, items, star=star, minlength=minlength, chunk=chunk)) as batches:
            for start, batch in batches:
                if reduce is not None:
                    batch = [
                        reduce(*each) if isinstance(each, tuple) else reduce(each) for each in batch
                    ]
                results[start : start + len(batch)] = batch
        return results

    def imap(
        self, func: Callable[..., Any], sequence: Any, star: bool = False, minlength: int = 0
    ) -> Batches:
        """As `map`, but the results come one by one, as they arrive.

        Parameters
        ----------
        func : callable
            As for `map`.
        sequence : sized
            As for `map`.
        star : bool, default False
            As for `map`.
        minlength : int, default 0
            As for `map`.

        Returns
        -------
        iterator
            Over the results, in the order in which they arrive. The workers begin when the
            first is asked for. Who stops asking stops them by its ``close()``, as a
            generator's, or by dropping it.

        Raises
        ------
        WorkerException, RuntimeError, TypeError, pickle.PicklingError
            As `map`.

        Notes
        -----
        What a signal's handler raises while the next result is waited for takes nothing with
        it: the workers go on, and who asks again gets that result. ^C
        (``KeyboardInterrupt``) closes the iterator. Without workers such an exception comes
        out of the work function, and ends the map.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     sorted(pool.imap(abs, [-1, 2, -3]))
        [1, 2, 3]
        """
        return self._batches(func, indexable(sequence), star=star, minlength=minlength, singly=True)

    def _batches(
        self,
        func: Callable[..., Any],
        items: Any,
        *,
        star: bool = False,
        minlength: int = 0,
        chunk: int | None = None,
        singly: bool = False,
    ) -> Batches:
        """What all maps are made of: (index of the first, results), as they arrive.

        `chunk` items are taken at a time; None leaves that to the workers. With `singly`
        results come by themselves and at once, and another thread may ask for the next.
        """
        if not self._entered:
            raise RuntimeError("a map needs its pool's with statement: with MapReduce() as pool: ...")
        if chunk is not None and chunk < 1:
            raise ValueError(f"a chunk has at least one item, not {chunk}")
        job = Job(func, items, star, chunk or 0, singly)
        count = len(items)
        workers = min(self.np, -(-count // (chunk or 1)))
        if workers == 0 or _debug or count < minlength:
            return Batches(self._by_itself(job), [], singly)
        ends: list[Pause] = []
        by = self._by_threads if self.backend is ThreadBackend else self._by_processes
        return Batches(by(job, workers, ends), ends, singly)

    def _by_itself(self, job: Job) -> Steps:
        ordered, board = Ordered(), Board(False)
        board.begin(len(job.items), 1, 1)
        place = Place(SimpleNamespace(rank=0), self.critical, ordered, self.np)
        pieces: list[Piece] = []

        def work(index: int) -> None:
            before = places.put(self._number, place)
            try:
                pieces.append((index, do(job, board, ordered, range(index, index + 1))))
            finally:
                places.put(self._number, before)

        for index in range(len(job.items)):
            yield partial(work, index)
            if not pieces:
                return  # it has raised
            yield [pieces.pop()]

    def _by_threads(self, job: Job, count: int, ends: list[Pause]) -> Steps:
        board = Board(False)
        board.begin(len(job.items), count, job.chunk or 1)
        said: deque[Message] = deque()
        woken: queue.SimpleQueue[None] = queue.SimpleQueue()  # what is taken of it is no message

        def say(message: Message) -> None:
            said.append(message)
            woken.put(None)

        common = self._number, self.np, self.critical, board, job, say
        team = [
            threading.Thread(target=be_thread, args=(rank, *common), daemon=True)
            for rank in range(count)
        ]
        owner = os.getpid()
        try:
            for thread in team:
                thread.start()
            yield from self._collect(_hear_threads(said, woken.get), count, board)
        finally:
            if os.getpid() == owner:  # a fork that drops the generator has none of its threads
                board.stop()
                ends.append(partial(_join, team))

    def _by_processes(self, job: Job, count: int, ends: list[Pause]) -> Steps:
        mine = object()
        # One step, and by process: a fork in the middle of a map has none running.
        if self._reuse and self._turns.setdefault(os.getpid(), mine) is not mine:
            raise RuntimeError("a map of this pool runs already: with reuse=True there is one at a time")
        try:
            yield from self._in_turn(job, count, ends)
        finally:
            if self._turns.get(os.getpid()) is mine:
                del self._turns[os.getpid()]

    def _in_turn(self, job: Job, count: int, ends: list[Pause]) -> Steps:
        inherited = job if self._method == "fork" and not self._reuse else None
        messages, parcels = ([], []) if inherited else _pack(job, count, self._method == "fork")
        lender = Lender(job.func, len(job.items), count)
        lends = inherited is None or lender.lends()
        completed, crew = False, None
        try:
            crew = self._assemble(job, count, inherited, lends)
            crew.workers.lend(lender, lends)
            for rank, message in enumerate(messages):
                crew.workers.tell(rank, message)
            yield from self._collect(_hear(crew.workers), count, crew.board)
            completed = True
        finally:
            if crew is not None and os.getpid() == crew.owner:
                self._release(crew, completed, ends)
                lender.end()
            del parcels

    def _assemble(self, job: Job, count: int, inherited: Job | None, lends: bool) -> _Crew:
        """Workers for the job, and its board: those that are there, or new ones."""
        crew, self._crew = self._crew, None
        if crew is not None and crew.owner != os.getpid():
            crew = None
        try:
            if crew is not None and not crew.is_complete():
                crew = None
            board = Board(True) if crew is None else crew.board
            board.begin(len(job.items), count, job.chunk or 1)
        except BaseException:
            if crew is not None:
                crew.workers.kill()
            raise
        if crew is None:
            args = self._number, self.np, self.critical, board, inherited, lends
            workers = Workers(
                self.np if self._reuse else count,
                be_process,
                args,
                self._context,
                listen=lends,
                outlive_thread=self._reuse or job.prompt,
            )
            crew = _Crew(workers, board, os.getpid(), inherited is None)
        return crew

    def _release(self, crew: _Crew, completed: bool, ends: list[Pause]) -> None:
        """Keep the workers, let them end, or stop them."""
        if not completed:
            crew.workers.kill()
            self._mend()
        elif self._reuse and self._entered:
            self._crew = crew
        else:
            ends.append(crew.dismiss)

    def _mend(self) -> None:
        """Workers that were killed may have held the lock: the next map finds it free."""
        lock = self.critical
        try:
            if lock.acquire(timeout=1):
                lock.release()
        except OwnerDiedError:
            lock.recover()
            lock.release()

    def _collect(self, messages: Iterator[Message | Pause], count: int, board: Board) -> Steps:
        """The results that messages hold, until each worker has said how it ended."""
        failure: Failure | None = None
        while count:
            message = next(messages)
            if not isinstance(message, Message):
                yield message
                continue
            yield message.pieces
            count -= message.ended
            if message.failure is None:
                continue
            if failure is None or failure.follows:
                failure = message.failure
            if self._lets_others_finish:
                continue
            if not failure.follows:
                break
            board.stop()  # and hear whose failure it was that this one followed
        if failure is None and board.was_mixed():
            text = "some items entered the ordered section, others did not: either every item has to, or none"
            failure = Failure.of(RuntimeError(text), False)
        if failure is not None:
            self._fail(failure)

    def _fail(self, failure: Failure) -> NoReturn:
        """Raise what a map raises for the failure of a worker."""
        reason = failure.reason()
        raise WorkerException(reason, failure.traceback) from reason


_Self = TypeVar("_Self", bound=MapReduce)


class Batches:
    """What comes of the steps of a map, as it comes: pieces, or with `singly` results.

    The steps are done while no handler of a signal runs, which could raise: that would end
    them. What takes its time is a pause between two of them, in which nothing is changed. So
    whatever a handler raises, who asks again gets what comes next.

    `ends` are what the steps leave to be called at their end.
    """

    def __init__(self, steps: Steps, ends: list[Pause], singly: bool) -> None:
        self._steps = steps
        self._ends = ends
        self._singly = singly
        self._ready: Iterator[Any] = iter(())
        self._pause: Pause | None = None
        self._error: BaseException | None = None

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Any:
        try:
            while True:
                for each in self._ready:
                    return each  # no call is in between, within which a handler could run
                self._go_on()
        except KeyboardInterrupt:
            self.close()
            raise

    def close(self) -> None:
        """Stop the workers."""
        self._ready = iter(())
        with undisturbed():
            self._steps.close()
        self._end()

    def _go_on(self) -> None:
        """One step, and the pause after it."""
        with undisturbed():
            self._step()
        if self._error is not None:
            self._end()
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # its traceback has this frame
        if self._pause is not None:
            self._pause()

    def _step(self) -> None:
        self._pause = None
        if self._error is not None:
            return  # it has still to be raised
        try:
            step = next(self._steps)
        except BaseException as error:
            self._error = error
            return
        if not isinstance(step, list):
            self._pause = step
        elif self._singly:
            self._ready = iter([result for _, results in step for result in results])
        else:
            self._ready = iter(step)

    def _end(self) -> None:
        while self._ends:
            try:
                self._ends[-1]()
            finally:
                self._ends.clear()


class _Crew(NamedTuple):
    """Worker processes, and what they share."""

    workers: Workers
    board: Board
    owner: int  # the process
    listens: bool

    def is_complete(self) -> bool:
        """Whether all live; else the others are ended."""
        if not any(isinstance(event, Death) for event in self.workers.poll(0)):
            return True
        self.workers.kill()
        return False

    def dismiss(self) -> None:
        """Nothing is left to do for them."""
        if self.listens:
            for rank in range(len(self.workers)):
                self.workers.tell(rank, b"")
        self.workers.join(_patience)


def _in_worker(cls: type[MapReduce], number: int, backend: Any, np: int, start_method: str) -> MapReduce:
    """A pool as a worker has it that was not forked. Called by unpickling."""
    pool = cls.__new__(cls)
    pool._begin(number, backend, np, start_method, False)
    pool._entered = True
    return pool


def MapReduceByThread(np: int | None = None) -> MapReduce:
    """A `MapReduce` whose workers are threads.

    Parameters
    ----------
    np : int, optional
        How many; when not given as for `MapReduce`.

    Returns
    -------
    MapReduce
        With ``backend=ThreadBackend``.

    Examples
    --------
    >>> import sharedmem
    >>> seen = []
    >>> with sharedmem.MapReduceByThread(2) as pool:
    ...     _ = pool.map(seen.append, [1, 2, 3])
    >>> sorted(seen)
    [1, 2, 3]
    """
    return MapReduce(ThreadBackend, np)


def indexable(sequence: Any) -> Any:
    """Something with a length and ``[]``, of the items of the sequence."""
    len(sequence)  # a TypeError that says what is missing
    # What has keys() takes them in [], and not positions: a pandas Series, too, which is no Mapping.
    if hasattr(sequence, "__getitem__") and not hasattr(sequence, "keys"):
        return sequence
    return list(sequence)


def _pack(job: Job, count: int, forked: bool) -> tuple[list[bytes], list[Any]]:
    """The job for each worker, and what is to be kept until they have it.

    A parcel is one worker's: what it writes into an item, the others do not see.
    """
    func = functions.dump(job.func, forked)
    messages: list[bytes] = []
    parcels: list[Any] = []
    kept: list[Any] = []
    for _ in range(count):
        if messages and not parcels:
            messages.append(messages[0])
            continue
        packer = Packer(MIN_BYTES, lend=True)
        messages.append(packer.dump((func, *job[1:])))
        parcels += packer.parcels
        kept += packer.kept
    return messages, parcels + kept


def _hear_threads(said: deque[Message], sleep: Pause) -> Iterator[Message | Pause]:
    while True:
        yield said.popleft() if said else sleep


def _hear(workers: Workers) -> Iterator[Message | Pause]:
    """What workers say; an exception when one dies that has not said how it ended."""
    ended = set()
    for event in workers.events():
        if event is None:
            yield workers.sleep
        elif isinstance(event, Says):
            message = _load(event.data)
            if message.ended:
                ended.add(event.rank)
            del event  # and what it holds: a result that is dropped now is to be idle
            yield message
            del message
        elif event.rank not in ended:
            raise WorkerException(RuntimeError(str(event)), "")


def _load(data: bytes) -> Message:
    try:
        message: Message = pickle.loads(data)
        return message
    except BaseException as error:
        pickling.forget(data)  # what of it was not reached
        if not isinstance(error, Exception):
            raise
        reason = pickle.UnpicklingError(f"a result cannot be received: {error}")
        raise WorkerException(reason, "") from error


def _join(team: list[threading.Thread]) -> None:
    until = time.monotonic() + _patience
    for rank, thread in enumerate(team):
        if thread.ident is None:
            continue  # it was never started
        thread.join(max(0.0, until - time.monotonic()))
        if thread.is_alive():
            warnings.warn(
                f"worker {rank}, a thread, does not end within {_patience:g} s: it is left to itself",
                RuntimeWarning,
                stacklevel=level_of_caller(),
            )

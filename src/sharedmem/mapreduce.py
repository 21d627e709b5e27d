"""`MapReduce`: a function over a sequence, in workers that share memory with the caller."""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
import queue
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace, TracebackType
from typing import Any, Literal, NamedTuple, NoReturn

from sharedmem.machine import cpu_count
from sharedmem.sections import Board, Ordered
from sharedmem.workers import Says, Worker, Workers

__all__ = [
    "LostExceptionType",
    "MapReduce",
    "MapReduceByThread",
    "ProcessBackend",
    "ThreadBackend",
    "WorkerException",
    "get_debug",
    "set_debug",
    "set_timeout",
]

_BATCH = 0.002  # seconds that a worker spends before it tells results and takes more
_debug = False
_patience = 100.0


class ProcessBackend:
    """Workers are processes."""


class ThreadBackend:
    """Workers are threads."""


class LostExceptionType(Warning):
    """An exception of a worker cannot be pickled: its text is all that is left of it."""


class WorkerException(Exception):
    """A worker has failed, or has died.

    Parameters
    ----------
    reason : BaseException
        What the work function raised, of its own type where that can be pickled; for a
        worker that died a `RuntimeError` that names its rank and its exit code or signal.
    traceback : str
        The worker's, formatted; empty for one that died.

    Attributes
    ----------
    reason, traceback
        As given.
    """

    def __init__(self, reason: BaseException, traceback: str) -> None:
        super().__init__(reason, traceback)
        self.reason = reason
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.reason!r}\n{self.traceback}" if self.traceback else str(self.reason)


def set_debug(flag: bool) -> None:
    """Do all work of maps that start from now on in the calling process, or not.

    Parameters
    ----------
    flag : bool
        True: no workers; a debugger and ``print`` work as ever, and exceptions come
        as they are.
    """
    global _debug
    _debug = bool(flag)


def get_debug() -> bool:
    """Whether `set_debug` is on."""
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
    `RuntimeWarning` and killed then.
    """
    global _patience
    _patience = 10.0 * timeout
    return timeout


# ---- in a worker -----------------------------------------------------------------



class _Place(NamedTuple):
    """What a pool's attributes are in a worker."""

    local: SimpleNamespace  # with the rank
    critical: Any
    ordered: Ordered
    np: int


class _Places(threading.local):
    """By the numbers of pools, where the work function that runs in this thread is."""

    def __init__(self) -> None:
        self.by_number: dict[int, _Place] = {}


_places = _Places()
_whole_process: dict[int, _Place] = {}  # of a worker process: its other threads are there, too
_numbers = itertools.count()


def _place(number: int) -> _Place | None:
    return _places.by_number.get(number) or _whole_process.get(number)


class _PoolInWorker:
    """A pool as a worker has it that was not forked."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __getattr__(self, name: str) -> Any:
        place = _place(self._number)
        if place is None or name not in ("local", "critical", "ordered", "np"):
            raise AttributeError(f"a pool has no {name!r} outside of the process that made it")
        return getattr(place, name)


def _describe(error: BaseException) -> tuple[bytes | None, str, str]:
    """An exception as a pickle, if that gives it back, as a text and with its traceback."""
    text = "".join(traceback.format_exception(error))
    data: bytes | None = None
    if isinstance(error, Exception):
        try:
            data = pickle.dumps(error)
            if type(pickle.loads(data)) is not type(error):
                data = None
        except BaseException:
            data = None
    return data, f"{type(error).__name__}: {error}", text


class _Job:
    """One map: what to call, on what, and the board that its workers share."""

    def __init__(self, func: Callable[..., Any], sequence: Any, star: bool, board: Board, share: int) -> None:
        self.func, self.sequence, self.star = func, sequence, star
        self.board, self.share = board, share

    def __call__(self, index: int) -> Any:
        item = self.sequence[index]
        return self.func(*item) if self.star else self.func(item)


def _do(job: _Job, ordered: Ordered, indices: range) -> list[Any]:
    """The results of some iterations, of which all or none entered the ordered section."""
    results: list[Any] = []
    passed_by = 0
    for index in indices:
        ordered.begin(job.board, index)
        try:
            results.append(job(index))
        except BaseException:
            job.board.pass_by(range(index + ordered.entered, indices.stop))
            raise
        passed_by += not ordered.entered
    if passed_by and (job.board.pass_by(indices) or passed_by < len(indices)):
        raise RuntimeError(
            f"an iteration of {indices.start} to {indices.stop - 1} ended without entering the ordered "
            "section, others have entered it: each iteration has to, exactly once"
        )
    return results


def _work_through(job: _Job, ordered: Ordered, say: Callable[[Any], None]) -> None:
    """Take iterations until there are none. More at a time while they are short."""
    number = 1
    while indices := job.board.take(number):
        begin = time.monotonic()
        results = _do(job, ordered, indices)
        took = time.monotonic() - begin
        say(("results", indices.start, results))
        number = number * 2 if took < _BATCH else number // 2 if took > 2 * _BATCH else number
        number = max(1, min(number, job.board.left() // (4 * job.share)))


def _report(job: _Job, ordered: Ordered, say: Callable[[Any], None]) -> None:
    """Work through the job, and say how it ended."""
    try:
        _work_through(job, ordered, say)
    except BaseException as error:
        say(("failed", *_describe(error)))
    else:
        say(("done",))


def _be_process(
    worker: Worker, number: int, np: int, critical: Any, work: Any, board: Board, share: int
) -> None:
    """A worker process, from its first to its last step."""
    ordered = Ordered()
    place = _Place(SimpleNamespace(rank=worker.rank), critical, ordered, np)
    _whole_process[number] = _places.by_number[number] = place
    func, items, star = pickle.loads(work) if isinstance(work, bytes) else work
    _report(_Job(func, items, star, board, share), ordered, worker.say)


def _be_thread(
    rank: int, number: int, np: int, critical: Any, job: _Job, say: Callable[[Any], None]
) -> None:
    """A worker thread, from its first to its last step."""
    ordered = Ordered()
    _places.by_number[number] = _Place(SimpleNamespace(rank=rank), critical, ordered, np)
    _report(job, ordered, say)


# ---- in the calling process ------------------------------------------------------


class _Failure(NamedTuple):
    """How a worker failed, in its own words."""

    data: bytes | None
    text: str
    traceback: str

    def reason(self) -> BaseException:
        """The exception itself, or one with its text."""
        if self.data is not None:
            reason: BaseException = pickle.loads(self.data)
            return reason
        warnings.warn(
            f"the exception of a worker cannot be pickled; this is left of it: {self.text}",
            LostExceptionType,
            stacklevel=5,
        )
        return Exception(self.text)


class MapReduce:
    """Call a function for each item of a sequence, in workers.

    To be used in a ``with`` statement.

    Parameters
    ----------
    backend : {ProcessBackend, ThreadBackend}, default ProcessBackend
        What the workers are. An int in its place is `np`.
    np : int, optional
        How many workers; `cpu_count` when not given. With 0 all is done in the calling
        process.
    workers : {'process', 'thread'}, optional
        `backend`, spelled as in the standard library.
    start_method : {'fork', 'spawn', 'forkserver'}, default 'fork'
        Under fork nothing of function and sequence is pickled. The others need
        cloudpickle.

    Attributes
    ----------
    np : int
        How many workers a map has at most.
    critical : lock
        ``with pool.critical:`` is entered by one worker at a time.
    ordered : context manager
        ``with pool.ordered:`` is entered in the order of the items. Each iteration has to
        enter it exactly once, or none.
    local : namespace or None
        ``pool.local.rank`` is the worker's number, from 0; None outside of a map.

    See Also
    --------
    background : One call, while the caller goes on.

    Notes
    -----
    Workers see all memory of the caller as it was when the map began. What they write is
    their own, but for shared arrays: those are the same memory. What the function returns
    is pickled, shared arrays by name.

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

    def __init__(
        self,
        backend: Any = None,
        np: int | None = None,
        *,
        workers: Literal["process", "thread"] | None = None,
        start_method: str = "fork",
    ) -> None:
        if isinstance(backend, int) and not isinstance(backend, bool):
            backend, np = None, backend
        named = {None: ProcessBackend, "process": ProcessBackend, "thread": ThreadBackend}
        if workers not in named:
            raise ValueError(f"workers must be 'process' or 'thread', not {workers!r}")
        self.backend = backend or named[workers]
        if self.backend not in (ProcessBackend, ThreadBackend):
            raise TypeError(f"backend must be ProcessBackend or ThreadBackend, not {backend!r}")
        self.np = cpu_count() if np is None else np
        if self.np < 0:
            raise ValueError(f"np must not be negative, but is {self.np}")
        self._context = multiprocessing.get_context(start_method)
        self._number = next(_numbers)
        self._critical: Any = None
        self._entered = False

    def __enter__(self) -> MapReduce:
        processes = self.backend is ProcessBackend
        self._critical = self._context.Lock() if processes else threading.Lock()
        self._entered = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered = False

    def __reduce__(self) -> Any:
        return _PoolInWorker, (self._number,)

    # ---- what work functions use ---------------------------------------------------

    @property
    def local(self) -> Any:
        place = _place(self._number)
        return None if place is None else place.local

    @property
    def critical(self) -> Any:
        place = _place(self._number)
        return self._critical if place is None else place.critical

    @property
    def ordered(self) -> Ordered:
        place = _place(self._number)
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
            Lists, arrays (by rows), ranges, sets; what has no ``[]`` is made a list.
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
            If the function raises, or a worker dies. The others are stopped.
        RuntimeError
            If it is called outside of the ``with`` statement.
        TypeError
            If the sequence has no length.

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
        results: dict[int, Any] = {}
        items = _indexable(sequence)
        for index, result in self._run(func, items, star, minlength):
            if reduce is not None:
                result = reduce(*result) if isinstance(result, tuple) else reduce(result)
            results[index] = result
        return [results[index] for index in range(len(items))]

    def imap(
        self, func: Callable[..., Any], sequence: Any, star: bool = False, minlength: int = 0
    ) -> Iterator[Any]:
        """As `map`, but the results come one by one, as they arrive.

        Parameters
        ----------
        func, sequence, star, minlength
            As for `map`.

        Yields
        ------
        object
            The results, in the order in which they arrive. Who stops taking them, and
            closes the generator, stops the workers.

        Raises
        ------
        WorkerException, RuntimeError, TypeError
            As `map`.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     sorted(pool.imap(abs, [-1, 2, -3]))
        [1, 2, 3]
        """
        for _, result in self._run(func, _indexable(sequence), star, minlength):
            yield result

    def _run(
        self, func: Callable[..., Any], items: Any, star: bool, minlength: int
    ) -> Iterator[tuple[int, Any]]:
        if not self._entered:
            raise RuntimeError("a map needs its pool's with statement: with MapReduce() as pool")
        count = len(items)
        workers = min(self.np, count)
        if workers == 0 or _debug or count < minlength:
            return self._run_here(func, items, star)
        if self.backend is ThreadBackend:
            return self._run_threads(func, items, star, workers)
        return self._run_processes(func, items, star, workers)

    def _run_here(self, func: Callable[..., Any], items: Any, star: bool) -> Iterator[tuple[int, Any]]:
        ordered = Ordered()
        job = _Job(func, items, star, Board(len(items), threading.Condition(), False), 1)
        before = _places.by_number.get(self._number)
        place = _Place(SimpleNamespace(rank=0), self._critical, ordered, self.np)
        try:
            for index in range(len(items)):
                _places.by_number[self._number] = place
                (result,) = _do(job, ordered, range(index, index + 1))
                self._restore(before)
                yield index, result
        finally:
            self._restore(before)

    def _restore(self, place: _Place | None) -> None:
        if place is None:
            _places.by_number.pop(self._number, None)
        else:
            _places.by_number[self._number] = place

    def _run_threads(
        self, func: Callable[..., Any], items: Any, star: bool, count: int
    ) -> Iterator[tuple[int, Any]]:
        board = Board(len(items), threading.Condition(), False)
        job = _Job(func, items, star, board, count)
        said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threads = [
            threading.Thread(
                target=_be_thread, args=(rank, self._number, self.np, self._critical, job, said.put)
            )
            for rank in range(count)
        ]
        for thread in threads:
            thread.start()
        try:
            yield from self._collect(iter(said.get, None), count, board)
        finally:
            board.stop()
            for thread in threads:
                thread.join()

    def _run_processes(
        self, func: Callable[..., Any], items: Any, star: bool, count: int
    ) -> Iterator[tuple[int, Any]]:
        board = Board(len(items), self._context.Condition(), True)  # type: ignore[attr-defined]
        work: Any = (func, items, star)
        if self._context.get_start_method() != "fork":
            work = _cloudpickled(work)
        args = (self._number, self.np, self._critical, work, board, count)
        workers = Workers(count, _be_process, args, self._context, _patience)
        try:
            yield from self._collect(_messages(workers), count, board)
            workers.join()
        finally:
            workers.kill()

    def _collect(self, messages: Iterator[Any], count: int, board: Board) -> Iterator[tuple[int, Any]]:
        """The results that messages hold, until each worker has said that it is done."""
        failure: _Failure | None = None
        while count:
            kind, *rest = next(messages)
            if kind == "results":
                yield from enumerate(rest[1], rest[0])
                continue
            count -= 1
            if kind == "failed":
                failure = failure or _Failure(*rest)
                if not self._lets_others_finish:
                    break
        if failure is not None:
            self._fail(failure)
        if board.was_mixed():
            text = "some iterations entered the ordered section and others did not: each has to, exactly once"
            raise WorkerException(RuntimeError(text), "")

    _lets_others_finish = False

    def _fail(self, failure: _Failure) -> NoReturn:
        raise WorkerException(failure.reason(), failure.traceback)


def MapReduceByThread(np: int | None = None) -> MapReduce:  # noqa: N802
    """A `MapReduce` whose workers are threads.

    Parameters
    ----------
    np : int, optional
        How many.

    Returns
    -------
    MapReduce
        With ``backend=ThreadBackend``.
    """
    return MapReduce(ThreadBackend, np)


def _indexable(sequence: Any) -> Any:
    len(sequence)  # a TypeError that says what is missing
    if hasattr(sequence, "__getitem__") and not isinstance(sequence, Mapping):
        return sequence
    return list(sequence)


def _cloudpickled(work: Any) -> bytes:
    try:
        import cloudpickle
    except ImportError:
        try:
            return pickle.dumps(work)
        except Exception as error:
            raise TypeError(
                "this function cannot be sent to workers that are not forked: install cloudpickle "
                "(pip install cloudpickle), or define it at the top of a module"
            ) from error
    data: bytes = cloudpickle.dumps(work)
    return data


def _messages(workers: Workers) -> Iterator[Any]:
    """What workers say; an exception when one dies that has not said how it ended."""
    ended = set()
    for event in workers.events():
        if isinstance(event, Says):
            message = pickle.loads(event.data)
            if message[0] != "results":
                ended.add(event.rank)
            yield message
        elif event.rank not in ended:
            raise WorkerException(RuntimeError(str(event)), "")

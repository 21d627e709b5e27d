"""What a worker of a map does, from its first item to its last."""

from __future__ import annotations

import operator
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from itertools import repeat, starmap
from types import SimpleNamespace
from typing import Any, NamedTuple, NoReturn

from sharedmem import pickling, transport
from sharedmem.failures import Failure
from sharedmem.sections import Abandoned, Board, Ordered
from sharedmem.workers import Worker

__all__ = ["Job", "Message", "Place", "Places", "be_process", "be_thread", "do", "places"]

# Seconds that items taken at once take at most, and at least as long as there are some.
_LONG, _SHORT = 2e-3, 3e-4
# What is left at the end and takes no longer is not worth another round, of some 15 us, to share.
_REST = 5e-5
_GROWTH = 64


class Place(NamedTuple):
    """What a pool's attributes are in a worker."""

    local: SimpleNamespace  # with the rank
    critical: Any
    ordered: Ordered
    np: int


class Places(threading.local):
    """By the numbers of pools, where the work function that runs in this thread is."""

    def __init__(self) -> None:
        self._here: dict[int, Place] = {}

    def find(self, number: int) -> Place | None:
        """None outside of work functions."""
        return self._here.get(number) or _of_process.get(number)

    def put(self, number: int, place: Place | None) -> Place | None:
        """Set it for this thread; returns what it was."""
        before = self._here.pop(number, None)
        if place is not None:
            self._here[number] = place
        return before


places = Places()
_of_process: dict[int, Place] = {}  # of a worker process: its other threads are there, too


class Job(NamedTuple):
    """What to call on which items.

    `chunk` of them at a time, or a suitable number for 0. With `prompt` results are told
    at once, even if they took no time.
    """

    func: Callable[..., Any]
    items: Any
    star: bool
    chunk: int
    prompt: bool


def do(job: Job, board: Board, ordered: Ordered, indices: range, watch: bool = False) -> list[Any]:
    """The results of some items. With `watch` it looks before each whether the map was stopped."""
    items = counter = _iterator(job.items, indices)
    ordered.begin(board, indices, counter)
    if type(job.items) not in _SLICED:
        items = map(operator.getitem, repeat(job.items), counter)
    if watch:
        items = _until_stopped(board, items)
    try:
        results = list(starmap(job.func, items) if job.star else map(job.func, items))
        if len(results) < len(indices):
            raise RuntimeError(
                f"item {indices.start + len(results)}: the work function raised StopIteration"
            )
        ordered.end()
    except BaseException:
        board.fail(ordered.current)
        raise
    return results


_SLICED = frozenset({list, tuple, range})


def _iterator(items: Any, indices: range) -> Iterator[Any]:
    """Over the items, or their indices: one that knows how many are to come."""
    return iter(items[indices.start : indices.stop] if type(items) in _SLICED else indices)


def _until_stopped(board: Board, items: Iterator[Any]) -> Iterator[Any]:
    for item in items:
        if board.stopped():
            raise Abandoned
        yield item


def _next_number(done: int, took: float, board: Board) -> int:
    """How many items to take after `done` of them took so long.

    As many as take a while, but no larger part of what is left than everybody can take
    several of: the last ones should end together. Where they are so short that to take
    and tell them costs more than they do, a worker's whole part, or a short rest: what is
    left may be of another length.
    """
    each = max(took / done, 1e-9)
    left, workers = board.left(), board.workers
    several = min(int(_LONG / each), left // (4 * workers))
    at_least = min(int(_SHORT / each), max(left // workers, int(_REST / each)))
    return max(1, min(max(several, at_least), done * _GROWTH))


Piece = tuple[int, list[Any]]  # the index of the first item, results


class Message(NamedTuple):
    """What a worker says."""

    pieces: list[Piece]
    ended: bool
    failure: Failure | None = None


def _work_through(
    job: Job, board: Board, place: Place, say: Callable[[Message], None], watch: bool
) -> list[Piece]:
    """Take items until there are none. Returns what was not told."""
    pieces: list[Piece] = []
    told = time.monotonic()
    indices = board.first(place.local.rank)
    while indices:
        begin = time.monotonic()
        pieces.append((indices.start, do(job, board, place.ordered, indices, watch)))
        now = time.monotonic()
        if job.prompt or now - told > _SHORT:
            _tell(say, pieces, False)
            pieces, told = [], now
        number = job.chunk or (1 if board.used else _next_number(len(indices), now - begin, board))
        indices = board.take(number)
    return pieces


def _tell(say: Callable[[Message], None], pieces: list[Piece], ended: bool) -> None:
    try:
        say(Message(pieces, ended))
    except Exception as error:
        _explain(pieces, error)


def _explain(pieces: list[Piece], error: Exception) -> NoReturn:
    """Name the result which cannot be sent."""
    for start, results in pieces:
        for index, result in enumerate(results, start):
            try:
                pickling.forget(transport.dumps(result))
            except Exception as why:
                raise pickle.PicklingError(f"the result of item {index} cannot be sent: {why}") from why
    raise pickle.PicklingError(f"results cannot be sent: {error}") from error


def _report(
    job: Job, board: Board, place: Place, say: Callable[[Message], None], worker: Worker | None = None
) -> None:
    """Work through the job, and say how it ended."""
    try:
        _tell(say, _work_through(job, board, place, say, worker is None), True)
    except BaseException as error:
        locks = _locks(board, place)
        of = Failure.of(error, True, locks, worker.take) if worker else Failure.of(error, False, locks)
        say(Message([], True, of))


def _locks(board: Board, place: Place) -> frozenset[str]:
    """Names of the locks that are the map's own; those of threads have none."""
    return frozenset(filter(None, (board.lock_name, getattr(place.critical, "name", None))))


def be_process(
    worker: Worker, number: int, np: int, critical: Any, board: Board, job: Job | None, lends: bool
) -> None:
    """A worker process. Without a job it is told some, until it is told that there is none."""
    place = Place(SimpleNamespace(rank=worker.rank), critical, Ordered(), np)
    _of_process[number] = place
    places.put(number, place)
    if job is not None:
        if lends:
            worker.hear_rooms()
        _report(job, board, place, worker.say, worker)
        return
    while rooms := worker.hear():
        worker.hear_rooms(rooms)
        data = worker.hear()
        try:
            func, *rest = pickle.loads(data)
            job = Job(pickle.loads(func), *rest)
        except BaseException as error:
            worker.say(Message([], True, Failure.of(error, True, take=worker.take)))
        else:
            _report(job, board, place, worker.say, worker)
        job = None  # nothing of it is kept


def be_thread(
    rank: int,
    number: int,
    np: int,
    critical: Any,
    board: Board,
    job: Job,
    say: Callable[[Message], None],
) -> None:
    """A worker thread."""
    place = Place(SimpleNamespace(rank=rank), critical, Ordered(), np)
    places.put(number, place)
    _report(job, board, place, say)

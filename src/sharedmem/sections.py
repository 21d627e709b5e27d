"""What the workers of one map share: indices to work on, and the order of a section."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np

from sharedmem import atomic, creation
from sharedmem.errors import OwnerDiedError
from sharedmem.sync import Condition

__all__ = ["Abandoned", "Board", "Ordered"]

# Words of a board. The last three are indices of items, or the number of items for "none".
_COUNT, _NEXT, _WORKERS, _CHUNK, _USED, _TURN, _SKIPPED, _FAILED = range(8)


class Abandoned(BaseException):
    """The map has failed elsewhere: who waited for its turn, or works for nothing, ends with this."""


_MARK = "board of a map"  # by which those who list the segments know it
_WORDS = np.dtype([(_MARK, np.int64)])


class Board:
    """Which items are the next ones, and how far an ordered section has come.

    Parameters
    ----------
    shared : bool
        Between processes; else between threads.

    Notes
    -----
    The next item is an atomic counter. Words of the section change under the lock of
    the condition. Its turn moves when somebody leaves it, and only then: an item that
    has ended without entering would stop it for good. So the first item which did is
    noted, and who enters behind it fails instead of waiting.
    """

    def __init__(self, shared: bool) -> None:
        make: Any = creation.zeros if shared else np.zeros
        self._words = make(8, _WORDS)[_MARK]
        self._condition: Any = Condition() if shared else threading.Condition()

    def begin(self, count: int, workers: int, chunk: int) -> None:
        """A new map over `count` items. Nobody works at the last one any more."""
        first = min(count, workers * chunk)
        self._words[:] = count, first, workers, chunk, 0, 0, count, count

    @property
    def lock_name(self) -> str | None:
        """That of what guards it; None between threads."""
        return getattr(self._condition, "name", None)

    # ---- indices -------------------------------------------------------------------

    def first(self, rank: int) -> range:
        """What the worker of this rank begins with: each has something to do."""
        chunk = int(self._words[_CHUNK])
        return self._clip(rank * chunk, chunk)

    def take(self, number: int) -> range:
        """The next items, at most `number` of them; none when all are taken."""
        return self._clip(int(atomic.fetch_add(self._words, _NEXT, number)), number)

    def _clip(self, first: int, number: int) -> range:
        count = int(self._words[_COUNT])
        return range(min(first, count), min(first + number, count))

    def left(self) -> int:
        """About how many are not taken."""
        return max(0, int(self._words[_COUNT] - self._words[_NEXT]))

    @property
    def workers(self) -> int:
        """How many take items from it."""
        return int(self._words[_WORKERS])

    def stop(self) -> None:
        """Let nobody take any more, and nobody wait for a turn."""
        atomic.store(self._words, _NEXT, int(self._words[_COUNT]))
        self.fail(-1)

    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return int(self._words[_FAILED]) < 0

    # ---- the ordered section -------------------------------------------------------

    def enter(self, index: int) -> None:
        """Wait until all items before `index` have been through the section."""
        words = self._words
        with self._condition:
            words[_USED] = 1
            while words[_TURN] != index and words[_SKIPPED] > index and words[_FAILED] > index:
                self._condition.wait()
            if words[_FAILED] < index:
                raise Abandoned
            if words[_SKIPPED] < index:
                raise RuntimeError(
                    f"item {words[_SKIPPED]} was done without entering the ordered section, "
                    f"item {index} enters it: either every item has to, exactly once, or none"
                )

    def leave(self, index: int) -> None:
        """The next one's turn."""
        with self._condition:
            self._words[_TURN] = index + 1
            self._condition.notify_all()

    def skip(self, index: int) -> bool:
        """This one has ended without entering. Whether that is a mistake, as far as is known."""
        return self._lower(_SKIPPED, index)

    def fail(self, index: int) -> None:
        """This one has raised: whoever would have to wait for it is abandoned."""
        try:
            self._lower(_FAILED, index)
        except OwnerDiedError:
            pass  # who waits is told of that instead

    def _lower(self, word: int, index: int) -> bool:
        with self._condition:
            if index < self._words[word]:
                self._words[word] = index
                self._condition.notify_all()
            return bool(self._words[_USED])

    def was_mixed(self) -> bool:
        """Whether some items entered the section and others did not."""
        return bool(self._words[_USED]) and bool(self._words[_SKIPPED] < self._words[_COUNT])

    @property
    def used(self) -> bool:
        """Whether somebody has entered the section."""
        return bool(self._words[_USED])


class Ordered:
    """A section that the items of a map enter one after another, in order.

    Either each item enters it exactly once, or none does.

    Notes
    -----
    Which item is in work is read off the iterator that the worker goes through, so that
    items which do not enter pay nothing.
    """

    def __init__(self) -> None:
        self._board: Board | None = None
        self._counter: Iterator[Any] = iter(())
        self._stop = self._next = 0

    def begin(self, board: Board, indices: range, counter: Iterator[Any]) -> None:
        """These items begin in this worker, which takes something from the iterator for each."""
        self._board = board
        self._next, self._stop = indices.start, indices.stop
        self._counter = counter

    @property
    def current(self) -> int:
        """The item that is in work."""
        return self._stop - 1 - operator.length_hint(self._counter)

    def end(self) -> None:
        """All of them have ended."""
        assert self._board is not None
        if self._next < self._stop and self._board.skip(self._next):
            raise RuntimeError(
                f"item {self._next} was done without entering the ordered section, others enter it: "
                "either every item has to, exactly once, or none"
            )

    def __enter__(self) -> Ordered:
        if self._board is None:
            raise RuntimeError("pool.ordered is for the work functions of a map")
        index = self.current
        if index < self._next:
            raise RuntimeError(
                f"item {index} enters the ordered section twice: each has to exactly once, or none"
            )
        if index > self._next:
            self._board.skip(self._next)
        self._next = index + 1
        self._board.enter(index)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._board is not None
        self._board.leave(self._next - 1)

"""What the workers of one map share: indices to work on, and the order of a section."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np

from sharedmem import creation

__all__ = ["Board", "Ordered"]

# Words of a board.
_NEXT, _TURN, _SKIPPED, _USED = range(4)
# What has become of an iteration.
_PENDING, _ENTERED, _PASSED_BY = range(3)


class Board:
    """Which iteration is the next one, and how far an ordered section has come.

    Every change is made under the lock of `condition`. An iteration that has ended
    without entering the section is passed by; the section's turn moves over it, but
    whoever enters behind it finds the first one that was passed by, and fails: to
    wait would be for ever, to go on would not be in order.
    """

    def __init__(self, count: int, condition: Any, shared: bool) -> None:
        make: Any = creation.zeros if shared else np.zeros
        self.count = count
        self._words = make(4, np.int64)
        self._words[_SKIPPED] = count
        self._fates = make(max(count, 1), np.uint8)
        self._condition = condition

    def take(self, number: int) -> range:
        """The next iterations, at most `number` of them; none when all are taken."""
        with self._condition:
            first = min(int(self._words[_NEXT]), self.count)
            self._words[_NEXT] = last = min(first + number, self.count)
        return range(first, last)

    def left(self) -> int:
        """About how many are not taken."""
        return max(0, self.count - int(self._words[_NEXT]))

    def stop(self) -> None:
        """Let nobody take any more."""
        with self._condition:
            self._words[_NEXT] = self.count

    # ---- the ordered section -----------------------------------------------------

    def enter(self, index: int) -> None:
        """Wait until all iterations before `index` have been through the section."""
        with self._condition:
            self._words[_USED] = 1
            while self._words[_TURN] < index and self._words[_SKIPPED] >= index:
                self._condition.wait()
            if self._words[_SKIPPED] < index:
                raise RuntimeError(
                    f"iteration {self._words[_SKIPPED]} ended without entering the ordered section, "
                    f"iteration {index} enters it: each iteration has to, exactly once"
                )

    def leave(self, index: int) -> None:
        self._settle(range(index, index + 1), _ENTERED)

    def pass_by(self, indices: range) -> bool:
        """These ended without entering. Whether that is a mistake, as far as is known."""
        with self._condition:
            self._words[_SKIPPED] = min(int(self._words[_SKIPPED]), indices.start)
        self._settle(indices, _PASSED_BY)
        return bool(self._words[_USED])

    def _settle(self, indices: range, fate: int) -> None:
        with self._condition:
            self._fates[indices.start : indices.stop] = fate
            turn = int(self._words[_TURN])
            while turn < self.count and self._fates[turn] != _PENDING:
                turn += 1
            self._words[_TURN] = turn
            self._condition.notify_all()

    def was_mixed(self) -> bool:
        """Whether some iterations entered the section and others did not."""
        return bool(self._words[_USED]) and int(self._words[_SKIPPED]) < self.count


class Ordered:
    """A section that the iterations of a map enter one after another, in order.

    Each iteration has to enter it exactly once, or none.
    """

    def __init__(self) -> None:
        self._board: Board | None = None
        self._index = 0
        self._entered = False

    def begin(self, board: Board, index: int) -> None:
        """The iteration `index` begins in this worker."""
        self._board, self._index, self._entered = board, index, False

    @property
    def entered(self) -> bool:
        """Whether the iteration has entered."""
        return self._entered

    def __enter__(self) -> Ordered:
        if self._board is None:
            raise RuntimeError("pool.ordered is for work functions of a map")
        if self._entered:
            raise RuntimeError(
                f"iteration {self._index} enters the ordered section twice: each iteration has to exactly once"
            )
        self._entered = True
        self._board.enter(self._index)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._board is not None
        self._board.leave(self._index)

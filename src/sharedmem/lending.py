"""Idle memory of a parent, lent to workers for their results.

What a worker makes for a result is the parent's once it is received, and idle there when it
is dropped. The workers of the next job could not get at it, and would make some more. So
the parent lends what is idle, as far as the same function's results took it the last time.
It stays the parent's all the while: nothing is in flight if a worker dies with it.

Workers may make new memory all the same: the one that is done sooner than the others has no
room left when they still have some, or results are of another size than the last time.
Then as much of what was lent in vain is freed, not kept: what a parent has of both together
does not grow from job to job.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from functools import partial
from typing import Any

from sharedmem._core.segment import Parcel
from sharedmem.participant import context
from sharedmem.transport import new_parcel

__all__ = ["Lender", "Room", "idle_parcel"]

Room = tuple[int, int, str, int]  # bytes, backend, name, nonce
_FOR_ONE = 256  # worker
_FUNCTIONS = 64

# By function: how many items there were the last time that results were large, and their sizes.
_last: dict[tuple[str, str], tuple[int, list[int]]] = {}


def _key(function: Any) -> tuple[str, str]:
    while isinstance(function, partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return str(getattr(named, "__module__", "")), str(named.__qualname__)


def idle_parcel(nbytes: int) -> Parcel | None:
    """Memory that is idle here, or None. What would be new is no better than a worker's own."""
    before = context.stats()
    parcel = new_parcel(nbytes) if before["idle_bytes"] >= nbytes else None
    if parcel is not None and context.stats()["reused"] == before["reused"]:
        parcel.segment.unlink()
        return None
    return parcel


class Lender:
    """What is lent for one job, and what its results turn out to take.

    Parameters
    ----------
    function : callable
        Whose results they are.
    items : int
        How many times it will be called.
    workers : int
    """

    def __init__(self, function: Any, items: int, workers: int) -> None:
        self._key, self._items, self._workers = _key(function), items, workers
        before, sizes = _last.get(self._key, (1, []))
        wanted = min(-(-len(sizes) * items // before), _FOR_ONE * workers)
        self._wanted = [sizes[i % len(sizes)] for i in range(wanted)]
        self._lent: dict[int, Parcel] = {}
        self._sizes: list[int] = []
        self._made = 0  # bytes, by workers

    def lends(self) -> bool:
        """Whether there is something that may be lent."""
        return bool(self._wanted) and context.stats()["idle_bytes"] >= self._wanted[0]

    def messages(self) -> list[bytes]:
        """The rooms of each worker, pickled. To be called when all are forked, who else had copies."""
        rooms: list[list[Room]] = [[] for _ in range(self._workers)]
        for size in self._wanted:
            room = idle_parcel(size)
            # What was told of on sysv cannot become idle again.
            if room is None or room.segment.backend != "posix":
                break
            key = room.segment.key
            rooms[len(self._lent) % self._workers].append((size, *key))
            self._lent[key[2]] = room
        return [pickle.dumps(each) for each in rooms]

    def received(self, notes: Iterable[int]) -> list[Parcel]:
        """Note what came: sizes, each with the nonce of the room that was taken, or 0.

        Returns what is to be kept until it is loaded.
        """
        numbers, held = iter(notes), []
        for size, nonce in zip(numbers, numbers, strict=True):
            self._sizes.append(size)
            if nonce in self._lent:
                held.append(self._lent.pop(nonce))
            else:
                self._made += size
        return held

    def end(self) -> None:
        """The workers have told all. What was lent is idle again, or free."""
        if self._sizes:
            _last.pop(self._key, None)  # the latest stands last
            _last[self._key] = max(1, self._items), self._sizes[: _FOR_ONE * self._workers]
            if len(_last) > _FUNCTIONS:
                _last.pop(next(iter(_last)), None)
        for room in self._lent.values():
            if self._made > 0:
                self._made -= room.nbytes
                room.segment.unlink()
        self._lent, self._sizes = {}, []

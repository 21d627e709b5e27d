"""What a process has put in flight and not sent yet, noted where others find it after its death.

A ticket is taken before its message is written. A process that is killed in between leaves it in
flight, and nobody has the message that could be taken back. So it is noted in memory of the
process that would receive it, by the very call that takes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from sharedmem._core.errors import SharedmemError
from sharedmem._core.segment import READ_WRITE, Segment
from sharedmem.participant import context

__all__ = ["Descriptor", "Ledger"]

Descriptor = tuple[int, str, int, int]  # backend, name, nonce, ticket

_BYTES = 1 << 16  # of notes: of some thousand segments without a name of the user's
_HEAD = 2  # words before the first note
_TICKET, _NONCE, _LENGTH, _NAME = range(4)  # words of a note; with the length stands the backend


class Ledger:
    """One list of notes. Who writes into it excludes all others by a lock of theirs, or has a part alone.

    The first word is the number of words that are used. A note is counted before its
    ticket is taken, which stands in it as soon as it is: so what is read after a death
    may name a ticket that is free, and lacks none. The second is the number of messages
    that were sent before.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        memory: Any = segment
        self._words: np.ndarray = np.frombuffer(memory, np.uint64)

    @classmethod
    def new(cls, mark: bytes, nbytes: int = _BYTES) -> Ledger | None:
        """An empty one, whose dtype is `mark`; None where there is no room."""
        try:
            return cls(context.create(None, 0, 0, 0o600, mark, 1, (nbytes,), None))
        except (SharedmemError, OSError):
            return None

    @classmethod
    def attach(cls, key: tuple[int, str, int] | None) -> Ledger | None:
        """That of another process; None if it has none, or it is gone."""
        try:
            return None if key is None else cls(context.receive(*key, READ_WRITE, 0))
        except (SharedmemError, OSError):
            return None

    @property
    def key(self) -> tuple[int, str, int]:
        """What `attach` finds it by."""
        return self._segment.key

    def part(self, index: int, count: int) -> Ledger:
        """One of so many lists that share its memory."""
        part = Ledger(self._segment)
        length = len(self._words) // count
        part._words = self._words[index * length : (index + 1) * length]
        return part

    def unlink(self) -> None:
        """Nobody needs it any more, nor its memory."""
        self._segment.unlink()

    def note(self, segment: Segment) -> int | None:
        """A ticket, as `Segment.ticket` gives it. One for which there is no room is not noted."""
        backend, name, nonce = segment.key
        text = name.encode("utf-8", "surrogateescape")
        begin = max(_HEAD, int(self._words[0]))
        end = begin + _NAME + -(-len(text) // 8)
        if end > len(self._words):
            return segment.ticket()
        note = self._words[begin:end]
        note[_TICKET], note[_NONCE], note[_LENGTH] = 0, nonce, backend << 32 | len(text)
        note[_NAME:].view(np.uint8)[: len(text)] = np.frombuffer(text, np.uint8)
        self._words[0] = end
        return segment.ticket_at(note[: _TICKET + 1])

    def clear(self) -> None:
        """What was noted has been sent, or taken back."""
        self._words[0] = 0

    def sent(self) -> None:
        """A message with all that was noted has been sent."""
        self.clear()  # first: between the two it would be taken for what the next message names
        self._words[1] += 1

    def unsent(self, received: int) -> Iterator[Descriptor]:
        """What was noted for a message of which not all was received, as so many before it were."""
        return self.read() if int(self._words[1]) >= received else iter(())

    def read(self) -> Iterator[Descriptor]:
        """What was noted, sent or not."""
        at, end = _HEAD, min(int(self._words[0]), len(self._words))
        while at + _NAME <= end:
            note = self._words[at:end]
            backend, length = divmod(int(note[_LENGTH]), 1 << 32)
            name = note[_NAME:].tobytes()[:length].decode("utf-8", "surrogateescape")
            if note[_TICKET]:
                yield backend, name, int(note[_NONCE]), int(note[_TICKET])
            at += _NAME + -(-length // 8)


def take(ledger: Ledger | None, segments: Iterable[Segment]) -> list[Descriptor] | None:
    """Tickets for all of them, noted; for none if one cannot be named any more, which gives None."""
    taken: list[tuple[Segment, int]] = []
    try:
        for segment in segments:
            ticket = segment.ticket() if ledger is None else ledger.note(segment)
            if ticket is None:
                _give_back(ledger, taken)
                return None
            taken.append((segment, ticket))
    except BaseException:
        _give_back(ledger, taken)
        raise
    return [(*segment.key, ticket) for segment, ticket in taken]


def _give_back(ledger: Ledger | None, taken: list[tuple[Segment, int]]) -> None:
    for segment, ticket in taken:
        segment.free_ticket(ticket)
    if ledger is not None:
        ledger.clear()


def give_up(descriptors: Iterable[Descriptor]) -> None:
    """Free tickets of what may be gone already."""
    for descriptor in descriptors:
        try:
            context.forget(*descriptor)
        except (SharedmemError, OSError):
            pass  # the others are to be taken back

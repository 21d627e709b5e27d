"""Warm memory: what this process has and keeps, counted, and how to give it back."""

from __future__ import annotations

import operator
import time

from sharedmem.participant import context

__all__ = ["stats", "trim"]


def trim(keep: int = 0) -> int:
    """Give back memory that this process keeps warm for the arrays it makes next.

    Parameters
    ----------
    keep : int, default 0
        How many bytes may stay; the oldest go first.

    Returns
    -------
    int
        How many bytes were freed.

    Raises
    ------
    ValueError
        If `keep` is negative.

    See Also
    --------
    stats : How much there is.

    Notes
    -----
    Nothing that an array uses is touched. Mappings of arrays that others use are
    given up as well, which frees no memory. Other processes keep what they have:
    each gives its own back, here, when an array cannot be made for want of room,
    and when it ends.

    Examples
    --------
    >>> import sharedmem
    >>> a = sharedmem.zeros(1000)
    >>> del a
    >>> freed = sharedmem.trim()
    >>> sharedmem.stats()['idle']
    0
    """
    least = operator.index(keep)
    if least < 0:
        raise ValueError(f"keep must not be negative, it is {least}")
    return context.trim(min(least, 2**64 - 1))


def _in_flight() -> dict[str, float]:
    sent = [info for info in context.list() if info.tickets or info.pins]
    ages = [time.time() - info.oldest_ticket for info in sent if info.oldest_ticket]
    return {
        "in_flight": sum(info.tickets + info.pins for info in sent),
        "in_flight_bytes": sum(info.size for info in sent),
        "in_flight_age": max([0.0, *ages]),
    }


def stats() -> dict[str, float]:
    """Count what this process has, keeps and has done, and what is in flight.

    Returns
    -------
    dict
        Of numbers. More may come with later versions.

        mapped, mapped_bytes
            Segments that arrays of this process use.
        idle, idle_bytes
            Segments that it keeps for the arrays it makes next.
        away, away_bytes
            Segments that others use, and whose mapping it keeps to get them back
            without a page fault.
        bound
            How many bytes may be idle and away in the whole family.
        created, reused
            Segments that were made anew, and made of an idle one.
        attached, returned
            Segments of others that were mapped, and how many of them by a mapping that
            was away.
        kept, evicted
            Segments that became idle, and those idle or away that made room.
        reclaimed, reclaimed_bytes
            Segments of the dead that this process has freed.
        in_flight, in_flight_bytes
            Descriptors that were sent and are not received yet, and the size of
            their segments; of all processes of the user.
        in_flight_age
            Seconds since the oldest of them was sent, or less: it is counted per
            segment.

    Raises
    ------
    OSError
        If the directory or the journal cannot be read.

    See Also
    --------
    trim : Give back what is idle and away.
    list_segments : What there is, one by one.

    Notes
    -----
    What was done is counted since the import, or since the fork. Bytes are those of
    the segments, headers included. Changes nothing, but looks at every segment of
    the user to find what is in flight.

    Examples
    --------
    >>> import sharedmem
    >>> before = sharedmem.stats()['mapped']
    >>> a = sharedmem.zeros(1000)
    >>> sharedmem.stats()['mapped'] - before
    1
    """
    return {**context.stats(), **_in_flight()}

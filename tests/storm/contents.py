"""What stands in an array: every word is a function of its serial number and its length.

Word 0 is the serial number, written last: while it is 0 the array is being filled.
Word 1 is the length, word 2 a checksum of the rest.
"""

from __future__ import annotations

import zlib

import numpy as np

HEAD = 3
_STEP = np.uint64(0x9E3779B97F4A7C15)
_TURN = np.uint64(29)


def words(serial: int, count: int) -> np.ndarray:
    """All words of an array, which has at least HEAD of them."""
    made = np.arange(count, dtype=np.uint64)
    made += np.uint64(serial << 20)
    made *= _STEP
    made ^= made >> _TURN
    made[0], made[1] = serial, count
    made[2] = zlib.crc32(made[HEAD:].data)
    return made


def fill(array: np.ndarray, serial: int) -> None:
    made = words(serial, len(array))
    array[1:] = made[1:]
    array[0] = serial


def fault(array: np.ndarray, serial: int, count: int, start: int, step: int) -> str:
    """What is wrong with words start, start + step, ... of an array; "" when nothing is."""
    right = words(serial, count)[start::step][: len(array)]
    wrong = np.flatnonzero(np.asarray(array) != right)
    if len(right) == len(array) and len(wrong) == 0:
        return ""
    if len(wrong) == 0:
        return f"{len(array)} words where there should be {len(right)}"
    at = int(wrong[0])
    return (
        f"{len(wrong)} of {len(array)} words are wrong, the first at {at} of a view {start}::{step}: "
        f"{int(array[at]):#x}, not {int(right[at]):#x}; the array is number {serial} of {count} words"
    )

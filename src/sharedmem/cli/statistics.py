"""Least, greatest and mean of an array that may be larger than the rest of memory.

The array is walked in pieces in the order of its memory; no copy of it is made.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["statistics"]

_PIECE = 1 << 16  # elements


def _pieces(array: np.ndarray) -> Any:
    return np.nditer(array, ["external_loop", "buffered", "zerosize_ok"], order="K", buffersize=_PIECE)


def _is_missing(piece: np.ndarray) -> Any:
    return np.isnat(piece) if piece.dtype.kind in "mM" else np.isnan(piece)


def _sum(piece: np.ndarray) -> Any:
    if piece.dtype.kind == "c":
        return complex(np.sum(piece, dtype=np.complex128))
    return float(np.sum(piece, dtype=np.float64))


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python has it; what Python has not, as text."""
    item = value.item() if isinstance(value, np.generic) and value.dtype.kind in "biufc" else value
    if item is None or isinstance(item, (bool, int, float, complex)):
        return item
    return str(value)


def statistics(array: np.ndarray) -> dict[str, Any] | None:
    """'min', 'max', 'mean' and 'missing' (how many NaN or NaT, which do not count).

    Of complex numbers the magnitudes are compared. None for what has no order, or
    no elements.
    """
    kind = array.dtype.kind
    if kind not in "biufcmM" or array.size == 0:
        return None
    least = greatest = None
    total: Any = 0.0
    missing = 0
    with np.errstate(all="ignore"):
        for piece in _pieces(array):
            if kind in "fcmM":
                lost = _is_missing(piece)
                if lost.any():
                    missing += int(lost.sum())
                    piece = piece[~lost]
            if piece.size == 0:
                continue
            ranked = np.abs(piece) if kind == "c" else piece
            low, high = ranked.min(), ranked.max()
            least = low if least is None or low < least else least
            greatest = high if greatest is None or high > greatest else greatest
            if kind not in "mM":
                total += _sum(piece)
    count = array.size - missing
    mean = total / count if count and kind not in "mM" else None
    return {"min": _plain(least), "max": _plain(greatest), "mean": mean, "missing": missing}

"""Drawing an array with characters, by looking at no more of it than is shown.

One dimension: the range between least and greatest value of each column of dots,
in braille patterns of 2 x 4 dots. Two dimensions: samples on a regular grid, as
half blocks in shades of grey on a terminal, else as characters of four shades.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from sharedmem.cli.errors import Failure

__all__ = ["grid", "lines", "picture", "plane", "sampled", "samples"]

_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # of a braille pattern
_SHADES = " ░▒▓█"
_GREYS = 24  # of the 256 colours, from 232 on
_TOUCHED = 1 << 16  # elements looked at for one column of dots


def plane(array: np.ndarray) -> np.ndarray:
    """The array, or its first plane when it has more than two dimensions."""
    if array.dtype.kind not in "biufcmM":
        raise Failure(f"{array.dtype} cannot be drawn: only numbers and times can")
    if array.ndim == 0 or array.size == 0:
        raise Failure(f"an array of shape {array.shape} has nothing to draw")
    return array[(0,) * (array.ndim - 2)] if array.ndim > 2 else array


def _numbers(part: np.ndarray) -> np.ndarray:
    """As float64: magnitudes of complex numbers, ticks of times, NaN for NaT."""
    if part.dtype.kind in "mM":
        numbers = part.astype(np.int64).astype(np.float64)
        numbers[np.isnat(part)] = np.nan
        return numbers
    with np.errstate(all="ignore"):
        numbers = (np.abs(part) if part.dtype.kind == "c" else part).astype(np.float64)
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def samples(array: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest value of each of at most [columns] parts of a 1-d array."""
    edges = np.linspace(0, len(array), min(columns, len(array)) + 1).astype(np.int64)
    low, high = np.full((2, len(edges) - 1), np.nan)
    for i, (begin, end) in enumerate(pairwise(edges)):
        part = _numbers(np.asarray(array[begin : end : max((end - begin) // _TOUCHED, 1)]))
        low[i], high[i] = np.fmin.reduce(part), np.fmax.reduce(part)
    return low, high


def sampled(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """At most height x width elements of a 2-d array, on a regular grid, as float64."""
    steps = []
    for extent, shown in zip(array.shape, (height, width)):
        count = min(extent, shown)
        steps.append((np.arange(count) * extent + extent // 2) // count)
    return _numbers(np.asarray(array[np.ix_(*steps)]))


def grid(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """The same as numbers from 0 to 1, or NaN."""
    found = sampled(array, height, width)
    return _scaled(found, *_range(found))


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = float(np.fmin.reduce(values, axis=None)), float(np.fmax.reduce(values, axis=None))
    return (0.0, 0.0) if np.isnan(low) else (low, high)


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if high == low:
        return np.where(np.isnan(values), np.nan, 0.5)
    return (values / 2 - low / 2) / (high / 2 - low / 2)  # halves: the span may overflow


def lines(array: np.ndarray, width: int, height: int) -> list[str]:
    """A 1-d array as [height] lines of braille patterns, with the range at the left."""
    low, high = samples(array, 1 << 20 if len(array) < 2 * width else 2 * width)
    least, greatest = _range(np.concatenate([low, high]))
    labels = [f"{greatest:.4g}", *[""] * (height - 2), f"{least:.4g}"]
    margin = max(map(len, labels))
    return [
        f"{label:>{margin}} ┤{line}"
        for label, line in zip(labels, _braille(low, high, least, greatest, width, height))
    ]


def _braille(
    low: np.ndarray, high: np.ndarray, least: float, greatest: float, width: int, height: int
) -> list[str]:
    dots = np.zeros((4 * height, 2 * width), bool)
    top = 4 * height - 1
    columns = np.linspace(0, 2 * width - 1, len(low)).astype(int) if len(low) > 1 else [width]
    rows = np.round(top - top * _scaled(np.stack([high, low]), least, greatest))
    before = None
    for column, first, last in zip(columns, *rows):
        if np.isnan(first):
            before = None
            continue
        dots[int(first) : int(last) + 1, column] = True
        if before is not None:
            _join(dots, before, (int(column), int(first), int(last)))
        before = (int(column), int(first), int(last))
    cells = dots.reshape(height, 4, width, 2)
    patterns = 0x2800 + np.einsum("iajb,ab->ij", cells, _DOTS)
    return ["".join(map(chr, line)) for line in patterns]


def _join(dots: np.ndarray, before: tuple[int, int, int], after: tuple[int, int, int]) -> None:
    """A line between two columns, where their ranges do not touch or are apart."""
    x0, x1 = before[0], after[0]
    y0, y1 = (before[1] + before[2]) / 2, (after[1] + after[2]) / 2
    steps = int(max(x1 - x0, abs(y1 - y0)))
    if steps > 1:
        x = np.round(np.linspace(x0, x1, steps + 1)).astype(int)
        y = np.round(np.linspace(y0, y1, steps + 1)).astype(int)
        dots[y, x] = True


def picture(array: np.ndarray, width: int, height: int, colours: bool) -> list[str]:
    """A 2-d array as lines of text; a character is twice as high as wide."""
    rows, columns = array.shape
    scale = min(width / columns, 2 * height / rows)
    wide = max(min(round(columns * scale), width), 1)
    high = max(min(round(rows * scale), 2 * height), 1)
    levels = _enlarged(grid(array, high, wide), high, wide)
    if len(levels) % 2:
        levels = np.vstack([levels, np.full((1, wide), np.nan)])
    return _half_blocks(levels) if colours else _shades(levels)


def _enlarged(levels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Small arrays are drawn with more than one dot for each element."""
    rows, columns = levels.shape
    y, x = np.arange(height) * rows // height, np.arange(width) * columns // width
    enlarged: np.ndarray = levels[np.ix_(y, x)]
    return enlarged


def _shades(levels: np.ndarray) -> list[str]:
    both = np.stack([levels[::2], levels[1::2]])
    seen = ~np.isnan(both)
    mean = np.where(seen, both, 0).sum(0) / np.maximum(seen.sum(0), 1)
    steps = np.minimum((mean * len(_SHADES)).astype(int), len(_SHADES) - 1)
    return ["".join(_SHADES[step] for step in line).rstrip() for line in steps]


def _grey(level: float) -> Any:
    return None if np.isnan(level) else 232 + min(int(level * _GREYS), _GREYS - 1)


def _half_blocks(levels: np.ndarray) -> list[str]:
    """Upper half in the colour of the text, lower half in that of its background;
    what is missing has no colour.
    """
    return ["".join(map(_half_block, *pair)) + "\033[0m" for pair in zip(levels[::2], levels[1::2])]


def _half_block(upper: float, lower: float) -> str:
    above, below = _grey(upper), _grey(lower)
    if above is None:
        return "\033[0m " if below is None else f"\033[0;38;5;{below}m▄"
    ground = "49" if below is None else f"48;5;{below}"
    return f"\033[38;5;{above};{ground}m▀"

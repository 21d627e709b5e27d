"""A picture of an array in a PNG file: by matplotlib, or plain grey without it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sharedmem.cli import plot
from sharedmem.cli.errors import Failure
from sharedmem.cli.files import written

__all__ = ["write"]

_SIDE = 2048  # pixels; more is sampled
_POINTS = 4096


def write(array: np.ndarray, title: str, path: Path) -> None:
    """Write the picture of a 1-d or 2-d array, in place of what is there."""
    with written(path, overwrite=True) as file:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            _plain(array, file)
        else:
            _figure(Figure, array, title, file)


def _figure(make: Any, array: np.ndarray, title: str, file: BinaryIO) -> None:
    figure = make(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(title=title.replace("$", r"\$"))
    if array.ndim == 1:
        low, high = plot.samples(array, _POINTS)
        at = np.linspace(0, len(array) - 1, len(low))
        axes.plot(at, high, lw=1)
        axes.fill_between(at, low, high, alpha=0.5)
    else:
        shown = plot.sampled(array, _SIDE, _SIDE)
        rows, columns = array.shape
        image = axes.imshow(shown, aspect="auto", extent=(0, columns, rows, 0), cmap="viridis")
        figure.colorbar(image)
    figure.savefig(file, format="png", dpi=150)


def _plain(array: np.ndarray, file: BinaryIO) -> None:
    if array.ndim == 1:
        raise Failure("a picture of a 1-d array needs matplotlib: pip install sharedmem[plot]")
    levels = plot.grid(array, _SIDE, _SIDE)
    pixels = np.nan_to_num(levels * 255).astype(np.uint8)
    rows = np.hstack([np.zeros((len(pixels), 1), np.uint8), pixels])  # filter 0 before each
    height, width = pixels.shape
    file.write(b"\x89PNG\r\n\x1a\n")
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes())),
        (b"IEND", b""),
    ):
        file.write(struct.pack(">I", len(data)) + kind + data)
        file.write(struct.pack(">I", zlib.crc32(kind + data)))

"""``sharedmem show``: one segment, its users and what is in it."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from sharedmem.cli import plot
from sharedmem.cli.errors import Failure, UsageFailure
from sharedmem.cli.output import age, number, print_json, size, visible
from sharedmem.cli.segments import Row, command_line, dtype_text, facts, rows
from sharedmem.cli.statistics import statistics
from sharedmem.names import attach
from sharedmem.participant import context

__all__ = ["DESCRIPTION", "run"]

DESCRIPTION = """\
Show a segment: its header, who maps it, its range and first values.

The array is attached read-only and not copied. Least, greatest and mean leave out
NaN and NaT; of complex numbers the magnitudes are compared; of records each field
is shown. --plot draws the array (the first plane when it has more than two
dimensions) by looking at samples of it.
"""
_PLOT_HEIGHT = 12
_COMMAND_SHOWN = 64


def _row(name: str) -> Row:
    info = context.stat(name)
    for row in rows(info.backend):
        if row.info.nonce == info.nonce:
            return row
    raise Failure(f"{name}: the segment went away while it was looked at")


def _order(array: np.ndarray) -> str:
    if array.flags.c_contiguous:
        return "C"
    return "F" if array.flags.f_contiguous else "strided"


def _values(array: np.ndarray, count: int) -> np.ndarray:
    return np.array([] if count == 0 else array.flat[:count], array.dtype)


def _statistics(array: np.ndarray) -> dict[str, dict[str, Any]]:
    """By field; one without a name for what is no record."""
    fields = array.dtype.names
    parts = {"": array} if fields is None else {field: array[field] for field in fields}
    found = {name: statistics(part) for name, part in parts.items()}
    return {name: each for name, each in found.items() if each is not None}


def _short(value: Any) -> str:
    """A value as people read it: floats with six digits, texts in quotes."""
    if isinstance(value, (float, complex, np.inexact)):
        return f"{value:.6g}"
    return visible(repr(value.item()) if isinstance(value, (np.str_, np.bytes_)) else str(value))


def _text_of(values: np.ndarray, rest: int) -> str:
    shown = ", ".join(map(_short, values))
    return (shown or "-") + (f", … {rest:,} more" if rest and shown else "")


def _holder(pid: int, command: str) -> str:
    text = visible(" ".join(command_line(pid)) or command)
    return f"{pid} " + (text if len(text) <= _COMMAND_SHOWN else text[: _COMMAND_SHOWN - 1] + "…")


def _flight(row: Row) -> str:
    info = row.info
    text = f"{info.tickets} descriptor{'s' * (info.tickets != 1)}" if info.tickets else "nothing"
    if info.pins:
        text += f", and more than can be counted of {info.pins} families"
    if info.oldest_ticket is not None:
        text += f", the oldest {age(time.time() - info.oldest_ticket)} old"
    return text + (f"; {info.voided} of dead families" if info.voided else "")


def _described(row: Row, array: np.ndarray) -> list[tuple[str, str]]:
    info = row.info
    alive = "alive" if context.family_alive(info.family) else "dead"
    kernel = "inode" if info.backend == "posix" else "id"
    pairs = [
        ("name", visible(info.name)),
        ("backend", f"{info.backend}, {kernel} {info.kernel_id}"),
        ("status", info.status),
        ("dtype", visible(dtype_text(info))),
        ("shape", str(info.shape)),
        ("order", f"{_order(array)}, strides {info.strides}"),
        ("data", f"{info.nbytes:,} bytes ({size(info.nbytes)}), segment {info.size:,}"),
        ("in flight", _flight(row)),
        (
            "created",
            f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(info.created))}, family {alive}",
        ),
        ("permissions", f"{info.permissions:04o}, uid {info.owner}"),
    ]
    holders = [_holder(pid, command) for pid, command in row.holders]
    if not holders:
        holders = ["processes that are not visible from here" if info.mapped else "nobody"]
    pairs += zip(["mapped by", *[""] * (len(holders) - 1)], holders)
    return pairs


def _range_text(found: dict[str, Any]) -> str:
    text = f"{_short(found['min'])} to {_short(found['max'])}"
    if found["mean"] is not None:
        text += f", mean {_short(found['mean'])}"
    return text + (f"; {found['missing']:,} missing" if found["missing"] else "")


def _lines(row: Row, array: np.ndarray, count: int) -> list[tuple[str, str]]:
    pairs = _described(row, array)
    pairs += [
        (f"range {visible(name)}".rstrip(), _range_text(each))
        for name, each in _statistics(array).items()
    ]
    if count:
        values = _values(array, count)
        pairs.append(("values", _text_of(values, array.size - len(values))))
    margin = max(len(title) for title, _ in pairs) + 2
    room = max(shutil.get_terminal_size().columns - margin, 40)
    wrapped = [
        (title, textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False))
        for title, text in pairs
    ]
    return [
        (title, f"{title if i == 0 else '':<{margin}}{line}")
        for title, lines in wrapped
        for i, line in enumerate(lines)
    ]


def _above_drawing(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """All of them, or what leaves room for a drawing below on the same screen."""
    room = shutil.get_terminal_size().lines - _PLOT_HEIGHT - 2  # an empty line, and the prompt
    if not sys.stdout.isatty() or len(lines) <= room:
        return lines
    first = [each for each in lines if each[0] in ("name", "dtype", "shape", "range")]
    return first[: max(room, 3)]


def _print_json(row: Row, array: np.ndarray, count: int) -> None:
    found = {
        field: {key: number(value) for key, value in each.items()}
        for field, each in _statistics(array).items()
    }
    values = [number(each if each.dtype.kind in "mM" else each.item()) for each in _values(array, count)]
    more = {
        "strides": list(row.info.strides),
        "order": _order(array),
        "family_alive": bool(context.family_alive(row.info.family)),
        "statistics": found,
        "values": values,
    }
    print_json(facts(row) | more)


def _draw(array: np.ndarray, above: int) -> None:
    width, height = shutil.get_terminal_size()
    shown = plot.plane(array)
    if shown.ndim == 1:
        drawn = plot.lines(shown, max(width - 14, 10), _PLOT_HEIGHT)
    else:
        colours = (
            sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        )
        drawn = plot.picture(shown, width - 1, max(height - above - 2, _PLOT_HEIGHT), colours)
    print("\n" + "\n".join(drawn))


def run(options: Namespace) -> int:
    if options.plot == "" and options.json:
        raise UsageFailure(
            "--plot without a file draws on the terminal, which --json cannot hold: name a file"
        )
    row = _row(options.name)
    array = np.asarray(attach(f"{row.info.backend}:{row.info.name}", "r"))
    if options.plot:
        from sharedmem.cli import image  # zlib, perhaps matplotlib

        image.write(plot.plane(array), visible(row.info.name), Path(options.plot))
    if options.json:
        _print_json(row, array, options.values)
    else:
        lines = _lines(row, array, options.values)
        if options.plot == "":
            lines = _above_drawing(lines)
        for _, line in lines:
            print(line)
        if options.plot == "":
            _draw(array, len(lines))
    return 0

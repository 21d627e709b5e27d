"""What commands print: aligned text, rich's tables on a terminal, or JSON.

Names of segments and processes are other people's words: nothing in them may
reach the terminal as a control sequence, and nothing is read as rich's markup.
"""

from __future__ import annotations

import json
import math
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = [
    "Cell",
    "Column",
    "age",
    "console",
    "number",
    "plain_table",
    "print_json",
    "print_table",
    "rich_table",
    "size",
    "visible",
]


class Column(NamedTuple):
    title: str
    right: bool = False


class Cell(NamedTuple):
    text: str
    style: str = ""


Rows = Sequence[Sequence[Cell]]


def visible(text: str) -> str:
    """The text with every character escaped that is not plainly printable."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def size(nbytes: int) -> str:
    """Bytes as people read them."""
    if nbytes < 1024:
        return f"{nbytes} B"
    exponent = min((nbytes.bit_length() - 1) // 10, 6)
    return f"{nbytes / 1024**exponent:.1f} {'KMGTPE'[exponent - 1]}iB"


def age(seconds: float) -> str:
    """A time span in its largest whole unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(int(seconds), 0)} s"


def number(value: Any) -> Any:
    """A value as JSON has it: NaN and NaT are null, infinities and the rest text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [number(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, complex):
        return [number(value.real), number(value.imag)]
    return None if str(value) == "NaT" else str(value)


def print_json(document: Any, indent: int | None = 2) -> None:
    print(json.dumps(document, indent=indent, allow_nan=False), flush=True)


def console() -> Any:
    """rich's console, where that is installed and stdout is a terminal; else None."""
    if not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(highlight=False, markup=False, emoji=False)


def _width(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def _pad(text: str, width: int, right: bool) -> str:
    padding = " " * (width - _width(text))
    return padding + text if right else text + padding


def plain_table(columns: Sequence[Column], rows: Rows) -> str:
    """An aligned table, as ``lsipc`` prints it."""
    texts = [[column.title for column in columns], *([cell.text for cell in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*texts)]
    lines = (
        "  ".join(_pad(text, width, column.right) for text, width, column in zip(line, widths, columns))
        for line in texts
    )
    return "\n".join(line.rstrip() for line in lines)


def rich_table(columns: Sequence[Column], rows: Rows) -> Any:
    """The same for rich."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 1, 0, 0)
    )
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell.text, style=cell.style) for cell in row))
    return table


def print_table(columns: Sequence[Column], rows: Rows) -> None:
    to = console()
    if to is None:
        print(plain_table(columns, rows))
    else:
        to.print(rich_table(columns, rows))

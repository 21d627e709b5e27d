"""``sharedmem watch``: the table of all segments, drawn again and again."""

from __future__ import annotations

import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sharedmem.cli.output import console, plain_table, print_json, rich_table
from sharedmem.cli.segments import COLUMNS, Row, cells, facts, rows, summary

__all__ = ["DESCRIPTION", "run"]

DESCRIPTION = """\
Show all segments, again at each interval, until ^C.

On a terminal the table is drawn in place; else one table follows the other. With --json
each tick is one line.
"""
_ENTER = "\033[?1049h\033[?25l"  # the other screen, no cursor
_LEAVE = "\033[?25h\033[?1049l"
_HOME, _TO_END_OF_LINE, _BELOW = "\033[H", "\033[K", "\033[J"

Show = Callable[[list[Row]], None]


def _show_json(found: list[Row]) -> None:
    print_json({"time": time.time(), "segments": [facts(row) for row in found]}, indent=None)


def _head(found: list[Row]) -> str:
    return f"{time.strftime('%H:%M:%S')}  {summary(found)}"


def _plain(found: list[Row]) -> str:
    table = plain_table(COLUMNS, [cells(row) for row in found]) if found else ""
    return f"{_head(found)}\n\n{table}\n"


def _coloured(found: list[Row]) -> str:
    to = console()
    if to is None:
        return _plain(found)
    with to.capture() as captured:
        to.print(_head(found), "", rich_table(COLUMNS, [cells(row) for row in found]), sep="\n")
    return str(captured.get())


def _show_in_place(found: list[Row]) -> None:
    """Written over the table before, at once: a screen that is cleared first flickers."""
    lines = _coloured(found).rstrip("\n").split("\n")[: shutil.get_terminal_size().lines - 1]
    drawn = "".join(f"{line}{_TO_END_OF_LINE}\n" for line in lines)
    print(f"{_HOME}{drawn}{_BELOW}", end="", flush=True)


@contextmanager
def _screen() -> Iterator[None]:
    """The terminal's other screen; the first comes back however this ends."""
    print(_ENTER, end="", flush=True)
    try:
        yield
    finally:
        print(_LEAVE, end="", flush=True)


def _repeat(show: Show, interval: float) -> None:
    while True:
        show(rows())
        time.sleep(interval)


def run(options: Namespace) -> int:
    try:
        if options.json:
            _repeat(_show_json, options.interval)
        elif not sys.stdout.isatty():
            _repeat(lambda found: print(_plain(found), flush=True), options.interval)
        else:
            with _screen():
                _repeat(_show_in_place, options.interval)
    except KeyboardInterrupt:
        pass
    return 0

"""``sharedmem watch``: the table of segments, drawn again and again."""

from __future__ import annotations

import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sharedmem.cli.output import console, plain_table, print_json, rich_table
from sharedmem.cli.segments import COLUMNS, Row, cells, facts, of_users, rows, summary

__all__ = ["DESCRIPTION", "run"]

DESCRIPTION = """\
Show your segments, again at each interval, until ^C. What the library has made for itself is
shown with --all only, but counted in the first line.

On a terminal the table is drawn in place; else one table follows the other. With --json
each tick is one line.
"""
_ENTER = "\033[?1049h\033[?25l"  # the other screen, no cursor
_LEAVE = "\033[?25h\033[?1049l"
_HOME, _TO_END_OF_LINE, _BELOW = "\033[H", "\033[K", "\033[J"

Show = Callable[[list[Row], list[Row]], None]  # what is shown, and all there is


def _show_json(found: list[Row], everything: list[Row]) -> None:
    print_json({"time": time.time(), "segments": [facts(row) for row in found]}, indent=None)


def _head(everything: list[Row]) -> str:
    return f"{time.strftime('%H:%M:%S')}  {summary(everything)}"


def _plain(found: list[Row], everything: list[Row]) -> str:
    table = plain_table(COLUMNS, [cells(row) for row in found]) if found else ""
    return f"{_head(everything)}\n\n{table}\n"


def _coloured(found: list[Row], everything: list[Row]) -> str:
    to = console()
    if to is None:
        return _plain(found, everything)
    with to.capture() as captured:
        to.print(_head(everything), "", rich_table(COLUMNS, [cells(row) for row in found]), sep="\n")
    return str(captured.get())


def _show_in_place(found: list[Row], everything: list[Row]) -> None:
    """Written over the table before, at once: a screen that is cleared first flickers."""
    lines = _coloured(found, everything).rstrip("\n").split("\n")[: shutil.get_terminal_size().lines - 1]
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


def _show_plain(found: list[Row], everything: list[Row]) -> None:
    print(_plain(found, everything), flush=True)


def _repeat(show: Show, options: Namespace) -> None:
    while True:
        everything = rows()
        show(everything if options.all else of_users(everything), everything)
        time.sleep(options.interval)


def run(options: Namespace) -> int:
    try:
        if options.json:
            _repeat(_show_json, options)
        elif not sys.stdout.isatty():
            _repeat(_show_plain, options)
        else:
            with _screen():
                _repeat(_show_in_place, options)
    except KeyboardInterrupt:
        pass
    return 0

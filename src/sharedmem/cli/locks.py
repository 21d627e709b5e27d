"""``sharedmem clean --locks``: break what a holder that nobody sees keeps locked."""

from __future__ import annotations

from argparse import Namespace

from sharedmem._core.segment import HOLDER_DEAD, HOLDER_LIVES, READ_WRITE, Context
from sharedmem.cli.output import Cell, Column, print_json, print_table

__all__ = ["run"]

_COLUMNS = (Column("LOCK"), Column("HOLDER"), Column("STATE"))
_WHICH = ("the array's own", "of frames")
_STATES = {HOLDER_LIVES: "alive", HOLDER_DEAD: "dead"}


def _which(number: int) -> str:
    return _WHICH[number] if number < len(_WHICH) else f"in the data, {number - len(_WHICH)}"


def run(options: Namespace, of: Context) -> int:
    """One that is known to live keeps its lock: end it, and the lock is free."""
    segment = of.attach(options.locks, READ_WRITE)
    held = segment.locks()
    wanted = [number for number, state, _ in held if state != HOLDER_LIVES]
    broken = [number for number in wanted if options.yes and segment.break_lock(number)]
    if options.json:
        documents = [
            {
                "lock": _which(number),
                "pid": pid or None,
                "state": _STATES.get(state, "not seen"),
                "broken": number in broken,
            }
            for number, state, pid in held
        ]
        print_json({"dry_run": not options.yes, "locks": documents})
    else:
        _print(held, wanted, broken, options.yes)
    return int(broken != wanted)


def _print(held: list[tuple[int, int, int]], wanted: list[int], broken: list[int], done: bool) -> None:
    rows = [
        [Cell(_which(number)), Cell(str(pid) if pid else "-"), Cell(_STATES.get(state, "not seen"))]
        for number, state, pid in held
    ]
    if rows:
        print_table(_COLUMNS, rows)
    if not wanted:
        print("no lock to break")
    elif done:
        print(f"broken: {len(broken)}. The next one that takes it is told as after a death")
    else:
        print(f"would break {len(wanted)}: repeat with --yes")

"""``sharedmem clean``: free what nobody can reach any more."""

from __future__ import annotations

import os
import pwd
import time
from argparse import Namespace
from typing import Any

from sharedmem._core.errors import SegmentNotFoundError
from sharedmem._core.segment import Context
from sharedmem.cli import locks
from sharedmem.cli.errors import Failure, UsageFailure
from sharedmem.cli.output import Cell, Column, age, print_json, print_table, size, visible
from sharedmem.cli.segments import Row, rows
from sharedmem.participant import context

__all__ = ["DESCRIPTION", "run"]

DESCRIPTION = """\
Free what nobody can reach any more.

Without --yes nothing is changed: it says what would be freed and why. Freed is what
no process maps, no valid ticket holds and is not persistent; and the files of dead
families. The kernel is asked once more before each: what somebody maps by then stays.

--in-flight takes back what was sent and is still awaited, too, when nobody maps it:
who receives it afterwards gets SegmentNotFoundError. --locks breaks the locks of one
array, lock or queue whose holder is dead or cannot be seen: nothing else is done then.
--user cleans as another user, for the epilog of a batch system.
"""
_COLUMNS = (Column("NAME"), Column("BACKEND"), Column("SIZE", right=True), Column("WHY"))
_NOBODY = 65534


def _account(name: str) -> tuple[int, int]:
    """uid and gid; a number need not be in the list of users any more."""
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        if not name.isdecimal():
            raise UsageFailure(f"no user is called {name!r} (give a name or a uid)") from None
        return int(name), _NOBODY
    return entry.pw_uid, entry.pw_gid


def _context_of(name: str | None) -> Context:
    """To look and clean as that user: this process becomes his for the rest of its life."""
    if name is None:
        return context
    uid, gid = _account(name)
    if uid == os.geteuid():
        return context
    if os.geteuid() != 0:
        raise Failure("only root may clean as another user (run it by sudo)")
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    os.environ["XDG_RUNTIME_DIR"] = f"/run/user/{uid}"
    return Context(observe=True)


def _reason(row: Row) -> str:
    info = row.info
    if info.status == "in flight":
        waited = age(time.time() - (info.oldest_ticket or info.created))
        return f"nobody maps it; sent {waited} ago and not received"
    text = "nobody maps it, nothing is in flight"
    return text + (f" ({info.voided} of dead families)" if info.voided else "")


def _free(of: Context, row: Row, in_flight: bool) -> bool:
    try:
        return bool(of.reclaim_segment(row.info._info, in_flight))
    except SegmentNotFoundError:
        return True  # somebody else was faster


def _clean(of: Context, chosen: list[Row], in_flight: bool) -> tuple[list[bool], int, int]:
    """Which were freed; how many more segments and families the sweep has freed."""
    freed = [_free(of, row, in_flight) for row in chosen]
    segments, families, _ = of.reclaim()
    return freed, segments, families


def _document(
    chosen: list[Row], freed: list[bool], more: int, families: int, done: bool
) -> dict[str, Any]:
    segments = [
        {
            "name": row.info.name,
            "backend": row.info.backend,
            "size": row.info.size,
            "status": row.info.status,
            "reason": _reason(row),
            "freed": was,
        }
        for row, was in zip(chosen, freed)
    ]
    return {"dry_run": not done, "segments": segments, "half_made": more, "families": families}


def _print(chosen: list[Row], freed: list[bool], more: int, families: int, done: bool) -> None:
    if chosen:
        print_table(_COLUMNS, [_cells(row, was or not done) for row, was in zip(chosen, freed)])
    counted = [row.info.size for row, was in zip(chosen, freed) if was or not done]
    parts = (
        [f"{len(counted)} segment{'s' * (len(counted) != 1)}, {size(sum(counted))}"] if chosen else []
    )
    if more:
        parts.append(f"{more} segments that were never complete")
    if families:
        parts.append(f"{families} file{'s' * (families != 1)} of dead families")
    if not parts:
        print("nothing to clean")
    elif done:
        print(f"freed {' and '.join(parts)}")
    else:
        print(f"would free {' and '.join(parts)}: repeat with --yes")


def _cells(row: Row, goes: bool) -> list[Cell]:
    reason = _reason(row) if goes else "kept: somebody uses it now"
    name = Cell(visible(row.info.name), "bold")
    return [
        name,
        Cell(row.info.backend),
        Cell(size(row.info.size)),
        Cell(reason, "" if goes else "green"),
    ]


def run(options: Namespace) -> int:
    of = _context_of(options.user)
    if options.locks is not None:
        return locks.run(options, of)
    wanted = {"stale", "in flight"} if options.in_flight else {"stale"}
    chosen = [row for row in rows(of=of) if row.info.status in wanted]
    if options.yes:
        freed, more, families = _clean(of, chosen, options.in_flight)
    else:
        freed, more, families = [False] * len(chosen), 0, of.families()[1]
    shown = _document if options.json else _print
    document = shown(chosen, freed, more, families, options.yes)
    if document is not None:
        print_json(document)
    return int(not all(freed)) if options.yes else int(bool(chosen or families))

"""The segments of the user, with who maps each: what most commands show."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from sharedmem._core.errors import SegmentFormatError
from sharedmem._core.segment import BACKEND_NAMES, Context
from sharedmem.cli.output import Cell, Column, age, size, visible
from sharedmem.names import SegmentInfo
from sharedmem.participant import context

__all__ = [
    "COLUMNS",
    "Row",
    "cells",
    "command_line",
    "dtype_text",
    "facts",
    "of_users",
    "rows",
    "summary",
]

COLUMNS = (
    Column("NAME"),
    Column("BACKEND"),
    Column("DTYPE"),
    Column("SHAPE"),
    Column("SIZE", right=True),
    Column("STATUS"),
    Column("TICKETS"),
    Column("MAPPED BY"),
)
STYLES = {
    "mapped": "green",
    "idle": "dim",
    "in flight": "yellow",
    "persistent": "cyan",
    "stale": "bold red",
    "elsewhere": "magenta",
}
_HOLDERS_SHOWN = 6
_DTYPE_SHOWN = 16


class Row(NamedTuple):
    info: SegmentInfo
    holders: list[tuple[int, str]]


def command_line(pid: int) -> list[str]:
    """What was typed, where it can be read."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(argument) for argument in text.rstrip(b"\0").split(b"\0")]


def _program(pid: int, command: str) -> str:
    """The command; of an interpreter the script that it runs."""
    if not command.startswith("python"):
        return command
    for argument in command_line(pid)[1:]:
        if not argument.startswith("-"):
            return os.path.basename(argument)
        if argument.startswith("-c"):
            break
    return command


def rows(backend: str | None = None, of: Context = context) -> list[Row]:
    """All segments that can be seen, by name. /proc is read once, if at all."""
    infos = sorted(map(SegmentInfo, of.list()), key=lambda info: (info.name, info.backend))
    infos = [info for info in infos if backend in (None, info.backend)]
    found: dict[tuple[str, int], set[tuple[int, str]]] = {}
    if any(info.mapped for info in infos):
        for number, kernel_id, pid, command in of.mappings():
            if pid != os.getpid():
                found.setdefault((BACKEND_NAMES[number], kernel_id), set()).add((pid, command))
    return [Row(info, sorted(found.get((info.backend, info.kernel_id), ()))) for info in infos]


def dtype_text(info: SegmentInfo) -> str:
    """As short as it can be told; the header's own text when it is no dtype, or of a type not known here."""
    try:
        return str(info.dtype)
    except (SegmentFormatError, TypeError):
        return str(info._info.dtype)


def _short_dtype(info: SegmentInfo) -> str:
    """Of records the names of the fields only."""
    try:
        names = info.dtype.names
    except (SegmentFormatError, TypeError):
        names = None
    text = visible(dtype_text(info) if names is None else f"({', '.join(names)})")
    return text if len(text) <= _DTYPE_SHOWN else text[: _DTYPE_SHOWN - 1] + "…"


def _tickets(info: SegmentInfo) -> str:
    count = f"{info.tickets}+" if info.pins else str(info.tickets)
    if count == "0":
        return "-"
    if info.oldest_ticket is None:
        return count
    return f"{count} ({age(time.time() - info.oldest_ticket)})"


def _holders(row: Row) -> str:
    """Programs with their pids: 'train.py 17 18, python 21'."""
    if not row.holders:
        return "not visible" if row.info.mapped else "-"
    pids: dict[str, list[int]] = {}
    for pid, command in row.holders[:_HOLDERS_SHOWN]:
        pids.setdefault(visible(_program(pid, command)), []).append(pid)
    shown = ", ".join(" ".join(map(str, (program, *each))) for program, each in pids.items())
    more = len(row.holders) - _HOLDERS_SHOWN
    return shown + (f" and {more} more" if more > 0 else "")


def cells(row: Row) -> list[Cell]:
    """The row of a table, in the order of COLUMNS."""
    info = row.info
    return [
        Cell(visible(info.name), "bold"),
        Cell(info.backend),
        Cell(_short_dtype(info)),
        Cell(str(info.shape)),
        Cell(size(info.size)),
        Cell(info.status, STYLES[info.status]),
        Cell(_tickets(info)),
        Cell(_holders(row)),
    ]


def of_users(found: list[Row]) -> list[Row]:
    """Without what the library has made for itself, unless it is left over."""
    return [row for row in found if not row.info.internal or row.info.status == "stale"]


def summary(all_rows: list[Row]) -> str:
    """One line: how many, how large, how many of them stale."""
    total = sum(row.info.size for row in all_rows)
    idle = [row.info.size for row in all_rows if row.info.status == "idle"]
    stale = [row.info.size for row in all_rows if row.info.status == "stale"]
    text = f"{len(all_rows)} segment{'s' * (len(all_rows) != 1)}, {size(total)}"
    if idle:
        text += f"; {len(idle)} idle, {size(sum(idle))}"
    if stale:
        text += f"; {len(stale)} stale, {size(sum(stale))}: sharedmem clean"
    return text


def facts(row: Row) -> dict[str, Any]:
    """The segment as JSON has it."""
    info = row.info
    return {
        "name": info.name,
        "backend": info.backend,
        "dtype": dtype_text(info),
        "shape": list(info.shape),
        "nbytes": info.nbytes,
        "size": info.size,
        "status": info.status,
        "mapped": info.mapped,
        "persistent": info.persistent,
        "holders": [{"pid": pid, "command": command} for pid, command in row.holders],
        "tickets": info.tickets,
        "pins": info.pins,
        "voided": info.voided,
        "oldest_ticket": info.oldest_ticket,
        "created": info.created,
        "owner": info.owner,
        "permissions": f"{info.permissions:04o}",
        "kernel_id": info.kernel_id,
        "nonce": f"{info.nonce:016x}",
    }

"""``sharedmem doctor``: limits, room, kernel, and what might surprise."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from sharedmem import _build, places
from sharedmem._core.errors import SharedmemError
from sharedmem._core.segment import FORMAT, VERSION
from sharedmem.cli import probes, system
from sharedmem.cli.output import Cell, Column, print_json, print_table, size, visible
from sharedmem.cli.segments import rows, summary
from sharedmem.machine import cgroup_memory
from sharedmem.participant import REAPER, context

__all__ = ["DESCRIPTION", "run"]

DESCRIPTION = """\
Check limits, room, kernel features and what might surprise.

Each row is ok, a warning or a problem, with what to do about it. Exit code 1 when there is
a problem. Nothing is changed.
"""
DIRECTORY = "/dev/shm"
_COLUMNS = (Column("STATE"), Column("WHAT"), Column("FOUND"), Column("WHAT TO DO"))
_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_DOCKER_ROOM = 64 << 20
_OLDEST_KERNEL = (4, 18)


class Finding(NamedTuple):
    group: str
    what: str
    state: str  # ok, warning or problem
    found: str
    remedy: str = ""


Findings = Iterator[Finding]


def _version() -> Findings:
    yield Finding("version", "sharedmem", "ok", f"{VERSION}, segment format {FORMAT}")
    yield Finding("version", "Python", "ok", platform.python_version())
    yield Finding("version", "NumPy", "ok", f"{np.__version__}, built with {_build.NUMPY}")
    yield Finding("version", "compiler", "ok", f"{_build.COMPILER}, {_build.BUILDTYPE}")
    release = platform.release()
    parts = [int("".join(filter(str.isdigit, part)) or 0) for part in release.split(".")[:2]]
    old = tuple(parts) < _OLDEST_KERNEL
    state, remedy = ("problem", "Linux 4.18 or newer is needed") if old else ("ok", "")
    yield Finding("version", "kernel", state, release, remedy)


def _lacks() -> str:
    """Why the directory cannot hold segments, as the library itself finds it; or nothing."""
    if not os.path.isdir(DIRECTORY) or not os.access(DIRECTORY, os.W_OK | os.X_OK):
        return places.why_not(DIRECTORY)
    try:
        probes.locks(DIRECTORY)
    except OSError as error:
        if error.errno == 0:
            return places.why_not(DIRECTORY)
    return ""


def _room() -> Findings:
    lacks = _lacks()
    if lacks:
        remedy = f"until then sysv is used; {places.REMEDY}"
        yield Finding("room", DIRECTORY, "warning", lacks, remedy)
        yield Finding("room", "default backend", "ok", "sysv")
        return
    disk = os.statvfs(DIRECTORY)
    total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    state, remedy = "ok", ""
    if 0 < total <= _DOCKER_ROOM:
        state, remedy = (
            "warning",
            "enlarge it: docker run --shm-size=8g, Kubernetes emptyDir medium Memory",
        )
    elif total and free < total // 10:
        state, remedy = "warning", "nearly full: sharedmem clean, or enlarge it"
    yield Finding("room", DIRECTORY, state, f"{size(free)} free of {size(total)}", remedy)
    yield Finding("room", "default backend", "ok", "posix, sysv where it has no room")


def _memory() -> Findings:
    found = cgroup_memory()
    if found is None:
        yield Finding("room", "memory cgroup", "ok", "no limit")
        return
    limit, use = found
    tight = use > limit * 9 // 10
    remedy = "shared pages count for who touches them first: raise the limit" if tight else ""
    yield Finding(
        "room",
        "memory cgroup",
        "warning" if tight else "ok",
        f"{size(use)} used of {size(limit)}",
        remedy,
    )


def _sysctl(name: str) -> int | None:
    text = system.read(f"/proc/sys/{name.replace('.', '/')}")
    return int(text) if text and text.isdecimal() else None


def _sysv_limits() -> Findings:
    most, used = _sysctl("kernel.shmmni"), system.shm_in_use()
    if most is not None:
        tight = used is not None and used >= most * 9 // 10
        found = f"{most:,} segments, {'unknown' if used is None else f'{used:,}'} in use"
        remedy = "sysctl -w kernel.shmmni=32768, or use posix" if tight else ""
        yield Finding("limits", "kernel.shmmni", "warning" if tight else "ok", found, remedy)
    for name, unit in (("kernel.shmmax", 1), ("kernel.shmall", resource.getpagesize())):
        value = _sysctl(name)
        if value is not None:
            low = value * unit < 1 << 30
            remedy = f"sysctl -w {name}={(1 << 64) // unit // 256}" if low else ""
            yield Finding("limits", name, "warning" if low else "ok", _much(value * unit), remedy)
    if _sysctl("kernel.shm_rmid_forced"):
        remedy = "sysctl -w kernel.shm_rmid_forced=0, or use posix"
        yield Finding(
            "limits",
            "kernel.shm_rmid_forced",
            "warning",
            "1: what is in flight on sysv is destroyed",
            remedy,
        )


def _much(value: int) -> str:
    return "no limit" if value >= 1 << 60 else size(value)


def _process_limits() -> Findings:
    maps = _sysctl("vm.max_map_count")
    if maps is not None:
        low = maps < 65530
        remedy = "each attached array is a mapping: sysctl -w vm.max_map_count=262144" if low else ""
        yield Finding("limits", "vm.max_map_count", "warning" if low else "ok", f"{maps:,}", remedy)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    low = 0 <= files < 64
    yield Finding(
        "limits",
        "RLIMIT_NOFILE",
        "warning" if low else "ok",
        f"{files:,}",
        "ulimit -n 1024" if low else "",
    )
    for name, remedy in (
        ("RLIMIT_AS", "arrays beyond it are NoRoomError: ulimit -v unlimited"),
        ("RLIMIT_FSIZE", "larger arrays cannot be made on posix: ulimit -f unlimited"),
    ):
        limit = resource.getrlimit(getattr(resource, name))[0]
        if limit == resource.RLIM_INFINITY:
            yield Finding("limits", name, "ok", "no limit")
        else:
            yield Finding("limits", name, "warning", size(limit), remedy)


def _features() -> Findings:
    for what, (probe, without, meaning) in probes.PROBES.items():
        try:
            probe(DIRECTORY)
        except (OSError, ValueError, AttributeError) as error:
            text = getattr(error, "strerror", None) or str(error)
            if probe is probes.locks and getattr(error, "errno", 0) not in probes.NO_SUCH_LOCKS:
                without, meaning = "warning", f"not the kernel: see {DIRECTORY}"
            yield Finding("kernel", what, without, f"no ({text})", meaning)
        else:
            yield Finding("kernel", what, "ok", "yes")
    chosen = system.read("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
    if chosen:
        yield Finding(
            "kernel", "shmem_enabled", "ok", chosen.partition("[")[2].partition("]")[0] or chosen
        )


def _logind() -> Finding:
    removes = system.remove_ipc()
    if removes is None:
        return Finding("surroundings", "logind RemoveIPC", "ok", "no logind here")
    if not removes:
        return Finding("surroundings", "logind RemoveIPC", "ok", "no")
    if os.geteuid() <= system.login_defs_uid():
        return Finding(
            "surroundings", "logind RemoveIPC", "ok", "yes, but not for system users as this one"
        )
    remedy = "names go at your last logout: RemoveIPC=no in /etc/systemd/logind.conf, or loginctl enable-linger"
    return Finding("surroundings", "logind RemoveIPC", "warning", "yes", remedy)


def _surroundings() -> Findings:
    yield _logind()
    found = ", ".join(f"{kind} {system.namespace(kind)}" for kind in ("ipc", "pid", "mnt"))
    yield Finding("surroundings", "namespaces", "ok", found)


def reaper() -> Finding:
    """What frees segments when every participant was killed at once."""
    without = "the next program that uses sharedmem frees what the dead leave, or sharedmem clean"
    if os.environ.get("SHAREDMEM_REAPER") == "0":
        return Finding("state", "reaper", "ok", f"switched off by SHAREDMEM_REAPER=0: {without}")
    if not os.access(REAPER, os.X_OK):
        found = f"{REAPER} cannot be run: {without}"
        return Finding("state", "reaper", "warning", found, "install sharedmem again")
    found = f"{system.reapers()} running: one for each family that has made or attached an array"
    return Finding("state", "reaper", "ok", found)


def _warm() -> Findings:
    wish = os.environ.get("SHAREDMEM_CACHE")
    bound = int(context.stats()["bound"])
    found = size(bound) if bound else "nothing is kept"
    source = f"SHAREDMEM_CACHE={visible(wish)}" if wish else "from memory and /dev/shm"
    misread = wish is not None and wish != "" and not wish.isdecimal()
    yield Finding(
        "warm memory",
        "bound of a family",
        "warning" if misread else "ok",
        f"{found}: {source}",
        "give a number of bytes; 0 keeps nothing" if misread else "",
    )
    wants_huge = os.environ.get("SHAREDMEM_HUGE") != "0"
    large = "huge pages from 4 MiB on, where the kernel gives them" if wants_huge else "small pages"
    found = f"new small pages by the kernel; {large}; two threads from 32 MiB on"
    yield Finding("warm memory", "filling", "ok", found)
    with contextlib.suppress(SharedmemError):  # _segments() says it
        idle = [row.info.size for row in rows() if row.info.status == "idle"]
        yield Finding("warm memory", "idle segments", "ok", f"{len(idle)}, {size(sum(idle))}")


def _segments() -> Finding:
    """What there is, or what keeps everybody from looking."""
    try:
        all_rows = rows()
    except SharedmemError as error:
        found = str(getattr(error, "strerror", None) or error).replace(f" ({error.remedy})", "")
        return Finding("state", "segments", "problem", visible(found), error.remedy)
    stale = any(row.info.status == "stale" for row in all_rows)
    text = summary(all_rows).removesuffix(": sharedmem clean")
    return Finding(
        "state", "segments", "warning" if stale else "ok", text, "sharedmem clean --yes" if stale else ""
    )


def _state() -> Findings:
    family = os.environ.get("SHAREDMEM_FAMILY")
    found = f"SHAREDMEM_FAMILY={visible(family)}" if family else "each program makes its own"
    alive, dead = context.families()
    yield Finding("state", "family", "ok", found)
    remedy = "sharedmem clean --yes" if dead else ""
    yield Finding(
        "state", "families", "warning" if dead else "ok", f"{alive} alive, {dead} dead", remedy
    )
    yield reaper()
    yield _segments()


_CHECKS: tuple[Callable[[], Findings], ...] = (
    _version,
    _room,
    _memory,
    _sysv_limits,
    _process_limits,
    _features,
    _surroundings,
    _warm,
    _state,
)


def _print(found: list[Finding]) -> None:
    cells = [
        [
            Cell(each.state, _STYLES[each.state]),
            Cell(each.what, "bold"),
            Cell(each.found),
            Cell(each.remedy),
        ]
        for each in found
    ]
    print_table(_COLUMNS, cells)
    counts = [sum(each.state == state for each in found) for state in ("problem", "warning")]
    print(
        ", ".join(
            f"{count} {state}{'s' * (count != 1)}"
            for count, state in zip(counts, ("problem", "warning"))
        )
    )


def run(options: Namespace) -> int:
    found = [finding for check in _CHECKS for finding in check()]
    problem = any(each.state == "problem" for each in found)
    if options.json:
        print_json({"ok": not problem, "findings": [each._asdict() for each in found]})
    else:
        _print(found)
    return int(problem)

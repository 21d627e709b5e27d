"""How many processors and how much memory this process may use."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cgroup_memory", "cpu_count", "said_count", "total_memory", "usable_processors"]

_VARIABLES = ("OMP_NUM_THREADS", "PBS_NUM_PPN", "SLURM_CPUS_PER_TASK")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _cgroups(controller: str) -> list[Path]:
    """The groups of this process from its own up to the root, of version 2 or 1."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup") / controllers
        own = root / path.lstrip("/")
        return [own, *(parent for parent in own.parents if root in (parent, *parent.parents))]
    return []


def _quota(group: Path) -> float | None:
    """Processors' worth of time that a group has, or None."""
    quota, _, period = _read(group / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
    if not (quota.isdecimal() and period.isdecimal() and int(period)):
        return None  # "max", -1, or not there
    return int(quota) / int(period)


def usable_processors() -> int:
    """How many the affinity mask and the quota of the cgroup leave."""
    count = len(os.sched_getaffinity(0))
    for group in _cgroups("cpu"):
        quota = _quota(group)
        if quota is not None:
            count = min(count, max(1, round(quota)))
    return count


def said_count() -> tuple[str, int] | None:
    """What the environment says, and the variable that says it."""
    for variable in _VARIABLES:
        first = os.environ.get(variable, "").split(",")[0].strip()
        if first.isdecimal():
            return variable, int(first)
    return None


def cpu_count() -> int:
    """How many processors this process may use.

    Returns
    -------
    int
        What ``OMP_NUM_THREADS`` says, else ``PBS_NUM_PPN``, else
        ``SLURM_CPUS_PER_TASK``; else the processors that the affinity mask and the
        quota of the cgroup leave.

    Notes
    -----
    A variable that holds no number, or a negative one, counts as not set. 0 is taken:
    pools are serial then. Of a list, as OpenMP has it for nested levels, it is the first.

    Every pool that is not told how many workers it is to have makes so many, but no more
    than there are processors that it may use.

    Examples
    --------
    >>> import os, sharedmem
    >>> os.environ['OMP_NUM_THREADS'] = '3'
    >>> sharedmem.cpu_count()
    3
    >>> del os.environ['OMP_NUM_THREADS']
    """
    said = said_count()
    return usable_processors() if said is None else said[1]


def cgroup_memory() -> tuple[int, int] | None:
    """The tightest memory limit of this process's groups, and what that group uses."""
    found = []
    for group in _cgroups("memory"):
        for limit_file, use_file in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, use = _read(group / limit_file), _read(group / use_file)
            if limit.isdecimal() and use.isdecimal() and int(limit) < 1 << 60:
                found.append((int(limit), int(use)))
    return min(found, key=lambda pair: pair[0] - pair[1], default=None)


def total_memory() -> int:
    """Bytes of memory that this process may use, swap not counted.

    Returns
    -------
    int
        The memory of the machine, or the limit of the cgroup where that is less.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.total_memory() > 2**20
    True
    """
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = []
    for group in _cgroups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _read(group / name)
            if limit.isdecimal():
                limits.append(int(limit))
    return min([total, *limits])

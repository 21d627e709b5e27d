"""Facts of the system as files under /proc, /sys and /etc tell them."""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path

__all__ = ["cgroup_memory", "login_defs_uid", "namespace", "read", "remove_ipc", "shm_in_use"]

_LOGIND = ("/usr/lib/systemd", "/usr/local/lib/systemd", "/run/systemd", "/etc/systemd")


def read(path: str | Path) -> str | None:
    """The text of a small file, stripped; None where it cannot be read."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return None


def namespace(kind: str) -> str:
    try:
        return re.sub(r"\D", "", os.readlink(f"/proc/self/ns/{kind}"))
    except OSError:
        return "unknown"


def shm_in_use() -> int | None:
    """How many SysV segments there are, of all users."""
    table = read("/proc/sysvipc/shm")
    return None if table is None else len(table.splitlines()) - 1


def _cgroups() -> list[Path]:
    """The groups of this process from its own up to the root, of version 2 or 1."""
    for line in (read("/proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = Path("/sys/fs/cgroup") / controllers
        own = root / path.lstrip("/")
        return [own, *(parent for parent in own.parents if root in (parent, *parent.parents))]
    return []


def cgroup_memory() -> tuple[int, int] | None:
    """The tightest memory limit of this process's groups, and what that group uses."""
    found = []
    for group in _cgroups():
        for limit_file, use_file in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, use = read(group / limit_file), read(group / use_file)
            if limit and limit.isdecimal() and use and use.isdecimal() and int(limit) < 1 << 60:
                found.append((int(limit), int(use)))
    return min(found, key=lambda pair: pair[0] - pair[1], default=None)


def _logind_files() -> list[Path]:
    """In the order of precedence: of one main file the last, then all drop-ins by name."""
    main = [Path(folder, "logind.conf") for folder in _LOGIND]
    drop_ins = {
        path.name: path for folder in _LOGIND for path in Path(folder, "logind.conf.d").glob("*.conf")
    }
    return [
        *[path for path in main if path.exists()][-1:],
        *(drop_ins[name] for name in sorted(drop_ins)),
    ]


def remove_ipc() -> bool | None:
    """logind's RemoveIPC, by default yes; None where there is no logind."""
    if not os.path.isdir("/run/systemd/system") and not _logind_files():
        return None
    value = "yes"
    for path in _logind_files():
        parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
        try:
            parser.read_string(read(path) or "")
        except configparser.Error:
            continue
        value = parser.get("Login", "RemoveIPC", fallback=value) or "yes"
    return value.strip().lower() in ("1", "yes", "y", "true", "t", "on")


def login_defs_uid() -> int:
    """The greatest uid of a system user, whom logind spares."""
    found = re.search(r"^\s*SYS_UID_MAX\s+(\d+)", read("/etc/login.defs") or "", re.MULTILINE)
    return int(found[1]) if found else 999

"""Facts of the system as files under /proc, /sys and /etc tell them."""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path

__all__ = ["login_defs_uid", "namespace", "read", "reapers", "remove_ipc", "shm_in_use"]

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


def reapers(proc: str = "/proc") -> int:
    """How many reapers of this user's can be seen."""
    commands = Path(proc).glob("[0-9]*/cmdline")
    return sum(
        (read(command) or "").startswith("sharedmem-reaper\0") and _is_own(command)
        for command in commands
    )


def _is_own(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.geteuid()
    except OSError:  # it has ended
        return False


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

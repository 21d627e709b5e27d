"""What the kernel holds for this user, asked without the library under test."""

import os

DIRECTORY = "/dev/shm"
SYSV_TABLE = "/proc/sysvipc/shm"


def files(kind):
    """Names of our files of one kind: 's' segments, 'f' families."""
    prefix = f"smem.{os.geteuid()}.{kind}."
    return {entry.removeprefix(prefix) for entry in os.listdir(DIRECTORY) if entry.startswith(prefix)}


def posix_segments():
    """Names of the POSIX segments that still have one."""
    return files("s")


def sysv_segments():
    """Ids of the user's SysV segments, those marked for destruction included."""
    with open(SYSV_TABLE) as table:
        columns = table.readline().split()
        rows = [dict(zip(columns, line.split())) for line in table]
    return {int(row["shmid"]) for row in rows if int(row["uid"]) == os.geteuid()}


def segments():
    """Every segment of the user on either backend."""
    return {("posix", name) for name in posix_segments()} | {("sysv", id) for id in sysv_segments()}


def families():
    """Names of the family files."""
    return files("f")


def user_file():
    """Whether the per-user file is there: a gate is held or a SysV segment journalled."""
    return os.path.exists(f"{DIRECTORY}/smem.{os.geteuid()}.u.journal")


def held():
    """All that the library keeps in the kernel, to be compared before and after."""
    return {"segments": segments(), "families": families(), "user file": user_file()}

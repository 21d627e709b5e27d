"""Attaching what an unrelated process has made."""

from __future__ import annotations

import os
import subprocess
import sys

import sharedmem

OWNER = """
import sys, sharedmem
array = sharedmem.ones(int(sys.argv[1]) // 8, backend=sys.argv[2])
print(array.name, flush=True)
sys.stdin.read()
"""
HOLDER = """
import sys, sharedmem
array = sharedmem.attach(sys.argv[1])
print('ready', flush=True)
sys.stdin.read()
"""


def begin(program: str, *arguments: str) -> subprocess.Popen[str]:
    """A process of a family of its own."""
    environ = {name: value for name, value in os.environ.items() if name != "SHAREDMEM_FAMILY"}
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    """What it says once it is ready."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


class Attach:
    """Attach by name, read one element, detach."""

    params = ([8192, 1 << 20, 160_000_000], ["posix", "sysv"])
    param_names = ("nbytes", "backend")

    def setup(self, nbytes: int, backend: str) -> None:
        self.owner = begin(OWNER, str(nbytes), backend)
        self.name = line_of(self.owner)

    def time_read(self, nbytes: int, backend: str) -> None:
        assert sharedmem.attach(self.name)[0] == 1

    def teardown(self, nbytes: int, backend: str) -> None:
        self.owner.communicate()


class AttachMapped(Attach):
    """The same in a process that has the array mapped."""

    params = ([8192], ["posix", "sysv"])

    def setup(self, nbytes: int, backend: str) -> None:
        super().setup(nbytes, backend)
        self.mapped = sharedmem.attach(self.name)

    def teardown(self, nbytes: int, backend: str) -> None:
        del self.mapped
        super().teardown(nbytes, backend)


class AttachCrowd(Attach):
    """The same while 64 other processes have it attached."""

    timeout = 300  # asv's: so many interpreters begin
    params = ([8192], ["posix"], [64])
    param_names = ("nbytes", "backend", "processes")

    def setup(self, nbytes: int, backend: str, processes: int) -> None:
        super().setup(nbytes, backend)
        self.crowd = [begin(HOLDER, self.name) for _ in range(processes)]
        for each in self.crowd:
            line_of(each)

    def time_read(self, nbytes: int, backend: str, processes: int) -> None:
        super().time_read(nbytes, backend)

    def teardown(self, nbytes: int, backend: str, processes: int) -> None:
        for each in self.crowd:
            each.communicate()
        super().teardown(nbytes, backend)

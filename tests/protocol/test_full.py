"""A /dev/shm that the dead have filled to the last page does not lock the living out."""

import os
import subprocess

import pytest

from .processes import python
from .test_vanished import UNSHARE, namespace  # noqa: F401

FILL = """
import os, signal, sharedmem
array = sharedmem.zeros(1, 'u1', backend='posix')
kept = [] if {pages} else [array]
try:
    while True:
        kept.append(sharedmem.zeros({size}, 'u1', backend='posix'))
except MemoryError:
    os.kill(os.getpid(), signal.SIGKILL)
"""

NEWCOMER = """
import sharedmem
print(sharedmem.zeros(100, 'u1', backend='posix').sum(), len(sharedmem.list_segments(internal=True)))
"""

# Bytes run out in one of them, names of files in the other.
SHORTAGES = {"pages": ("size=4m", 8192), "files": ("size=64m,nr_inodes=40", 1)}


@pytest.mark.parametrize("shortage", SHORTAGES)
def test_newcomer_frees_what_the_dead_filled(namespace, shortage):  # noqa: F811
    """A process imports the library, makes an array, and finds nothing left."""
    options, size = SHORTAGES[shortage]
    fill = FILL.format(size=size, pages=shortage == "pages")
    script = f"""
        mount -t tmpfs -o {options} tmpfs /dev/shm || exit 1
        "$@"
        {"cat /dev/zero > /dev/shm/rest 2> /dev/null" if shortage == "pages" else ""}
        SHAREDMEM_FAMILY=newcomer exec "$PYTHON" -c "$NEWCOMER"
    """
    command = python(fill)
    environ = os.environ | {"PYTHON": command[0], "NEWCOMER": NEWCOMER}
    # The dead one's family has another name: a file of one's own would be made anew in its place.
    environ |= {"SHAREDMEM_FAMILY": "filler", "SHAREDMEM_REAPER": "0", "SHAREDMEM_CACHE": "0"}
    inside = [*UNSHARE, "/bin/sh", "-c", script, "sh", *command]
    done = subprocess.run(inside, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "0"]

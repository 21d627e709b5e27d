"""When all files under /dev/shm are removed, what lives goes on."""

import os
import subprocess

import pytest

from . import kernel
from .processes import environment, python, run

# A mount and an IPC namespace of the test's own; what is left there is printed at the end.
UNSHARE = ["unshare", "--mount", "--ipc"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
INSIDE = """
mount -t tmpfs tmpfs /dev/shm || exit 1
"$@" || exit 1
ls -A /dev/shm
tail -n +2 /proc/sysvipc/shm
"""


def run_inside(command, environ=None):
    inside = [*UNSHARE, "/bin/sh", "-c", INSIDE, "sh", *command]
    return subprocess.run(inside, env=environ, capture_output=True, text=True)


@pytest.fixture(scope="module")
def namespace():
    """Skip where this user may not have namespaces of its own."""
    try:
        probe = run_inside(["true"])
    except FileNotFoundError:
        pytest.skip("there is no unshare(1)")
    if probe.returncode != 0:
        pytest.skip(f"no mount namespace: {probe.stderr.strip()}")


COMMON = """
import multiprocessing, os, pickle, subprocess, sys
from multiprocessing.reduction import ForkingPickler
import numpy, sharedmem

def remove_all_files():
    subprocess.run("rm -rf /dev/shm/*", shell=True, check=True)

def newcomer(source):
    environ = os.environ | {"SHAREDMEM_FAMILY": "newcomer"}
    subprocess.run([sys.executable, "-c", "import sharedmem; " + source], env=environ, check=True)

def wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

backend = sys.argv[1]
here, there = multiprocessing.Pipe()
array = sharedmem.full(1000, 7.0, backend=backend)
"""

LIVING_HOLDERS = """
def child():
    there.send("holding")
    there.recv()
    array[:] += 1
    there.send("added")
    assert (there.recv() == 5).all()

pid = os.fork()
if pid == 0:
    status = 1
    try:
        child()
        status = 0
    finally:
        os._exit(status)
here.recv()
remove_all_files()
newcomer("sharedmem.zeros(9, backend='posix'), sharedmem.zeros(9, backend='sysv'); sharedmem.reclaim()")
sharedmem.reclaim()
here.send("add")
here.recv()
assert (array == 8).all()
for dumps in pickle.dumps, ForkingPickler.dumps:
    loaded = pickle.loads(dumps(array))
    assert (loaded == 8).all()
    assert numpy.shares_memory(loaded, array) == array.is_current()
    del loaded
assert array.is_current() == (backend == "sysv")
here.send(sharedmem.full(10, 5.0, backend=backend))
assert wait(pid) == 0
assert (array == 8).all()
"""

DEAD_HOLDERS = """
def child():
    own = sharedmem.full(1000, 7.0, backend=backend)
    there.send("holding")
    there.recv()
    sharedmem.zeros(9, backend=backend)
    there.send("used")
    there.recv()

pid = os.fork()
if pid == 0:
    child()
here.recv()
remove_all_files()
here.send("use the library")
here.recv()
os.kill(pid, 9)
assert wait(pid) == -9
del array
newcomer("sharedmem.reclaim()")
"""


@pytest.mark.parametrize("story", [LIVING_HOLDERS, DEAD_HOLDERS], ids=["living", "dead"])
def test_removed_files_lose_no_data(namespace, backend, story):
    """After rm -rf /dev/shm/* arrays, pickles and new arrays go on, and nothing is left in the end."""
    environ = {key: value for key, value in os.environ.items() if key != "SHAREDMEM_FAMILY"}
    done = run_inside(python(COMMON + story, backend), environ)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


LOSE_THE_FAMILY = """
import os, pickle, sharedmem, subprocess, sys
from multiprocessing.reduction import ForkingPickler
path = f"/dev/shm/smem.{os.geteuid()}.f.{sharedmem.family()}"
array = sharedmem.full(1000, 7.0, backend=sys.argv[1])
sent = bytes(ForkingPickler.dumps(array))
del array
os.unlink(path)
sharedmem.reclaim()
assert os.path.exists(path)
stranger = os.environ | {"SHAREDMEM_FAMILY": sharedmem.family() + "-stranger"}
subprocess.run(
    [sys.executable, "-c", "import sharedmem; sharedmem.reclaim()"], env=stranger, check=True
)
assert (pickle.loads(sent) == 7).all()
"""


def test_family_file_that_vanishes_is_made_again(backend, family):
    """A family whose file was removed makes it anew, and keeps what it has in flight from strangers."""
    before = kernel.held()
    run(LOSE_THE_FAMILY, backend, environ=environment(family))
    assert kernel.held() == before

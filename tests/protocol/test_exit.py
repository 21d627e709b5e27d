"""However a process ends, it takes nothing from others and leaves nothing behind."""

import os
import signal
import subprocess

import pytest

import sharedmem

from . import kernel
from .processes import DEATHS, environment, python, run

CHECK = """
import sys, sharedmem
assert (sharedmem.attach(sys.argv[1]) == 7).all()
"""


def hold(pipe, death):
    """Attach what is named, say so, and die when told."""
    array = sharedmem.attach(pipe.recv())
    pipe.send((array == 7).all())
    pipe.recv()
    death()


def create(pipe, backend, death):
    """Create, tell the name, and die when told."""
    array = sharedmem.full(1000, 7.0, backend=backend)
    pipe.send(array.name)
    pipe.recv()
    death()


def create_and_exit(backend):
    array = sharedmem.full(100, 7.0, backend=backend)
    os._exit(0 if (array == 7).all() else 1)


def test_holder_that_dies_harms_nobody(processes, backend, death):
    """Data and name stay when one of two holders dies, and go with the other one at once."""
    before = kernel.held()
    pid, child = processes.fork_with_pipe(hold, death)
    array = sharedmem.full(1000, 7.0, backend=backend)
    child.send(array.name)
    assert child.recv()
    child.send("die")
    assert processes.wait(pid) == DEATHS[death]
    sharedmem.reclaim()
    assert (array == 7).all() and array.is_current()
    run(CHECK, array.name)
    del array
    assert kernel.held() == before


def test_creator_that_dies_harms_nobody(processes, backend, death):
    """Data and name stay when the creator dies, and go with the last holder at once."""
    before = kernel.held()
    pid, child = processes.fork_with_pipe(create, backend, death)
    array = sharedmem.attach(child.recv())
    child.send("die")
    assert processes.wait(pid) == DEATHS[death]
    sharedmem.reclaim()
    assert (array == 7).all() and array.is_current()
    run(CHECK, array.name)
    del array
    assert kernel.held() == before


def test_what_the_dead_leave_is_reclaimed(processes, backend, death):
    """A segment whose only user died is gone once somebody reclaims."""
    before = kernel.held()
    pid, child = processes.fork_with_pipe(create, backend, death)
    name = child.recv()
    assert sharedmem.exists(name)
    child.send("die")
    assert processes.wait(pid) == DEATHS[death]
    sharedmem.reclaim()
    assert not sharedmem.exists(name)
    assert kernel.held() == before


def test_thousand_workers_that_exit_at_once_leave_nothing(processes, backend):
    """Workers that create and os._exit by the thousand leave no segment."""
    before = kernel.held()
    for _ in range(20):
        batch = [processes.fork(create_and_exit, backend) for _ in range(50)]
        assert [processes.wait(pid) for pid in batch] == [0] * 50
    sharedmem.reclaim()
    assert kernel.held() == before


CREATE_IN_A_TREE = """
import os, sys, sharedmem
arrays = [sharedmem.full(1000, 7.0, backend=sys.argv[1]) for _ in range(3)]
for _ in range(3):
    if os.fork() == 0:
        arrays.append(sharedmem.full(1000, 7.0, backend=sys.argv[1]))
        break
os.write(1, f"{os.getpid()}{os.linesep}".encode())
sys.stdin.readline()
"""


def test_next_import_reclaims_after_a_massacre(processes, backend, family):
    """When a whole process tree was SIGKILLed, importing the library anywhere frees what it left."""
    before = kernel.held()
    program = processes.program(CREATE_IN_A_TREE, backend, environ=environment(family))
    children = {int(program.hear()) for _ in range(4)} - {program.pid}
    for pid in children:
        processes.adopt(pid)
    assert len(kernel.segments() - before["segments"]) == 6
    os.killpg(program.pid, signal.SIGKILL)
    assert program.wait() == -signal.SIGKILL
    for pid in children:
        processes.await_end(pid)
    run("import sharedmem", environ=environment(family + "-next"))
    assert kernel.held() == before


BEFORE_EXEC = """
import os, sys, sharedmem
array = sharedmem.full(1000, 7.0, backend=sys.argv[1])
print(os.getpid(), flush=True)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], array.name])
"""
AFTER_EXEC = """
import os, sys, sharedmem
sharedmem.reclaim()
print(os.getpid())
print(sharedmem.exists(sys.argv[1]))
"""


def test_execve_lets_go(backend, family):
    """A process that execs into another program holds its arrays no longer, although its pid lives."""
    before = kernel.held()
    pid, pid_after, exists = run(BEFORE_EXEC, backend, AFTER_EXEC, environ=environment(family))
    assert (pid_after, exists) == (pid, "False")
    assert kernel.held() == before


KEPT = {
    "global": "keep = array",
    "attribute of a module": "import json; json.array = array; del array",
    "view": "keep = array[::2].reshape(4, -1).T; del array",
    "attached twice": "keep = sharedmem.attach(array.name)",
    "read-only": "keep = sharedmem.attach(array.name, mode='r'); del array",
    "cycle": "keep = [array]; keep.append(keep); del keep, array",
    "cycle, collector off": "import gc; gc.disable(); keep = [array]; keep.append(keep); del keep, array",
    "closure": "def function(): return array, function",
    "suspended generator": """
def generate(array):
    yield array
keep = generate(array); next(keep); del array
""",
    "daemon thread": """
import threading
started = threading.Event()
def work(array):
    started.set()
    threading.Event().wait()
threading.Thread(target=work, args=(array,), daemon=True).start()
del array
started.wait()
""",
    "object with a finalizer": """
class Owner:
    def __init__(self, array): self.array = array
    def __del__(self): self.array[0] = 1
keep = Owner(array)
""",
    "thousand": "keep = [sharedmem.zeros(10, backend=sys.argv[1]) for _ in range(1000)]",
    "in flight, received": """
from multiprocessing.reduction import ForkingPickler
keep = ForkingPickler.loads(ForkingPickler.dumps(array))
""",
    "SystemExit": "raise SystemExit(0)",
}
AT_EXIT = """
import os, sys, sharedmem
array = sharedmem.full(1000, 7.0, backend=sys.argv[1])
with open(f"/proc/self/task/{os.getpid()}/children") as children:
    assert children.read() == ""
assert "multiprocessing.resource_tracker" not in sys.modules
"""


@pytest.mark.parametrize("keep", KEPT)
def test_interpreter_exit_frees_what_is_still_referenced(backend, family, keep):
    """Right after an interpreter's silent exit the kernel holds nothing of it, whoever kept an array."""
    before = kernel.held()
    run(AT_EXIT + KEPT[keep], backend, environ=environment(family))
    assert kernel.held() == before


LATE_USE = """
import atexit, sys
@atexit.register
def use():
    array[0] += 1
    print(array.sum())
import sharedmem
array = sharedmem.full(1000, 7.0, backend=sys.argv[1])
"""


def test_array_is_usable_until_the_interpreter_is_gone(backend, family):
    """An exit function that runs after the library's own can still use an array."""
    before = kernel.held()
    assert run(LATE_USE, backend, environ=environment(family)) == ["7001.0"]
    assert kernel.held() == before


def keep_in_a_global(backend):
    global kept
    kept = sharedmem.full(1000, 7.0, backend=backend)


def test_worker_that_returns_frees_its_globals(processes, backend, start_method):
    """A multiprocessing worker that ends in the ordinary way leaves nothing, without a reclaim."""
    before = kernel.held()
    worker = processes.worker(start_method, keep_in_a_global, backend)
    worker.join()
    assert worker.exitcode == 0
    assert kernel.held() == before


ENDINGS = {"returns": ("", 0), "_exit": ("os._exit(0)", 0), "SIGKILL": ("os.kill(os.getpid(), 9)", -9)}
CREATE = """
import os, sys, sharedmem
array = sharedmem.full(1000, 7.0, backend=sys.argv[1])
print("created", flush=True)
"""


@pytest.mark.parametrize("ending", ENDINGS)
def test_captured_output_ends_with_the_script(backend, family, ending):
    """subprocess.run(capture_output=True) returns when the script ends: nobody keeps its pipes open."""
    before = kernel.held()
    source, exit_code = ENDINGS[ending]
    done = subprocess.run(
        python(CREATE + source, backend),
        env=environment(family),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (exit_code, "created\n", "")
    sharedmem.reclaim()
    assert kernel.held() == before

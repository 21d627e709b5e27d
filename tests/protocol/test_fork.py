"""Forked children, daemons and threads hold what they inherit."""

import os
import signal

import pytest

import sharedmem

from . import kernel
from .processes import environment, run


def use_when_told(pipe, array):
    """Use the inherited array after the parent has dropped its own."""
    pipe.recv()
    assert (array == 7).all()
    array[:] = 8
    pipe.send("written")
    pipe.recv()


def test_parent_drops_what_a_child_still_uses(processes, backend):
    """An inherited array keeps data and name for the child when the parent drops it."""
    before = kernel.held()
    array = sharedmem.full(1000, 7.0, backend=backend)
    name = array.name
    pid, child = processes.fork_with_pipe(use_when_told, array)
    del array
    sharedmem.reclaim()
    child.send("use it")
    assert child.recv() == "written"
    array = sharedmem.attach(name)
    assert (array == 8).all()
    del array
    assert kernel.held() != before
    child.send("exit")
    assert processes.wait(pid) == 0
    sharedmem.reclaim()
    assert kernel.held() == before


def drop_when_told(pipe, arrays):
    pipe.recv()
    arrays.clear()
    pipe.send("dropped")
    pipe.recv()


def test_child_is_the_last_one_out(processes, backend):
    """A child that drops an inherited array after its parent did frees it at once."""
    before = kernel.segments()
    arrays = [sharedmem.full(1000, 7.0, backend=backend)]
    pid, child = processes.fork_with_pipe(drop_when_told, arrays)
    arrays.clear()
    assert kernel.segments() != before
    child.send("drop it")
    assert child.recv() == "dropped"
    assert kernel.segments() == before
    child.send("exit")
    assert processes.wait(pid) == 0


def test_parent_is_the_last_one_out(processes, backend):
    """A child that drops an inherited array first takes nothing from its parent."""
    before = kernel.segments()
    arrays = [sharedmem.full(1000, 7.0, backend=backend)]
    pid, child = processes.fork_with_pipe(drop_when_told, arrays)
    child.send("drop it")
    assert child.recv() == "dropped"
    assert (arrays[0] == 7).all() and arrays[0].is_current()
    arrays.clear()
    assert kernel.segments() == before
    child.send("exit")
    assert processes.wait(pid) == 0


def fork_and_exit(pipe, array):
    if os.fork() == 0:
        pipe.send(os.getpid())
        use_when_told(pipe, array)


def test_grandchild_keeps_what_it_inherited(processes, backend):
    """A grandchild uses an array that parent and grandparent no longer hold."""
    before = kernel.held()
    array = sharedmem.full(1000, 7.0, backend=backend)
    name = array.name
    pid, child = processes.fork_with_pipe(fork_and_exit, array)
    grandchild = child.recv()
    processes.adopt(grandchild)
    assert processes.wait(pid) == 0
    del array
    sharedmem.reclaim()
    child.send("use it")
    assert child.recv() == "written"
    assert (sharedmem.attach(name) == 8).all()
    child.send("exit")
    processes.await_end(grandchild)
    sharedmem.reclaim()
    assert kernel.held() == before


ONE_LEAVES = """
import os, pickle, sys, sharedmem
from multiprocessing.reduction import ForkingPickler
array = sharedmem.full(1000, 7.0, backend=sys.argv[1])
sent = bytes(ForkingPickler.dumps(sharedmem.full(10, 5.0, backend=sys.argv[1])))
child = os.fork()
if (child == 0) == (sys.argv[2] == "child"):
    if child:
        assert os.waitpid(child, 0)[1] == 0
    os.write(1, f"{os.getpid()}{os.linesep}".encode())
    sys.stdin.readline()
    assert (array == 7).all() and array.is_current()
    assert (sharedmem.attach(array.name) == 7).all()
    assert (pickle.loads(sent) == 5).all()
    print("used")
"""


@pytest.mark.parametrize("stays", ["parent", "child"])
def test_orderly_exit_takes_nothing_from_a_relative(processes, backend, family, stays):
    """Of parent and child that share arrays and descriptors the one that stays has them all, and frees them."""
    before = kernel.held()
    program = processes.program(ONE_LEAVES, backend, stays, environ=environment(family))
    pid = int(program.hear())
    processes.adopt(pid)
    if stays == "child":
        assert program.wait() == 0
    sharedmem.reclaim()
    program.say("use them")
    assert program.end() == ["used"]
    processes.await_end(pid)
    assert kernel.held() == before


DAEMON = """
import os, sys, sharedmem
array = sharedmem.full(1000, 7.0, backend=sys.argv[1])
child = os.fork()
if child:
    os.waitpid(child, 0)
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.closerange(3, os.sysconf("SC_OPEN_MAX"))
print(os.getpid(), array.name, flush=True)
for line in sys.stdin:
    array[:] = int(line)
    own = sharedmem.full(10, int(line), backend=sys.argv[1])
    print(own.name, flush=True)
os._exit(0)
"""


def test_daemon_that_closes_every_fd_goes_on(processes, backend, family):
    """A daemon that forked twice and closed all its fds still holds, writes and creates."""
    before = kernel.held()
    program = processes.program(DAEMON, backend, environ=environment(family))
    pid, name = program.hear().split()
    processes.adopt(int(pid))
    assert program.wait() == 0
    for value in 8, 9:
        sharedmem.reclaim()
        program.say(str(value))
        own = sharedmem.attach(program.hear())
        assert (own == value).all()
        assert (sharedmem.attach(name) == value).all()
    program.stdin.close()
    processes.await_end(int(pid))
    sharedmem.reclaim()
    assert (own == 9).all()
    del own
    assert kernel.held() == before


def test_killed_daemon_leaves_nothing(processes, backend, family):
    """What a SIGKILLed daemon held is reclaimed, its family included."""
    before = kernel.held()
    program = processes.program(DAEMON, backend, environ=environment(family))
    pid = int(program.hear().split()[0])
    processes.adopt(pid)
    assert program.wait() == 0
    os.kill(pid, signal.SIGKILL)
    processes.await_end(pid)
    sharedmem.reclaim()
    assert kernel.held() == before


THREADS = """
import pickle, sys, sharedmem
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler

def receive(sent):
    array = pickle.loads(sent)
    return (array == 7).all() and array.is_current()

with ThreadPoolExecutor(4) as executor:
    for _ in range(500):
        array = sharedmem.full(100, 7.0, backend=sys.argv[1])
        sent = [bytes(ForkingPickler.dumps(array)) for _ in range(4)]
        received = executor.map(receive, sent)
        del array
        assert all(received)
"""


def test_threads_race_for_the_last_reference(backend, family):
    """Threads that receive and drop one array at the same time each find it whole, and the last one frees it."""
    before = kernel.held()
    run(THREADS, backend, environ=environment(family))
    assert kernel.held() == before


FORK_FROM_A_THREAD = """
import os, sys, threading, warnings
import sharedmem

warnings.simplefilter("ignore", DeprecationWarning)  # that fork and threads do not mix
backend = sys.argv[1]
shared = sharedmem.full(1000, 7.0, backend=backend)
name = shared.name
done = threading.Event()
statuses = []

def churn():
    while not done.is_set():
        own = sharedmem.zeros(10, backend=backend)
        sharedmem.attach(own.name)
        del own

def use():
    own = sharedmem.full(10, 3.0, backend=backend)
    return (own == 3).all() and (shared == 7).all() and (sharedmem.attach(name) == 7).all()

def fork():
    for _ in range(100):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = 0 if use() else 2
            finally:
                os._exit(status)
        statuses.append(os.waitpid(pid, 0)[1])

churning = threading.Thread(target=churn)
forking = threading.Thread(target=fork)
churning.start()
forking.start()
forking.join()
done.set()
churning.join()
assert statuses == [0] * 100, statuses
assert (shared == 7).all()
sharedmem.reclaim()
"""


def test_fork_from_a_thread(backend, family):
    """Children forked by one thread while another is inside the library can use it and leave nothing."""
    before = kernel.held()
    run(FORK_FROM_A_THREAD, backend, environ=environment(family))
    assert kernel.held() == before

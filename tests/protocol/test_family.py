"""Who belongs to a family, whatever started the process, and who does not."""

import os
import pickle
import signal
import subprocess
import sys

import pytest

import sharedmem

from . import kernel
from .processes import environment, python, run

SEND_AND_EXIT = """
import os, sys, sharedmem
from multiprocessing.reduction import ForkingPickler
sys.stdout.buffer.write(ForkingPickler.dumps(sharedmem.full(1000, 7.0, backend=sys.argv[1])))
sys.stdout.flush()
os._exit(0)
"""
SHELL = ["/bin/sh", "-c", '"$@"; exit $?', "sh"]


@pytest.mark.parametrize("between", [[], SHELL], ids=["child", "grandchild"])
def test_worker_with_an_emptied_environment(backend, between):
    """A worker that was given no environment is found to be of its ancestor's family."""
    before = kernel.held()
    command = [*between, *python(SEND_AND_EXIT, backend)]
    sent = subprocess.run(command, env={}, stdout=subprocess.PIPE, check=True).stdout
    sharedmem.reclaim()
    array = pickle.loads(sent)
    assert (array == 7).all()
    del array
    assert kernel.held() == before


def test_family_named_in_the_environment(processes, backend, family):
    """Programs that share nothing but SHAREDMEM_FAMILY hold each other's arrays in flight."""
    before = kernel.held()
    member = processes.program(
        "import sharedmem, sys; print('joined', flush=True); sys.stdin.readline()",
        environ=environment(family),
    )
    assert member.hear() == "joined"
    command = python(SEND_AND_EXIT, backend)
    sent = subprocess.run(command, env=environment(family), stdout=subprocess.PIPE, check=True).stdout
    sharedmem.reclaim()
    array = pickle.loads(sent)
    assert (array == 7).all()
    del array
    member.end()
    assert kernel.held() == before


def test_family_is_named_to_children():
    """Importing the library, even with an emptied environment, names the family to children."""
    source = "import os, sharedmem; print(os.environ['SHAREDMEM_FAMILY'])"
    assert run(source, environ={}) == [os.environ["SHAREDMEM_FAMILY"]]


def test_name_of_a_dead_family_revives_nothing(processes, backend, family):
    """A family that takes a dead one's name does not take over what that had in flight."""
    before = kernel.held()
    command = python(SEND_AND_EXIT, backend)
    sent = subprocess.run(command, env=environment(family), stdout=subprocess.PIPE, check=True).stdout
    namesake = processes.program(
        "import sharedmem, sys; sharedmem.reclaim(); print('joined', flush=True); sys.stdin.readline()",
        environ=environment(family),
    )
    assert namesake.hear() == "joined"
    with pytest.raises(sharedmem.SegmentNotFoundError):
        pickle.loads(sent)
    namesake.end()
    assert kernel.held() == before


def send_from_a_new_family(pipe, backend):
    sharedmem.new_family()
    pipe.send(sharedmem.full(1000, 7.0, backend=backend))


def test_new_family_is_a_family_of_its_own(processes, backend, monkeypatch):
    """What a child sent after new_family() does not outlive the child, though its parent lives."""
    monkeypatch.setenv("SHAREDMEM_REAPER", "0")  # which would be ending the family at the same time
    before = kernel.held()
    pid, child = processes.fork_with_pipe(send_from_a_new_family, backend)
    assert processes.wait(pid) == 0
    sharedmem.reclaim()
    with pytest.raises(sharedmem.SegmentNotFoundError):
        child.recv()
    assert kernel.held() == before


VISITS = """
import os, signal, sys
sys.stdin.readline()
import sharedmem
for visit in range(99):
    pid = os.fork()
    if pid == 0:
        array = sharedmem.attach(sys.argv[1], mode=("r+", "r")[visit % 2])
        assert (array == 7).all()
        if visit % 3 == 0:
            sys.exit(0)
        if visit % 3 == 1:
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == (-signal.SIGKILL if visit % 3 == 2 else 0)
assert (sharedmem.attach(sys.argv[1]) == 7).all()
print(os.environ["SHAREDMEM_FAMILY"], os.getppid())
"""


def test_hundred_visits_change_nothing(processes, backend):
    """An unrelated process of a family of its own attaches and ends a hundred times, and nobody notices."""
    before = kernel.held()
    array = sharedmem.full(1000, 7.0, backend=backend)
    visitor, pid = processes.orphan(python(VISITS, array.name), environ={})
    family, parent = visitor.end()[0].split()
    processes.await_end(pid)
    assert family != os.environ["SHAREDMEM_FAMILY"] and int(parent) != os.getpid()
    sharedmem.reclaim()
    assert (array == 7).all() and array.is_current()
    assert sharedmem.stat(array.name).tickets == 0
    run("import sharedmem, sys; sharedmem.attach(sys.argv[1])", array.name)
    del array
    assert kernel.held() == before


STAY = """
import sys, sharedmem
array = sharedmem.attach(sys.argv[1])
print("attached", flush=True)
sys.stdin.readline()
assert (array == 7).all()
"""


def test_visitor_can_be_the_last_user(processes, backend, family):
    """A visitor that stays longer than the owner keeps the array, and frees it when it leaves."""
    before = kernel.held()
    array = sharedmem.full(1000, 7.0, backend=backend)
    name = array.name
    visitor = processes.program(STAY, name, environ=environment(family))
    assert visitor.hear() == "attached"
    del array
    sharedmem.reclaim()
    assert sharedmem.exists(name)
    visitor.end()
    assert kernel.held() == before


STARTED_BEFORE = """
import multiprocessing, sys

def make(backend, value):
    import sharedmem
    return sharedmem.full(1000, value, backend=backend)

def add_one(array):
    array += 1

def put_and_exit(queue, backend):
    import os, sharedmem
    queue.put(sharedmem.full(1000, 7.0, backend=backend))
    os._exit(0)

def get_and_check(queue):
    assert (queue.get() == 7).all()

def results(context, backend):
    with context.Pool(2) as pool:
        arrays = pool.starmap(make, [(backend, float(i)) for i in range(6)], chunksize=1)
        pool.close()
        pool.join()
    assert [array.tolist() for array in arrays] == [[float(i)] * 1000 for i in range(6)]

def arguments(context, backend):
    with context.Pool(2) as pool:
        pool.map(abs, range(100), chunksize=1)
        import sharedmem
        arrays = [sharedmem.full(1000, i, backend=backend) for i in range(6)]
        pool.map(add_one, arrays, chunksize=1)
        pool.close()
        pool.join()
    assert [array.tolist() for array in arrays] == [[i + 1] * 1000 for i in range(6)]

def siblings(context, backend):
    queue = context.SimpleQueue()
    for target, args in (put_and_exit, (queue, backend)), (get_and_check, (queue,)):
        worker = context.Process(target=target, args=args)
        worker.start()
        worker.join()
        assert worker.exitcode == 0
    assert "sharedmem" not in sys.modules

if __name__ == "__main__":
    sys.stdin.readline()
    assert "sharedmem" not in sys.modules
    story, start_method, backend = sys.argv[1:]
    globals()[story](multiprocessing.get_context(start_method), backend)
    print("done")
"""


@pytest.mark.parametrize(
    "story",
    [
        pytest.param("results", id="pool_returns_arrays"),
        pytest.param("arguments", id="pool_gets_arrays"),
        pytest.param("siblings", id="parent_never_imports"),
    ],
)
def test_workers_started_before_the_import(processes, backend, start_method, tmp_path, story):
    """Workers and forkservers that are older than the first import are of one family with their parent."""
    before = kernel.held()
    script = tmp_path / "started_before.py"
    script.write_text(STARTED_BEFORE)
    command = [sys.executable, str(script), story, start_method, backend]
    program, pid = processes.orphan(command, environ={})
    assert program.end() == ["done"]
    processes.await_end(pid)
    sharedmem.reclaim()
    assert kernel.held() == before


LEFT_WHILE_STARTED = """
import multiprocessing, os, signal, sys, time

class ImportsLate:
    '''Unpickled in the worker while that is being started: when its starter is dead.'''
    def __init__(self, starter):
        self.starter = starter

    def __reduce__(self):
        return outlive, (self.starter, os.environ["METHOD"])

def outlive(starter, method):
    if method == "forkserver":
        os.kill(os.getppid(), signal.SIGSTOP)  # or it would end with its starter
    print("server", os.getppid() if method == "forkserver" else 0, os.getpid(), flush=True)
    while os.path.exists(f"/proc/{starter}"):
        time.sleep(0.001)
    import sharedmem
    print(sharedmem.family(), flush=True)
    os._exit(0)

if __name__ == "__main__":
    sys.stdin.readline()
    context = multiprocessing.get_context(os.environ["METHOD"])
    context.Process(target=print, args=(ImportsLate(os.getpid()),)).start()
    time.sleep(1000)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_worker_whose_starter_died_while_it_was_started(processes, tmp_path, method):
    """Its family does not wait for the end of whoever adopted it, which may be init."""
    before = kernel.held()
    script = tmp_path / "left.py"
    script.write_text(LEFT_WHILE_STARTED)
    program, starter = processes.orphan([sys.executable, str(script)], environ={"METHOD": method})
    server, worker = map(int, program.hear().split()[1:])
    for pid in (server, worker):
        if pid:
            processes.adopt(pid)
    os.kill(starter, signal.SIGKILL)
    processes.await_end(starter)
    family = program.hear()
    if server:
        os.kill(server, signal.SIGKILL)
        processes.await_end(server)
    processes.await_end(worker)
    assert family not in kernel.families() or sharedmem.reclaim()[1] == 1
    assert kernel.held() == before


def test_killed_family_leaves_no_file(processes, backend, family):
    """The file of a family whose members were SIGKILLed is reclaimed with their segments."""
    before = kernel.held()
    program = processes.program(
        "import sharedmem, sys; array = sharedmem.zeros(9, backend=sys.argv[1]); print('created', flush=True); input()",
        backend,
        environ=environment(family),
    )
    assert program.hear() == "created"
    assert kernel.families() == before["families"] | {family}
    program.kill()
    assert program.wait() == -signal.SIGKILL
    sharedmem.reclaim()
    assert kernel.held() == before

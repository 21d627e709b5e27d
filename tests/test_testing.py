"""sharedmem.testing finds each kind of leak, and kills at each step."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator

import pytest
from protocol.processes import Processes, Program, python

import sharedmem
from sharedmem.testing import Death, LeakError, deaths, leak_guard

# ---- the pytest plugin -----------------------------------------------------

Run = Callable[..., pytest.RunResult]
HEAD = """
import multiprocessing, os, signal, subprocess, sys, threading, time
from multiprocessing import shared_memory
from multiprocessing.reduction import ForkingPickler
import pytest, sharedmem
kept = []
def teardown_module():
    for undo in kept:
        if callable(undo):
            undo()
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs test source in a pytest process of a family of its own."""
    monkeypatch.setenv("SHAREDMEM_FAMILY", f"test-{secrets.token_hex(8)}")

    def run(source: str, *options: str, patience: float = 5) -> pytest.RunResult:
        pytester.makepyfile(HEAD + source)
        pytester.makeini(f"[pytest]\nsharedmem_leak_patience = {patience}\n")
        return pytester.runpytest_subprocess("-W", "ignore::DeprecationWarning", *options)

    return run


SIZE_AND_HOLDER = "*,* bytes; mapped by * (*"
LEAKS = {
    "posix": (
        "kept.append(sharedmem.zeros((10, 3), 'i4', name='leaked', backend='posix'))",
        "*POSIX segment /dev/shm/smem.*.s.leaked; array 'leaked' of shape (10, 3) and dtype int32; "
        + SIZE_AND_HOLDER,
    ),
    "sysv": (
        "kept.append(sharedmem.zeros((10, 3), 'i4', name='leaked', backend='sysv'))",
        "*SysV segment id *; array 'leaked' of shape (10, 3) and dtype int32; " + SIZE_AND_HOLDER,
    ),
    "persistent": (
        """
        sharedmem.zeros(3, name='leaked', persistent=True)
        kept.append(lambda: sharedmem.unlink('leaked'))
        """,
        "*array 'leaked' *, persistent; * bytes; mapped by nobody",
    ),
    "in flight": (
        "ForkingPickler.dumps(sharedmem.zeros(3, name='leaked'))",
        "*array 'leaked' *, 1 in flight; * bytes; mapped by nobody",
    ),
    "other library's": (
        """
        block = shared_memory.SharedMemory('leaked', create=True, size=10)
        kept.extend([block.unlink, block.close])
        """,
        "*file /dev/shm/leaked; 10 bytes; mapped by * (*",
    ),
    "fd": ("os.open(os.devnull, os.O_RDONLY)", "*fd * -> /dev/null"),
    "child": (
        "kept.append(subprocess.Popen(['sleep', '100'], start_new_session=True).kill)",
        "*process *; sleep",
    ),
    "not waited for": (
        """
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        """,
        "*process *; *, ended, not waited for",
    ),
    "child of the forkserver": (
        """
        context = multiprocessing.get_context('forkserver')
        worker = context.Process(target=time.sleep, args=(100,))
        worker.start()
        kept.extend([worker.kill, worker])
        """,
        "*process *; *",
    ),
}


@pytest.mark.parametrize("kind", LEAKS)
def test_each_kind_of_leak_is_an_error(run: Run, kind: str) -> None:
    """A test that leaves something behind gets an error that names it, its size and its holders."""
    statement, report = LEAKS[kind]
    body = textwrap.indent(textwrap.dedent(statement), "    ")
    source = f"def test_leak(no_leaks):\n{body}\ndef test_next(no_leaks): pass\n"
    result = run(source, patience=0)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_leak*", "left behind:", report])


CLEAN = """
def test_nothing(): pass

@pytest.mark.parametrize('backend', ['posix', 'sysv'])
def test_array(backend):
    array = sharedmem.ones(10, backend=backend)
    assert array.sum() == 10

@pytest.fixture
def array():
    return sharedmem.ones(10)

def test_array_of_a_fixture(array):
    assert array.sum() == 10

@pytest.fixture(scope='module')
def lasting():
    return sharedmem.ones(10)

def test_array_of_the_module(lasting):
    assert lasting.sum() == 10

@pytest.mark.parametrize('method', ['fork', 'spawn', 'forkserver'])
def test_pool(method):
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        assert pool.map(sum, [sharedmem.ones(10), sharedmem.ones(20)]) == [10, 20]
        pool.close()
        pool.join()
    context.Barrier(2)

def test_other_library():
    block = shared_memory.SharedMemory(create=True, size=10)
    block.close()
    block.unlink()

def test_new_family():
    sharedmem.new_family()
    array = sharedmem.ones(10)

def test_thread_that_is_ending():
    started = threading.Event()
    def work(array):
        started.set()
        time.sleep(0.3)
    threading.Thread(target=work, args=(sharedmem.ones(10),)).start()
    started.wait()

def test_orphan_that_is_ending():
    array = sharedmem.ones(10)
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            time.sleep(0.3)
        os._exit(0)
    os.waitpid(child, 0)

def test_cycle():
    cycle = [sharedmem.ones(10)]
    cycle.append(cycle)

def test_skipped():
    array = sharedmem.ones(10)
    pytest.skip('half-way')
"""


def test_clean_tests_pass(run: Run) -> None:
    """Tests that leave nothing pass; what is just ending is waited for; fixtures may hold arrays."""
    result = run(CLEAN, "--sharedmem-leak-guard")
    result.assert_outcomes(passed=13, skipped=1)


EXCUSED = """
@pytest.fixture
def nothing(): pass

def test_failing(nothing):
    array = sharedmem.ones(10)
    fd = os.open(os.devnull, os.O_RDONLY)
    assert array.sum() == 9

@pytest.mark.xfail
def test_expected_to_fail():
    array = sharedmem.ones(10)
    assert array.sum() == 9

@pytest.mark.may_leak
def test_marked():
    kept.append(sharedmem.ones(10))

def test_next(): pass
"""


def test_what_is_not_judged(run: Run) -> None:
    """A test that raised keeps its own error; one that is marked may leak; the next is not blamed."""
    result = run(EXCUSED, "--sharedmem-leak-guard", "--strict-markers", patience=0)
    result.assert_outcomes(failed=1, xfailed=1, passed=2)


LEAK = "def test_leak(): kept.append(sharedmem.ones(3))"


@pytest.mark.parametrize(
    "options, errors",
    [
        pytest.param([], 0, id="by default nothing is judged"),
        pytest.param(["--sharedmem-leak-guard"], 1, id="option"),
        pytest.param(["-o", "sharedmem_leak_guard=true"], 1, id="ini"),
    ],
)
def test_guard_is_opt_in(run: Run, options: list[str], errors: int) -> None:
    """Tests are guarded where the ini-file or an option says so, and only there."""
    run(LEAK, *options, patience=0).assert_outcomes(passed=1, errors=errors)


def test_plugin_imports_nothing(pytester: pytest.Pytester) -> None:
    """Where nobody asks for the guard, pytest's process does not become a participant."""
    pytester.makepyfile(
        """
        import sys
        def test(request):
            assert request.config.pluginmanager.has_plugin("sharedmem")
            assert "sharedmem" not in sys.modules and "numpy" not in sys.modules
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


# ---- the context manager ---------------------------------------------------


@pytest.fixture
def processes() -> Iterator[Processes]:
    processes = Processes()
    yield processes
    processes.close()


def test_context_lists_what_is_left(backend: str, name: str) -> None:
    """The error has each leak with its size and holders."""
    kept = []
    with pytest.raises(LeakError, match=name) as caught, leak_guard(patience=0):
        kept.append(sharedmem.zeros(1000, name=name, backend=backend))
    (leak,) = [leak for leak in caught.value.leaks if leak.kind != "file"]
    assert leak.kind == {"posix": "POSIX segment", "sysv": "SysV segment"}[backend]
    assert leak.size == sharedmem.stat(name).size
    assert [pid for pid, _ in leak.holders] == [os.getpid()]


def test_replaced_segment_is_a_leak(name: str) -> None:
    """A segment that has the name of an older one is told from it."""
    old = sharedmem.zeros(3, name=name)
    kept = []
    with pytest.raises(LeakError), leak_guard(patience=0):
        kept.append(sharedmem.zeros(3, name=name, replace=True))
    assert old.sum() == 0


def test_exception_passes_unjudged() -> None:
    """The body's own exception is what is raised, not that its traceback keeps an array."""

    def fail() -> None:
        kept.append(sharedmem.zeros(3))
        raise ZeroDivisionError

    kept: list[sharedmem.SharedArray] = []
    with pytest.raises(ZeroDivisionError), leak_guard(patience=0):
        fail()


NEIGHBOUR = """
import sys
sys.stdin.readline()
import sharedmem
print("ready", flush=True)
sys.stdin.readline()
array = sharedmem.zeros(10, name=sys.argv[1], backend=sys.argv[2])
print("created", flush=True)
sys.stdin.readline()
"""


def a_tick_later() -> None:
    """The kernel says when a process started in steps of some milliseconds."""
    start = time.clock_gettime(time.CLOCK_BOOTTIME)
    while time.clock_gettime(time.CLOCK_BOOTTIME) < start + 2 / os.sysconf("SC_CLK_TCK"):
        pass


def test_neighbours_are_not_blamed_on_us(processes: Processes, backend: str, name: str) -> None:
    """What an older process that is no child of ours creates meanwhile is not judged."""
    environ = os.environ | {"SHAREDMEM_FAMILY": f"test-{secrets.token_hex(8)}"}
    neighbour, pid = processes.orphan(python(NEIGHBOUR, name, backend), environ)
    assert neighbour.hear() == "ready"
    a_tick_later()
    with leak_guard(patience=0):
        neighbour.say()
        assert neighbour.hear() == "created"
    assert sharedmem.exists(name)
    neighbour.end("\n")
    processes.await_end(pid)


def test_orphan_of_ours_is_blamed_on_us(processes: Processes, backend: str, name: str) -> None:
    """What a process keeps that was started here, and whose parent is gone, is a leak."""

    def start() -> tuple[Program, int]:
        orphan, pid = processes.orphan(python(NEIGHBOUR, name, backend))
        assert orphan.hear() == "ready"
        orphan.say()
        assert orphan.hear() == "created"
        return orphan, pid

    started = []
    with pytest.raises(LeakError, match=name), leak_guard(patience=0):
        started.append(start())
    orphan, pid = started[0]
    orphan.end("\n")
    processes.await_end(pid)


# ---- deaths ----------------------------------------------------------------


def append(path: str) -> None:
    for word in ("a", "b"):
        with open(path, "a") as file:
            file.write(word)


def places(records: list[Death]) -> list[int]:
    """Lines of the steps, counted from the head of append()."""
    first = append.__code__.co_firstlineno
    return [int(each.place.split(":")[1].split()[0]) - first for each in records if each.place]


def test_each_step_is_killed_once_in_order(tmp_path: os.PathLike[str]) -> None:
    """The n-th child is killed before the n-th line that the function runs; the last completes."""
    path = os.path.join(tmp_path, "text")
    records, texts = [], []
    for death in deaths(append, path):
        records.append(death)
        with open(path, "a+") as file:
            file.seek(0)
            texts.append(file.read())
        os.unlink(path)
    *killed, completed = records
    assert [each.step for each in records] == list(range(1, len(records) + 1))
    assert {each.status for each in killed} == {-signal.SIGKILL}
    assert all(each.place and each.place.startswith(__file__) for each in killed)
    assert places(killed)[:4] == [1, 2, 3, 2] and places(killed)[-1] == 1
    assert completed == Death(len(records), None, 0) and completed.completed
    assert texts == sorted(texts) and set(texts) == {"", "a", "ab"}


def test_every_run_has_the_same_steps(tmp_path: os.PathLike[str]) -> None:
    """What was killed where is the same in a second run."""
    path = os.path.join(tmp_path, "text")
    assert list(deaths(append, path)) == list(deaths(append, path))


def test_steps_within_a_package() -> None:
    """The lines of other modules are steps when they are named, a package with all in it."""

    def make() -> None:
        sharedmem.zeros(3, ">f8")

    own = list(deaths(make))
    inner = list(deaths(make, within="sharedmem"))
    both = list(deaths(make, within=("sharedmem", __name__)))
    assert len(own) == 2 and len(inner) > 10 and len(both) == len(own) + len(inner) - 1
    assert all("/sharedmem/" in each.place for each in inner if each.place)


def test_only_chosen_steps() -> None:
    """A predicate on the frame says which lines count."""

    def loop() -> None:
        for _ in range(1000):
            pass
        append("/dev/null")

    records = list(deaths(loop, at=lambda frame: frame.f_code is append.__code__))
    assert all(each.place.endswith("in append") for each in records if each.place)
    assert 3 < len(records) < 20


def test_exception_of_the_function_is_shown() -> None:
    """A function that raises before it can be killed is an error with its traceback."""

    def fail() -> None:
        raise KeyError("what went wrong")

    steps = deaths(fail)
    assert next(steps).status == -signal.SIGKILL
    with pytest.raises(RuntimeError, match=r"(?s)before step 2.*in fail.*what went wrong"):
        next(steps)


def test_other_ends_are_not_taken_for_ours() -> None:
    """A child that ends by itself, even by SIGKILL, is an error."""

    def end() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RuntimeError, match="ended with -9"):
        list(deaths(end))


def test_child_that_hangs_is_killed() -> None:
    """A child that does not end in time is killed, and the error says at which step."""

    def hang() -> None:
        signal.pause()

    steps = deaths(hang, timeout=0.2)
    assert next(steps).step == 1
    with pytest.raises(TimeoutError, match="step 2"):
        next(steps)


def test_descendants_are_left_alone() -> None:
    """A process that the function has started and left is neither killed nor waited for."""
    here, there = multiprocessing.Pipe()

    def leave_a_child() -> None:
        if os.fork() == 0:
            word = there.recv()
            there.send(word)
            os._exit(0)

    *killed, last = deaths(leave_a_child)
    assert last.completed and len(killed) == 1
    there.close()
    here.send("alive")
    assert here.recv() == "alive"
    here.close()


def test_steps_have_to_be_somewhere() -> None:
    """For a callable without a module one has to say whose lines are steps."""

    class Callable:
        __module__ = None

        def __call__(self) -> None:
            pass

    with pytest.raises(TypeError, match="within="):
        deaths(Callable())


def test_tracing_stays_in_the_child() -> None:
    """This process's own trace function is left alone."""
    before = sys.gettrace()
    list(deaths(append, "/dev/null"))
    assert sys.gettrace() is before

"""Users and containers that share one thing and not another do not disturb each other.

A container is a shell with namespaces of its own: it says what its kernel
tables hold, runs a member that obeys when told, and says again what is left.
"""

import contextlib
import itertools
import os
import shutil
import signal
import sys
import sysconfig
from pathlib import Path

import pytest

import sharedmem
from sharedmem._core.segment import BACKENDS, Context

from . import kernel
from .processes import environment, run
from .reapers import Reaper, until
from .test_reaper import HONORARY, OBEY, TESTS, create, do, is_whole, kill, put_in_flight, received

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

NOBODY = 65534
THINGS = ("mount", "ipc", "pid")

# The member has a process group of its own, so that it can be killed without the shell.
INSIDE = """
[ -z "$OWN_SHM" ] || mount -t tmpfs tmpfs /dev/shm || exit 1
[ -z "$OWN_PROC" ] || mount -t proc proc /proc || exit 1
look() {
    ls -A /dev/shm
    tail -n +2 /proc/sysvipc/shm | while read key id rest; do echo "sysv $id"; done
    echo looked
}
look
read line
exec 3<&0
setsid "$@" <&3 3<&- &
echo member
wait $!
echo over
read line
look
"""


class Container:
    """Where a member of a family lives."""

    def __init__(self, processes, own, family, command):
        environ = environment(family, reaper=True) | {"PYTHONPATH": TESTS}
        environ |= {"OWN_SHM": "1"} if "mount" in own else {}
        environ |= {"OWN_PROC": "1"} if "pid" in own else {}
        flags = ["--mount", *(["--ipc"] if "ipc" in own else [])]
        flags += ["--pid", "--fork"] if "pid" in own else []
        self.family = family
        self.shell = processes.start(
            ["unshare", *flags, "/bin/sh", "-c", INSIDE, "sh", *command], environ
        )
        self.before = self.look()

    def look(self):
        """What the kernel's tables hold, seen from inside."""
        return set(iter(self.shell.hear, "looked"))

    def start(self):
        self.shell.say()
        assert self.shell.hear() == "member"
        return self.shell

    def kill_members(self):
        """SIGKILL all members, and nothing else."""
        for pid in self._members():
            os.kill(pid, signal.SIGKILL)
        assert self.shell.hear() == "over"

    def kill_first(self):
        """SIGKILL the first process of the PID namespace: the kernel kills all the others."""
        with open(f"/proc/{self.shell.pid}/task/{self.shell.pid}/children") as children:
            (first,) = children.read().split()
        os.kill(int(first), signal.SIGKILL)
        self.shell.wait()

    def left(self):
        """What is there inside that was not there before."""
        self.shell.say()
        return self.look() - self.before

    def _members(self):
        """Those that map the family's file. A maker shows it under its own name only.

        What may not be looked at is none of them: a host's first process, of whose
        capabilities root in a sandbox has a part only.
        """
        found = set()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if entry.name.isdecimal() and f".f.{self.family}\n" in (entry / "maps").read_text():
                    found.add(int(entry.name))
        return found


@pytest.fixture
def container(processes):
    """Starts containers with one kind of namespaces or another of their own."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare(1)")

    def start(own, family, command=None):
        command = command or [sys.executable, "-c", OBEY]
        return Container(processes, own, family, command)

    return start


@pytest.fixture
def reaper():
    """Finds the reaper of a family, which may live where its file cannot be seen."""
    found = []

    def find(family, **facts):
        found.append(Reaper(family, **{"visible": False} | facts))
        return found[-1]

    yield find
    for each in found:
        each.close()


def become_member(container):
    program = container.start()
    do(program, "import sharedmem")
    for backend in "posix", "sysv":
        do(program, f"{backend} = sharedmem.full(1000, 7.0, backend={backend!r})")
    put_in_flight(program, "posix")
    return program


def is_unharmed(program):
    return all(is_whole(program, backend) for backend in ("posix", "sysv")) and received(program)


COMBINATIONS = [
    pytest.param(own, id="own_" + "_".join(own) if own else "all_shared")
    for count in range(4)
    for own in itertools.combinations(THINGS, count)
]


@pytest.mark.parametrize("own", COMBINATIONS)
def test_two_containers(container, reaper, family, own):
    """When all in one container are killed those in the other have their arrays; then nothing is left in either."""
    before = kernel.held()
    one, other = container(own, family), container(own, family + "-other")
    survivor = become_member(one)
    become_member(other)
    reapers = reaper(family), reaper(family + "-other")
    other.kill_members()
    reapers[1].await_end()
    reapers[0].await_sleep()
    assert is_unharmed(survivor)
    one.kill_members()
    reapers[0].await_end()
    assert one.left() == set()
    assert other.left() == set()
    assert kernel.held() == before


@pytest.fixture
def no_journal():
    """There is none before, and one that the test leaves goes by hand."""
    journal = Path(f"/dev/shm/smem.{os.geteuid()}.u.journal")
    if journal.exists():
        pytest.skip("this user has a journal")
    yield
    journal.unlink(missing_ok=True)


@pytest.mark.parametrize("own", [("pid",), ("ipc", "pid")], ids="_".join)
def test_pid_namespace_that_ends(no_journal, container, reaper, family, own):
    """A PID namespace takes its reaper along; what it leaves to others goes at their next death.

    The journal stays when it lists what an IPC namespace took along: from outside
    nobody can tell that this has ended.
    """
    before = kernel.held()
    one, other = container(own, family), container(own, family + "-other")
    survivor = become_member(one)
    become_member(other)
    guard = reaper(family)
    reaper(family + "-other")
    other.kill_first()
    until(lambda: not kernel.reapers(family + "-other"))
    assert is_unharmed(survivor)
    one.kill_members()
    guard.await_end()
    assert one.left() == ({f"smem.{os.geteuid()}.u.journal"} if "ipc" in own else set())
    assert kernel.held() == before | {"user file": "ipc" in own}


def honorary(tmp_path, backend):
    """Command of a multiprocessing parent that never imports the library."""
    script = tmp_path / "honorary.py"
    script.write_text(HONORARY)
    return [sys.executable, str(script), "fork", backend]


def start_honorary(there):
    """Its worker has put an array in flight and been killed; the parent lives."""
    parent = there.start()
    parent.say("your parent is gone")
    assert parent.hear() == there.family
    parent.say("kill the worker")
    assert parent.hear() == str(-signal.SIGKILL)


def test_honorary_member_in_a_pid_namespace_that_ended(
    processes, container, reaper, backend, family, tmp_path
):
    """A parent that went with its PID namespace keeps no family, and no reaper, for ever."""
    before = kernel.held()
    environ = environment(family, reaper=True) | {"PYTHONPATH": TESTS}
    program = processes.program(OBEY, environ=environ)
    do(program, "import sharedmem")
    create(program, backend)
    guard = reaper(family)
    there = container(("pid",), family, honorary(tmp_path, backend))
    start_honorary(there)
    there.kill_first()
    kill(program)
    guard.await_end()
    assert kernel.held() == before


def test_honorary_member_in_another_pid_namespace(container, reaper, backend, family, tmp_path):
    """A parent whose reaper answers for it keeps what is in flight, though others cannot see it."""
    before = kernel.held()
    there = container(("pid",), family, honorary(tmp_path, backend))
    start_honorary(there)
    guard = reaper(family)
    guard.await_sleep()
    run("import sharedmem", environ=environment(family + "-apart"))
    assert len(kernel.segments() - before["segments"]) == 1
    there.kill_first()
    run("import sharedmem", environ=environment(family + "-apart"))
    assert kernel.held() == before


# ---- locks ----------------------------------------------------------------------------

HOLD = """
import sys, sharedmem
sys.stdin.readline()
lock = sharedmem.Lock.attach(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.readline()
"""


def test_holder_in_another_pid_namespace_whose_file_was_removed(container, backend, family, name):
    """It lives until it dies, though neither its process nor its family's file can be seen."""
    before = kernel.held()
    lock = sharedmem.Lock(name=name, backend=backend)
    there = container(("pid",), family, [sys.executable, "-c", HOLD, name])
    holder = there.start()
    holder.say()
    assert holder.hear() == "held"
    os.unlink(f"/dev/shm/smem.{os.geteuid()}.f.{family}")
    assert not lock.acquire(timeout=0.2)
    assert "of another PID namespace" in repr(lock)
    there.kill_first()
    with pytest.raises(sharedmem.OwnerDiedError):
        lock.acquire(timeout=60)
    lock.release()
    del lock
    assert kernel.held() == before


# ---- two users ------------------------------------------------------------------------


@pytest.fixture
def public_reaper():
    """The reaper where every user can execute it."""
    source = Path(sysconfig.get_path("platlib")) / "sharedmem/_core/sharedmem-reaper"
    directory = Path("/tmp") / f"reaper-{os.getpid()}"
    directory.mkdir(mode=0o755)
    shutil.copy(source, directory)
    (directory / source.name).chmod(0o755)
    yield str(directory / source.name)
    shutil.rmtree(directory)


def take_part(pipe, backend, family, program):
    """As another user, hold an array and put one in flight; check when told."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    os.environ["SHAREDMEM_REAPER"] = "1"
    context = Context(family, 0, None, program)
    facts = (BACKENDS[backend], 0, 0o600, b"'|u1'", 1, (1000,), None)
    array = context.create(None, *facts)
    memoryview(array)[:] = bytes([7]) * 1000
    sent = context.create(None, *facts)
    sent.ticket()
    del sent
    pipe.send("created")
    while pipe.recv() == "check":
        pipe.send(bytes(memoryview(array)) == bytes([7]) * 1000 and len(context.list()) == 2)


@pytest.mark.parametrize("first", ["one", "other"])
def test_two_users(processes, reaper, public_reaper, backend, family, first):
    """When all of one user's processes are killed the other's have their arrays; then nothing is left of either."""
    before = kernel.held(), kernel.held(NOBODY)
    environ = environment(family, reaper=True) | {"PYTHONPATH": TESTS}
    program = processes.program(OBEY, environ=environ)
    do(program, "import sharedmem")
    create(program, backend)
    put_in_flight(program, backend)
    pid, pipe = processes.fork_with_pipe(take_part, backend, family + "-other", public_reaper)
    assert pipe.recv() == "created"
    own = reaper(family, visible=True)
    others = reaper(family + "-other", visible=True, uid=NOBODY)
    if first == "one":
        kill(program)
        own.await_end()
        others.await_sleep()
        pipe.send("check")
        assert pipe.recv()
    processes.kill(pid)
    others.await_end()
    if first == "other":
        own.await_sleep()
        assert is_whole(program) and received(program)
        kill(program)
        own.await_end()
    assert (kernel.held(), kernel.held(NOBODY)) == before

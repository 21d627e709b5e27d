"""When all who could free something have been killed, the family's reaper does, and harms nobody.

Programs here are told what to do line by line, and have families of their own
with a reaper each. The process that tests makes no use of the library while it
waits, and asks the kernel only.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from . import kernel
from .processes import DEATHS, environment, python, run
from .reapers import Reaper, until

OBEY = """
import fcntl, os, pickle, resource, signal, sys
from multiprocessing.reduction import ForkingPickler
from protocol import processes, seccomp
def tell(answer):  # in one piece: children answer too
    os.write(1, f"{answer}{os.linesep}".encode())
for line in sys.stdin:
    exec(eval(line))
    tell("done")
"""
TESTS = str(Path(__file__).parents[1])


@pytest.fixture(autouse=True)
def semaphores_of_the_killed():
    """Remove what multiprocessing leaves when its resource tracker is killed, too."""

    def present():
        return set(Path(kernel.DIRECTORY).glob("sem.mp-*"))

    before = present()
    yield
    for left in present() - before:
        left.unlink(missing_ok=True)


@pytest.fixture
def member(processes):
    """Starts a program that becomes a member of the family and obeys."""

    def start(family, **changes):
        environ = environment(family, reaper=True) | {"PYTHONPATH": TESTS} | changes
        program = processes.program(OBEY, environ=environ)
        do(program, "import sharedmem")
        return program

    return start


@pytest.fixture
def reaper():
    """Finds the reaper of a family, once it guards."""
    found = []

    def find(family):
        found.append(Reaper(family))
        return found[-1]

    yield find
    for each in found:
        each.close()


def do(program, source):
    program.say(repr(source))
    assert program.hear() == "done"


def ask(program, expression):
    program.say(repr(f"tell({expression})"))
    answer = program.hear()
    assert program.hear() == "done"
    return answer


def create(program, backend, variable="array"):
    do(program, f"{variable} = sharedmem.full(1000, 7.0, backend={backend!r})")


def put_in_flight(program, backend):
    do(program, f"sent = bytes(ForkingPickler.dumps(sharedmem.full(1000, 7.0, backend={backend!r})))")


def is_whole(program, variable="array"):
    return ask(program, f"({variable} == 7).all()") == "True"


def received(program):
    return ask(program, "(pickle.loads(sent) == 7).all()") == "True"


FORK_AND_HOLD = """
pid = os.fork()
if pid == 0:
    {child}
    tell(os.getpid())
    signal.pause()
"""


def fork_and_hold(program, processes, child="pass"):
    """Fork a child that does something, holds what it inherited, and is looked after here."""
    program.say(repr(FORK_AND_HOLD.format(child=child)))
    answers = {program.hear(), program.hear()}
    (pid,) = answers - {"done"}
    processes.adopt(int(pid))
    return int(pid)


def kill(program):
    os.killpg(program.pid, signal.SIGKILL)
    assert program.wait() == -signal.SIGKILL


def kill_adopted(processes, pid):
    os.kill(pid, signal.SIGKILL)
    processes.await_end(pid)


# ---- everybody is killed -----------------------------------------------------

MASSACRE = """
import multiprocessing, os, signal, sys
import sharedmem

def work(queue, backend):
    own = sharedmem.full(1000, 7.0, backend=backend)
    queue.put(sharedmem.full(1000, 7.0, backend=backend))
    os.write(1, b"working\\n")
    signal.pause()

if __name__ == "__main__":
    method, backend, name = sys.argv[1:]
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    kept = sharedmem.full(1000, 7.0, name=name, backend=backend)
    queue.put(kept)
    for _ in range(2):
        context.Process(target=work, args=(queue, backend)).start()
    sys.stdin.readline()
"""


def test_nothing_is_left_when_all_are_killed(
    processes, member, reaper, backend, start_method, tmp_path, name, family
):
    """Creator, workers, a visitor, arrays in flight: after SIGKILL of all nothing is left, unasked."""
    before, reapers_before = kernel.held(), kernel.reapers()
    script = tmp_path / "massacre.py"
    script.write_text(MASSACRE)
    command = [sys.executable, str(script), start_method, backend, name]
    creator = processes.start(command, environment(family, reaper=True))
    assert [creator.hear(), creator.hear()] == ["working"] * 2
    visitor = member(family + "-visitor")
    do(visitor, f"array = sharedmem.attach({name!r})")
    assert len(kernel.segments() - before["segments"]) == 5
    reapers = [reaper(family), reaper(family + "-visitor")]
    kill(creator)
    kill(visitor)
    for each in reapers:
        each.await_end()
    assert kernel.held() == before
    assert kernel.reapers() == reapers_before


def test_nothing_is_left_when_many_families_are_killed_together(member, reaper, backend, family):
    """Reapers that work at the same time hide nothing from each other."""
    before = kernel.held()
    members = [member(f"{family}-{i}") for i in range(6)]
    for each in members:
        do(each, "sent = [None] * 200")
        do(
            each,
            f"for i in range(200): sent[i] = bytes(ForkingPickler.dumps(sharedmem.zeros(9, backend={backend!r})))",
        )
    reapers = [reaper(f"{family}-{i}") for i in range(6)]
    assert len(kernel.segments() - before["segments"]) == 1200
    for each in reapers:
        each.await_sleep()
        each.stop()
    for each in members:
        kill(each)
    for each in reapers:
        each.resume()
    for each in reapers:
        each.await_end()
    assert kernel.held() == before


def test_nothing_is_left_after_an_orderly_end(member, reaper, backend, family):
    """When its last member has left in order, the reaper ends."""
    before = kernel.held()
    program = member(family)
    create(program, backend)
    put_in_flight(program, backend)
    guard = reaper(family)
    assert program.end() == []
    guard.await_end()
    assert kernel.held() == before


@pytest.mark.parametrize("use", ["creates", "sends"])
def test_a_member_again_is_guarded_again(member, reaper, backend, family, use):
    """Its family ended when it left, and the reaper with it; what it uses then has one from the start."""
    before = kernel.held()
    program = member(family)
    create(program, backend)
    guard = reaper(family)
    do(program, "from sharedmem.participant import context; context.leave()")
    guard.await_end()
    if use == "creates":
        create(program, backend, "other")
    else:
        do(program, "sent = bytes(ForkingPickler.dumps(array))")
    guard = reaper(family)
    kill(program)
    guard.await_end()
    assert kernel.held() == before


# ---- without a reaper ---------------------------------------------------------

WITHOUT = """
import os, sys, sharedmem
from sharedmem._core.segment import BACKENDS, Context
context = Context(None, 0, None, sys.argv[2])
segments = [context.create(None, BACKENDS[sys.argv[1]], 0, 0o600, b"'<f8'", 8, (1000,), None) for _ in range(2)]
segments[1].ticket()
del segments[1]
print("created", flush=True)
sys.stdin.readline()
"""


def not_executable(directory):
    path = directory / "reaper"
    path.write_bytes(b"\x7fELF")
    return path


def no_program(directory):
    path = not_executable(directory)
    path.chmod(0o755)
    return path


REAPERS = {
    "missing": lambda directory: directory / "reaper",
    "not_executable": not_executable,
    "no_program": no_program,
    "that_fails": lambda directory: "/bin/false",
    "that_does_nothing": lambda directory: "/bin/true",
    "that_is_a_directory": lambda directory: directory,
    "none": lambda directory: "",
}


@pytest.mark.parametrize("which", REAPERS)
def test_reaper_that_cannot_start(processes, backend, family, tmp_path, which):
    """Without a program that works all goes on, silently, and the next import frees what was left."""
    before, reapers_before = kernel.held(), kernel.reapers()
    environ = environment(family, reaper=True)
    program = processes.program(WITHOUT, backend, REAPERS[which](tmp_path), environ=environ)
    assert program.hear() == "created"
    assert kernel.reapers() == reapers_before
    kill(program)
    assert program.stderr.read() == ""
    assert len(kernel.segments() - before["segments"]) == 2
    run("import sharedmem", environ=environment(family + "-next"))
    assert kernel.held() == before


def test_reaper_that_is_switched_off(member, backend, family):
    """With SHAREDMEM_REAPER=0 there is none, and the next import frees what was left."""
    before, reapers_before = kernel.held(), kernel.reapers()
    program = member(family, SHAREDMEM_REAPER="0")
    create(program, backend)
    put_in_flight(program, backend)
    assert kernel.reapers() == reapers_before
    kill(program)
    assert len(kernel.segments() - before["segments"]) == 2
    run("import sharedmem", environ=environment(family + "-next"))
    assert kernel.held() == before


def test_reaper_that_is_killed_first(member, reaper, backend, family):
    """When the reaper was killed with the family, the next import frees what was left."""
    before = kernel.held()
    program = member(family)
    create(program, backend)
    put_in_flight(program, backend)
    reaper(family).kill()
    kill(program)
    assert len(kernel.segments() - before["segments"]) == 2
    run("import sharedmem", environ=environment(family + "-next"))
    assert kernel.held() == before


def test_killed_reaper_is_replaced(processes, member, reaper, backend, family):
    """A create after the reaper's death starts another one, which frees what was made before."""
    before = kernel.held()
    program = member(family)
    create(program, backend)
    put_in_flight(program, backend)
    reaper(family).kill()
    assert not kernel.is_guarded(family)
    # A forked child looks at its first create; its parent may have just done so.
    fork_and_hold(program, processes, f"own = sharedmem.zeros(9, backend={backend!r})")
    guard = reaper(family)
    kill(program)
    guard.await_end()
    assert kernel.held() == before


# ---- what it costs --------------------------------------------------------------

BUSY = """
import subprocess
for i in range(100):
    made = sharedmem.zeros(1000, backend={backend!r})
    pickle.loads(ForkingPickler.dumps(made))
    sharedmem.attach(made.name, mode="r")
    sharedmem.list_segments(internal=True)
    del made
    sharedmem.reclaim()
for i in range(10):
    subprocess.run(["/bin/true"], check=True)
"""


def test_reaper_sleeps_while_nobody_dies(processes, member, reaper, backend, family):
    """Its sleep is not disturbed by all that members do, and a death ends it."""
    before = kernel.held()
    program = member(family)
    create(program, backend)
    pid = fork_and_hold(program, processes, f"own = sharedmem.zeros(9, backend={backend!r})")
    guard = reaper(family)
    guard.await_sleep(kernel.sleeps_for_ever)
    wakeups = kernel.wakeups(guard.pid)
    do(program, BUSY.format(backend=backend))
    run("import sharedmem; sharedmem.zeros(9)", environ=environment(family + "-other"))
    assert kernel.sleeps_for_ever(guard.pid)
    assert kernel.wakeups(guard.pid) == wakeups
    kill_adopted(processes, pid)
    until(lambda: len(kernel.segments() - before["segments"]) == 1)
    guard.await_sleep()
    assert wakeups < kernel.wakeups(guard.pid) < wakeups + 20
    kill(program)
    guard.await_end()
    assert kernel.held() == before


MANY_WORKERS = """
for i in range(200):
    pid = os.fork()
    if pid == 0:
        own = sharedmem.zeros(9, backend={backend!r})
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
"""


def test_many_deaths_keep_the_reaper_no_busier_than_they_are_many(member, reaper, backend, family):
    """Two hundred short-lived workers cost a few wake-ups each, and leave nothing while the parent lives."""
    before = kernel.held()
    program = member(family)
    create(program, backend)
    guard = reaper(family)
    guard.await_sleep()
    wakeups = kernel.wakeups(guard.pid)
    do(program, MANY_WORKERS.format(backend=backend))
    guard.await_sleep()
    assert len(kernel.segments() - before["segments"]) == 1
    assert kernel.wakeups(guard.pid) < wakeups + 20 + 5 * 200
    assert is_whole(program)
    kill(program)
    guard.await_end()
    assert kernel.held() == before


def test_reaper_is_small(member, reaper, backend, family):
    """It has less than 1 MB of memory of its own."""
    program = member(family)
    create(program, backend)
    rollup = Path(f"/proc/{reaper(family).pid}/smaps_rollup").read_text().splitlines()
    private = [int(line.split()[1]) for line in rollup if line.startswith("Private_")]
    assert private and sum(private) < 1024
    assert program.end() == []


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death.__name__)
def test_what_one_dead_member_leaves(processes, member, reaper, backend, family, death):
    """What only one member had goes after its death, and nothing else, while no other member looks."""
    before = kernel.held()
    program = member(family)
    create(program, backend)
    put_in_flight(program, backend)
    guard = reaper(family)
    child = f"""
pid = os.fork()
if pid == 0:
    own = sharedmem.zeros(9, backend={backend!r})
    processes.{death.__name__}()
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == {DEATHS[death]}
"""
    do(program, child)
    until(lambda: len(kernel.segments() - before["segments"]) == 2)
    guard.await_sleep()
    assert is_whole(program) and received(program)
    assert program.end() == []
    guard.await_end()
    assert kernel.held() == before


# ---- what it inherits, and from whom ------------------------------------------------

DAEMON = """
import os, signal, sys, sharedmem
array = sharedmem.full(1000, 7.0, backend=sys.argv[1])
if os.fork() == 0:
    os.setsid()
    nothing = os.open("/dev/null", os.O_RDWR)
    with open(sys.argv[2], "w") as file:
        file.write(f"{os.getpid()}\\n")
    for fd in range(3):
        os.dup2(nothing, fd)
    signal.pause()
print("created")
"""


def test_script_with_captured_output_ends_when_it_ends(processes, reaper, backend, family, tmp_path):
    """subprocess.run(capture_output=True) returns though a daemon of the script and the reaper live on."""
    before = kernel.held()
    pid_file = tmp_path / "pid"
    done = subprocess.run(
        python(DAEMON, backend, pid_file),
        env=environment(family, reaper=True),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "created\n", "")
    until(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
    daemon = int(pid_file.read_text())
    processes.adopt(daemon)
    guard = reaper(family)
    assert len(kernel.segments() - before["segments"]) == 1
    kill_adopted(processes, daemon)
    guard.await_end()
    assert kernel.held() == before


OPEN_MUCH = """
reader, writer = os.pipe()
for fd in reader, writer, fcntl.fcntl(writer, fcntl.F_DUPFD, 900):
    os.set_inheritable(fd, True)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
"""


def test_reaper_inherits_nothing(member, reaper, backend, family, tmp_path):
    """It has no fd, directory, session or terminal of the process that starts it."""
    program = member(family)
    do(program, OPEN_MUCH)
    do(program, f"os.chdir({str(tmp_path)!r})")
    create(program, backend)
    guard = reaper(family)
    proc = Path(f"/proc/{guard.pid}")
    guarded = f"/dev/shm/smem.{os.geteuid()}.f.{family}"
    locks = [] if kernel.has_byte_locks() else [kernel.lock_file(guarded, 1)]
    own = ["/dev/null"] * 3 + sorted([guarded, *locks, "anon_inode:inotify"])

    def has_its_own_only():
        try:
            fds = {int(fd.name): os.readlink(fd) for fd in (proc / "fd").iterdir()}
        except FileNotFoundError:
            return False  # it sweeps, and has just closed one
        return [fds.pop(fd) for fd in range(3)] + sorted(fds.values()) == own

    until(has_its_own_only)
    assert os.readlink(proc / "cwd") == "/"
    assert os.getsid(guard.pid) not in (os.getsid(program.pid), os.getsid(0))
    assert (proc / "environ").read_bytes() == b""
    assert program.end() == []
    guard.await_end()


def test_reaper_keeps_no_restraint_of_its_starter(member, reaper, backend, family):
    """It has its own umask, and priority where it may; limits of its starter do not end it."""
    program = member(family)
    do(program, "os.umask(0o777), os.nice(7), resource.setrlimit(resource.RLIMIT_CPU, (600, 1200))")
    create(program, backend)
    guard = reaper(family)
    status = Path(f"/proc/{guard.pid}/status").read_text()
    assert re.search(r"^Umask:\s*(\d+)$", status, re.MULTILINE)[1] == "0000"
    ignored = int(re.search(r"^SigIgn:\s*(\w+)$", status, re.MULTILINE)[1], 16)
    for number in signal.SIGXCPU, signal.SIGXFSZ:
        assert ignored & 1 << number - 1
    if os.geteuid() == 0:
        assert os.getpriority(os.PRIO_PROCESS, guard.pid) == 0
    assert program.end() == []
    guard.await_end()


def test_reaper_is_nobodys_child(member, reaper, backend, family):
    """The process that starts it has no child to wait for, and hears of one at most."""
    program = member(family)
    do(program, "heard = []; signal.signal(signal.SIGCHLD, lambda *_: heard.append(1))")
    create(program, backend)
    guard = reaper(family)
    assert int(ask(program, "len(heard)")) <= 1
    stat = Path(f"/proc/{guard.pid}/stat").read_text()
    assert int(stat.rpartition(")")[2].split()[1]) != program.pid
    with pytest.raises(AssertionError, match="ChildProcessError"):
        do(program, "os.wait()")
    program.wait()
    guard.await_end()


def test_program_that_waits_for_no_child(member, reaper, backend, family):
    """A reaper is started though the program lets the kernel wait for its children."""
    program = member(family)
    do(program, "signal.signal(signal.SIGCHLD, signal.SIG_IGN)")
    create(program, backend)
    guard = reaper(family)
    assert program.end() == []
    guard.await_end()


def test_signals_for_a_terminal_or_a_session_do_not_end_it(member, reaper, backend, family):
    """After SIGINT, SIGTERM, SIGHUP and others to it and to its starter's group it does its work."""
    before = kernel.held()
    program = member(family)
    do(program, "for number in (2, 1, 15): signal.signal(number, signal.SIG_IGN)")
    do(program, "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])")
    create(program, backend)
    put_in_flight(program, backend)
    guard = reaper(family)
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        os.killpg(program.pid, number)
    ended_by = "HUP INT QUIT TERM PIPE TSTP USR1 USR2 ALRM"
    for each in ended_by.split():
        signal.pidfd_send_signal(guard.pidfd, signal.Signals[f"SIG{each}"])
    assert is_whole(program)
    kill(program)
    guard.await_end()
    assert kernel.held() == before


INTERRUPTED = """
import os, sys, sharedmem
array = sharedmem.full(1000, 7.0, backend=sys.argv[1])
os.write(1, b"created\\n")
sys.stdin.read()
"""


def test_interrupt_from_the_terminal(member, reaper, backend, family):
    """^C ends the program at the terminal that started the reaper, and not the reaper."""
    before = kernel.held()
    here, there = os.openpty()
    with os.fdopen(here, "r+b", buffering=0) as terminal:
        program = subprocess.Popen(
            ["setsid", "--ctty", *python(INTERRUPTED, backend)],
            env=environment(family, reaper=True),
            stdin=there,
            stdout=there,
            stderr=subprocess.DEVNULL,
        )
        os.close(there)
        assert terminal.read(9) == b"created\r\n"
        other = member(family)
        put_in_flight(other, backend)
        guard = reaper(family)
        terminal.write(b"\x03")
        assert program.wait() in (-signal.SIGINT, 128 + signal.SIGINT)
    until(lambda: len(kernel.segments() - before["segments"]) == 1)
    guard.await_sleep()
    assert received(other)
    kill(other)
    guard.await_end()
    assert kernel.held() == before


# ---- one for each family -------------------------------------------------------------

CREATE_TOGETHER = """
reader, writer = os.pipe()
for _ in range(8):
    if os.fork() == 0:
        os.close(writer)
        os.read(reader, 1)
        array = sharedmem.full(1000, 7.0, backend={backend!r})
        tell("created")
        signal.pause()
os.close(writer)
"""


def test_one_reaper_for_many_that_create_together(member, reaper, backend, family):
    """Eight processes that create at the same time have one reaper between them."""
    before = kernel.held()
    program = member(family)
    program.say(repr(CREATE_TOGETHER.format(backend=backend)))
    assert sorted(program.hear() for _ in range(9)) == ["created"] * 8 + ["done"]
    guard = reaper(family)  # waits until the others have ended
    kill(program)
    guard.await_end()
    assert kernel.held() == before and not kernel.reapers(family)


def test_two_families(member, reaper, backend, family, name):
    """Killing all of one family leaves the arrays of another whole, attached and in flight."""
    before = kernel.held()
    one, other = member(family), member(family + "-other")
    for each in one, other:
        create(each, backend)
        put_in_flight(each, backend)
    do(other, f"named = sharedmem.full(1000, 7.0, name={name!r}, backend={backend!r})")
    do(one, f"named = sharedmem.attach({name!r})")
    guards = reaper(family), reaper(family + "-other")
    kill(one)
    guards[0].await_end()
    guards[1].await_sleep()
    assert len(kernel.segments() - before["segments"]) == 3
    assert is_whole(other) and is_whole(other, "named") and received(other)
    kill(other)
    guards[1].await_end()
    assert kernel.held() == before


def test_forked_child_keeps_the_family(processes, member, reaper, backend, family):
    """A forked child that has done nothing yet keeps what it inherited when its parent is killed."""
    before = kernel.held()
    program = member(family)
    create(program, backend)
    put_in_flight(program, backend)
    pid = fork_and_hold(program, processes, "os.setsid()")
    guard = reaper(family)
    kill(program)
    guard.await_sleep()
    assert len(kernel.segments() - before["segments"]) == 2
    kill_adopted(processes, pid)
    guard.await_end()
    assert kernel.held() == before


DAEMONISE = """os.setsid()
    if os.fork():
        os._exit(0)
    os.closerange(3, 1024)"""


def test_daemon_keeps_the_family(processes, member, reaper, backend, family):
    """A daemonised grandchild keeps the family, and the reaper frees what it leaves."""
    before = kernel.held()
    program = member(family)
    create(program, backend)
    pid = fork_and_hold(program, processes, DAEMONISE)
    guard = reaper(family)
    kill(program)
    guard.await_sleep()
    assert len(kernel.segments() - before["segments"]) == 1
    kill_adopted(processes, pid)
    guard.await_end()
    assert kernel.held() == before


def test_new_family_of_one_that_holds_arrays(processes, member, reaper, backend, family):
    """Who leaves its family with arrays is guarded at once, though it creates nothing more."""
    before = kernel.held()
    program = member(family)
    create(program, backend)
    put_in_flight(program, backend)
    guard = reaper(family)
    pid = fork_and_hold(program, processes, f"os.setsid(); sharedmem.new_family('{family}-new')")
    second = reaper(family + "-new")
    kill(program)
    guard.await_end()
    second.await_sleep()
    assert len(kernel.segments() - before["segments"]) == 1
    kill_adopted(processes, pid)
    second.await_end()
    assert kernel.held() == before


# ---- the parent that takes no part ------------------------------------------------------

HONORARY = """
import multiprocessing, os, signal, sys

def put_and_wait(queue, backend, told):
    import sharedmem
    queue.put(sharedmem.full(1000, 7.0, backend=backend))
    os.write(1, sharedmem.family().encode() + b"\\n")
    told.get()
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    sys.stdin.readline()
    method, backend, *refused = sys.argv[1:]
    if refused:
        from protocol import seccomp
        seccomp.refuse(*refused)
    context = multiprocessing.get_context(method)
    queue, told = context.SimpleQueue(), context.SimpleQueue()
    worker = context.Process(target=put_and_wait, args=(queue, backend, told))
    worker.start()
    sys.stdin.readline()
    told.put(1)
    worker.join()
    assert "sharedmem" not in sys.modules
    print(worker.exitcode, flush=True)
    sys.stdin.readline()
"""
POORER = {
    "": [],
    "no_pidfd": ["pidfd_open"],
    "no_inotify": ["inotify_init1"],
    "neither": ["pidfd_open", "inotify_init1"],
}


@pytest.mark.parametrize(
    ("start_method", "refused"),
    [(method, "") for method in ("fork", "spawn", "forkserver")]
    + [("fork", refused) for refused in POORER if refused],
)
def test_parent_that_never_imports(processes, reaper, backend, tmp_path, start_method, refused):
    """What a killed worker has in flight stays while its multiprocessing parent lives, and goes with that."""
    before = kernel.held()
    script = tmp_path / "honorary.py"
    script.write_text(HONORARY)
    command = [sys.executable, str(script), start_method, backend, *POORER[refused]]
    program, pid = processes.orphan(command, {"PYTHONPATH": TESTS})
    guard = reaper(program.hear())
    program.say("kill the worker")
    assert program.hear() == str(-signal.SIGKILL)
    if refused:  # it looks every so often
        wakeups = kernel.wakeups(guard.pid)
        until(lambda: kernel.wakeups(guard.pid) > wakeups + 6)
    else:
        guard.await_sleep()
    assert len(kernel.segments() - before["segments"]) == 1
    kill_adopted(processes, pid)
    guard.await_end()
    assert kernel.held() == before


# ---- where things are missing, stopped or removed ------------------------------------------


def test_end_of_a_family_without_inotify(processes, member, reaper, backend, family):
    """Where no more inotify instance can be had, the end of the family is noticed all the same."""
    before = kernel.held()
    program = member(family)
    do(program, "seccomp.refuse('inotify_init1')")
    create(program, backend)
    put_in_flight(program, backend)
    pid = fork_and_hold(program, processes, "os.setsid()")
    guard = reaper(family)
    kill(program)
    assert not guard.has_ended()
    kill_adopted(processes, pid)
    guard.await_end()
    assert kernel.held() == before


def family_file(family):
    return Path(f"/dev/shm/smem.{os.geteuid()}.f.{family}")


def test_removed_family_file_harms_nobody(processes, member, reaper, backend, family):
    """When the family's file is removed its reaper frees nothing of the living, and guards the next file."""
    before = kernel.held()
    program = member(family)
    create(program, backend)
    put_in_flight(program, backend)
    guard = reaper(family)
    guard.await_sleep()
    wakeups = kernel.wakeups(guard.pid)
    family_file(family).unlink()
    until(lambda: kernel.wakeups(guard.pid) > wakeups)
    guard.await_sleep()
    assert len(kernel.segments() - before["segments"]) == 2
    do(program, "sharedmem.reclaim()")
    assert family_file(family).exists()
    until(kernel.is_guarded, family)
    assert is_whole(program) and received(program)
    put_in_flight(program, backend)
    guard = reaper(family)
    kill(program)
    guard.await_end()
    assert kernel.held() == before


def test_family_without_a_file_is_killed(member, reaper, backend, family):
    """When the family's file was removed and then all are killed, nothing is left."""
    before = kernel.held()
    program = member(family)
    create(program, backend)
    put_in_flight(program, backend)
    guard = reaper(family)
    family_file(family).unlink()
    kill(program)
    guard.await_end()
    assert kernel.held() == before


def test_reaper_that_comes_too_late(member, reaper, backend, family):
    """A reaper that was stopped while its family was killed and buried by others frees the rest."""
    before = kernel.held()
    program = member(family)
    create(program, backend)
    put_in_flight(program, backend)
    guard = reaper(family)
    guard.stop()
    kill(program)
    family_file(family).unlink()  # as the sweep of another family does
    assert len(kernel.segments() - before["segments"]) == 2
    guard.resume()
    guard.await_end()
    assert kernel.held() == before


def test_stopped_reaper_stops_nobody(member, reaper, backend, family):
    """While the reaper is stopped members work on, and the next import frees what they leave."""
    before = kernel.held()
    program = member(family)
    create(program, backend)
    guard = reaper(family)
    guard.stop()
    create(program, backend, "second")
    put_in_flight(program, backend)
    assert is_whole(program, "second") and received(program)
    do(program, "del second; sharedmem.trim()")
    assert len(kernel.segments() - before["segments"]) == 1
    kill(program)
    run("import sharedmem", environ=environment(family + "-next"))
    assert kernel.held() == before
    guard.resume()
    guard.await_end()
    assert kernel.held() == before


def test_stopped_member_keeps_what_it_has(processes, member, reaper, backend, family):
    """A member that is stopped is alive: what it holds, and what is in flight, stays."""
    before = kernel.held()
    program = member(family)
    create(program, backend)
    put_in_flight(program, backend)
    pid = fork_and_hold(program, processes, "os.setsid()")
    create(program, backend, "own")
    guard = reaper(family)
    os.kill(pid, signal.SIGSTOP)
    kill(program)
    until(lambda: len(kernel.segments() - before["segments"]) == 2)
    guard.await_sleep()
    assert len(kernel.segments() - before["segments"]) == 2
    kill_adopted(processes, pid)
    guard.await_end()
    assert kernel.held() == before

"""Where memory, segments, fds or address space run out: an error that names limit and remedy, never SIGBUS.

A memory cgroup that fills is not here: it cannot be made without the machine's leave. What is
reserved at creation is charged to it then, and what it does is the kernel's (limits.rst).
"""

import os
import subprocess

from .processes import python, run
from .test_vanished import UNSHARE, namespace  # noqa: F401

COMMON = """
import ctypes, multiprocessing, os, pickle, resource, signal, sys
from multiprocessing.reduction import ForkingPickler
import sharedmem

def refused(error, call, *words):
    try:
        call()
    except error as refusal:
        assert all(word in str(refusal) for word in words), refusal
        return refusal
    raise AssertionError(f"not refused with {error}")
"""

# What is left is printed, and must be nothing.
INSIDE = """
mount -t tmpfs -o {options} tmpfs /dev/shm || exit 1
"$@" || exit 1
ls -A /dev/shm
tail -n +2 /proc/sysvipc/shm
"""


def run_apart(source, *args, options="size=64m"):
    """Run a script with a /dev/shm and an IPC namespace of its own, which it leaves empty."""
    environ = {key: value for key, value in os.environ.items() if key != "SHAREDMEM_FAMILY"}
    script = INSIDE.format(options=options)
    command = [*UNSHARE, "/bin/sh", "-c", script, "sh", *python(COMMON + source, *args)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


LARGE = """
large = sharedmem.full(2**28, 7, 'u1')
assert large.backend == 'sysv' and (large == 7).all()
words = '268,435,456', '/dev/shm has', 'of 67,108,864 bytes', '--shm-size'
refused(MemoryError, lambda: sharedmem.zeros(2**28, 'u1', backend='posix'), *words)
refused(MemoryError, lambda: sharedmem.copy(large, backend='posix'), *words)
assert sharedmem.full(2**25, 7, 'u1').backend == 'posix'
"""


def test_larger_than_dev_shm(namespace):  # noqa: F811
    """256 MB go to SysV where /dev/shm has 64; POSIX, asked for, says what there is and what to do."""
    run_apart(LARGE)


MANY = """
arrays = [sharedmem.full(2**19, i % 256, 'u1') for i in range(200)]
assert {array.backend for array in arrays[:100]} == {'posix'}
assert arrays[-1].backend == 'sysv'
assert all((array == i % 256).all() for i, array in enumerate(arrays))
refused(MemoryError, lambda: sharedmem.zeros(2**19, 'u1', backend='posix'), '--shm-size')
posix = [array for array in arrays if array.backend == 'posix']
del arrays, posix[0]
small = [sharedmem.ones(1, 'u1') for _ in range(500)]  # the last page of 64 MB is among them
assert small[0].backend == 'posix' and small[-1].backend == 'sysv'
del small
assert sharedmem.zeros(2**19, 'u1').backend == 'posix'
"""


def test_dev_shm_fills_up(namespace):  # noqa: F811
    """As /dev/shm fills all that was given out can be written, the rest comes from SysV, and what is freed is used."""
    run_apart(MANY)


SWEPT = """
here, there = multiprocessing.Pipe()
pid = os.fork()
if pid == 0:
    kept = [sharedmem.full(2**22, 7, 'u1', backend='posix') for _ in range(14)]
    there.send(len(kept))
    signal.pause()
here.recv()
sharedmem.zeros(3)  # sweeps: nobody does so again for a second
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
assert (sharedmem.full(2**25, 1, 'u1', backend='posix') == 1).all()
"""


def test_dead_make_room_at_once(namespace):  # noqa: F811
    """What a killed process held is room for the next array, even right after a sweep."""
    run_apart(SWEPT)


IDLE = """
kept = [sharedmem.full(2**22, 7, 'u1', backend='posix') for _ in range(14)]
del kept
assert os.statvfs('/dev/shm').f_bfree < 2**25 // 4096
assert (sharedmem.full(2**25 + 2**24, 1, 'u1', backend='posix') == 1).all()
"""


def test_idle_memory_makes_room(namespace, monkeypatch):  # noqa: F811
    """Warm memory that a process keeps is room for an array that does not fit beside it."""
    monkeypatch.setenv("SHAREDMEM_CACHE", str(2**26))
    run_apart(IDLE)


LAST_PAGE = """
array = sharedmem.ones(3)
with open('/dev/shm/rest', 'wb', buffering=0) as rest:
    try:
        while rest.write(bytes(4096)):
            pass
    except OSError:
        pass
for backend in 'posix', 'sysv', None:
    refused(MemoryError, lambda: sharedmem.zeros(3, backend=backend), 'has 0 of', '--shm-size')
assert sharedmem.attach(array.name).sum() == 3
assert pickle.loads(ForkingPickler.dumps(array)).sum() == 3
os.unlink('/dev/shm/rest')
assert sharedmem.zeros(3).sum() == 0
"""


def test_last_page_is_taken(namespace):  # noqa: F811
    """Without one free page in /dev/shm, where SysV's journal is, too, nothing can be made; what there is works on."""
    run_apart(LAST_PAGE, options="size=1m")


NO_FILES = """
array = sharedmem.ones(3)
made = 0
try:
    while True:
        open(f'/dev/shm/{made}', 'x').close()
        made += 1
except OSError:
    pass
for backend in 'posix', 'sysv', None:
    for name in None, 'name':
        refused(MemoryError, lambda: sharedmem.zeros(3, backend=backend, name=name))
assert sharedmem.attach(array.name).sum() == 3
for number in range(made):
    os.unlink(f'/dev/shm/{number}')
assert sharedmem.zeros(3, name='name').sum() == 0
"""


def test_no_more_files(namespace):  # noqa: F811
    """A /dev/shm that holds no file more is a lack of room for new arrays, and what there is works on."""
    run_apart(NO_FILES, options="size=64m,nr_inodes=40")


SEGMENTS = """
libc = ctypes.CDLL(None, use_errno=True)
ids = []
while (one := libc.shmget(0, 4096, 0o600)) >= 0:
    ids.append(one)
with open('/proc/sys/kernel/shmmni') as limit:
    assert len(ids) == int(limit.read())
refusal = refused(OSError, lambda: sharedmem.zeros(3, backend='sysv'), 'limit', 'kernel.shmmni')
assert isinstance(refusal, sharedmem.ShareLimitError)
assert sharedmem.zeros(3).backend == 'posix'
refused(sharedmem.ShareLimitError, lambda: sharedmem.zeros(2**28, 'u1'), 'kernel.shmmni')
assert libc.shmctl(ids.pop(), 0, None) == 0
pid = os.fork()
if pid == 0:
    sharedmem.zeros(3, backend='sysv')
    array = sharedmem.zeros(3, backend='sysv')
    os._exit(0)
os.waitpid(pid, 0)
assert sharedmem.ones(3, backend='sysv').sum() == 3
for one in ids:
    libc.shmctl(one, 0, None)
"""


def test_all_segments_are_taken(namespace):  # noqa: F811
    """With every SysV segment used up SysV says so, POSIX works on, and the one that a dead process had is used."""
    run_apart(SEGMENTS)


FDS = """
resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
backend, name = sys.argv[1:]
arrays = [sharedmem.full(1000, i, backend=backend) for i in range(100)]
sent = [bytes(ForkingPickler.dumps(array)) for array in arrays]
assert [pickle.loads(one)[0] for one in sent] == list(range(100))
named = sharedmem.zeros(3, name=name, backend=backend)
fds = []
try:
    while True:
        fds.append(os.dup(0))
except OSError:
    pass
for call in (
    lambda: sharedmem.zeros(3, backend=backend),
    lambda: sharedmem.zeros(3, name=name + 'x', backend=backend),
    lambda: sharedmem.attach(name, 'r'),
    lambda: sharedmem.stat(name),
    lambda: sharedmem.unlink(name),
    sharedmem.list_segments,
    sharedmem.reclaim,
):
    refused(OSError, call, 'Too many open files')
assert sharedmem.attach(name) is not None  # it is mapped here: no fd is needed
assert pickle.loads(ForkingPickler.dumps(named)) is not None
assert all((array == i).all() for i, array in enumerate(arrays))
arrays.clear()  # they cannot be looked at now: it is made good later
for fd in fds:
    os.close(fd)
sharedmem.trim()
sharedmem.reclaim()
mine = [info.name for info in sharedmem.list_segments(internal=True)]
assert mine == [name], mine
"""


def test_few_fds(backend, name):
    """16 fds are enough for many arrays; with none left errors say so, and what is dropped then is freed later."""
    run(COMMON + FDS, backend, name)


SPACE = """
backend, name = sys.argv[1:]
with open('/proc/self/statm') as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26,) * 2)
for more in {}, {'reserve': False}, {'name': name}:
    for choice in backend, None:
        refused(
            MemoryError,
            lambda: sharedmem.zeros(2**28, 'u1', backend=choice, **more),
            '268,435,456 bytes', f'limited to {used + 2**26:,} bytes', 'ulimit -v',
        )
assert sharedmem.list_segments(internal=True) == []
array = sharedmem.full(2**24, 7, 'u1', name=name, backend=backend)
copies = []
refused(MemoryError, lambda: copies.extend(sharedmem.attach(name, 'c') for _ in range(10)))
assert array.min() == array.max() == 7 and all(copy.max() == 7 for copy in copies)
"""


def test_little_address_space(backend, name):
    """A limit on the address space is a MemoryError that names it; nothing is left, and small arrays work."""
    run(COMMON + SPACE, backend, name)


TICKETS = """
backend = sys.argv[1]
array = sharedmem.full(1000, 7.0, backend=backend)
name = array.name
sent = [bytes(ForkingPickler.dumps(array)) for _ in range(4000)]
assert sharedmem.stat(name).tickets > 3000
del array
for one in sent:
    assert pickle.loads(one)[0] == 7
sharedmem.reclaim()
assert sharedmem.exists(name)  # the ones that were not counted might still be on their way
"""


def test_more_in_flight_than_tickets(backend, family):
    """4000 descriptors of one array can all be received; it stays until its family has ended, and no longer."""
    environ = os.environ | {"SHAREDMEM_FAMILY": family}
    run(COMMON + TICKETS, backend, environ=environ)

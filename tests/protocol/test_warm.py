"""What is dropped is kept for what is made next: counted, bounded, given back."""

import multiprocessing
import os
import subprocess
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest

import sharedmem

from .processes import python, run
from .test_vanished import UNSHARE, namespace  # noqa: F401

SIZE = 1 << 20  # bytes; header and data are mapped apart


def warm(bound=64 * SIZE, **changes):
    """The environment of a program that may keep so many bytes."""
    environ = os.environ | {"SHAREDMEM_CACHE": str(bound)} | changes
    return {key: value for key, value in environ.items() if value is not None}


def test_next_array_is_made_of_the_last():
    """The next array has the same memory; zeros are zeros; trimming gives it back."""
    script = f"""
import sharedmem
def counts():
    found = sharedmem.stats()
    return found['idle'], found['idle_bytes'] > {SIZE}, found['created'], found['reused']
a = sharedmem.full({SIZE}, 7, 'u1')
address = a.ctypes.data
del a
print(*counts())
a = sharedmem.empty({SIZE}, 'u1')
print(a.ctypes.data == address, int(a[5]), *counts())
del a
a = sharedmem.zeros({SIZE // 4}, 'i4')
print(a.ctypes.data == address, a.any())
del a
print(sharedmem.trim({2 * SIZE}), sharedmem.trim() > {SIZE}, sharedmem.trim(), *counts())
"""
    assert run(script, environ=warm()) == [
        "1 True 1 0",
        "True 7 0 False 1 1",
        "True False",
        "0 True 0 0 False 1 2",
    ]


PUBLISHED = f"""
import sharedmem
a = sharedmem.zeros({SIZE}, 'u1')
name, address = a.name, a.ctypes.data
del a
print(sharedmem.exists(name))
a = sharedmem.zeros({SIZE}, 'u1')
print(a.ctypes.data == address, a.name == name, sharedmem.attach(a.name) is not None)
"""


def test_name_leads_nowhere_when_idle():
    """What was told of an array does not lead to the one that is made of it."""
    assert run(PUBLISHED, environ=warm()) == ["False", "True False True"]


def test_nothing_is_kept_when_off():
    """SHAREDMEM_CACHE=0 keeps nothing, and neither does what is no number."""
    script = """
import sharedmem
a = sharedmem.zeros(9)
del a
print(sharedmem.stats()['bound'], len(sharedmem.list_segments(internal=True)))
"""
    for bound in (0, "much", "-1x"):
        assert run(script, environ=warm(bound)) == ["0 0"]


BOUND = "import sharedmem; print(sharedmem.stats()['bound'])"


def test_bound_that_is_not_set():
    """It is what the reference says: the least of three."""
    with open("/proc/meminfo") as table:
        memory = next(int(line.split()[1]) for line in table if line.startswith("MemTotal")) * 1024
    disk = os.statvfs("/dev/shm")
    most = min(512 << 20, memory // 16, disk.f_blocks * disk.f_frsize // 4)
    for unset in (None, ""):
        (found,) = map(int, run(BOUND, environ=warm(SHAREDMEM_CACHE=unset)))
        assert 0 < found <= most  # less only where a container has less memory than the machine


def inside(options, script):
    """What a program prints that has a /dev/shm of its own."""
    mount = f'mount -t tmpfs -o {options} tmpfs /dev/shm && exec "$@"'
    command = [*UNSHARE, "/bin/sh", "-c", mount, "sh", *python(script)]
    environ = warm(SHAREDMEM_CACHE=None, SHAREDMEM_FAMILY="inside")
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_bound_of_a_small_place(namespace):  # noqa: F811
    """Of Docker's /dev/shm of 64 MiB a quarter is kept."""
    assert inside("size=64m", BOUND) == [str(16 << 20)]


def test_memory_comes_back_when_it_is_wanted(namespace):  # noqa: F811
    """An array for which there is room only without what is idle is made, where it belongs."""
    script = f"""
import sharedmem
for _ in range(3):
    a = [sharedmem.zeros(size, 'u1') for size in ({SIZE}, {2 * SIZE})]
    del a
    print(sharedmem.stats()['idle'])
    print(sharedmem.zeros({14 * SIZE}, 'u1').backend, sharedmem.stats()['idle'])
"""
    assert inside("size=16m", script) == ["2", "posix", "0"] * 3


def test_forked_child_begins_with_nothing(processes):
    """What is idle is the parent's alone."""
    script = f"""
import os, sharedmem
a = sharedmem.zeros({SIZE}, 'u1')
del a
pid = os.fork()
if pid == 0:
    found = sharedmem.stats()
    print(found['idle'], found['created'], found['kept'], flush=True)
    a = sharedmem.ones({SIZE}, 'u1')
    del a
    os._exit(0)
os.waitpid(pid, 0)
print(sharedmem.stats()['idle'], sharedmem.zeros({SIZE}, 'u1').any(), flush=True)
"""
    assert run(script, environ=warm()) == ["0 0 0", "1 False"]


def receive_twice(pipe):
    """Use and drop what comes, twice; say where it was and what was counted."""
    for _ in range(2):
        array = pipe.recv()
        pipe.send((array.ctypes.data, int(array[0])))
        del array
        pipe.send(None)
    found = sharedmem.stats()
    pipe.send((found["attached"], found["returned"]))


def test_worker_gets_an_array_where_it_had_it(processes, start_method, monkeypatch):
    """An array that is sent again is mapped where it was, though others had it meanwhile."""
    monkeypatch.setenv("SHAREDMEM_CACHE", str(64 * SIZE))
    if start_method != "spawn" and not sharedmem.stats()["bound"]:
        pytest.skip("the processes that are forked keep nothing, like this one")
    here, there = multiprocessing.get_context(start_method).Pipe()
    with here, there:
        worker = processes.worker(start_method, receive_twice, there)
        array = sharedmem.zeros(SIZE, "u1")
        addresses = []
        for value in (1, 2):
            array[0] = value
            here.send(array)
            address, seen = here.recv()
            assert seen == value
            assert here.recv() is None
            addresses.append(address)
        assert addresses[0] == addresses[1]
        assert here.recv() == (2, 1)
        worker.join()
        del array
    sharedmem.trim()


def test_what_is_in_flight_is_counted(name):
    """Descriptors that nobody has received have a count, a size and an age."""
    before = sharedmem.stats()
    assert before["in_flight_age"] >= 0
    array = sharedmem.zeros(SIZE, "u1", name=name)
    messages = [bytes(ForkingPickler.dumps(array)) for _ in range(3)]
    del array
    after = sharedmem.stats()
    assert after["in_flight"] - before["in_flight"] == 3
    assert after["in_flight_bytes"] - before["in_flight_bytes"] > SIZE
    assert after["mapped"] == before["mapped"]
    assert sum(map(sharedmem.forget, messages)) == 3
    assert sharedmem.stats()["in_flight"] == before["in_flight"]


def test_arrays_in_use_are_counted():
    """What this process has mapped is counted with its bytes; trimming leaves it alone."""
    before = sharedmem.stats()
    array = sharedmem.zeros(SIZE, "u1")
    sharedmem.trim()
    after = sharedmem.stats()
    assert after["mapped"] - before["mapped"] == 1
    assert SIZE < after["mapped_bytes"] - before["mapped_bytes"] < SIZE + (1 << 16)
    assert after["created"] + after["reused"] - before["created"] - before["reused"] == 1
    assert all(isinstance(value, (int, float)) for value in after.values())
    np.testing.assert_array_equal(array[:9], 0)


def test_bytes_to_keep_are_a_number():
    """What cannot be kept is an error."""
    with pytest.raises(ValueError, match="negative"):
        sharedmem.trim(-1)
    with pytest.raises(TypeError):
        sharedmem.trim("all")
    assert sharedmem.trim(2**70) == 0

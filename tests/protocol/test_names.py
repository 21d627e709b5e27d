"""A name belongs to one living segment, and passes on when that is dead or replaced."""

import mmap
import os
import pickle
from multiprocessing.reduction import ForkingPickler

import pytest

import sharedmem

from . import kernel
from .processes import environment, run


def produce(pipe, name, backend, frames):
    """Create under the name, send [frames] descriptors, and wait to be killed."""
    array = sharedmem.full(1000, 7.0, name=name, backend=backend)
    for _ in range(frames):
        pipe.send(array)
    pipe.send_bytes(b"sent")
    pipe.recv()


def test_killed_producer_restarts_under_its_name(processes, backend, name):
    """The name of a SIGKILLed producer is free for its successor."""
    before = kernel.held()
    pid, child = processes.fork_with_pipe(produce, name, backend, 0)
    assert child.recv_bytes() == b"sent"
    processes.kill(pid)
    array = sharedmem.zeros(10, name=name, backend=backend)
    assert array.is_current() and (array == 0).all()
    del array
    assert kernel.held() == before


def test_name_with_frames_in_flight_has_to_be_replaced(processes, backend, name):
    """A killed producer's name is taken while its family may receive its frames; replace=True takes it."""
    before = kernel.held()
    pid, child = processes.fork_with_pipe(produce, name, backend, 2)
    received, lost = child.recv_bytes(), child.recv_bytes()
    assert child.recv_bytes() == b"sent"
    processes.kill(pid)
    with pytest.raises(sharedmem.SegmentExistsError):
        sharedmem.zeros(10, name=name, backend=backend)
    old = pickle.loads(received)
    array = sharedmem.ones(10, name=name, backend=backend, replace=True)
    assert (old == 7).all() and (array == 1).all() and array.is_current()
    del old
    with pytest.raises(sharedmem.SegmentNotFoundError):
        pickle.loads(lost)
    assert array.is_current()
    del array
    assert kernel.held() == before


SEND_AND_DIE = """
import os, sys, sharedmem
from multiprocessing.reduction import ForkingPickler
array = sharedmem.full(1000, 7.0, name=sys.argv[1], backend=sys.argv[2])
ForkingPickler.dumps(array)
os._exit(0)
"""


def test_frames_of_a_dead_family_hold_no_name(backend, name, family):
    """Frames in flight of a family that is gone do not keep its name taken."""
    before = kernel.held()
    run(SEND_AND_DIE, name, backend, environ=environment(family))
    array = sharedmem.ones(10, name=name, backend=backend)
    assert (array == 1).all()
    del array
    sharedmem.reclaim()  # the family's file
    assert kernel.held() == before


def hold(pipe):
    array = sharedmem.attach(pipe.recv())
    pipe.send(array.name)
    pipe.recv()


def test_taken_name_names_its_holders(processes, backend, name):
    """The error about a taken name says which processes hold it."""
    before = kernel.held()
    pid, child = processes.fork_with_pipe(hold)
    array = sharedmem.full(1000, 7.0, name=name, backend=backend)
    child.send(name)
    assert child.recv() == name
    del array
    with pytest.raises(sharedmem.SegmentExistsError, match=rf"\b{pid}\b"):
        sharedmem.zeros(10, name=name, backend=backend)
    processes.kill(pid)
    sharedmem.reclaim()
    assert kernel.held() == before


def read_on(pipe):
    """Keep what the name led to, check it when told, then drop it."""
    array = sharedmem.attach(pipe.recv())
    pipe.send(array.name)
    while pipe.recv() == "check":
        pipe.send((array.tolist() == [1.0] * 1000, array.is_current()))
    with pytest.raises(sharedmem.SegmentNotFoundError):
        array.unlink()
    del array
    pipe.send("dropped")
    pipe.recv()


def test_reader_holds_on_while_the_name_is_replaced(processes, backend, name):
    """A reader keeps its memory when the name is replaced, and a late unlink of its own harms no newer segment."""
    before = kernel.held()
    pid, child = processes.fork_with_pipe(read_on)
    array = sharedmem.full(1000, 1.0, name=name, backend=backend)
    child.send(name)
    assert child.recv() == name
    del array
    array = sharedmem.full(1000, 2.0, name=name, backend=backend, replace=True)
    child.send("check")
    assert child.recv() == (True, False)
    run("import sharedmem, sys; assert (sharedmem.attach(sys.argv[1]) == 2).all()", name)
    child.send("drop")
    assert child.recv() == "dropped"
    assert array.is_current() and (array == 2).all()
    assert len(kernel.segments() - before["segments"]) == 1
    child.send("exit")
    assert processes.wait(pid) == 0
    del array
    assert kernel.held() == before


def test_replaced_array_is_pickled_by_content(backend, name):
    """An array whose name leads elsewhere now is sent as a copy of its data."""
    before = kernel.held()
    old = sharedmem.full(10, 1.0, name=name, backend=backend)
    new = sharedmem.full(10, 2.0, name=name, backend=backend, replace=True)
    for dumps in pickle.dumps, ForkingPickler.dumps:
        loaded = pickle.loads(dumps(old))
        assert (loaded == 1).all()
        loaded[:] = 5
    assert (old == 1).all() and (new == 2).all()
    del old, new, loaded
    assert kernel.held() == before


def test_persistent_segment_stays_until_it_is_unlinked(backend, name, family):
    """A persistent segment outlives its creator, its family and every reclaim, and goes when unlinked."""
    before = kernel.held()
    create = "import sharedmem, sys; sharedmem.full(9, 7.0, name=sys.argv[1], backend=sys.argv[2], persistent=True)"
    run(create, name, backend, environ=environment(family))
    sharedmem.reclaim()
    array = sharedmem.attach(name)
    assert (array == 7).all()
    del array
    assert sharedmem.exists(name)
    sharedmem.unlink(name)
    assert kernel.held() == before


STOP, ATTACHED, MISSED = range(3)


def attach_until_stopped(name, scores):
    """Attach again and again; whatever can be attached is whole and stays current."""
    while not scores[STOP]:
        try:
            array = sharedmem.attach(name)
        except sharedmem.SegmentNotFoundError:
            scores[MISSED] += 1
            continue
        values = set(array.tolist()) - {0}  # zero until the creator has filled it
        assert len(values) <= 1 and array.is_current()
        scores[ATTACHED] += 1
        del array


def test_attacher_races_the_last_dropper(processes, backend, name):
    """Ten thousand times an attacher either gets a segment that stays or hears that there is none."""
    before = kernel.held()
    with mmap.mmap(-1, mmap.PAGESIZE) as page, memoryview(page) as memory, memory.cast("q") as scores:
        pid = processes.fork(attach_until_stopped, name, scores)
        dropped = 0
        while dropped < 10_000 or not (scores[ATTACHED] and scores[MISSED]):
            try:
                array = sharedmem.full(8, dropped + 1, name=name, backend=backend)
            except sharedmem.SegmentExistsError:
                assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
                continue  # the attacher is the last user now
            assert (array == dropped + 1).all()
            del array
            dropped += 1
        scores[STOP] = 1
        assert processes.wait(pid) == 0
    sharedmem.reclaim()
    assert kernel.held() == before

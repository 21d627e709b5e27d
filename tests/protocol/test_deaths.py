"""A process may be SIGKILLed at any line: it leaves nothing, and the others lose nothing."""

import multiprocessing
import pickle
from multiprocessing.reduction import ForkingPickler

import pytest

import sharedmem
from sharedmem.testing import deaths

from . import kernel


def live(survivor, inbox, backend, pipe):
    """Attach, receive, create, send, and drop, all that a participant does."""
    other = sharedmem.attach(survivor)
    late = pickle.loads(inbox[0])
    array = sharedmem.full((10, 10), 7.0, backend=backend)
    view = array[::2, 1:].T
    pipe.send(view)
    named = sharedmem.attach_or_create("of-the-child", 10, backend=backend)
    named += late[0]
    sharedmem.unlink(named.name)
    named = sharedmem.ones(10, name="of-the-child", backend=backend)
    again = sharedmem.zeros(10, name="of-the-child", backend=backend, replace=True)
    copied = sharedmem.copy(view, name="copied")
    del array, named
    pipe.send(again)
    del again, copied
    other[0] = 1
    assert (view == 7).all() and (other[1:] == 5).all()


def in_flight(backend):
    """The descriptor of an array that nothing else keeps."""
    return bytes(ForkingPickler.dumps(sharedmem.full(10, 3.0, backend=backend)))


def receive_all(pipe):
    """How many arrays the child has sent, all of them whole."""
    count = 0
    while pipe.poll():
        array = pipe.recv()
        assert (array == (7.0, 0.0)[count]).all()
        count += 1
    return count


def take_back(others):
    """Unlink what a descriptor keeps that was made but not sent; returns how many."""
    left = [segment for segment in sharedmem.list_segments(internal=True) if segment.name not in others]
    for segment in left:
        assert segment.tickets == 1 and not segment.holders()
        sharedmem.unlink(segment.name)
    return len(left)


@pytest.mark.parametrize(
    "within", [pytest.param(__name__, id="own"), pytest.param("sharedmem", id="library")]
)
def test_killed_at_any_line(backend, within):
    """After a SIGKILL at any line others' and sent arrays are whole, and nothing else is left."""
    survivor = sharedmem.full(1000, 5.0, backend=backend)
    name, before = survivor.name, kernel.held()
    others = {segment.name for segment in sharedmem.list_segments(internal=True)}
    here, there = multiprocessing.Pipe()
    counts, inbox = [], [in_flight(backend)]
    for death in deaths(live, name, inbox, backend, there, within=within):
        counts.append(receive_all(here))
        assert survivor[0] in (5, 1) and (survivor[1:] == 5).all(), death
        assert sharedmem.stat(name).tickets == 0
        sharedmem.forget(inbox[0])
        sharedmem.trim()
        sharedmem.reclaim()
        if within != __name__:  # else a line is all of sending
            assert take_back(others) <= 1
        assert kernel.held() == before, death
        inbox[0] = in_flight(backend)  # for the next child
    sharedmem.forget(inbox[0])
    here.close()
    there.close()
    assert counts == sorted(counts) and set(counts) == {0, 1, 2} and survivor[0] == 1

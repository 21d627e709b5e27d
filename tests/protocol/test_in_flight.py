"""An array in flight survives its sender, not its family, and can be taken back."""

import multiprocessing
import os
import pickle
import signal
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest

import sharedmem

from . import kernel
from .processes import DEATHS, environment

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def send(array):
    """What multiprocessing sends for an array: it holds a ticket."""
    return bytes(ForkingPickler.dumps(array))


def send_and_die(pipe, backend, death):
    pipe.send(sharedmem.full(1000, 7.0, backend=backend))
    death()


def put_and_exit(queue, backend):
    queue.put(sharedmem.full(1000, 7.0, backend=backend))
    if hasattr(queue, "join_thread"):
        queue.close()
        queue.join_thread()
    os._exit(0)


def test_array_survives_the_death_of_its_sender(processes, backend, death):
    """What a worker sent before it died can be received, and goes with its receiver at once."""
    before = kernel.held()
    pid, child = processes.fork_with_pipe(send_and_die, backend, death)
    assert processes.wait(pid) == DEATHS[death]
    sharedmem.reclaim()
    array = child.recv()
    assert (array == 7).all()
    assert sharedmem.stat(array.name).tickets == 0
    del array
    assert kernel.held() == before


@pytest.mark.parametrize("kind", ["Queue", "SimpleQueue"])
def test_queued_array_survives_its_worker(processes, backend, start_method, kind):
    """A worker of any start method creates, puts and os._exits: the parent still gets the array."""
    before = kernel.held()
    queue = getattr(multiprocessing.get_context(start_method), kind)()
    worker = processes.worker(start_method, put_and_exit, queue, backend)
    worker.join()
    assert worker.exitcode == 0
    sharedmem.reclaim()
    array = queue.get()
    assert (array == 7).all() and array.backend == backend
    del array
    assert kernel.held() == before
    queue.close()


def test_plain_pickles_pin_nothing(backend):
    """Ten thousand pickle.dumps that nobody loads keep nothing alive."""
    before = kernel.held()
    array = sharedmem.full(1000, 7.0, backend=backend)
    pickles = [pickle.dumps(array) for _ in range(10_000)]
    assert sharedmem.stat(array.name).tickets == 0
    del array
    assert kernel.held() == before
    with pytest.raises(sharedmem.SegmentNotFoundError):
        pickle.loads(pickles[-1])


def test_ticket_is_seen_and_freed_by_receiving(backend):
    """A sent array counts as in flight until it is received, also when its sender has dropped it."""
    before = kernel.held()
    array = sharedmem.full(1000, 7.0, backend=backend)
    name = array.name
    assert sharedmem.stat(name).tickets == 0
    sent = send(array)
    assert sharedmem.stat(name).tickets == 1
    del array
    sharedmem.reclaim()
    assert sharedmem.stat(name).tickets == 1
    assert sharedmem.stat(name).oldest_ticket is not None
    assert name in [segment.name for segment in sharedmem.list_segments(internal=True)]
    array = pickle.loads(sent)
    assert (array == 7).all()
    assert sharedmem.stat(name).tickets == 0
    del array
    assert kernel.held() == before


def test_loading_twice_takes_no_other_ticket(backend):
    """One pickle loaded twice frees its own ticket only."""
    before = kernel.held()
    array = sharedmem.full(1000, 7.0, backend=backend)
    name = array.name
    first, second = send(array), send(array)
    del array
    loaded = pickle.loads(first), pickle.loads(first)
    assert np.shares_memory(*loaded)
    assert sharedmem.stat(name).tickets == 1
    del loaded
    sharedmem.reclaim()
    array = pickle.loads(second)
    assert (array == 7).all()
    del array
    assert kernel.held() == before


def test_forgetting_what_was_loaded_takes_no_other_ticket(backend):
    """A pickle that is revoked after it was loaded, even twice, leaves the tickets of others alone."""
    before = kernel.held()
    array = sharedmem.full(1000, 7.0, backend=backend)
    name = array.name
    first, second = send(array), send(array)
    plain = pickle.dumps(array)
    del array
    loaded = pickle.loads(first)
    sharedmem.forget(first)
    sharedmem.forget(first)
    sharedmem.forget(plain)
    assert sharedmem.stat(name).tickets == 1
    del loaded
    sharedmem.reclaim()
    array = pickle.loads(second)
    assert (array == 7).all()
    del array
    assert kernel.held() == before


@pytest.mark.parametrize("others", [0, 1, 40])
def test_a_late_ticket_is_not_freed_for_an_early_one(backend, others):
    """A ticket issued after another was freed is not freed by loading or revoking the old one again."""
    before = kernel.held()
    array = sharedmem.full(1000, 7.0, backend=backend)
    early = send(array)
    between = [send(array) for _ in range(others)]
    pickle.loads(early)
    late = send(array)
    pickle.loads(early)
    sharedmem.forget(early)
    assert sharedmem.stat(array.name).tickets == others + 1
    for sent in between:
        sharedmem.forget(sent)
    del array
    array = pickle.loads(late)
    assert (array == 7).all()
    del array
    assert kernel.held() == before


def test_forget_frees_what_nobody_else_reaches(backend):
    """Revoking the last descriptor in flight frees the segment at once."""
    before = kernel.held()
    sent = send(sharedmem.full(1000, 7.0, backend=backend))
    assert kernel.held() != before
    sharedmem.forget(sent)
    assert kernel.held() == before
    with pytest.raises(sharedmem.SegmentNotFoundError):
        pickle.loads(sent)


def test_unlink_frees_what_is_in_flight(backend):
    """Unlinking an array in flight takes it back from its receiver."""
    before = kernel.held()
    array = sharedmem.full(1000, 7.0, backend=backend)
    name, sent = array.name, send(array)
    del array
    sharedmem.unlink(name)
    assert kernel.held() == before
    with pytest.raises(sharedmem.SegmentNotFoundError):
        pickle.loads(sent)


def load_and_exit(pipe):
    assert (pickle.loads(pipe.recv_bytes()) == 7).all()


def test_one_pickle_for_many_receivers(processes, backend):
    """Receivers of one broadcast pickle all get the array and free one ticket between them."""
    before = kernel.held()
    receivers = [processes.fork_with_pipe(load_and_exit) for _ in range(8)]
    array = sharedmem.full(1000, 7.0, backend=backend)
    broadcast, other = send(array), send(array)
    for _, receiver in receivers:
        receiver.send_bytes(broadcast)
    assert [processes.wait(pid) for pid, _ in receivers] == [0] * 8
    assert sharedmem.stat(array.name).tickets == 1
    sharedmem.forget(other)
    del array
    assert kernel.held() == before


def send_to_oneself(pipe):
    array = pipe.recv()
    for _ in range(1000):
        array = pickle.loads(send(array))
    assert (array == 7).all()


def test_tickets_of_many_processes_balance(processes, backend):
    """Processes that send and receive one array at the same time leave no ticket behind."""
    before = kernel.held()
    others = [processes.fork_with_pipe(send_to_oneself) for _ in range(4)]
    array = sharedmem.full(1000, 7.0, backend=backend)
    for _, pipe in others:
        pipe.send(array)
    assert [processes.wait(pid) for pid, _ in others] == [0] * 4
    assert sharedmem.stat(array.name).tickets == 0
    del array
    assert kernel.held() == before


def drop_together(queue, barrier):
    array = queue.get()
    barrier.wait()
    del array


def test_receivers_that_drop_at_the_same_moment(processes, backend):
    """When several processes drop an array at once and end in order, one of them frees it."""
    before = kernel.held()
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(4), context.SimpleQueue()
    for _ in range(10):
        workers = [processes.worker("fork", drop_together, queue, barrier) for _ in range(4)]
        array = sharedmem.full(1000, 7.0, backend=backend)
        for _ in workers:
            queue.put(array)
        del array
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        assert kernel.held() == before
    queue.close()


SEND_TO_NOBODY = """
import sys, sharedmem
from multiprocessing.reduction import ForkingPickler
for value in range(3):
    ForkingPickler.dumps(sharedmem.full(1000, value, backend=sys.argv[1]))
print("sent", flush=True)
sys.stdin.readline()
"""


def test_unreceived_arrays_go_with_the_family(processes, backend, family):
    """What nobody received stays while its family lives and is gone when its last member leaves."""
    before = kernel.held()
    program = processes.program(SEND_TO_NOBODY, backend, environ=environment(family))
    assert program.hear() == "sent"
    sharedmem.reclaim()
    assert len(kernel.segments() - before["segments"]) == 3
    program.end()
    assert kernel.held() == before


def test_unreceived_arrays_go_with_a_killed_family(processes, backend, family):
    """What nobody received is reclaimed after its family was SIGKILLed."""
    before = kernel.held()
    program = processes.program(SEND_TO_NOBODY, backend, environ=environment(family))
    assert program.hear() == "sent"
    program.kill()
    assert program.wait() == -signal.SIGKILL
    sharedmem.reclaim()
    assert kernel.held() == before


SEND_TEN_THOUSAND = """
import pickle, sys, sharedmem
from multiprocessing.reduction import ForkingPickler
array = sharedmem.full(1000, 7.0, backend=sys.argv[1])
pickles = [bytes(ForkingPickler.dumps(array)) for _ in range(10_000)]
del array
sharedmem.reclaim()
assert (pickle.loads(pickles[-1]) == 7).all()
assert (pickle.loads(pickles[0]) == 7).all()
"""


def test_more_descriptors_than_a_table_holds(processes, backend, family):
    """Ten thousand descriptors in flight all stay receivable, and hold nothing once the family is gone."""
    before = kernel.held()
    processes.program(SEND_TEN_THOUSAND, backend, environ=environment(family)).end()
    assert kernel.held() == before

"""Locks and their relatives between processes: sent, inherited, and after deaths."""

import os
import signal

import pytest

import sharedmem

from . import kernel


def count_up(lock, counter, times):
    for _ in range(times):
        with lock:
            counter[0] += 1


@pytest.mark.parametrize("kind", [sharedmem.Lock, sharedmem.RLock])
def test_sent_to_workers_it_is_one_lock(processes, start_method, kind):
    """Workers of any start method exclude each other."""
    lock, counter = kind(), sharedmem.zeros(1, int)
    workers = [processes.worker(start_method, count_up, lock, counter, 500) for _ in range(3)]
    for worker in workers:
        worker.join()
    assert counter[0] == 1500


def take(pipe, lock, end):
    lock.acquire()
    pipe.send("taken")
    end()


def test_after_a_death_the_next_one_is_told(processes, backend, death):
    """However the holder ends, the next one gets the lock and OwnerDiedError, and can recover it."""
    before = kernel.held()
    lock = sharedmem.Lock(backend=backend)
    pid, child = processes.fork_with_pipe(take, lock, death)
    assert child.recv() == "taken"
    processes.wait(pid)
    assert "held by a process that has died" in repr(lock)
    with pytest.raises(sharedmem.OwnerDiedError):
        lock.acquire()
    assert "held here" in repr(lock)
    lock.release()
    with pytest.raises(sharedmem.OwnerDiedError), lock:
        pass
    assert not lock.locked()  # given back: nobody waits for who left the block
    with pytest.raises(sharedmem.OwnerDiedError):
        lock.acquire()
    lock.recover()
    lock.release()
    with lock:
        pass
    del lock
    assert kernel.held() == before


ATTACH_AND_HOLD = """
import sys, sharedmem
array = sharedmem.attach(sys.argv[1])
array.lock.acquire()
print("held", flush=True)
sys.stdin.readline()
"""


def test_an_unrelated_program_that_dies_is_noticed(processes, backend, name, family):
    """The holder may be of another family."""
    array = sharedmem.zeros(3, name=name, backend=backend)
    program = processes.program(
        ATTACH_AND_HOLD, name, environ={**os.environ, "SHAREDMEM_FAMILY": family}
    )
    assert program.hear() == "held"
    assert not array.lock.acquire(timeout=0.2)
    program.kill()
    program.wait()
    with pytest.raises(sharedmem.OwnerDiedError):
        array.lock.acquire(timeout=20)
    array.lock.recover()
    array.lock.release()


def exit_with(lock):
    assert lock.locked()
    with pytest.raises(sharedmem.NotHeldError):
        lock.release()
    assert not lock.acquire(timeout=0.2)


@pytest.mark.parametrize("kind", [sharedmem.Lock, sharedmem.RLock])
def test_a_forked_child_holds_nothing(processes, kind):
    """The parent goes on to hold it, and is alive."""
    lock = kind()
    with lock:
        assert processes.wait(processes.fork(exit_with, lock)) == 0


def wait_for(pipe, condition):
    with condition:
        pipe.send("waiting")
        condition.wait()
    pipe.send("done")


def test_a_notification_survives_who_was_woken(processes):
    """Of two that wait one is killed; one notification for each is enough for the other."""
    condition = sharedmem.Condition()
    for turn in range(10):
        waiting = [processes.fork_with_pipe(wait_for, condition) for _ in range(2)]
        for _, child in waiting:
            assert child.recv() == "waiting"
        with condition:
            condition.notify(2)
            processes.kill(waiting[turn % 2][0])
        assert waiting[1 - turn % 2][1].recv() == "done"
        assert processes.wait(waiting[1 - turn % 2][0]) == 0


def test_a_holder_that_dies_is_told_to_who_waits_for_a_notification(processes):
    """wait() takes the lock again; who died with it meanwhile is reported there."""
    condition = sharedmem.Condition()
    with condition:
        pid = processes.fork(take_notify_and_die, condition)
        with pytest.raises(sharedmem.OwnerDiedError):
            condition.wait()
        condition.recover()
    processes.wait(pid)
    with condition:
        pass


def take_notify_and_die(condition):
    condition.acquire()
    condition.notify()
    os.kill(os.getpid(), signal.SIGKILL)


def pass_barrier(pipe, barrier):
    try:
        pipe.send(barrier.wait())
    except sharedmem.BrokenBarrierError:
        pipe.send("broken")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_barrier_breaks_when_its_action_kills(processes):
    """The last one dies in the action: the others do not wait for ever."""
    barrier = sharedmem.Barrier(3, action=die)
    peers = [processes.fork_with_pipe(pass_barrier, barrier) for _ in range(3)]
    said = []
    for pid, child in peers:
        try:
            said.append(child.recv())
        except EOFError:
            said.append("dead")
        processes.wait(pid)
    assert sorted(said) == ["broken", "broken", "dead"]
    assert barrier.broken
    barrier.reset()
    assert not barrier.broken


def receive_and_use(queue):
    lock, event = queue.get()
    with lock:
        event.set()


def test_through_a_queue_they_are_in_flight(processes, start_method):
    """Sent by multiprocessing they live until they are received, though the sender drops them."""
    import multiprocessing

    queue = multiprocessing.get_context(start_method).SimpleQueue()
    event = sharedmem.Event()
    queue.put((sharedmem.Lock(), event))
    worker = processes.worker(start_method, receive_and_use, queue)
    assert event.wait(30)
    worker.join()
    queue.close()

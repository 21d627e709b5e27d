"""What a queue does, on each backend and under each start method."""

from __future__ import annotations

import collections
import contextlib
import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from queue import Empty, Full

import numpy as np
import pytest

import sharedmem
from sharedmem import Queue, ShutDown
from sharedmem._core.segment import CoreLock, segment_of


@pytest.fixture
def queue(backend):
    return Queue(backend=backend)


def in_use():
    """The segments that are not kept idle for the next array."""
    return [segment for segment in sharedmem.list_segments(internal=True) if segment.status != "idle"]


# ---- items -------------------------------------------------------------------

ITEMS = [
    0,
    -(2**63),
    2**63 - 1,
    2**200,
    1.5,
    float("inf"),
    True,
    False,
    None,
    "",
    "ascii",
    "ünicode",
    "\udc80",
    "x" * 10_000,
    b"",
    b"bytes\0",
    b"x" * 10_000,
    np.float32(2.5),
    (1, [2, {"three": 3}]),
]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: repr(item)[:20])
def test_items_arrive_as_they_were(queue, item):
    """What is taken equals what was put and is of the very same type."""
    queue.put(item)
    taken = queue.get()
    assert taken == item
    assert type(taken) is type(item)


def test_subclasses_of_simple_types_keep_their_class(queue):
    """An enum or a named string does not become a plain one."""
    queue.put(signal.SIGINT)
    assert queue.get() is signal.SIGINT


def test_a_nan_arrives(queue):
    """It is the same bits."""
    queue.put(float("nan"))
    assert np.isnan(queue.get())


def test_a_plain_array_is_copied(queue):
    """Who changes what was received changes nothing of the sender's."""
    sent = np.arange(5)
    queue.put(sent)
    queue.get()[:] = 0
    assert sent.tolist() == [0, 1, 2, 3, 4]


def test_a_shared_array_is_the_same_memory(queue, backend):
    """It goes by name, and lives while it is in the queue."""
    sent = sharedmem.zeros(5, backend=backend)
    name = sent.name
    queue.put(sent[1:])
    sent[1] = 7
    del sent
    assert sharedmem.stat(name).tickets == 1
    assert queue.get().tolist() == [7, 0, 0, 0]
    assert not sharedmem.exists(name)


def test_an_item_larger_than_the_ring_arrives(queue):
    """It lies in a segment of its own, which goes when it is taken."""
    item = os.urandom(5_000_000)
    queue.put([item])
    assert len(in_use()) == 2
    assert queue.get() == [item]
    assert len(in_use()) == 1


def test_a_bounded_queue_holds_its_maxsize_of_large_items(backend):
    """However large items are, put waits for their number only."""
    queue = Queue(10, backend=backend)
    items = [bytes([i]) * 200_000 for i in range(10)]
    for item in items:
        queue.put(item)
    assert queue.full()
    assert [queue.get() for _ in items] == items


def test_what_cannot_be_pickled_is_an_error_and_no_item(queue):
    """The exception comes from put, and the queue is as before."""
    with pytest.raises((AttributeError, pickle.PicklingError)):
        queue.put(lambda: None)
    assert queue.empty()


def test_a_pickle_that_fails_half_way_leaves_no_ticket(queue, backend):
    """The arrays and locks that were pickled before it failed are not kept."""
    array = sharedmem.zeros(3, backend=backend)
    lock = sharedmem.Lock(backend=backend)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        queue.put([array, lock, lambda: None])
    assert sharedmem.stat(array.name).tickets == 0
    assert sharedmem.stat(lock.name).tickets == 0


# ---- full and empty ------------------------------------------------------------


def test_maxsize(backend):
    """A bounded queue is full with maxsize items, and not before."""
    queue = Queue(3, backend=backend)
    assert queue.maxsize == 3
    for item in range(3):
        assert not queue.full()
        queue.put_nowait(item)
    assert queue.full()
    assert queue.qsize() == 3
    with pytest.raises(Full):
        queue.put_nowait(4)
    with pytest.raises(Full):
        queue.put(4, timeout=0.01)
    assert queue.get() == 0
    queue.put(5, timeout=10)
    assert [queue.get(), queue.get(), queue.get_nowait()] == [1, 2, 5]


def test_maxsize_is_an_integer():
    """Of any kind, and nothing else."""
    assert Queue(np.int64(3)).maxsize == Queue(np.uint8(3)).maxsize == 3
    for size in 1.5, -1.5, "3":
        with pytest.raises(TypeError):
            Queue(size)


def test_a_copy_of_a_queue_is_the_queue(queue):
    """As with locks: there is one, between processes."""
    assert copy.copy(queue) is queue
    assert copy.deepcopy([queue])[0] is queue


def test_empty(queue):
    """An empty queue gives nothing, at once or in time."""
    assert queue.empty()
    for arguments in ((False,), (True, 0.01), (True, 0), (True, -1), (False, 5)):
        with pytest.raises(Empty):
            queue.get(*arguments)
    with pytest.raises(Empty):
        queue.get_nowait()


def test_without_a_bound_put_never_waits(queue):
    """More than the ring holds waits here, and comes in order."""
    for item in range(50_000):
        queue.put(item)
    assert queue.qsize() == 50_000
    assert [queue.get() for _ in range(50_000)] == list(range(50_000))
    assert queue.empty()


def test_a_full_queue_forgets_what_it_could_not_take(backend):
    """A put that fails leaves no ticket."""
    queue = Queue(1, backend=backend)
    queue.put(1)
    array = sharedmem.zeros(3, backend=backend)
    with pytest.raises(Full):
        queue.put_nowait(array)
    assert sharedmem.stat(array.name).tickets == 0


class _LoadsBadly:
    """Raises when it is unpickled."""

    def __reduce__(self):
        return int, ("no number",)


@pytest.mark.parametrize("size", [0, 3_000_000])
def test_an_item_that_cannot_be_unpickled_is_gone(queue, backend, size):
    """Its arrays are not kept, whether it was in the ring or outside; the next one comes."""
    array = sharedmem.zeros(3, backend=backend)
    queue.put((_LoadsBadly(), array, bytes(size)))
    queue.put("next")
    with pytest.raises(ValueError, match="no number"):
        queue.get()
    assert sharedmem.stat(array.name).tickets == 0
    assert queue.get() == "next"


# ---- any mix of sizes ----------------------------------------------------------

SIZES = [0, 3, 300, 700, 8_000, 70_000, 300_000]


def _item(number, size):
    """Of a size in the queue, and to be told from all others."""
    return number if size == 0 else number.to_bytes(4, "little") * (size // 4 + 1)


@pytest.mark.parametrize("maxsize", [0, 1, 7, 300])
@pytest.mark.parametrize("seed", range(3))
def test_any_mix_of_sizes_comes_in_any_interleaving(backend, maxsize, seed):
    """Items come out as from a deque, and put waits for a number of items, never for bytes."""
    random, model = np.random.default_rng([maxsize, seed]), collections.deque()
    queue = Queue(maxsize, backend=backend)
    number = 0
    for _ in range(12):
        # Small ones in front of large ones, and the reverse, come in runs.
        sizes = random.choice(SIZES, random.integers(1, 4))
        for _ in range(random.integers(1, 60)):
            if random.random() < 0.6:
                number += 1
                item = _item(number, int(random.choice(sizes)))
                if maxsize and len(model) == maxsize:
                    with pytest.raises(Full):
                        queue.put(item, timeout=random.choice([0, 1e-6]))
                    continue
                queue.put(item, bool(random.integers(2)))
                model.append(item)
            elif model:
                assert queue.get() == model.popleft()
            else:
                with pytest.raises(Empty):
                    queue.get_nowait()
            if maxsize:  # without a bound a thread that puts later counts one twice
                assert queue.qsize() == len(model)
    assert [queue.get() for _ in range(len(model))] == list(model)
    del queue
    assert in_use() == []


def test_large_items_follow_small_ones(backend):
    """Small ones that are taken give back no more than was counted for them."""
    queue = Queue(512, backend=backend)
    for number in range(300):
        queue.put(number)
    for _ in range(100):
        queue.put(np.zeros(1024))
    for number in range(300):
        assert queue.get() == number
        queue.put_nowait(np.full(1024, number))
    assert [queue.get()[0] for _ in range(400)] == [0] * 100 + list(range(300))


def _answer_with_arrays(queue, worker):
    for number in range(400):
        queue.put((worker, number))
        queue.put(np.full(1024, number))


def test_two_workers_answer_faster_than_they_are_read(backend, start_method):
    """They wait while the queue is full, and nothing is lost."""
    context = multiprocessing.get_context(start_method)
    queue = Queue(512, backend=backend)
    workers = [context.Process(target=_answer_with_arrays, args=(queue, i)) for i in range(2)]
    for worker in workers:
        worker.start()
    while not queue.full():
        time.sleep(0.001)
    items = [queue.get() for _ in range(1600)]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    for i in range(2):
        assert [item[1] for item in items if isinstance(item, tuple) and item[0] == i] == [*range(400)]
    arrays = sorted(item[0] for item in items if not isinstance(item, tuple))
    assert arrays == sorted([*range(400)] * 2)


# ---- between processes ---------------------------------------------------------


def _echo(source, sink):
    for item in source:
        sink.put(item)


def test_between_processes(backend, start_method):
    """Queues go to a process as arguments and carry both ways."""
    context = multiprocessing.get_context(start_method)
    there, back = Queue(backend=backend), Queue(backend=backend)
    process = context.Process(target=_echo, args=(there, back))
    process.start()
    sent = sharedmem.zeros(3)
    for item in (1, "two", {"three": np.arange(3)}, sent):
        there.put(item)
    assert back.get() == 1
    assert back.get() == "two"
    assert back.get()["three"].tolist() == [0, 1, 2]
    received = back.get()
    received[0] = 5
    assert sent[0] == 5
    there.shutdown()
    process.join()
    assert process.exitcode == 0


def _take(source, sink):
    sink.put(sum(1 for _ in source))


def test_many_producers_and_consumers(backend, start_method):
    """Each item comes out once, whoever puts and takes."""
    context = multiprocessing.get_context(start_method)
    jobs, counts = Queue(20, backend=backend), Queue(backend=backend)
    consumers = [context.Process(target=_take, args=(jobs, counts)) for _ in range(2)]
    producers = [context.Process(target=_put_all, args=(jobs, 500)) for _ in range(2)]
    for process in consumers + producers:
        process.start()
    for process in producers:
        process.join()
    jobs.shutdown()
    assert sum(counts.get() for _ in consumers) == 1000
    for process in consumers:
        process.join()


def _put_all(queue, number):
    for item in range(number):
        queue.put(item)


def test_a_queue_goes_through_a_queue(queue, backend):
    """It can be sent at any time, and lives while it is in flight."""
    inner = Queue(backend=backend)
    inner.put("inside")
    queue.put(inner)
    del inner
    assert queue.get().get() == "inside"


def test_attach_by_name(backend, name):
    """A program that knows the name uses the same queue."""
    queue = Queue(5, name=name, backend=backend)
    source = f"import sharedmem; sharedmem.Queue.attach({name!r}).put(['from', 'afar'])"
    subprocess.run([sys.executable, "-c", source], check=True)
    assert queue.get() == ["from", "afar"]
    assert Queue.attach(name).maxsize == 5
    with pytest.raises(sharedmem.SegmentExistsError):
        Queue(name=name, backend=backend)


def test_attach_refuses_what_is_no_queue(backend, name):
    """An array is not a queue."""
    array = sharedmem.zeros(1000, name=name, backend=backend)
    with pytest.raises(sharedmem.SegmentKindError):
        Queue.attach(array.name)


def _put_too_many(queue):
    for item in range(20_000):
        queue.put(item)


def test_a_process_sends_all_before_it_ends(start_method):
    """What waits in a process is sent before it ends, as multiprocessing's is."""
    queue = Queue()
    process = multiprocessing.get_context(start_method).Process(target=_put_too_many, args=(queue,))
    process.start()
    assert [queue.get() for _ in range(20_000)] == list(range(20_000))
    process.join()


def _put_too_many_and_leave(queue):
    queue.cancel_join_thread()
    _put_too_many(queue)


def test_cancel_join_thread():
    """A process that shall not wait ends with what was not sent."""
    queue = Queue()
    process = multiprocessing.get_context("fork").Process(target=_put_too_many_and_leave, args=(queue,))
    process.start()
    process.join()
    assert 16_000 < queue.qsize() < 20_000


def test_a_forked_child_has_nothing_of_what_waits_in_the_parent():
    """What waits is sent once, by who put it."""
    queue = Queue()
    for item in range(20_000):
        queue.put(item)
    process = multiprocessing.get_context("fork").Process(target=queue.put, args=("child",))
    process.start()
    items = [queue.get() for _ in range(20_001)]
    process.join()
    items.remove("child")
    assert items == list(range(20_000))


# ---- waiting -------------------------------------------------------------------


class _Interrupt(Exception):
    pass


def test_waiting_is_interrupted_by_a_signal(queue):
    """A handler that raises ends the wait; one that does not lets it go on."""
    calls = []

    def handle(signum, frame):
        calls.append(signum)
        if len(calls) == 2:
            raise _Interrupt

    previous = signal.signal(signal.SIGUSR1, handle)
    try:
        main = threading.main_thread().ident
        stop = threading.Event()

        def pester():
            while not stop.wait(0.01):
                signal.pthread_kill(main, signal.SIGUSR1)

        thread = threading.Thread(target=pester)
        thread.start()
        try:
            with pytest.raises(_Interrupt):
                queue.get()
        finally:
            stop.set()
            thread.join()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert len(calls) >= 2


def test_waiting_releases_the_gil(queue):
    """Another thread of the process can put what is waited for."""
    thread = threading.Thread(target=lambda: queue.put("from a thread"))
    taken = []
    waiter = threading.Thread(target=lambda: taken.append(queue.get()))
    waiter.start()
    thread.start()
    waiter.join()
    thread.join()
    assert taken == ["from a thread"]


# ---- its end -------------------------------------------------------------------


def test_shutdown(queue):
    """What is in it is still taken; then, and for who puts, it is ShutDown."""
    queue.put(1)
    queue.shutdown()
    with pytest.raises(ShutDown):
        queue.put(2)
    assert list(queue) == [1]
    with pytest.raises(ShutDown):
        queue.get()


@pytest.mark.parametrize("extra", [b"", b"x" * 2_000_000], ids=["small", "large"])
def test_what_a_queue_refuses_leaves_no_ticket(queue, backend, extra):
    """put() of a queue that was shut down keeps nothing alive."""
    array = sharedmem.zeros(3, backend=backend)
    queue.shutdown()
    with pytest.raises(ShutDown):
        queue.put([array, extra])
    assert sharedmem.stat(array.name).tickets == 0
    assert len(in_use()) == 2


def test_what_waits_is_thrown_away_by_a_shutdown(queue):
    """Nobody waits for it, and its tickets are gone."""
    array = sharedmem.zeros(3)
    for item in range(20_000):
        queue.put(item)
    queue.put(array)
    queue.shutdown(immediate=True)
    queue.close()
    queue.join_thread()
    assert queue.qsize() == 0
    assert sharedmem.stat(array.name).tickets == 0


def test_what_waits_and_has_no_memory_is_told_and_the_rest_goes_on(queue, capsys, monkeypatch):
    """A large item that finds none is lost with a traceback, as in multiprocessing's thread."""
    for item in range(20_000):
        queue.put(item)
    queue.put(b"x" * 2_000_000)
    queue.put("last")
    monkeypatch.setattr(sharedmem.creation, "copy", _no_room)
    assert [queue.get() for _ in range(20_001)] == [*range(20_000), "last"]
    queue.close()
    queue.join_thread()
    assert "no room, for a test" in capsys.readouterr().err


def _no_room(source, *arguments):
    raise MemoryError("no room, for a test")


def test_shutdown_at_once(queue, backend):
    """What is in it is lost, and so are its tickets; who joins goes on."""
    array = sharedmem.zeros(3, backend=backend)
    queue.put(array)
    queue.put([b"x" * 2_000_000, array])
    assert sharedmem.stat(array.name).tickets == 2
    queue.shutdown(immediate=True)
    queue.join()
    assert sharedmem.stat(array.name).tickets == 0
    assert len(in_use()) == 2
    with pytest.raises(ShutDown):
        queue.get()


def test_shutdown_wakes_who_waits(queue, start_method):
    """In other processes, too."""
    process = multiprocessing.get_context(start_method).Process(target=_expect_the_end, args=(queue,))
    process.start()
    queue.put("begin")
    while not queue.empty():
        time.sleep(0.001)
    queue.shutdown()
    process.join()
    assert process.exitcode == 0


def _expect_the_end(queue):
    assert queue.get() == "begin"
    with contextlib.suppress(ShutDown):
        queue.get()
        raise AssertionError


def test_close(queue):
    """It is this object that is closed, and nothing else."""
    other = pickle.loads(pickle.dumps(queue))
    queue.close()
    for call in (queue.get, queue.put_nowait):
        with pytest.raises(ValueError, match="is closed"):
            call(*([1] if call == queue.put_nowait else []))
    queue.join_thread()
    other.put(1)
    assert other.get() == 1


def test_join_thread_of_an_open_queue(queue):
    """It is a mistake, as with multiprocessing's."""
    with pytest.raises(AssertionError, match="not closed"):
        queue.join_thread()


def test_task_done(queue):
    """join() waits until all that was put is done."""
    for item in range(5):
        queue.put(item)

    def work():
        for _ in range(5):
            queue.get()
            queue.task_done()

    thread = threading.Thread(target=work)
    thread.start()
    queue.join()
    thread.join()
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()


# ---- death ---------------------------------------------------------------------


def _serve_until_killed(source, sink):
    sink.put("here")
    while True:
        sink.put(source.get())


def test_killed_producers_and_consumers_stop_nobody(backend, start_method):
    """Wherever they are killed, each loses its own item at most, and the others go on."""
    context = multiprocessing.get_context(start_method)
    source, sink = Queue(50, backend=backend), Queue(backend=backend)
    rounds, sent, received = 6, 0, 0
    for _ in range(rounds):
        process = context.Process(target=_serve_until_killed, args=(source, sink))
        process.start()
        while sink.get() != "here":  # what the one before has sent comes first
            received += 1
        while not source.full():
            source.put(sent)
            sent += 1
        assert isinstance(sink.get(), int)
        received += 1
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    source.shutdown()
    sink.shutdown()
    left = len([*source]) + len([*sink])
    assert sent - rounds <= received + left <= sent


def _stop_in_put(queue, inbox):
    lock = CoreLock()
    lock.bind(segment_of(queue._array), 64)  # of the put side: queue.h
    lock.acquire()
    inbox.send(None)
    os.kill(os.getpid(), signal.SIGSTOP)


def test_others_run_while_a_put_waits_for_one_that_was_stopped(backend):
    """A holder that was stopped is waited for without the GIL, also by who does not want to wait."""
    queue = Queue(2, backend=backend)
    here, there = multiprocessing.Pipe(duplex=False)
    stopped = multiprocessing.get_context("fork").Process(target=_stop_in_put, args=(queue, there))
    stopped.start()
    here.recv()
    about_to_put = threading.Event()

    def kill():
        about_to_put.wait()
        os.kill(stopped.pid, signal.SIGKILL)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)  # nobody else gets the GIL who is not given it
    try:
        thread = threading.Thread(target=kill)
        thread.start()
        about_to_put.set()
        queue.put_nowait("x")  # Full, when the one that kills has to wait for its end
    finally:
        sys.setswitchinterval(interval)
        thread.join()
        stopped.join()
    assert queue.get_nowait() == "x"

"""A signal that comes together with what a call waits for: its handler's exception takes nothing.

A thread gives the main one what that sleeps for, and sends the signal before it lets go of
the GIL. So the main one is awake, in C, when the signal comes, and its handler runs later:
as on a busy machine, where there is time between a wake-up and the first step after it.
"""

from __future__ import annotations

import _thread
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import pytest

import sharedmem
from sharedmem import executor
from sharedmem._core.segment import CoreLock, segment_of
from sharedmem.names import array_of
from sharedmem.workers import _postponed, starting, undisturbed


class Interrupted(Exception):
    pass


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """SIGUSR1 raises, and nobody gets the GIL who is not given it."""

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    before, interval = signal.signal(signal.SIGUSR1, interrupt), sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        signal.signal(signal.SIGUSR1, before)


def await_sleep(thread: int) -> None:
    """Until it sleeps."""
    stat = Path(f"/proc/self/task/{thread}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] != "S":
        pass


@contextlib.contextmanager
def interrupting(
    give: Callable[[], object], first: Callable[[], object] = int, *, sends: bool = False
) -> Iterator[None]:
    """The body sleeps, until a thread, which does `first` before, does `give` and sends a signal.

    Unless `give` sends it.
    """
    main, native = threading.get_ident(), threading.get_native_id()
    ready, go = threading.Event(), threading.Event()

    def run() -> None:
        first()
        ready.set()
        go.wait()
        await_sleep(native)
        give()
        if not sends:
            signal.pthread_kill(main, signal.SIGUSR1)

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    go.set()
    try:
        with pytest.raises(Interrupted):
            yield
    finally:
        thread.join()


def test_an_item_stays_in_the_queue(backend: str) -> None:
    """Whoever takes next gets it, in whatever process."""
    queue = sharedmem.Queue(backend=backend)
    same = sharedmem.Queue.attach(queue.name)
    with interrupting(lambda: same.put("item")):
        queue.get()
    assert same.get_nowait() == "item"
    with pytest.raises(Empty):
        queue.get_nowait()


def test_a_sleeper_gets_the_item_that_another_was_woken_for(backend: str) -> None:
    """Who is interrupted leaves its wake-up to another one, who does not sleep on."""
    queue: Any = sharedmem.Queue(backend=backend)
    got: list[str] = []
    other = threading.Thread(target=lambda: got.append(queue.get()))

    def give() -> None:
        other.start()
        assert other.native_id is not None
        await_sleep(other.native_id)
        queue.put("item")

    with interrupting(give):
        queue.get()
    other.join()
    assert got == ["item"]


def test_nothing_is_put(backend: str) -> None:
    """Room that came is for others."""
    queue: Any = sharedmem.Queue(1, backend=backend)
    queue.put("first")
    with interrupting(queue.get):
        queue.put("second")
    assert queue.empty()


def held_get_side(queue: Any) -> CoreLock:
    lock = CoreLock()
    lock.bind(segment_of(queue._array), 128)  # queue.h
    return lock


def test_an_item_that_was_taken_is_the_next_one(backend: str) -> None:
    """Where the signal came too late to leave it, this object keeps it; a forked child does not."""
    queue: Any = sharedmem.Queue(backend=backend)
    array = sharedmem.zeros(3, backend=backend)
    lock = held_get_side(queue)
    for item in (array, "second", "third"):
        queue.put(item)
    with interrupting(lock.release, lock.acquire):
        queue.get()
    assert queue.qsize() == 3 and not queue.empty()
    child = os.fork()
    if child == 0:
        os._exit(queue.get_nowait() != "second")
    assert os.waitpid(child, 0)[1] == 0
    assert sharedmem.stat(array.name).tickets == 1
    assert queue.get_nowait().name == array.name
    assert queue.get_nowait() == "third"
    assert sharedmem.stat(array.name).tickets == 0


def test_shutting_at_once_throws_away_what_was_taken(backend: str) -> None:
    """And it counts as done."""
    queue: Any = sharedmem.Queue(backend=backend)
    array = sharedmem.zeros(3, backend=backend)
    lock = held_get_side(queue)
    queue.put(array)
    with interrupting(lock.release, lock.acquire):
        queue.get()
    queue.shutdown(immediate=True)
    queue.join()
    assert sharedmem.stat(array.name).tickets == 0
    with pytest.raises(sharedmem.ShutDown):
        queue.get()


@pytest.mark.parametrize("kind", [sharedmem.Lock, sharedmem.RLock])
def test_a_lock_is_free(kind: type[sharedmem.Lock], backend: str) -> None:
    """It was taken, and was given back."""
    lock = kind(backend=backend)
    with interrupting(lock.release, lock.acquire):
        lock.acquire()
    assert not lock.locked()
    with interrupting(lock.release, lock.acquire), lock:
        pass
    assert not lock.locked()


def test_a_unit_is_there(backend: str) -> None:
    """Also of a semaphore with a bound."""
    semaphore = sharedmem.BoundedSemaphore(1, backend=backend)
    with interrupting(semaphore.release, semaphore.acquire):
        semaphore.acquire()
    assert semaphore.get_value() == 1


def test_a_notification_goes_to_another(backend: str) -> None:
    """The lock is held when the exception comes, so that a with statement ends as it should."""
    condition = sharedmem.Condition(backend=backend)
    main, notified = threading.get_ident(), []

    def give() -> None:
        with condition:
            condition.notify()
            signal.pthread_kill(main, signal.SIGUSR1)
            notified.append(condition.wait(20))

    with interrupting(give, sends=True), condition:
        condition.wait()
    assert notified == [True]


def test_who_waits_for_a_conditions_lock_has_it(backend: str) -> None:
    """The signal comes after the notification, while another one still has the lock."""
    condition = sharedmem.Condition(backend=backend)
    memory = np.frombuffer(array_of(condition._segment), np.uint64)
    main = threading.get_ident()

    def give() -> None:
        with condition:
            alone = int(memory[0])  # the state of its lock, which changes when somebody waits
            condition.notify()
            while memory[0] == alone:
                os.stat("/proc/self")  # the GIL is free meanwhile
            signal.pthread_kill(main, signal.SIGUSR1)
            for _ in range(100):
                os.stat("/proc/self")

    with interrupting(give, sends=True), condition:
        condition.wait()
    assert condition.acquire(blocking=False)
    condition.release()


def test_who_has_arrived_at_a_barrier_does_not_stay_counted(backend: str) -> None:
    """It came while the last one of before was at its action; nobody waits for it later."""
    main, native = threading.get_ident(), threading.get_native_id()
    acts = threading.Event()

    def act() -> None:
        acts.set()
        await_sleep(native)

    def come_last() -> None:
        barrier.wait()
        signal.pthread_kill(main, signal.SIGUSR1)

    def come_again() -> None:
        acts.wait()
        barrier.wait()

    barrier = sharedmem.Barrier(2, act, backend=backend)
    threads = [threading.Thread(target=each) for each in (barrier.wait, come_last)]
    threads[0].start()
    while not barrier.n_waiting:
        os.stat("/proc/self")
    threads[1].start()
    with pytest.raises(Interrupted):
        come_again()
    for thread in threads:
        thread.join()
    assert barrier.n_waiting == 0 and barrier.broken


def come_with_a_signal(value: int) -> int:
    signal.raise_signal(signal.SIGUSR1)
    return value


class ComesWithASignal:
    """The signal comes while it is unpickled."""

    def __reduce__(self) -> Any:
        return come_with_a_signal, (7,)


def test_the_result_of_a_call_in_the_background_stays() -> None:
    """Who waits again gets it, whatever of it was already received."""
    call = sharedmem.background(lambda: (sharedmem.ones(3), ComesWithASignal()))
    with pytest.raises(Interrupted):
        call.wait()
    array, seven = call.wait()
    assert array.tolist() == [1, 1, 1] and seven == 7


@pytest.mark.parametrize("workers", ["process", "thread"])
def test_a_map_goes_on_when_it_is_asked_again(workers: Any) -> None:
    """What `imap` waited for comes, and so does the rest."""
    gate = threading.Event() if workers == "thread" else sharedmem.Event()

    def work(i: int) -> int:
        assert i == 0 or gate.wait(60)
        return i

    with sharedmem.MapReduce(np=2, workers=workers) as pool:
        results = pool.imap(work, range(5))
        assert next(results) == 0
        with interrupting(gate.set):
            next(results)
        assert sorted(results) == [1, 2, 3, 4]


def test_a_result_of_a_map_that_was_received_stays() -> None:
    """The signal comes when it has left the pipe: the next one to be had is that."""
    with sharedmem.MapReduce(np=2) as pool:
        results = pool.imap(lambda i: (i, ComesWithASignal()), range(3))
        got = []
        for _ in range(3):
            with pytest.raises(Interrupted):
                next(results)
            got.append(next(results))
        assert sorted(got) == [(0, 7), (1, 7), (2, 7)] and list(results) == []


class SentWithASignal:
    """The signal comes while it is pickled."""

    def __reduce__(self) -> Any:
        signal.raise_signal(signal.SIGUSR1)
        return int, ()


def test_a_map_that_has_begun_is_not_begun_again() -> None:
    """The signal comes before there are workers."""
    with sharedmem.MapReduce(np=2, reuse=True) as pool:
        results = pool.imap(str, [SentWithASignal()])
        with pytest.raises(Interrupted):
            next(results)
        assert list(results) == ["0"]


HERE = os.getpid()


def failure_with_a_signal() -> FailsWithASignal:
    if os.getpid() == HERE:  # the worker looks as well whether it can be unpickled
        signal.raise_signal(signal.SIGUSR1)
    return FailsWithASignal()


class FailsWithASignal(ValueError):
    def __reduce__(self) -> Any:
        return failure_with_a_signal, ()


def test_the_failure_of_a_map_stays() -> None:
    """It is not taken for the end of the results."""

    def work(i: int) -> None:
        raise FailsWithASignal

    with sharedmem.MapReduce(np=1) as pool:
        results = pool.imap(work, [0])
        with pytest.raises(Interrupted):
            next(results)
        with pytest.raises(sharedmem.WorkerException):
            next(results)
        assert list(results) == []


def test_a_map_without_workers_ends_with_its_function() -> None:
    """What a handler raises within that comes out of it, as what it raises itself."""
    with sharedmem.MapReduce(np=0) as pool:
        results = pool.imap(lambda i: signal.raise_signal(signal.SIGUSR1), range(3))
        with pytest.raises(Interrupted):
            next(results)
        assert list(results) == []


def test_an_interrupt_ends_a_map() -> None:
    """^C stops the workers, though the iterator is still there."""
    signal.signal(signal.SIGUSR1, signal.default_int_handler)
    with sharedmem.MapReduce(np=2) as pool:
        results = pool.imap(lambda i: ComesWithASignal(), range(3))
        with pytest.raises(KeyboardInterrupt):
            next(results)
        assert not multiprocessing.active_children() and list(results) == []


def test_a_map_that_waits_for_all_ends() -> None:
    """Nothing of it stays, and the next one finds the pool as it was."""
    gate, begun = sharedmem.Event(), sharedmem.Event()

    def work(i: int) -> Any:
        begun.set()
        assert gate.wait(60)
        return sharedmem.ones(3)

    with sharedmem.MapReduce(np=2) as pool:
        main = threading.get_ident()

        def interrupt() -> None:
            begun.wait()
            signal.pthread_kill(main, signal.SIGUSR1)

        thread = threading.Thread(target=interrupt)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a fork beside it
            thread.start()
            with pytest.raises(Interrupted):
                pool.map(work, range(4))
        thread.join()
        assert not multiprocessing.active_children()
        gate.set()
        assert [each.sum() for each in pool.map(work, range(2))] == [3, 3]


def fork_with_a_signal() -> int:
    """What a child says: 0 if nothing is blocked in it, and the handler is its own."""
    child = os.fork()
    if child == 0:
        try:
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
            signal.raise_signal(signal.SIGUSR1)
        except Interrupted:
            os._exit(len(mask))
        os._exit(99)
    return os.waitpid(child, 0)[1]


def test_all_handlers_are_as_before_when_one_has_raised() -> None:
    """Each signal that came meanwhile has its effect, once; a child that was forked has none of it."""
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: seen.append(number))
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]

    def get_signals() -> None:
        with undisturbed():
            for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR2):
                signal.raise_signal(number)
            assert fork_with_a_signal() == 0
            assert seen == []

    try:
        with pytest.raises(Interrupted):
            get_signals()
        assert seen == [signal.SIGUSR2]
        assert handlers == [signal.getsignal(number) for number in signal.valid_signals()]
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    finally:
        signal.signal(signal.SIGUSR2, before)


POSTPONING: dict[str, Callable[[], Any]] = {
    "one": lambda: _postponed(signal.SIGUSR1),
    "all": undisturbed,
    "starting": lambda: starting("spawn"),
}


@pytest.mark.parametrize("kind", POSTPONING)
def test_what_came_before_it_leaves_no_mask(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python runs the handler of such a signal when the mask is there already."""
    mask = signal.pthread_sigmask

    def mask_with_a_signal(how: int, numbers: Any) -> Any:
        if how != signal.SIG_BLOCK or not numbers:
            return mask(how, numbers)
        # comes while the arguments are read: there is no Python code before the call
        return mask(how, chain(numbers, filter(_thread.interrupt_main, [signal.SIGUSR1])))

    monkeypatch.setattr(signal, "pthread_sigmask", mask_with_a_signal)
    with pytest.raises(Interrupted), POSTPONING[kind]():
        raise AssertionError("it was not interrupted")
    assert mask(signal.SIG_BLOCK, ()) == set()


@pytest.mark.parametrize("kind", POSTPONING)
def test_what_another_thread_takes_afterwards_leaves_no_mask(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler runs as soon as it is back."""
    came: set[int] = set()
    put, raises = signal.signal, [signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGINT)]

    def put_with_a_signal(number: int, handler: Any) -> Any:
        put(number, handler)
        if handler in raises and number not in came:
            came.add(number)
            _thread.interrupt_main(number)

    monkeypatch.setattr(signal, "signal", put_with_a_signal)
    with pytest.raises((Interrupted, KeyboardInterrupt)), POSTPONING[kind]():
        pass
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    assert raises == [signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGINT)]


def test_an_executor_that_has_begun_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes before the first worker is noted; the manager is ours, and all end."""
    context = multiprocessing.get_context("fork")
    start = context.Process.start

    def start_with_a_signal(process: Any) -> None:
        start(process)
        signal.raise_signal(signal.SIGUSR1)

    with monkeypatch.context() as patch, sharedmem.ProcessPoolExecutor(1, mp_context=context) as pool:
        patch.setattr(context.Process, "start", start_with_a_signal)
        with pytest.raises(Interrupted):
            pool.submit(abs, -4)
        manager: Any = pool
        assert type(manager._executor_manager_thread) is executor._Manager
        assert pool.submit(abs, -5).result() == 5
    assert not multiprocessing.active_children()


def test_the_result_of_an_executor_stays() -> None:
    """Who waits for it again gets it."""
    gate = sharedmem.Event()
    with sharedmem.ProcessPoolExecutor(1) as pool:
        future = pool.submit(gate.wait, 60)
        with interrupting(gate.set):
            future.result()
        assert future.result() is True

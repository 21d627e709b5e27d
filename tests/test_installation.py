"""`install(transport=True)`: existing code gains, and nothing changes for it."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import pickle
import threading
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pytest

import sharedmem

N = 50_000


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    """Installed for a test, and not after it."""
    before = vars(ForkingPickler)["dumps"], vars(ForkingPickler)["loads"]
    sharedmem.install(transport=True)
    sharedmem.install(transport=True)
    yield
    sharedmem.uninstall()
    assert (vars(ForkingPickler)["dumps"], vars(ForkingPickler)["loads"]) == before
    assert len(ForkingPickler.dumps(np.zeros(N))) > 8 * N


def write_into(array: np.ndarray) -> np.ndarray:
    array += 1
    return array


def answer(inbox: Any, outbox: Any) -> None:
    while (array := inbox.get()) is not None:
        outbox.put(array + 1)


def test_pool(start_method: str) -> None:
    """Arguments and results are copies, which do not go through the pipe."""
    array = np.zeros(N)
    with multiprocessing.get_context(start_method).Pool(1) as pool:
        results = pool.map(write_into, [array, array.copy()])
        pool.close()
        pool.join()
    assert [each.sum() for each in results] == [N, N]
    assert not array.any()
    assert len(ForkingPickler.dumps("x")) < 20


@pytest.mark.parametrize("length", [3, N])
def test_read_only_arrays_arrive_as_without_it(length: int) -> None:
    """Writeable, up to the Python whose default protocol keeps them read-only."""
    array = np.zeros(length)
    array.flags.writeable = False
    expected = pickle.loads(pickle.dumps(array)).flags.writeable
    arrived = ForkingPickler.loads(ForkingPickler.dumps(array))
    assert arrived.flags.writeable == expected
    assert not array.flags.writeable


class Breaks(Exception):
    """Cannot be unpickled, and carries an array that comes after what cannot."""

    def __reduce__(self) -> Any:
        return int, ("no number",), {"array": sharedmem.zeros(3)}


def raise_breaks() -> None:
    raise Breaks


def return_breaks() -> Any:
    return [sharedmem.zeros(3), Breaks(), sharedmem.zeros(4)]


@pytest.mark.parametrize("function", [raise_breaks, return_breaks])
def test_what_the_stdlib_cannot_load_leaves_nothing_in_flight(function: Any, start_method: str) -> None:
    """Its pool is broken as ever."""
    context = multiprocessing.get_context(start_method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        error = pool.submit(function).exception()
    assert isinstance(error, concurrent.futures.process.BrokenProcessPool)
    assert not any(info.tickets for info in sharedmem.list_segments(internal=True))


def test_queue_and_pipe(start_method: str) -> None:
    """Both ways, through a queue; and by a connection."""
    context = multiprocessing.get_context(start_method)
    inbox, outbox = context.Queue(), context.Queue()
    process = context.Process(target=answer, args=(inbox, outbox))
    process.start()
    for _ in range(3):
        inbox.put(np.zeros(N))
        assert outbox.get().sum() == N
    inbox.put(None)
    process.join()
    for queue in (inbox, outbox):
        queue.close()
        queue.join_thread()
    here, there = context.Pipe()
    with here, there:
        here.send({"rows": np.ones(N)})
        received = there.recv()["rows"]
        received[0] = 2
        assert received.sum() == N + 1


def test_standard_executor() -> None:
    """The standard library's executor gains as well."""
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        assert pool.submit(write_into, np.zeros(N)).result().sum() == N


def test_shared_arrays_still_go_by_name() -> None:
    """With a ticket, which the receiver frees."""
    array = sharedmem.zeros(N)
    message = ForkingPickler.dumps([array, np.asarray(array)])
    assert sharedmem.stat(array.name).tickets == 2
    first, second = ForkingPickler.loads(message)
    array[0] = 3
    assert first[0] == second[0] == 3
    assert sharedmem.stat(array.name).tickets == 0


@pytest.mark.parametrize("transport", [False, True])
def test_a_message_that_fails_leaves_nothing_in_flight(transport: bool) -> None:
    """Neither here nor where a queue's thread pickles."""
    sharedmem.uninstall()
    sharedmem.install(transport=transport)
    array = sharedmem.zeros(N)
    for protocol in (None, 4):
        with pytest.raises(TypeError, match="pickle"):
            ForkingPickler.dumps([array, np.asarray(array), threading.Lock()], protocol)
    assert sharedmem.stat(array.name).tickets == 0
    message = ForkingPickler.dumps(array)
    assert sharedmem.stat(array.name).tickets == 1
    assert sharedmem.forget(message) == 1


def test_other_picklers_are_left_alone() -> None:
    """A subclass, and a protocol that has no buffers, go on as they did."""

    class Theirs(ForkingPickler):
        pass

    assert len(Theirs.dumps(np.zeros(N))) > 8 * N
    assert len(ForkingPickler.dumps(np.zeros(N), 4)) > 8 * N

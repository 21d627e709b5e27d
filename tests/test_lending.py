"""What the parent drops is what workers use again: nothing grows with maps, calls and executors."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import sharedmem
from sharedmem import WorkerException, calls, executor, lending, transport, workers
from sharedmem._core.segment import Parcel
from sharedmem.lending import Lender
from sharedmem.participant import context

N = 50_000  # of eight bytes each: large
SIZE = N * 8

POOLS: dict[str, Callable[[], sharedmem.MapReduce]] = {
    "fork": lambda: sharedmem.MapReduce(np=2),
    "reuse": lambda: sharedmem.MapReduce(np=2, reuse=True),
    "spawn": lambda: sharedmem.MapReduce(np=2, start_method="spawn"),
}


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No idle memory, and nothing learnt of other tests' results."""
    monkeypatch.setattr(workers, "_warned", True)
    monkeypatch.setattr(lending, "_last", {})
    monkeypatch.setattr(executor, "_latest", executor._latest.copy())
    executor._latest.clear()
    sharedmem.trim()
    if context.create(None, 0, 0, 0o600, b"|u1", 1, (1,), None).backend != "posix":
        pytest.skip("what was told of on sysv cannot become idle")
    sharedmem.trim()
    yield
    for process in list(calls._leaving):
        process.look(60)


@pytest.fixture(params=list(POOLS))
def pool(request: pytest.FixtureRequest) -> Callable[[], sharedmem.MapReduce]:
    """Makes pools of each kind."""
    if request.param != "fork":
        pytest.importorskip("cloudpickle")
    return POOLS[request.param]


def place(array: Any) -> int:
    """Which segment a result lies in."""
    parcel = array
    while type(parcel) is not Parcel:
        parcel = parcel.base if isinstance(parcel, np.ndarray) else parcel.obj
    return int(parcel.segment.info.kernel_id)


def idle() -> tuple[float, float]:
    """How many segments and bytes are kept, away ones too."""
    now = context.stats()
    return now["idle"] + now["away"], now["idle_bytes"] + now["away_bytes"]


# ---- maps --------------------------------------------------------------------------------


def test_workers_use_what_was_dropped(pool: Callable[[], sharedmem.MapReduce]) -> None:
    """The results of one map lie where those of the map before did."""
    barrier = sharedmem.Barrier(2)

    def work(i: int) -> np.ndarray:
        barrier.wait()  # so each worker has one
        return np.full(N, float(i))

    places = []
    for _ in range(3):
        with pool() as each:
            results = each.map(work, range(2))
        assert [float(result.sum()) for result in results] == [0, N]
        places.append({place(result) for result in results})
        del results
    assert places[0] == places[1] == places[2]


def test_maps_that_come_and_go(pool: Callable[[], sharedmem.MapReduce]) -> None:
    """However the items are divided: after the first map nothing grows."""
    seen = []
    for _ in range(4):
        with pool() as each:
            results = each.map(lambda i: np.full(N, i), range(5))
        assert [int(result[-1]) for result in results] == list(range(5))
        del results
        seen.append(idle())
    assert len(set(seen[1:])) == 1, seen


def test_maps_of_one_pool(pool: Callable[[], sharedmem.MapReduce]) -> None:
    """The same where workers go on, and results are dropped as they come."""
    seen = []
    with pool() as each:
        for _ in range(4):
            total: list[float] = []
            each.map(
                lambda i: np.full(N, i), range(4), reduce=lambda a, to=total: to.append(float(a[0]))
            )
            assert sorted(total) == [0, 1, 2, 3]
            seen.append(idle()[0])
    assert max(seen) <= 8, seen


def test_results_of_changing_sizes() -> None:
    """What is lent in vain goes, as far as workers made something else instead."""
    seen = []
    for k in range(1, 7):
        with sharedmem.MapReduce(np=1) as each:
            results = each.map(lambda _, k=k: np.ones(k * N), range(2))
        del results
        seen.append(idle()[1])
    assert max(seen) < 2 * (6 + 5) * (SIZE + 8192), seen  # the last two, not all of them


def test_a_worker_dies_with_what_was_lent() -> None:
    """It is the parent's all the while: idle again, and nothing in flight."""

    def work(i: int) -> Any:
        if os.environ.get("DIE") and i == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.ones(N)

    with sharedmem.MapReduce(np=1) as each:
        each.map(work, range(3))
    before = idle()
    os.environ["DIE"] = "1"
    try:
        with sharedmem.MapReduce(np=1) as each, pytest.raises(WorkerException):
            each.map(work, range(3))
    finally:
        del os.environ["DIE"]
    assert idle() == before
    del each
    sharedmem.trim()
    assert not any(info.tickets for info in sharedmem.list_segments(internal=True))


@pytest.mark.parametrize("when", ["taken", "filled", "told"])
def test_a_worker_is_killed_at_its_result(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """With the memory mapped, with the result in it, with the message half written."""
    with sharedmem.MapReduce(np=1) as each:
        each.map(np.ones, [N])
    before, receive, dump, here = idle(), transport.receive, transport.Packer.dump, os.getpid()

    def die() -> None:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)

    def take(*descriptor: Any) -> Any:
        parcel = receive(*descriptor)
        die()
        return parcel

    def fill(packer: Any, thing: Any) -> bytes:
        data = dump(packer, thing)
        die()
        return data

    def tell(worker: Any, notes: bytes, data: bytes) -> None:
        os.write(worker._speaks.fileno(), workers._HEAD.pack(len(data), len(notes)) + notes + data[:9])
        die()

    monkeypatch.setattr(
        *{
            "taken": (transport, "receive", take),
            "filled": (transport.Packer, "dump", fill),
            "told": (workers.Worker, "_write", tell),
        }[when]
    )
    with sharedmem.MapReduce(np=1) as each, pytest.raises(WorkerException, match="SIGKILL"):
        each.map(np.ones, [N])
    assert idle() == before
    assert not any(info.tickets for info in sharedmem.list_segments(internal=True))


# ---- calls and executors -------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_calls_in_the_background(method: str) -> None:
    """Each lies where the one before did."""
    places = set()
    for _ in range(4):
        call = sharedmem.background(np.ones, N, start_method=method)
        result = call.wait()
        places.add(place(result))
        del call, result
        for process in list(calls._leaving):
            process.look(60)
    assert len(places) == 1


def negative(array: np.ndarray) -> np.ndarray:
    return -array


def test_executors_that_come_and_go(start_method: str) -> None:
    """A new one begins with what the last one came to know."""
    array, seen = np.ones(N), []
    for _ in range(4):
        with sharedmem.ProcessPoolExecutor(1, multiprocessing.get_context(start_method)) as each:
            assert float(each.submit(negative, array).result()[0]) == -1
        seen.append(idle())
    assert len(set(seen[1:])) == 1, seen


# ---- a lender by itself ----------------------------------------------------------------------


def learn(*sizes: int) -> None:
    """A job has ended whose results were so large; they are idle here."""
    lender = Lender(np.ones, 1, 1)
    lender.received([number for size in sizes for number in (size, 0)])
    lender.end()
    made = [lending.new_parcel(size) for size in sizes]
    assert None not in made


def rooms_of(lender: Lender) -> list[lending.Room]:
    return [room for message in lender.messages() for room in pickle.loads(message)]


def test_nothing_is_lent_that_is_not_idle() -> None:
    """For a function that is not known, or without idle memory."""
    assert not Lender(np.ones, 1, 1).lends()
    learn(SIZE)
    assert Lender(np.ones, 1, 1).lends() and not Lender(np.zeros, 1, 1).lends()
    sharedmem.trim()
    assert not Lender(np.ones, 1, 1).lends()


def test_as_much_is_lent_as_items_take() -> None:
    """And to each worker its part."""
    learn(SIZE, SIZE, SIZE)
    lender = Lender(np.ones, 2, 2)
    assert len(rooms_of(lender)) == 3
    lender.end()
    assert idle()[0] == 3


def test_what_is_lent_in_vain_goes_for_what_was_made() -> None:
    """As much of it, and no more."""
    learn(SIZE, SIZE, SIZE)
    lender = Lender(np.ones, 1, 1)
    first, *_ = rooms_of(lender)
    held = lender.received([SIZE, first[3], SIZE, 0])
    assert [parcel.nbytes for parcel in held] == [SIZE]
    lender.end()
    assert idle()[0] == 1  # the one that is held, and the one that was freed, are not
    held.clear()
    assert idle()[0] == 2


def test_what_is_new_is_not_lent() -> None:
    """Enough is idle, but nothing that fits: the worker's own is as good, and nothing is left here."""
    learn(SIZE)
    lending.idle_parcel(2 * SIZE)
    made = [sharedmem.empty(SIZE, np.uint8) for _ in range(8)]
    del made
    before = idle()
    assert before[1] > 6 * SIZE and lending.idle_parcel(6 * SIZE) is None
    assert idle() == before
    assert lending.idle_parcel(SIZE) is not None


def keep_and_return_shared(_: int) -> np.ndarray:
    kept = globals().setdefault("_kept", [])
    kept.append(sharedmem.full(N, 1.0))
    return kept[-1]


def test_shared_arrays_of_workers_do_not_gather() -> None:
    """What workers made as shared arrays, and cannot be lent for, goes as more of it comes."""
    seen = []
    for _ in range(4):
        with sharedmem.MapReduce(np=1) as each:
            results = each.map(keep_and_return_shared, range(3))
        del results
        seen.append(idle()[1])
    # At most: the proof is refused, and the segment freed, while the reaper tries the same claim.
    assert max(seen) < 4 * SIZE, seen

"""`ProcessPoolExecutor`: the semantics of the standard library's beside it, and that nothing is left."""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import gc
import multiprocessing
import multiprocessing.synchronize
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import process
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import pytest

import sharedmem
from sharedmem import executor as module
from sharedmem import ledger, threads, transport
from sharedmem._core.segment import segment_of
from sharedmem.ledger import Ledger
from sharedmem.testing import deaths
from sharedmem.transport import new_parcel

N = 50_000  # of eight bytes each: large
Make = Callable[..., Any]


@pytest.fixture(params=["ours", "stdlib"])
def make(request: pytest.FixtureRequest, start_method: str) -> Make:
    """Makes executors of the class in turn, by each start method."""
    classes = {"ours": sharedmem.ProcessPoolExecutor, "stdlib": concurrent.futures.ProcessPoolExecutor}

    def made(workers: int = 1, **how: Any) -> Any:
        context = multiprocessing.get_context(start_method)
        return classes[request.param](workers, mp_context=context, **how)

    return made


@pytest.fixture
def ours(start_method: str) -> Make:
    """Makes executors of ours, by each start method."""

    def made(workers: int = 1, **how: Any) -> Any:
        context = multiprocessing.get_context(start_method)
        return sharedmem.ProcessPoolExecutor(workers, mp_context=context, **how)

    return made


def nothing_left() -> bool:
    """Whether no segment is there that an executor has made."""
    gc.collect()
    sharedmem.trim()
    sharedmem.reclaim()
    return sharedmem.list_segments(internal=True) == []


# ---- G13: sharing is asked for, never inferred ---------------------------------


def write_into(array: np.ndarray) -> float:
    array[:] = 7
    return float(array.sum())


@pytest.mark.parametrize("length", [3, N])
def test_writing_into_an_argument_changes_nothing_here(make: Make, length: int) -> None:
    """A plain argument is a copy in the worker, which may write into it."""
    array = np.zeros(length)
    with make() as pool:
        assert pool.submit(write_into, array).result() == 7 * length
    assert not array.any()


_kept: dict[str, np.ndarray] = {}


def return_the_same(length: int) -> np.ndarray:
    return _kept.setdefault("array", np.zeros(length))


@pytest.mark.parametrize("length", [3, N])
def test_results_of_one_array_are_independent(make: Make, length: int) -> None:
    """A worker that returns the same module-level array twice gives two results."""
    with make() as pool:
        first = pool.submit(return_the_same, length).result()
        second = pool.submit(return_the_same, length).result()
    first[0] = 1
    assert second[0] == 0


READ_ONLY = {
    "small": np.zeros(9),
    "large": np.zeros(N),
    "steps": np.zeros(2 * N)[::2],
    "f-order": np.zeros((N // 10, 10), order="F"),
    "broadcast": np.broadcast_to(0.0, (3, N)),
    "subclass": np.zeros(N).view(np.matrix),
    "objects": np.array([None, 0]),
}
for each in READ_ONLY.values():
    each.flags.writeable = False


def facts(array: np.ndarray) -> tuple[Any, ...]:
    return type(array), array.flags.writeable, array.flags.c_contiguous, array.shape, array.dtype


def return_read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("kind", READ_ONLY)
def test_what_is_read_only_arrives_as_by_the_stdlib(make: Make, kind: str) -> None:
    """There and back: writeable, up to the Python whose default protocol keeps it."""
    array = READ_ONLY[kind]
    expected = facts(pickle.loads(pickle.dumps(array)))
    with make() as pool:
        assert pool.submit(facts, array).result() == expected
        assert facts(pool.submit(return_read_only, array).result()) == expected


def keep_and_return(array: np.ndarray) -> np.ndarray:
    _kept["view"] = array[:]
    return array


def make_and_keep(length: int) -> np.ndarray:
    _kept["view"] = array = np.zeros(length)
    return array


def write_into_what_was_kept() -> float:
    _kept["view"][:] = 9
    return float(_kept["view"][0])


@pytest.mark.parametrize("length", [3, N])
@pytest.mark.parametrize("made", ["here", "there"])
def test_writing_into_what_was_returned_changes_nothing(make: Make, length: int, made: str) -> None:
    """A worker that keeps a view of what it returned, be it an argument, writes into its own."""
    with make() as pool:
        if made == "here":
            result = pool.submit(keep_and_return, np.zeros(length)).result()
        else:
            result = pool.submit(make_and_keep, length).result()
        assert pool.submit(write_into_what_was_kept).result() == 9
    assert not result.any()


def read_what_was_kept() -> float:
    return float(_kept["view"].sum())


def test_writing_into_a_result_changes_nothing_in_the_worker(make: Make) -> None:
    """The other way round."""
    with make() as pool:
        result = pool.submit(keep_and_return, np.zeros(N)).result()
        result[:] = 5
        assert pool.submit(read_what_was_kept).result() == 0


def add_in_place(array: np.ndarray) -> np.ndarray:
    array += 1
    return array


def test_an_argument_that_is_returned_is_a_copy(make: Make) -> None:
    """Also where it goes without one, since nothing in the worker leads to it any more."""
    array = np.zeros(N)
    with make() as pool:
        first = pool.submit(add_in_place, array).result()
        second = pool.submit(add_in_place, array).result()
    first += 1
    assert (array[0], first[0], second[0]) == (0, 2, 1)


def add_in_place_to_all(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for array in arrays.values():
        array += 1
    return arrays


def test_argument_memory_goes_back_without_a_copy(ours: Make) -> None:
    """In each form in which that can be proved; and it is then the parent's alone."""
    with ours() as pool:
        for function, argument in (
            (add_in_place, np.zeros(N)),
            (add_in_place_to_all, {"a": np.zeros(N)}),
        ):
            before = pool.stats()
            result = pool.submit(function, argument).result()
            after = pool.stats()
            assert after["handed_over"] - before["handed_over"] == 8 * N
            assert after["copied"] - before["copied"] == 8 * N
        assert result["a"].sum() == N
        result["a"][0] = 5
    assert not argument["a"].any()


def fork_and_return(array: np.ndarray, path: str) -> np.ndarray:
    if os.fork() == 0:
        with open(f"{path}/go", "rb") as go:
            go.read()
        array[:] = 666
        with open(f"{path}/written", "wb") as written:
            written.write(b"w")
        os._exit(0)
    return array


def test_a_child_of_a_worker_writes_into_its_own(ours: Make, tmp_path: Any) -> None:
    """Though the worker has returned its argument since, without a copy."""
    for name in ("go", "written"):
        os.mkfifo(tmp_path / name)
    with ours(1) as pool:
        result = pool.submit(fork_and_return, np.ones(N), str(tmp_path)).result()
        (tmp_path / "go").write_bytes(b"")
        assert (tmp_path / "written").read_bytes() == b"w"
        assert (result == 1).all()


def test_forked_workers_write_into_copies_of_results() -> None:
    """What those of a pool or a map write into earlier results nobody else sees."""
    with sharedmem.ProcessPoolExecutor(1) as pool:
        of_pool = pool.submit(np.zeros, N).result()
    with sharedmem.MapReduce(np=1) as pool:
        [of_map] = pool.map(np.zeros, [N])

    def count(i: int) -> tuple[float, float]:
        of_pool[i] += 1
        of_map[i] += 1
        return of_pool.sum(), of_map.sum()

    with sharedmem.MapReduce(np=2) as pool:
        assert all(one in [(1, 1), (2, 2)] for one in pool.map(count, range(2)))
    assert not of_pool.any()
    assert not of_map.any()


def overlapping(kind: str, array: np.ndarray) -> np.ndarray:
    """One whose elements share memory of `array`, to which nothing else leads any more."""
    if kind == "windows":
        return np.ndarray((N - 2, 3), array.dtype, array, 0, (8, 8))
    if kind == "backwards":
        return np.ndarray((3, N - 2), array.dtype, array, 16, (-8, 8))
    result: np.ndarray = np.ndarray((3, N), array.dtype, array, 0, (0, 8))
    result.flags.writeable = kind != "read-only rows"
    return result


@pytest.mark.parametrize("kind", ["windows", "backwards", "rows", "read-only rows"])
def test_elements_of_a_result_are_independent(make: Make, kind: str) -> None:
    """Though they overlapped in the worker."""
    with make() as pool:
        result = pool.submit(overlapping, kind, np.zeros(N)).result()
    result[0, 1] = 7
    assert result.sum() == 7
    assert result.flags.c_contiguous


def part_of(array: np.ndarray, length: int, step: int) -> np.ndarray:
    return array[:length:step]


@pytest.mark.parametrize(
    ("length", "step", "handed_over"),
    [
        (N, 1, True),
        (N // 2, 1, True),
        (N, 2, True),
        (N // 2 - 1, 1, False),
        (N, 3, False),
        (9, 1, False),
    ],
)
def test_a_part_of_an_argument_keeps_no_more_than_twice_its_size(
    ours: Make, length: int, step: int, handed_over: bool
) -> None:
    """What is most of the argument goes in its memory, what is less is copied out of it."""
    with ours(min_bytes=1000) as pool:
        result = pool.submit(part_of, np.arange(float(N)), length, step).result()
        assert pool.stats()["handed_over"] == handed_over * result.nbytes
    assert (result == np.arange(0, length, step)).all()
    sharedmem.trim()
    assert sum(info.nbytes for info in sharedmem.list_segments(internal=True)) <= 2 * result.nbytes


def test_shared_arguments_are_the_same_memory(start_method: str) -> None:
    """A shared array, a view of one, and a plain view of one."""
    array = sharedmem.zeros(N)
    context = multiprocessing.get_context(start_method)
    with sharedmem.ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(write_into, array[:10]).result()
        assert array[:11].tolist() == [7] * 10 + [0]
        pool.submit(write_into, np.asarray(array)[20:]).result()
        assert array[19:22].tolist() == [0, 7, 7]
        assert pool.submit(keep_and_return, array).result().name == array.name
        assert sharedmem.stat(array.name).tickets == 0
        assert pool.stats()["by_name"] == 8 * (10 + N - 20 + N + N)


def make_shared(length: int) -> sharedmem.SharedArray:
    _kept["view"] = array = sharedmem.zeros(length)
    return array


def test_shared_results_are_the_same_memory(ours: Make) -> None:
    """What a worker shares stays shared."""
    with ours() as pool:
        result = pool.submit(make_shared, N).result()
        pool.submit(write_into_what_was_kept).result()
        assert result[0] == 9


# ---- map -------------------------------------------------------------------------


def twice(array: np.ndarray) -> np.ndarray:
    return array * 2


def test_map_with_chunks(make: Make) -> None:
    """Arrays in chunks arrive, each independent of the others."""
    arrays = [np.full(N, i) for i in range(7)]
    with make(2) as pool:
        for chunksize in (1, 3):
            results = list(pool.map(twice, arrays, chunksize=chunksize))
            assert [int(each[-1]) for each in results] == [0, 2, 4, 6, 8, 10, 12]
            results[0][:] = 1
            assert results[1][0] == 2


def test_arrays_in_chunks_do_not_stand_in_pickles(ours: Make) -> None:
    """Nor do those in the lists of results."""
    with ours() as pool:
        for _ in pool.map(twice, [np.ones(N) for _ in range(4)], chunksize=2):
            pass
        stats = pool.stats()
    assert stats["copied"] == 8 * 8 * N
    assert stats["pickled"] < 8000


# ---- memory that is lent -----------------------------------------------------------


def test_lent_memory_goes_back_without_a_ticket() -> None:
    """A worker that is killed before its answer is read must not leave it in flight."""
    call = module._Call(module._Desk(1000, 1), True, add_in_place, (np.zeros(N),), {})
    opened, arguments = call.reduce(1)
    item = opened(*arguments)
    answer = item.fn(*item.args)
    answer.pack(later=True)
    answer.seal([])
    message = pickle.dumps(answer)
    assert [info.tickets for info in sharedmem.list_segments(internal=True)] == [0]
    assert pickle.loads(message).sum() == N


def test_what_needs_no_packer() -> None:
    """Atoms, and a few of them together; nothing else, wherever it is."""
    endless: list[Any] = []
    endless.append(endless)
    array = np.zeros(9)
    for simple in (
        1,
        "text" * N,
        (),
        [1, (2.0, None)],
        {"a": [b"x", True]},
        np.float32(1),
        [array[::2]],
    ):
        assert module._is_simple(simple, array.nbytes + 1)
    fixed = np.zeros(1)
    fixed.flags.writeable = False
    shared = sharedmem.zeros(1)
    own = np.recarray(1, "f8"), np.ma.zeros(1), np.array([None]), fixed, shared, shared.view(np.ndarray)
    others = (*own, [array], {"a": (fixed,)}, {(frozenset(),): 1}, range(3), endless, [0] * N)
    for other in others:
        assert not module._is_simple(other, array.nbytes)


class PipeBreaks:
    def __reduce__(self) -> Any:
        raise BrokenPipeError(32, "of the user's own")


def test_a_broken_pipe_of_pickling_is_the_tasks(make: Make) -> None:
    """It is no parent that has ended."""
    with make() as pool:
        for _ in range(2):
            assert "the user's own" in str(pool.submit(PipeBreaks).exception())


def test_memory_is_lent_for_results(tmp_path: Any) -> None:
    """With idle memory a result lands in the parent's own, and the answer's parcels are few."""
    script = (
        "import sharedmem, numpy as np\n"
        "from sharedmem.participant import context\n"
        "if __name__ == '__main__':\n"
        "    with sharedmem.ProcessPoolExecutor(1) as pool:\n"
        "        for _ in range(5):\n"
        "            result = pool.submit(np.full, 100_000, 3.0).result()\n"
        "            assert result.sum() == 300_000\n"
        "            del result\n"
        "    print(context.stats()['reused'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "SHAREDMEM_CACHE": str(1 << 24)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) >= 3


MEMORY = """
import tracemalloc
import numpy as np, sharedmem

N = 2_000_000

def add_one(x):
    return x + 1

def most():
    return tracemalloc.get_traced_memory()[1]

if __name__ == '__main__':
    x = np.ones(N)
    with sharedmem.ProcessPoolExecutor(1, initializer=tracemalloc.start) as pool:
        tracemalloc.start()
        for _ in range(5):
            result = pool.submit(add_one, x).result()
            assert result[-1] == 2
            del result
        print(most() // 1024, pool.submit(most).result() // 1024)
        print(sharedmem.stats()['evicted'], *(info.size for info in sharedmem.list_segments(internal=True)))
"""


def test_one_copy_of_the_input_and_one_of_the_output(tmp_path: Any) -> None:
    """That is all the memory there ever is; the worker has what its function makes."""
    script = tmp_path / "memory.py"
    script.write_text(MEMORY)
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "SHAREDMEM_CACHE": str(1 << 28)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    array = 16_000_000
    private, segments = (list(map(int, line.split())) for line in done.stdout.splitlines())
    here, there = private  # in KB
    assert here < 1000
    assert there * 1024 < array + 1_000_000
    evicted, *sizes = segments
    # Nothing was given up, so what there is now is the most there ever was.
    assert evicted == 0
    assert len([size for size in sizes if size >= array]) == 2
    assert sum(sizes) < 2 * array + 100_000


def test_room_that_does_not_fit_is_left() -> None:
    """A result of another size, and one in several pieces, comes all the same."""
    desk = module._Desk(1000, 1)
    room = new_parcel(50_000)
    assert room is not None
    for thing in (np.ones(100_000, "u1"), np.ones(2000, "u1"), [np.ones(45_000, "u1")] * 1):
        packer = module.Packer(1000, rooms=[(room.nbytes, *room.segment.key)], mark=desk.mark)
        message = packer.dump(thing)
        del packer
        arrived = pickle.loads(message)
        np.testing.assert_array_equal(arrived, thing)


# ---- what goes wrong ------------------------------------------------------------


class CarriesArray(Exception):
    """An error with an array in it."""


def fail_with_array(array: np.ndarray) -> None:
    raise CarriesArray("with an array", array)


def test_exceptions_that_carry_arrays(make: Make) -> None:
    """They arrive whole, with the worker's traceback as the cause."""
    with make() as pool:
        error = pool.submit(fail_with_array, np.ones(N)).exception()
    assert type(error) is CarriesArray
    assert error.args[1].sum() == N
    assert "fail_with_array" in str(error.__cause__)
    del error
    assert nothing_left()


def return_what_cannot_be_pickled(array: np.ndarray) -> Any:
    return [array, threading.Lock()]


def test_what_cannot_be_pickled(make: Make) -> None:
    """The error is the future's, there and back, and the pool goes on."""
    with make() as pool:
        for future in (
            pool.submit(write_into, [np.ones(N), threading.Lock()]),
            pool.submit(return_what_cannot_be_pickled, np.ones(N)),
        ):
            with pytest.raises(TypeError, match="pickle"):
                future.result()
        assert pool.submit(write_into, np.ones(N)).result() == 7 * N
    del future
    assert nothing_left()


class BreaksWhenLoaded:
    """Can be pickled, and not unpickled."""

    def __reduce__(self) -> Any:
        return break_when_loaded, ()


def break_when_loaded() -> None:
    raise ValueError("cannot be loaded")


def return_what_cannot_be_loaded(array: np.ndarray) -> Any:
    return [BreaksWhenLoaded(), array * 2]


class BreaksWhenRaised(Exception):
    """Cannot be unpickled, like many whose `__init__` takes more than it passes on."""

    def __init__(self, array: np.ndarray, more: int) -> None:
        super().__init__(array)
        self.more = more


def raise_what_cannot_be_loaded(array: np.ndarray) -> None:
    raise BreaksWhenRaised(array * 2, 1)


class Exits:
    """Unpickled it would end a thread."""

    def __reduce__(self) -> Any:
        return sys.exit, (3,)


def return_what_exits(array: np.ndarray) -> Any:
    return [Exits(), array * 2]


# What is called, the side that cannot load, and what; the cause.
NOT_LOADED: dict[str, tuple[Any, Any, str, type]] = {
    "argument": (write_into, [BreaksWhenLoaded(), np.ones(N)], "worker with pid .* a call", ValueError),
    "result": (return_what_cannot_be_loaded, np.ones(N), "submits .* the result", ValueError),
    "exception": (raise_what_cannot_be_loaded, np.ones(N), "submits .* the exception", TypeError),
    "exit": (return_what_exits, np.ones(N), "submits .* the result", SystemExit),
}


@pytest.mark.parametrize("kind", NOT_LOADED)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_cannot_be_loaded(make: Make, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """An error of the standard library's class, which breaks there; nothing is in flight."""
    function, argument, _, _ = NOT_LOADED[kind]
    with make() as pool:
        future = pool.submit(function, argument)
        with pytest.raises(BrokenProcessPool):
            future.result()
    del future
    assert nothing_left()
    capfd.readouterr()


def nothing_in_flight() -> bool:
    return not any(info.tickets for info in sharedmem.list_segments(internal=True))


@pytest.mark.parametrize("kind", NOT_LOADED)
def test_what_cannot_be_loaded_is_the_error_of_its_future(ours: Make, kind: str) -> None:
    """It says which side could not load what, and why; the pool goes on, with its workers."""
    function, argument, text, cause = NOT_LOADED[kind]
    with ours() as pool:
        worker = pool.submit(os.getpid).result()
        with pytest.raises(sharedmem.LoadError, match=text) as caught:
            pool.submit(function, argument).result()
        assert type(caught.value.__cause__) is cause
        if kind == "exception":  # what it was can be read all the same
            assert "raise BreaksWhenRaised" in str(caught.value.__cause__.__cause__)
        assert nothing_in_flight()
        assert pool.submit(os.getpid).result() == worker
        assert pool.submit(write_into, np.ones(N)).result() == 7 * N


def test_its_manager_is_ours_before_it_starts(ours: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may answer the first future before whoever started it goes on."""
    start = process._ExecutorManagerThread.start

    def start_and_let_it_answer(thread: Any) -> None:
        start(thread)
        until = time.monotonic() + 60
        while thread.pending_work_items and time.monotonic() < until:
            time.sleep(0.001)

    monkeypatch.setattr(process._ExecutorManagerThread, "start", start_and_let_it_answer)
    with ours() as pool:
        future = pool.submit(write_into, [BreaksWhenLoaded(), np.ones(N)])
        assert type(future.exception()) is sharedmem.LoadError
        assert nothing_in_flight()


def ledger_of(pool: Any) -> str:
    return str(np.dtype([(f"result of executor {pool._desk.token}", "u1")]))


class Remembers:
    """Carries a shared array before what breaks, or behind it."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return Remembers, self.parts


def carry(how: str) -> Any:
    array, lock = sharedmem.ones(3), sharedmem.Lock()
    if how == "raised":
        raise BreaksWhenRaised(array, 1)
    return Remembers(array, lock, BreaksWhenLoaded(), sharedmem.ones(4), sharedmem.Lock())


@pytest.mark.parametrize("how", ["raised", "returned"])
def test_shared_arrays_of_what_cannot_be_loaded_are_freed(ours: Make, how: str) -> None:
    """Though the exception is kept, and the worker lives on."""
    with ours() as pool:
        error = pool.submit(carry, how).exception()
        assert type(error) is sharedmem.LoadError
        assert nothing_in_flight()
        pool.submit(gc.collect).result()
        pool.submit(sharedmem.trim).result()
        sharedmem.trim()
        sharedmem.reclaim()
        assert [str(info.dtype) for info in sharedmem.list_segments(internal=True)] == [ledger_of(pool)]


def test_a_function_that_a_worker_cannot_import(ours: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module came after the worker: an error of this call, and of no other."""
    with ours() as pool:
        pool.submit(os.getpid).result()
        came = types.ModuleType("came_after_the_worker")
        exec("def function(x): return x", vars(came))
        monkeypatch.setitem(sys.modules, came.__name__, came)
        for argument in (1, np.ones(N)):
            with pytest.raises(sharedmem.LoadError, match="came_after_the_worker") as caught:
                pool.submit(came.function, argument).result()
            assert type(caught.value.__cause__) is ModuleNotFoundError
        assert pool.submit(write_into, np.ones(N)).result() == 7 * N


def kill_oneself(array: np.ndarray) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_killed_workers(make: Make, request: pytest.FixtureRequest) -> None:
    """BrokenProcessPool for all that is pending, and nothing is left."""
    if "stdlib" in request.node.name and sys.version_info < (3, 11, 6):
        pytest.skip("hangs when a worker dies while a long call is written (gh-94777)")
    with make(2) as pool:
        futures = [pool.submit(kill_oneself, np.ones(N))]
        with contextlib.suppress(BrokenProcessPool):  # it may be known already
            futures += [pool.submit(kill_oneself, np.ones(N)) for _ in range(5)]
        for future in futures:
            with pytest.raises(BrokenProcessPool):
                future.result()
        with pytest.raises(BrokenProcessPool):
            pool.submit(write_into, np.ones(N))
    del futures, future
    assert nothing_left()


def test_answers_that_a_broken_pool_does_not_read() -> None:
    """Parcels in flight that bear the executor's mark are freed, and no others."""
    desk, other = module._Desk(1000, 1), module._Desk(1000, 1)
    message = module.Packer(1000, mark=desk.mark).dump(np.ones(N))
    theirs = module.Packer(1000, mark=other.mark).dump(np.ones(N))
    received = pickle.loads(module.Packer(1000, mark=desk.mark).dump(np.ones(N)))
    assert len(sharedmem.list_segments(internal=True)) == 3
    desk.sweep()
    with pytest.raises(sharedmem.SegmentNotFoundError):
        pickle.loads(message)
    assert received.sum() == pickle.loads(theirs).sum() == N


def make_answers() -> tuple[Any, Any]:
    """A desk whose worker is this process, and its queue of answers."""
    desk = module._Desk(1000, 1)
    desk.ledger = Ledger.new(desk.mark)
    module._Worker.token, module._Worker.mark, module._Worker.ledger = desk.token, desk.mark, desk.ledger
    queue: Any = multiprocessing.get_context("fork").SimpleQueue()
    queue.__class__ = module._AnswerQueue
    queue._reader.__class__ = module._AnswerReader
    os.set_blocking(queue._reader.fileno(), False)
    return desk, queue


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    for name in ("token", "mark", "ledger", "min_bytes"):
        monkeypatch.setattr(module._Worker, name, getattr(module._Worker, name))
    desk, queue = make_answers()
    yield desk, queue
    queue.close()


def answer_with_shared(queue: Any, backend: str) -> None:
    """As a worker does: what is named, what is copied."""
    first, last = sharedmem.ones(3, backend=backend), sharedmem.ones(4, backend=backend)
    thing = [first, np.ones(N), sharedmem.Lock(backend=backend), last]
    del first, last
    item = process._ResultItem(1, result=module._Answer([thing]))
    del thing
    queue.put(item)


def test_a_worker_that_is_killed_at_any_line_leaves_nothing_in_flight(
    answers: tuple[Any, Any], backend: str
) -> None:
    """Not before its answer is written, nor when that is not read."""
    desk, queue = answers
    steps = 0
    within = ("sharedmem.executor", "sharedmem.ledger")
    for death in deaths(answer_with_shared, queue, backend, within=within):
        steps += 1
        queue._reader.forget()
        queue._wlock = multiprocessing.get_context("fork").Lock()  # the dead may hold it
        ledger.give_up(desk.ledger.read())
        desk.ledger.clear()
        transport.reclaim_marked(desk.mark)
        sharedmem.trim()
        sharedmem.reclaim()
        assert [info.name for info in sharedmem.list_segments(internal=True)] == [desk.ledger.key[1]], (
            death
        )
    assert steps > 50


def test_half_an_answer_is_not_waited_for(answers: tuple[Any, Any], backend: str) -> None:
    """The parent gets None for it, and the rest with what comes; what is left is taken back."""
    desk, queue = answers
    answer_with_shared(queue, backend)
    written = os.read(queue._reader.fileno(), 1 << 16)
    for begin in range(0, len(written), 7):
        os.write(queue._writer.fileno(), written[begin : begin + 7])
        if begin + 7 < len(written):
            assert queue._reader.recv() is None
    result = queue._reader.recv().result
    assert [len(result[0]), len(result[1]), len(result[3])] == [3, N, 4]
    del result
    with pytest.raises(BlockingIOError):
        os.read(queue._reader.fileno(), 1)
    assert queue._reader.recv() is None
    answer_with_shared(queue, backend)
    half = os.read(queue._reader.fileno(), 1 << 16)[:-3]
    os.write(queue._writer.fileno(), half)
    assert queue._reader.recv() is None
    queue._reader.forget()
    desk.sweep()
    sharedmem.reclaim()
    assert [info for info in sharedmem.list_segments(internal=True) if info.tickets] == []


def test_an_array_whose_name_goes_meanwhile_goes_by_content(answers: tuple[Any, Any]) -> None:
    """The name was there when it was pickled, and is not when the ticket is to be had."""
    _, queue = answers
    array = sharedmem.full(3, 5.0)
    answer = module._Answer([[array, sharedmem.ones(2)]])

    def pack(later: bool) -> Any:
        packer = module._Answer.pack(answer, later)
        if later:
            array.unlink()
        return packer

    answer.pack = pack  # type: ignore[method-assign]
    queue.put(process._ResultItem(1, result=answer))
    first, second = queue._reader.recv().result
    assert type(first) is np.ndarray
    assert (first == 5).all()
    assert type(second) is sharedmem.SharedArray
    assert nothing_in_flight()


def test_notes_of_a_ledger() -> None:
    """Names of the user's, and more notes than there is room for: the ticket is there all the same."""
    notes = Ledger.new(b"|u1")
    assert notes is not None
    array = sharedmem.zeros(1, name="notes-käse")
    segment: Any = segment_of(array)
    tickets = [notes.note(segment) for _ in range(3000)]
    read = list(notes.read())
    assert 1000 < len(read) < 3000
    assert read == [(*segment.key, ticket) for ticket in tickets[: len(read)]]
    other = Ledger.attach(notes.key)
    assert other is not None and list(other.read()) == read
    ledger.give_up(read)
    assert sharedmem.stat(array.name).tickets == 3000 - len(read)
    notes.clear()
    assert list(notes.read()) == []
    assert Ledger.attach(None) is None
    array.unlink()
    assert ledger.take(notes, [segment]) is None
    assert list(notes.read()) == []


def return_large_text() -> str:
    return "text" * 1_000_000


def test_answers_that_come_in_many_pieces(make: Make) -> None:
    """Some that take a pipe long, of several workers at once."""
    with make(2) as pool:
        for future in [pool.submit(return_large_text) for _ in range(4)]:
            assert len(future.result()) == 4_000_000


def test_killed_worker_while_calls_are_sent(ours: Make) -> None:
    """All futures are done, though some calls were still to be sent when the pool broke."""
    large = np.ones(N)
    for _ in range(5):
        pool = ours(2)
        futures = [pool.submit(np.sum, large) for _ in range(30)]
        for future in futures:
            future.add_done_callback(lambda _: time.sleep(0.002))
        futures[0].result()
        manager = pool._executor_manager_thread
        os.kill(next(iter(pool._processes)), signal.SIGKILL)
        assert not concurrent.futures.wait(futures, timeout=60).not_done
        manager.join()  # a shutdown before it knows waits for the lock of the dead, in the stdlib as well
        pool.shutdown()
    del futures, future
    assert nothing_left()


def test_a_nested_pool_has_no_task_at_first(ours: Make) -> None:
    """Its workers are forks of one that has a task, which is not theirs."""
    with ours() as pool:
        assert pool.submit(in_task_of_a_nested_worker).result() is False


def in_task_of_a_nested_worker() -> bool:
    seen = multiprocessing.SimpleQueue()
    with sharedmem.ProcessPoolExecutor(1, initializer=tell_in_task, initargs=(seen,)) as pool:
        pool.submit(os.getpid).result()
    return seen.get()  # type: ignore[no-any-return]


def tell_in_task(seen: Any) -> None:
    seen.put(module._Worker.in_task)


def wait_for(path: str) -> None:
    with open(path) as pipe:
        pipe.read()


def test_cancelled_futures(make: Make, tmp_path: Any) -> None:
    """Their arguments are freed, and the pool goes on."""
    os.mkfifo(path := str(tmp_path / "pipe"))
    with make() as pool:
        first = pool.submit(wait_for, path)
        others = [pool.submit(write_into, np.ones(N)) for _ in range(8)]
        cancelled = [future.cancel() for future in others]
        with open(path, "w"):
            pass
        first.result()
        assert any(cancelled)
        for future, was in zip(others, cancelled, strict=True):
            assert was == future.cancelled()
            assert was or future.result() == 7 * N
    del others, future
    assert nothing_left()


@pytest.mark.parametrize("cancel", [False, True])
def test_shutdown_with_work_pending(make: Make, tmp_path: Any, cancel: bool) -> None:
    """It is done, or cancelled; either way nothing is left."""
    os.mkfifo(path := str(tmp_path / "pipe"))
    pool = make()
    first = pool.submit(wait_for, path)
    others = [pool.submit(write_into, np.ones(N)) for _ in range(8)]
    manager = pool._executor_manager_thread
    pool.shutdown(wait=False, cancel_futures=cancel)
    with open(path, "w"):
        pass
    first.result()
    manager.join()
    assert any(future.cancelled() for future in others) == cancel
    assert sum(future.result() for future in others if not future.cancelled()) % (7 * N) == 0
    del others
    assert nothing_left()


PARENT = """
import os, select, sys, threading
import numpy as np, sharedmem, multiprocessing

def pid_of(array):
    return os.getpid()

def slowly(array, path):
    # Not a read that blocks: it would not be ended by a signal that came just before it.
    with open(path) as pipe:
        while not select.select([pipe], [], [], 0.1)[0]:
            pass

def say_when_awaited(future):
    # A signal just when the future's lock was taken would leave it taken, in any Python program.
    while True:
        with future._condition:
            if future._condition._waiters:
                return print('awaited', flush=True)

if __name__ == '__main__':
    method, path = sys.argv[1:]
    pool = sharedmem.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method))
    pids = set()
    while len(pids) < 2:
        pids |= set(pool.map(pid_of, [np.ones(50_000)] * 8))
    busy = [pool.submit(slowly, np.ones(50_000), path) for _ in range(1)]
    print(*pids, flush=True)
    sys.stdin.read()
    {end}
"""


AWAIT = """
    threading.Thread(target=say_when_awaited, args=busy, daemon=True).start()
    busy[0].result()
"""


def await_end(pid: int) -> None:
    """Return when a process that need not be a child is gone."""
    fd = os.pidfd_open(pid)
    try:
        assert select.select([fd], [], [], 60)[0]
    finally:
        os.close(fd)


def start_parent(tmp_path: Any, method: str, end: str) -> tuple[subprocess.Popen[str], list[int], str]:
    os.mkfifo(path := str(tmp_path / "pipe"))
    script = tmp_path / "parent.py"
    script.write_text(PARENT.replace("    {end}\n", end))
    program = subprocess.Popen(
        [sys.executable, str(script), method, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert program.stdout is not None
    line = program.stdout.readline()
    if not line:
        raise AssertionError(program.communicate()[1])
    return program, [int(pid) for pid in line.split()], path


def test_workers_end_when_the_parent_is_killed(tmp_path: Any, start_method: str) -> None:
    """Those that wait at once, one that is busy after its task; and nothing is left."""
    program, pids, path = start_parent(tmp_path, start_method, "")
    with open(path, "w"):  # the busy one has begun
        program.kill()
        program.wait()
    for pid in pids:
        try:
            await_end(pid)
        except ProcessLookupError:
            pass
    program.communicate()
    assert nothing_left()


def test_keyboard_interrupt(tmp_path: Any, start_method: str) -> None:
    """^C while the parent waits for a result ends parent and workers, and leaves nothing."""
    program, pids, path = start_parent(tmp_path, start_method, AWAIT)
    with open(path, "w"):
        assert program.stdin is not None and program.stdout is not None
        program.stdin.close()
        assert program.stdout.readline() == "awaited\n"
        os.killpg(program.pid, signal.SIGINT)
        assert program.stderr is not None
        errors = program.stderr.read()
        program.wait()
    program.stdout.close()
    program.stderr.close()
    assert program.returncode in (-signal.SIGINT, 1, 130), errors
    assert "KeyboardInterrupt" in errors
    for pid in pids:
        try:
            await_end(pid)
        except ProcessLookupError:
            pass
    assert nothing_left()


# ---- nested -------------------------------------------------------------------------


def sum_in_a_pool(array: np.ndarray) -> float:
    with sharedmem.ProcessPoolExecutor(1) as pool:
        return float(sum(each.sum() for each in pool.map(twice, [array, array])))


def test_nested_executors(ours: Make) -> None:
    """A worker may have a pool of its own."""
    with ours() as pool:
        assert pool.submit(sum_in_a_pool, np.ones(N)).result() == 4 * N
    assert nothing_left()


# ---- functions ------------------------------------------------------------------------


def test_functions_that_go_by_value(ours: Make) -> None:
    """Lambdas, closures and partials of them, where cloudpickle is installed."""
    pytest.importorskip("cloudpickle")
    from functools import partial

    by = 3
    with ours() as pool:
        assert pool.submit(lambda x: x * by, np.ones(N)).result().sum() == 3 * N
        assert pool.submit(lambda: by).result() == 3
        assert pool.submit(partial(lambda x, y: x + y, 1), 2).result() == 3
        assert list(pool.map(lambda x: x + by, range(5), chunksize=2)) == [3, 4, 5, 6, 7]
        assert pool.submit(apply, lambda x: x + by, 4).result() == 7


def apply(function: Callable[[int], int], x: int) -> int:
    return function(x)


def test_without_cloudpickle_submit_says_so(ours: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error at once, that says what to do; nothing is started for it."""
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with ours() as pool:
        with pytest.raises(pickle.PicklingError, match="install cloudpickle"):
            pool.submit(lambda x: x, 1)
        with pytest.raises(pickle.PicklingError, match="install cloudpickle"):
            pool.map(lambda x: x, [1])


INTERACTIVE = """
import multiprocessing, sharedmem
pool = sharedmem.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context({method!r}))
def f(x): return x + 1

print(pool.submit(f, 1).result())
def f(x): return x + 2

print(pool.submit(f, 1).result())
class Point:
    def __init__(self, x): self.x = x

def g(p): return Point(p.x + 1)

point = pool.submit(g, Point(1)).result()
print(point.x, type(point) is Point)
pool.shutdown()
"""


def test_functions_of_an_interactive_main(start_method: str) -> None:
    """Defined, and defined anew, after the workers were started; classes, too."""
    pytest.importorskip("cloudpickle")
    done = subprocess.run(
        [sys.executable, "-c", INTERACTIVE.format(method=start_method)], capture_output=True, text=True
    )
    assert (done.stdout.split(), done.stderr) == (["2", "3", "2", "True"], "")


# ---- threads, counters, arguments ---------------------------------------------------------


def variables() -> tuple[str | None, str | None]:
    return os.environ.get("OMP_NUM_THREADS"), os.environ.get("OPENBLAS_NUM_THREADS")


def test_workers_do_not_oversubscribe(ours: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its part of the CPUs, or what was asked for; the parent's environment is as it was."""
    for name in threads._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    part = str(max(1, len(os.sched_getaffinity(0)) // 2))
    with ours(2) as pool:
        assert pool.submit(variables).result() == (part, part)
    with ours(2, threads_per_worker=3) as pool:
        assert pool.submit(variables).result() == ("3", "3")
    assert variables() == (None, None)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with ours(2) as pool:
        # A fork server that runs already has the environment of its start.
        expected = ("5", None) if pool._method != "forkserver" else (None, None)
        assert pool.submit(variables).result() in {("5", None), expected}
    assert variables() == ("5", None)


def blas_threads() -> list[int]:
    import threadpoolctl

    return [each["num_threads"] for each in threadpoolctl.threadpool_info()]


def test_loaded_libraries_are_limited(ours: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A BLAS that a forked worker has already, too, where there is threadpoolctl."""
    pytest.importorskip("threadpoolctl")
    with ours(1, threads_per_worker=1) as pool:
        assert set(pool.submit(blas_threads).result()) <= {1}


def next_thread() -> int:
    """The number that the kernel gives to a thread."""
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert thread.native_id is not None
    return thread.native_id


def threads_of_a_copy(nbytes: int) -> int:
    """How many are started; others may start some, but not each time."""
    array, parcel = np.ones(nbytes, "u1"), new_parcel(nbytes)
    assert parcel is not None
    started = []
    for _ in range(10):
        before = next_thread()
        parcel.fill(array)
        started.append(next_thread() - before - 1)
    return min(number for number in started if number >= 0)


def test_copies_keep_to_the_threads_of_a_worker(ours: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large one is made by two, where a worker may have two and there are two processors."""
    most = 1 if len(os.sched_getaffinity(0)) > 1 else 0
    with ours(1, threads_per_worker=1) as pool:
        assert pool.submit(threads_of_a_copy, 40 << 20).result() == 0
    with ours(1, threads_per_worker=2) as pool:
        assert pool.submit(threads_of_a_copy, 40 << 20).result() == most
    monkeypatch.setenv("OMP_NUM_THREADS", "1,2")
    with ours(1) as pool:
        assert pool.submit(threads_of_a_copy, 40 << 20).result() == 0


def test_wrong_arguments() -> None:
    """Refused before anything is made."""
    for wrong in ({"min_bytes": -1}, {"threads_per_worker": 0}, {"max_workers": 0}):
        with pytest.raises(ValueError):
            sharedmem.ProcessPoolExecutor(**wrong)
    with pytest.raises(TypeError):
        sharedmem.ProcessPoolExecutor(1, initializer=3)


def remember(array: np.ndarray) -> None:
    _kept["initial"] = array


def recall() -> float:
    return float(_kept["initial"].sum())


def test_initializer(make: Make) -> None:
    """The user's runs in each worker, with its arguments."""
    with make(initializer=remember, initargs=(np.ones(N),)) as pool:
        assert pool.submit(recall).result() == N


def test_min_bytes_decides(ours: Make) -> None:
    """From that size on arrays go through shared memory."""
    with ours(min_bytes=1000) as pool:
        pool.submit(write_into, np.ones(124)).result()
        assert pool.stats()["copied"] == 0
        pool.submit(write_into, np.ones(125)).result()
        assert pool.stats()["copied"] == 1000


# ---- ^C while it starts ---------------------------------------------------------------

STARTED = """
import multiprocessing, os, signal, sys, threading
import sharedmem

method, point, number = sys.argv[1:]
number = signal.Signals[number]
count = 0

def interrupted_after(function, when):
    def call(*args):
        global count
        function(*args)
        count += 1
        if count == when:
            os.kill(os.getpid(), number)
    return call

def mask(_):
    return number in signal.pthread_sigmask(signal.SIG_BLOCK, ())

if __name__ == "__main__":
    signal.signal(number, signal.default_int_handler)
    context = multiprocessing.get_context(method)
    if point == "thread":
        threading.Thread.start = interrupted_after(threading.Thread.start, 1)
    else:
        process = context.Process
        process.start = interrupted_after(process.start, int(point))
    pool = sharedmem.ProcessPoolExecutor(2, mp_context=context)
    try:
        [pool.submit(abs, i) for i in range(2)]
    except KeyboardInterrupt:
        print("interrupted")
    print(pool.submit(abs, -5).result(), pool.submit(mask, 0).result())
    pool.shutdown()
    print(multiprocessing.active_children(), mask(0), signal.getsignal(number).__name__)
    other = multiprocessing.get_context("forkserver").Pool(1)
    print(other.map(mask, [0]))
    other.close()
    other.join()
"""


@pytest.mark.parametrize("point", ["1", "2", "thread"])
@pytest.mark.parametrize("number", ["SIGINT", "SIGALRM"])
def test_interrupt_while_it_starts(tmp_path: Any, start_method: str, point: str, number: str) -> None:
    """^C, or another signal whose handler raises, comes after a worker is noted: the pool is whole, all end."""
    if point == "2" and start_method != "fork":
        point = "1"  # the second is started when the first is busy
    script = tmp_path / "started.py"
    script.write_text(STARTED)
    done = subprocess.run(
        [sys.executable, str(script), start_method, point, number], capture_output=True, text=True
    )
    said = "interrupted\n5 False\n[] False default_int_handler\n[False]\n"
    assert (done.stdout, done.returncode) == (said, 0), done.stderr
    assert nothing_left()


def test_a_worker_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was started is ended: a pool without its manager would keep the program from its end."""
    context = multiprocessing.get_context("fork")
    start, started = context.Process.start, []

    def fail_at_the_second(process: Any) -> None:
        if started:
            raise BlockingIOError(11, "no more processes")
        start(process)
        started.append(process)

    monkeypatch.setattr(context.Process, "start", fail_at_the_second)
    pool = sharedmem.ProcessPoolExecutor(2, mp_context=context)
    with pytest.raises(BlockingIOError):
        pool.submit(abs, 1)
    assert not started[0].is_alive()
    with pytest.raises(BrokenProcessPool, match="no more processes"):
        pool.submit(abs, 1)
    pool.shutdown()
    assert nothing_left()


def test_a_manager_that_cannot_be_started(ours: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by the limit of threads: nothing is waited for that will not come."""

    def fail(thread: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(process._ExecutorManagerThread, "start", fail)
    pool = ours(2)
    with pytest.raises(RuntimeError, match="new thread"):
        pool.submit(abs, 1)
    assert multiprocessing.active_children() == []
    with pytest.raises(BrokenProcessPool, match="new thread"):
        pool.submit(abs, 1)
    pool.shutdown()
    assert nothing_left()


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOSYS, errno.EROFS, errno.EACCES])
def test_no_semaphores(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Without /dev/shm, or with one that is somebody else's: why, and what can be done."""

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("_multiprocessing.SemLock", fail)
    with pytest.raises(OSError, match=r"semaphores .*/dev/shm.*mount a tmpfs .*MapReduce") as caught:
        sharedmem.ProcessPoolExecutor(1)
    assert caught.value.errno == number and os.strerror(number) in str(caught.value)


def test_other_errors_of_its_queues_are_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as that of too many open files."""

    def fail(*_: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("_multiprocessing.SemLock", fail)
    with pytest.raises(OSError, match=r"^\[Errno 24\] Too many open files$"):
        sharedmem.ProcessPoolExecutor(1)


# ---- ended by hand ---------------------------------------------------------------------


def meet_and_sleep(path: str, array: np.ndarray) -> None:
    with open(path, "w"):
        pass
    signal.pause()


@pytest.mark.parametrize("how", ["terminate_workers", "kill_workers"])
def test_workers_are_ended(tmp_path: Any, ours: Make, how: str) -> None:
    """At once, though a task runs that would not end; what was lent for it is free again."""
    os.mkfifo(path := str(tmp_path / "pipe"))
    with ours() as pool:
        running = pool.submit(meet_and_sleep, path, np.zeros(N))
        waiting = [pool.submit(abs, -1) for _ in range(9)]
        manager = pool._executor_manager_thread
        with open(path):  # it has begun
            getattr(pool, how)()
        assert isinstance(running.exception(), BrokenProcessPool)
        assert all(
            each.cancelled() or isinstance(each.exception(), BrokenProcessPool) for each in waiting
        )
        with pytest.raises(RuntimeError):
            pool.submit(abs, 1)
        getattr(pool, how)()
    manager.join()  # it frees what there is when the futures have their errors
    assert nothing_left()


@pytest.mark.parametrize("how", ["terminate_workers", "kill_workers"])
def test_workers_are_ended_that_were_never_started(ours: Make, how: str) -> None:
    """Before the first task there are none."""
    pool = ours()
    getattr(pool, how)()
    with pytest.raises(RuntimeError):
        pool.submit(abs, 1)


# ---- how many -----------------------------------------------------------------------------


def test_as_many_workers_as_every_pool_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """One rule for all: what the environment says, but no more than there are processors."""
    monkeypatch.setattr("sharedmem.workers.usable_processors", lambda: 4)
    monkeypatch.setattr("sharedmem.workers._warned_of_one", False)

    def numbers() -> set[int]:
        pool: Any = sharedmem.ProcessPoolExecutor()
        return {sharedmem.MapReduce().np, sharedmem.Pool().np, pool._max_workers}

    for name in ("OMP_NUM_THREADS", "PBS_NUM_PPN", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    assert numbers() == {4}
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert numbers() == {3}
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert numbers() == {4}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.warns(RuntimeWarning, match="OMP_NUM_THREADS=1 leaves one worker") as caught:
        assert numbers() == {1}
    assert len(caught) == 1 and caught[0].filename == __file__
    monkeypatch.setenv("OMP_NUM_THREADS", "0")
    assert sharedmem.MapReduce().np == 0
    assert sharedmem.ProcessPoolExecutor()._max_workers == 1  # type: ignore[attr-defined]

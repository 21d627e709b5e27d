"""`Pool`: the interface of 2012, with the programs that were written against it then.

The texts and scripts of that time are rewritten from what they assert. What is mended
stands where it is tested.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import sharedmem

POOLS: dict[str, Callable[[int], sharedmem.Pool]] = {
    "processes": sharedmem.Pool,
    "threads": sharedmem.TPool,
}


@pytest.fixture(params=POOLS)
def make(request: pytest.FixtureRequest) -> Callable[[int], sharedmem.Pool]:
    """A pool of each kind of workers."""
    return POOLS[request.param]


@pytest.fixture
def debugging() -> Iterator[None]:
    """All is done in the calling process."""
    sharedmem.set_debug(True)
    yield
    sharedmem.set_debug(False)


# ---- the program of the text of 2012 -------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("use_threads", [False, True])
def test_program_of_2012(workers: int, use_threads: bool) -> None:
    """Each output is the number of chunks, and each output2 the rank of a worker.

    Mended: the text says 36, which is the sum of other numbers; `empty` is said to be
    zeros there, so that it is `zeros` here.
    """
    output = sharedmem.zeros(8)
    output2 = sharedmem.full(8, -1.0)

    with sharedmem.Pool(workers, use_threads=use_threads) as pool:

        def work(arg1: np.ndarray, arg2: int) -> None:
            output2[arg1] = pool.rank
            with pool.lock:
                output[...] += arg2

        pool.starmap(work, pool.zipsplit((range(8), 1)))

    chunks = 2 * workers
    assert output.tolist() == [chunks] * 8
    assert set(output2.tolist()) <= set(range(workers))


def test_program_of_2012_in_debugging_mode(debugging: None) -> None:
    """Without workers it does the same, as rank 0."""
    test_program_of_2012(2, False)


# ---- scripts of 2012 and 2013 ---------------------------------------------------


def test_cpu(make: Callable[[int], sharedmem.Pool]) -> None:
    """The same arithmetic by processes and by threads has the same result."""
    values = np.arange(1000.0)
    with make(4) as pool:
        sums = pool.starmap(
            lambda part, power: (part**power).sum(), pool.zipsplit((values, 2), nchunks=8)
        )
    assert np.isclose(np.sum(sums), (values**2).sum())


@pytest.mark.parametrize("item", [0, 10, 19])
def test_die(item: int) -> None:
    """A worker that is killed at an item ends the map. Mended: it hung for ever."""

    def work(i: int) -> int:
        if i == item:
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    with sharedmem.Pool(2) as pool:
        with pytest.raises(sharedmem.WorkerException, match=r"worker [01] .*signal 9 \(SIGKILL\)"):
            pool.map(work, range(20))
        assert pool.map(abs, [-1]) == [1], "the pool is as good as before"


def test_die_as_the_last_rank() -> None:
    """The same where the worker of the last rank is killed."""

    def work(i: int) -> None:
        if pool.rank == pool.np - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    with sharedmem.Pool(3) as pool:
        with pytest.raises(sharedmem.WorkerException, match=r"worker 2 .*SIGKILL"):
            pool.map(work, range(3))


def test_leaving_by_exit() -> None:
    """A worker that leaves in the middle is reported with its exit code. Mended: it hung."""
    with sharedmem.Pool(2) as pool:
        with pytest.raises(sharedmem.WorkerException, match="exit code 3"):
            pool.map(lambda i: os._exit(3), range(4))


def test_except(make: Callable[[int], sharedmem.Pool]) -> None:
    """The caller gets what the work function raised. Mended: it was an `Exception` with a text."""

    def work(i: int) -> int:
        if i == 7:
            raise KeyError("seven", i)
        return i

    with make(2) as pool, pytest.raises(KeyError) as caught:
        pool.map(work, range(10))
    assert caught.value.args == ("seven", 7)
    cause = caught.value.__cause__
    assert 'raise KeyError("seven", i)' in str(cause), "the worker's traceback"
    assert "in work" in "".join(traceback.format_exception(caught.value))


def test_ordered(make: Callable[[int], sharedmem.Pool]) -> None:
    """The ordered section is entered in the order of the items."""
    seen = sharedmem.full(32, -1, dtype=int)
    place = sharedmem.zeros((), dtype=int)

    def work(i: int) -> None:
        with pool.ordered:
            seen[int(place)] = i
            place[...] += 1

    with make(4) as pool:
        pool.map(work, range(32))
    assert seen.tolist() == list(range(32))


@pytest.mark.parametrize("section", ["ordered", "critical", "lock"])
def test_raise_in_a_section(section: str, make: Callable[[int], sharedmem.Pool]) -> None:
    """An exception within a section is that of the map, and the section is free again."""

    def work(i: int) -> None:
        with getattr(pool, section):
            if i == 2:
                raise ValueError("within")

    with make(2) as pool:
        with pytest.raises(ValueError, match="within"):
            pool.map(work, range(8))
        with pool.critical:
            pass


@pytest.mark.parametrize("chunksize", [1, 3, 20])
def test_reduction(chunksize: int, make: Callable[[int], sharedmem.Pool]) -> None:
    """Sums over range(20), by reduction and under the lock, are 190 and 1900 in any chunks."""
    shared = sharedmem.zeros(2, dtype=int)
    reduced = np.zeros(2, dtype=int)

    def work(i: int) -> tuple[int, int]:
        with pool.lock:
            shared[:] += (i, 10 * i)
        return i, 10 * i

    def add(one: int, ten: int) -> None:
        reduced[:] += (one, ten)

    with make(3) as pool:
        assert pool.map(work, range(20), chunksize, reduce=add) == [None] * 20
    assert reduced.tolist() == shared.tolist() == [190, 1900]


def test_private() -> None:
    """What is not shared is a worker's own: the caller's copy stays as it was."""
    private = np.zeros(4)

    def work(i: int) -> float:
        private[i] = 1
        return float(private[i])

    with sharedmem.Pool(2) as pool:
        assert pool.map(work, range(4)) == [1.0] * 4
    assert not private.any()


def test_barrier(make: Callable[[int], sharedmem.Pool]) -> None:
    """Workers can wait for each other: each has an item from the start."""
    barrier = sharedmem.Barrier(3)
    before, after = sharedmem.zeros(3, bool), sharedmem.zeros(3, bool)

    def work(i: int) -> None:
        before[i] = True
        barrier.wait()
        after[i] = before.all()

    with make(3) as pool:
        pool.map(work, range(3))
    assert after.all()


# ---- results --------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [1, 4, 100])
@pytest.mark.parametrize("ordered", [False, True])
def test_results_are_a_list_in_order(
    chunksize: int, ordered: bool, make: Callable[[int], sharedmem.Pool]
) -> None:
    """The results are in the order of the items. Mended: they were an array, in that of the ends."""
    with make(3) as pool:
        found = pool.map(lambda i: i * i, range(50), chunksize=chunksize, ordered=ordered)
    assert found == [i * i for i in range(50)]
    assert type(found) is list


def test_serial_without_workers() -> None:
    """With np=0 the caller does all, as rank 0, and gets exceptions as they are."""
    with sharedmem.Pool(0) as pool:
        assert pool.map(lambda i: (os.getpid(), pool.rank), range(2)) == [(os.getpid(), 0)] * 2
        with pytest.raises(ZeroDivisionError) as caught:
            pool.map(lambda i: 1 // i, [0])
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("given", [(sum, [[1, 2]]), (sum, {(1, 2)}), (sum, np.array([[1, 2]]))])
def test_sequences(given: tuple[Any, Any]) -> None:
    """Lists, sets, and the rows of arrays."""
    with sharedmem.Pool(2) as pool:
        assert pool.map(*given) == [3]
        assert pool.map(len, []) == []


def test_starmap_and_do(make: Callable[[int], sharedmem.Pool]) -> None:
    """An item's parts are arguments; jobs are called in order of the results."""
    with make(2) as pool:
        assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
        assert pool.map(pow, [(2, 3), (3, 2)], star=True) == [8, 9]
        assert pool.starmap(pow, [(2, 3), (3, 2)], 2, True, reduce=lambda r: -r) == [-8, -9]
        assert pool.do([lambda: "a", lambda: "b"]) == ["a", "b"]


def test_arguments_of_mapreduce() -> None:
    """The later order of arguments is understood: reduce, star, minlength."""
    caller = os.getpid()

    def work(a: int, b: int) -> tuple[int, int, bool]:
        return a, b, os.getpid() == caller

    def reduce(a: int, b: int, here: bool) -> tuple[int, bool]:
        return a + b, here

    with sharedmem.Pool(2) as pool:
        assert pool.map(work, [(1, 2), (3, 4)], reduce, True) == [(3, False), (7, False)]
        assert pool.map(work, [(1, 2), (3, 4)], reduce, True, 3) == [(3, True), (7, True)]
        assert pool.map(work, [(1, 2), (3, 4)], None, True, 0) == [(1, 2, False), (3, 4, False)]
        assert pool.map(abs, [-1], None, False, 0) == [1]
        assert pool.map(work, [(1, 2)], star=True, reduce=reduce, minlength=9) == [(3, True)]


@pytest.mark.parametrize("chunksize", [0, -1])
def test_chunksize_has_to_be_positive(chunksize: int) -> None:
    """No chunk is refused, instead of an endless map."""
    with sharedmem.Pool(2) as pool, pytest.raises(ValueError, match="chunksize must be positive"):
        pool.map(abs, [1], chunksize)


def test_generator_is_refused() -> None:
    """What has no length is a TypeError."""
    with sharedmem.Pool(2) as pool, pytest.raises(TypeError, match="len"):
        pool.map(abs, (i for i in range(3)))


def test_map_in_a_worker() -> None:
    """A work function may have a pool of its own."""

    def work(i: int) -> int:
        with sharedmem.Pool(2) as inner:
            return sum(inner.map(lambda j: i * j, range(4)))

    with sharedmem.Pool(2) as pool:
        assert pool.map(work, range(3)) == [0, 6, 12]


# ---- failures -------------------------------------------------------------------


def test_others_finish(make: Callable[[int], sharedmem.Pool]) -> None:
    """The worker that fails leaves the rest of its chunk; all other items are done."""
    done = sharedmem.zeros(8, bool)

    def work(i: int) -> None:
        if i == 0:
            raise ValueError("the first")
        done[i] = True

    with make(2) as pool, pytest.raises(ValueError, match="the first"):
        pool.map(work, range(8), chunksize=2)
    assert done.tolist() == [False, False, True, True, True, True, True, True]


def test_first_exception_is_the_one_that_is_raised() -> None:
    """Of several failures the caller gets the first, though its worker's rank is the last."""
    failing: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()

    def work(i: int) -> None:
        if i == 0:
            failing.get().join()
            raise KeyError("the second")
        failing.put(threading.current_thread())
        raise ValueError("the first")

    with sharedmem.TPool(2) as pool, pytest.raises(ValueError, match="the first"):
        pool.map(work, range(2))


def test_waiting_for_a_failed_one_is_no_failure(make: Callable[[int], sharedmem.Pool]) -> None:
    """Whoever waits in the ordered section behind the one that fails does not hide its exception."""
    waiting = sharedmem.Event()

    def work(i: int) -> None:
        if i == 0:
            waiting.wait()
            raise LookupError("the original")
        waiting.set()
        with pool.ordered:
            pass

    with make(2) as pool, pytest.raises(LookupError, match="the original"):
        pool.map(work, range(2))


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("not this one")


def test_exception_that_cannot_be_pickled() -> None:
    """Its text is left of it, with a warning, and the worker's traceback."""

    def work(i: int) -> None:
        raise Unpicklable("some text")

    with (
        sharedmem.Pool(1) as pool,
        pytest.warns(sharedmem.LostExceptionType, match="some text"),
        pytest.raises(Exception, match="some text") as caught,
    ):
        pool.map(work, range(1))
    assert type(caught.value) is Exception
    assert "in work" in str(caught.value.__cause__)


def test_exception_in_reduce(make: Callable[[int], sharedmem.Pool]) -> None:
    """What the reduction raises comes as it is, and stops the workers."""
    with make(2) as pool, pytest.raises(ZeroDivisionError) as caught:
        pool.map(abs, range(10), reduce=lambda i: 1 // 0)
    assert caught.value.__cause__ is None


def test_exception_holds_nothing_in_a_circle(make: Callable[[int], sharedmem.Pool]) -> None:
    """What an exception refers to is freed with it: its cause does not refer back."""
    with make(1) as pool, pytest.raises(ZeroDivisionError) as caught:
        pool.map(lambda i: 1 // i, [0])
    cause = caught.value.__cause__
    assert cause is not None
    assert caught.value not in vars(cause).values()
    assert str(pickle.loads(pickle.dumps(cause))) == str(cause)


# ---- what a pool has --------------------------------------------------------------


def test_rank_is_for_workers() -> None:
    """Outside of a map there is no rank, and the error says so."""
    with sharedmem.Pool(2) as pool, pytest.raises(AttributeError, match="outside of a map"):
        _ = pool.rank
    assert pool.local is None


@pytest.mark.parametrize(
    ("arguments", "keywords", "np_", "threads"),
    [
        ((3,), {}, 3, False),
        ((3, True), {}, 3, True),
        ((), {"np": 3, "use_threads": True}, 3, True),
        ((sharedmem.ThreadBackend, 3), {}, 3, True),
        ((sharedmem.ThreadBackend,), {"np": None}, None, True),
        ((sharedmem.ProcessBackend, 3), {}, 3, False),
        ((), {"backend": sharedmem.ThreadBackend, "np": 3}, 3, True),
        ((3,), {"workers": "thread"}, 3, True),
    ],
)
def test_constructor(
    arguments: tuple[Any, ...], keywords: dict[str, Any], np_: int | None, threads: bool
) -> None:
    """Both generations' ways to ask for a number of processes or threads."""
    if "np" in keywords and keywords["np"] is None:
        del keywords["np"]
    pool = sharedmem.Pool(*arguments, **keywords)
    assert pool.np == (sharedmem.cpu_count() if np_ is None else np_)
    assert pool.use_threads is threads
    assert isinstance(pool, sharedmem.MapReduce)


def test_contradiction_is_refused() -> None:
    """Threads and processes at once are an error that names both."""
    with pytest.raises(ValueError, match="use_threads"):
        sharedmem.Pool(2, True, backend=sharedmem.ProcessBackend)
    with pytest.raises(ValueError, match="use_threads"):
        sharedmem.Pool(2, True, workers="process")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_are_not_forked(method: str) -> None:
    """Closures over the pool and over shared arrays work there, too."""
    pytest.importorskip("cloudpickle")
    total = sharedmem.zeros((), int)

    def work(rows: np.ndarray, factor: int) -> int:
        with pool.lock:
            total[...] += factor * rows.sum()
        assert len(pool.split(([1, 2], 0), nchunks=2)) == 2
        return pool.rank

    with sharedmem.Pool(2, start_method=method) as pool:
        ranks = pool.starmap(work, pool.zipsplit((range(5), 10)))
    assert int(total) == 100
    assert set(ranks) <= {0, 1}


def test_workers_that_are_kept() -> None:
    """With reuse the workers of one map are those of the next."""
    pytest.importorskip("cloudpickle")
    with sharedmem.Pool(1, reuse=True) as pool:
        assert pool.map(lambda i: os.getpid(), [0]) == pool.map(lambda i: os.getpid(), [0])


# ---- splitting ------------------------------------------------------------------


def lists(chunks: list[list[Any]]) -> list[list[Any]]:
    return [
        [each.tolist() if isinstance(each, np.ndarray) else each for each in part] for part in chunks
    ]


@pytest.mark.parametrize(
    ("item", "parts"),
    [
        (range(5), [[0, 1, 2], [3, 4]]),
        ([1, 2, 3], [[1, 2], [3]]),
        (np.arange(4).reshape(2, 2), [[[0, 1]], [[2, 3]]]),
        ([[1], [2, 3]], [[[1]], [[2, 3]]]),
        ([1], [[1], []]),
        ((1, 2), [(1, 2)] * 2),
        (7, [7] * 2),
        ("ab", ["ab"] * 2),
        (b"ab", [b"ab"] * 2),
        (None, [None] * 2),
        ({"a": 1}, [{"a": 1}] * 2),
        ({1, 2}, [{1, 2}] * 2),
        (np.float64(2.5), [2.5] * 2),
    ],
)
def test_split(item: Any, parts: list[Any]) -> None:
    """Lists and arrays are split, the longer chunks first; anything else is repeated."""
    assert lists(sharedmem.Pool(2).split((item,), nchunks=2)) == [parts]


def test_split_of_a_0d_array() -> None:
    """An array without axes is repeated, as it is."""
    zero = sharedmem.zeros(())
    assert all(part is zero for part in sharedmem.Pool(2).split((zero,), nchunks=3)[0])


@pytest.mark.parametrize(("workers", "chunks"), [(0, 2), (1, 2), (3, 6)])
def test_default_number_of_chunks(workers: int, chunks: int) -> None:
    """Two for each worker."""
    assert len(sharedmem.Pool(workers).split((range(100),))[0]) == chunks


@pytest.mark.parametrize(
    ("length", "chunksize", "sizes"),
    [(10, 4, [5, 5]), (10, 10, [10]), (3, 10, [3]), (9, 2, [3, 2, 2, 2])],
)
def test_split_by_size(length: int, chunksize: int, sizes: list[int]) -> None:
    """Chunks are so long at least, where there is enough."""
    (parts,) = sharedmem.Pool(2).split((range(length),), chunksize=chunksize)
    assert [len(part) for part in parts] == sizes


def test_chunks_are_views_of_shared_memory() -> None:
    """What is written to a chunk, in a worker, is in the array."""
    rows = sharedmem.zeros((6, 2))

    def work(part: np.ndarray, value: int) -> None:
        part[:] = value

    with sharedmem.Pool(2) as pool:
        pool.starmap(work, pool.zipsplit((rows, 5)))
    assert (rows == 5).all()
    assert all(isinstance(part, sharedmem.SharedArray) for part in sharedmem.array_split(rows, 4))


@pytest.mark.parametrize(
    ("arguments", "keywords", "text"),
    [
        ((range(4), range(5)), {}, r"equally long.*\[4, 5\]"),
        ((range(4),), {"nchunks": 0}, "nchunks must be positive"),
        ((range(4),), {"chunksize": 0}, "chunksize must be positive"),
        ((1, "a"), {"chunksize": 2}, "all repeated"),
        ((range(4),), {"chunksize": 2, "nchunks": 2}, "not both"),
    ],
)
def test_what_cannot_be_split(arguments: Any, keywords: dict[str, int], text: str) -> None:
    """Mended: arguments of several lengths were paired by chunk, row by wrong row."""
    with pytest.raises(ValueError, match=text):
        sharedmem.Pool(2).split(arguments, **keywords)


def test_arguments_may_come_one_by_one() -> None:
    """A generator of arguments is split as a tuple of them."""
    assert lists(sharedmem.Pool(1).split(each for each in ([1, 2], "a"))) == [[[1], [2]], ["a", "a"]]


def test_only_repeated_arguments() -> None:
    """With nothing to split each call has the same. Mended: there were endlessly many."""
    assert sharedmem.Pool(2).zipsplit((1, "a"), nchunks=3) == [(1, "a")] * 3


def test_array_split() -> None:
    """Numbers of sections and indices, along any axis, as NumPy's."""
    grid = sharedmem.copy(np.arange(12).reshape(3, 4))
    for sections, axis in ((2, 0), (3, 1), ([1, 3], 1)):
        ours = sharedmem.array_split(grid, sections, axis)
        assert [part.tolist() for part in ours] == [
            part.tolist() for part in np.array_split(np.asarray(grid), sections, axis)
        ]
        assert all(np.shares_memory(part, grid) for part in ours)


# ---- other names ------------------------------------------------------------------


def test_other_names_of_2012() -> None:
    """What was called otherwise in 2012 is there under both names."""
    assert sharedmem.SharedMemArray is sharedmem.SharedArray
    source = np.arange(3)
    wrapped = sharedmem.wrap(source)
    assert isinstance(wrapped, sharedmem.SharedMemArray)
    source[:] = 0
    assert wrapped.tolist() == [0, 1, 2]

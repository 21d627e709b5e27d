"""`MapReduce` and `background`: results, failures, deaths; that nothing hangs and nothing is left."""

from __future__ import annotations

import contextlib
import gc
import itertools
import multiprocessing
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sharedmem
from sharedmem import MapReduce, WorkerException, calls, mapreduce, threads, workers
from sharedmem.testing.deaths import _Killer

LARGE = 50_000  # items of eight bytes each: through shared memory
Make = Callable[..., MapReduce]

KINDS: dict[str, Callable[[int], MapReduce]] = {
    "process": lambda np: MapReduce(np=np),
    "thread": lambda np: MapReduce(np=np, workers="thread"),
    "reuse": lambda np: MapReduce(np=np, reuse=True),
    "spawn": lambda np: MapReduce(np=np, start_method="spawn"),
    "forkserver": lambda np: MapReduce(np=np, start_method="forkserver"),
    "np=0": lambda np: MapReduce(np=0),
    "debug": lambda np: MapReduce(np=np),
}
BY_VALUE = ("reuse", "spawn", "forkserver")  # whose functions are pickled


@pytest.fixture(autouse=True)
def as_ever(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings of the module are as at the start; who waits for a dead one is seen in time."""
    monkeypatch.setattr(workers, "_warned", True)
    yield
    sharedmem.set_debug(False)
    sharedmem.set_timeout(10)
    for process in list(calls._leaving):
        process.look(60)  # it had no more than a moment while it was waited for


def made(kind: str, np: int = 2) -> MapReduce:
    if kind in BY_VALUE:
        pytest.importorskip("cloudpickle")
    sharedmem.set_debug(kind == "debug")
    return KINDS[kind](np)


@pytest.fixture(params=["process", "thread", "reuse", "np=0", "debug"])
def every(request: pytest.FixtureRequest) -> Make:
    """Pools of every kind, serial ones among them."""
    return lambda np=2: made(request.param, np)


@pytest.fixture(params=["process", "thread", "reuse"])
def parallel(request: pytest.FixtureRequest) -> Make:
    """Pools that have workers."""
    return lambda np=2: made(request.param, np)


@pytest.fixture(params=["process", "reuse"])
def processes(request: pytest.FixtureRequest) -> Make:
    """Pools whose workers are processes."""
    return lambda np=2: made(request.param, np)


class Meeting:
    """Where workers wait for each other: proof that they run side by side."""

    def __init__(self, count: int) -> None:
        self.barrier = sharedmem.Barrier(count)

    def __call__(self, *_: Any) -> None:
        self.barrier.wait(60)


def failure(pool: MapReduce, work: Callable[..., Any], items: Any) -> WorkerException:
    with pytest.raises(WorkerException) as caught:
        pool.map(work, items)
    return caught.value


# ---- results ---------------------------------------------------------------------------


def test_results_are_in_the_order_of_the_items(every: Make) -> None:
    """Whoever did them, and when."""
    with every() as pool:
        assert pool.map(lambda x: x * x, range(1000)) == [x * x for x in range(1000)]
        assert pool.map(str, []) == []
        assert pool.map(str, [3]) == ["3"]


@pytest.mark.parametrize(
    "items", [[3, 1, 2], (3, 1, 2), np.array([3, 1, 2]), range(3), "312", {"a": 1, "b": 2}, {4}]
)
def test_sequences(items: Any, every: Make) -> None:
    """Lists, tuples, arrays, ranges, texts; mappings by their keys and sets, too."""
    with every() as pool:
        assert pool.map(str, items) == [str(item) for item in items]


class Labelled:
    """As a Series of pandas: [] takes labels, of which there are keys, and they are no positions."""

    def __init__(self, **values: int) -> None:
        self._values = values

    def keys(self) -> Any:
        return self._values.keys()

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[int]:
        return iter(self._values.values())

    def __getitem__(self, label: str) -> int:
        return self._values[label]


def test_what_has_keys_is_no_sequence_of_positions(every: Make) -> None:
    """Its items are those that `list` finds, in that order."""
    with every() as pool:
        assert pool.map(str, Labelled(b=1, a=2)) == ["1", "2"]
        assert sorted(pool.imap(str, Labelled(b=1, a=2))) == ["1", "2"]


def test_a_sorted_series(every: Make) -> None:
    """In its own order, not in that of its labels."""
    pandas = pytest.importorskip("pandas")
    series = pandas.Series([10, 30, 20]).sort_values()
    with every() as pool:
        assert pool.map(int, series) == [10, 20, 30]
        assert pool.map(int, series[series > 10]) == [20, 30]


def test_how_many_workers_may_be_any_integer() -> None:
    """NumPy's, too."""
    assert sharedmem.MapReduce(np.int64(2)).np == sharedmem.MapReduce(np=np.int64(2)).np == 2


def test_rows_of_an_array_are_items(every: Make) -> None:
    """Without a copy in forked workers and threads, as copies otherwise."""
    rows = np.arange(6).reshape(3, 2)
    with every() as pool:
        assert pool.map(lambda row: int(row.sum()), rows) == [1, 5, 9]


def test_a_sequence_has_a_length(every: Make) -> None:
    """A generator is a TypeError, before anything is started."""
    with every() as pool, pytest.raises(TypeError, match="len"):
        pool.map(str, (x for x in range(3)))


def test_reduce_is_called_here_with_what_a_tuple_holds(every: Make) -> None:
    """Once for each result; what it returns is the result."""
    got: list[tuple[int, int]] = []

    def gather(item: int, square: int) -> int:
        got.append((item, square))
        return -square

    with every() as pool:
        assert pool.map(lambda x: (x, x * x), range(50), reduce=gather) == [-x * x for x in range(50)]
        assert sorted(got) == [(x, x * x) for x in range(50)]
        assert pool.map(lambda x: [x, x], [1], reduce=len) == [2]


def test_star_splats_items(every: Make) -> None:
    """What an item holds are the arguments."""
    with every() as pool:
        assert pool.map(pow, [(2, 3), [3, 2]], star=True) == [8, 9]


def test_imap_gives_results_as_they_arrive(parallel: Make) -> None:
    """A result is there while another item is still in work."""
    gate = sharedmem.Event()

    def work(x: int) -> int:
        if x == 0:
            assert gate.wait(60)
        return x

    with parallel() as pool:
        results = pool.imap(work, range(2))
        assert next(results) == 1
        gate.set()
        assert list(results) == [0]


def test_imap_of_the_caller_itself() -> None:
    """Serially, one by one, only as many as are asked for."""
    done: list[int] = []
    with MapReduce(np=0) as pool:
        results = pool.imap(done.append, range(10))
        next(results)
        assert done == [0]


def test_who_stops_asking_stops_the_workers(parallel: Make) -> None:
    """Closing the generator is enough; the next map begins anew."""
    done = sharedmem.zeros(1, int)

    def work(x: int) -> int:
        sharedmem.atomic.fetch_add(done, 0, 1)
        time.sleep(0.001)
        return x

    with parallel() as pool:
        results = pool.imap(work, range(100_000))
        next(results)
        results.close()
        assert 0 < done[0] < 100_000
        assert pool.map(work, range(3)) == [0, 1, 2]


def test_who_drops_the_iterator_stops_the_workers(processes: Make) -> None:
    """Or closes it before it has begun, or once more, or asks on afterwards."""
    begun = sharedmem.zeros(1, int)

    def work(x: int) -> None:
        sharedmem.atomic.fetch_add(begun, 0, 1)
        if x:
            time.sleep(1000)

    with processes() as pool:
        results = pool.imap(work, range(4))
        assert iter(results) is results and next(results) is None
        assert multiprocessing.active_children()
        del results
        assert not multiprocessing.active_children()
        begun[0] = 0
        results = pool.imap(work, range(4))
        results.close()
        results.close()
        assert list(results) == [] and begun[0] == 0


def test_a_map_that_runs_goes_on_when_its_thread_has_ended(processes: Make) -> None:
    """Another thread may take what imap has begun."""
    gate = sharedmem.Event()

    def work(x: int) -> int:
        if x > 1:
            assert gate.wait(60)
        return x

    with processes() as pool:
        results = pool.imap(work, range(4))
        first: list[int] = []
        thread = threading.Thread(target=lambda: first.append(next(results)))
        thread.start()
        thread.join()
        gate.set()
        assert sorted([*first, *results]) == [0, 1, 2, 3]


def test_short_sequences_are_worked_through_here() -> None:
    """Fewer items than `minlength`: no workers."""
    with MapReduce(np=2) as pool:
        assert pool.map(lambda _: os.getpid(), range(3), minlength=4) == [os.getpid()] * 3
        assert os.getpid() not in pool.map(lambda _: os.getpid(), range(4), minlength=4)


def test_serial_maps_fork_nothing() -> None:
    """np=0 and debug are the calling process itself."""
    for kind in ("np=0", "debug"):
        with made(kind) as pool:
            assert set(pool.map(lambda _: os.getpid(), range(9))) == {os.getpid()}


def test_no_more_workers_than_items() -> None:
    """What has nothing to do is not forked."""
    with MapReduce(np=8) as pool:
        assert len(set(pool.map(lambda _: os.getpid(), range(3)))) <= 3
        assert set(pool.map(lambda _: pool.local.rank, range(3))) == {0, 1, 2}


# ---- behaviours of 0.3.8 -----------------------------------------------------------------


def test_shapes_agree() -> None:
    """What makes arrays makes them as asked for, of arrays and of lists."""
    a = sharedmem.empty((3, 2))
    for other in (
        sharedmem.empty_like(a),
        sharedmem.empty_like([[0, 0], [0, 0], [0, 0]]),
        sharedmem.full((3, 2), 1.0),
        sharedmem.full_like(a, 1.0),
    ):
        assert other.shape == a.shape


def test_scalar_written_in_order(parallel: Make) -> None:
    """Of ten ordered writes into an array without dimensions the last one stays."""
    scalar = sharedmem.empty((), "f8")
    scalar[...] = 1.0

    with parallel() as pool:

        def work(i: int) -> None:
            with pool.ordered:
                scalar[...] = i

        pool.map(work, range(10))
    assert scalar == 9


def test_workers_run_side_by_side(parallel: Make) -> None:
    """Four of them meet each other, which no three could."""
    with parallel(4) as pool:
        assert pool.map(Meeting(4), range(4)) == [None] * 4


def test_a_killed_worker_ends_the_map(processes: Make) -> None:
    """The exception names rank and signal."""
    with processes() as pool:
        error = failure(pool, lambda i: os.kill(os.getpid(), signal.SIGKILL), range(2))
    assert "killed by signal 9 (SIGKILL)" in str(error) and "worker" in str(error)
    assert isinstance(error.reason, Exception)
    assert error.traceback == ""


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("not this one")


class Unloadable(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__("one argument only")


def raise_unpicklable(_: int) -> None:
    raise Unpicklable("what it says")


def raise_unloadable(_: int) -> None:
    raise Unloadable(1, 2)


@pytest.mark.parametrize("work", [raise_unpicklable, raise_unloadable, sys.exit])
def test_an_exception_that_cannot_be_pickled_leaves_its_text(work: Any, processes: Make) -> None:
    """And a warning; so does one that is no Exception."""
    with processes() as pool, pytest.warns(sharedmem.LostExceptionType) as warned:
        error = failure(pool, work, range(2))
    assert type(error.reason) is Exception
    assert "Un" in str(error.reason) or "SystemExit" in str(error.reason)
    assert "Traceback" in error.traceback
    assert {each.filename for each in warned} == {__file__}


def raise_with_shared(_: int) -> None:
    raise ValueError(sharedmem.full(3, 7.0))


def test_a_shared_array_in_an_exception_outlives_its_worker(processes: Make) -> None:
    """It is in flight until the exception is asked for, and no longer."""
    with processes() as pool:
        error = failure(pool, raise_with_shared, range(2))
    assert type(error.reason) is ValueError
    assert error.reason.args[0].tolist() == [7, 7, 7]
    assert not any(info.tickets for info in sharedmem.list_segments(internal=True))
    call = sharedmem.background(raise_with_shared, 0)
    reasons = []
    for _ in range(2):
        with pytest.raises(WorkerException) as caught:
            call.wait()
        reasons.append(caught.value.reason)
    assert reasons[0] is reasons[1]
    assert reasons[0].args[0].tolist() == [7, 7, 7]
    assert not any(info.tickets for info in sharedmem.list_segments(internal=True))


def test_a_thread_s_exception_is_itself() -> None:
    """It need not be pickled."""
    with MapReduce(np=2, workers="thread") as pool:
        assert isinstance(failure(pool, raise_unpicklable, range(2)).reason, Unpicklable)


class Own(Exception):
    pass


def raise_own(i: int) -> int:
    if i == 3:
        raise Own("three")
    return i


def test_an_exception_keeps_its_type(parallel: Make) -> None:
    """The reason is what was raised, the traceback the worker's."""
    with parallel() as pool:
        error = failure(pool, raise_own, range(20))
    assert type(error.reason) is Own and error.reason.args == ("three",)
    assert error.__cause__ is error.reason
    assert "raise_own" in error.traceback and str(error) == f"{error.reason!r}\n{error.traceback}"


def test_without_workers_exceptions_come_as_they_are() -> None:
    """For a debugger."""
    for kind in ("np=0", "debug"):
        with made(kind) as pool, pytest.raises(Own):
            pool.map(raise_own, range(20))


def test_an_exception_of_a_worker_can_be_pickled() -> None:
    """With what it holds."""
    error = pickle.loads(pickle.dumps(WorkerException(Own("x"), "the traceback")))
    assert (type(error.reason), error.traceback) == (Own, "the traceback")
    assert sharedmem.SlaveException is WorkerException


def test_rank_is_known_in_workers_only(every: Make) -> None:
    """With 4 workers and 800 items each of them does some."""
    with every(4) as pool:
        expected = set(range(4)) if pool.np and not sharedmem.get_debug() else {0}
        assert set(pool.map(lambda _: pool.local.rank, range(800))) == expected
        assert pool.local is None


def test_ordered_is_in_order(every: Make) -> None:
    """The items enter one after another; without the section they need not."""
    order = sharedmem.zeros(200, int)
    at = sharedmem.zeros(1, int)

    with every(8) as pool:

        def work(i: int) -> None:
            with pool.ordered:
                order[at[0]] = i
                at[0] += 1

        pool.map(work, range(200))
    assert order.tolist() == list(range(200))


def test_work_outside_of_the_section_is_not_ordered(parallel: Make) -> None:
    """A later item may be done before an earlier one."""
    gate = sharedmem.Event()

    def work(i: int) -> None:
        if i == 1:
            gate.set()
        else:
            assert gate.wait(60)

    with parallel() as pool:
        pool.map(work, range(2))


def test_warnings_of_workers_are_not_in_the_way(processes: Make) -> None:
    """Whatever the filters of the caller are."""

    def work(i: int) -> int:
        warnings.warn("of a worker", UserWarning, stacklevel=1)
        return i

    with processes() as pool:
        assert pool.map(work, range(10)) == list(range(10))


def test_critical_excludes(every: Make) -> None:
    """What two steps change in it is changed by one worker at a time."""
    counter = sharedmem.zeros(2, int)

    with every(4) as pool:

        def work(_: int) -> None:
            with pool.critical:
                assert counter[0] == counter[1]
                counter[0] += 1
                time.sleep(0)
                counter[1] += 1

        pool.map(work, range(400))
    assert counter.tolist() == [400, 400]


def test_without_critical_workers_are_in_the_section_together(parallel: Make) -> None:
    """And what they assert there fails, with that as the reason."""
    inside = sharedmem.zeros(1, int)
    meeting = Meeting(2)

    def work(_: int) -> None:
        sharedmem.atomic.fetch_add(inside, 0, 1)
        meeting()
        assert inside[0] == 1

    with parallel(2) as pool:
        assert isinstance(failure(pool, work, range(2)).reason, AssertionError)


def test_sums_agree(every: Make) -> None:
    """Of an array by chunks: returned and reduced, added up in `critical`, and at once."""
    x = sharedmem.empty(1 << 16)
    x[:] = np.linspace(0, 1, len(x))
    added = sharedmem.zeros(())
    step = 1 << 12

    with every() as pool:

        def work(start: int) -> float:
            part = x[start : start + step].sum()
            with pool.critical:
                added[...] += part
            return float(part)

        reduced: list[float] = []
        total = sum(pool.map(work, range(0, len(x), step), reduce=lambda s: reduced.append(s) or s))
    assert np.allclose([float(added), sum(reduced), total], x.sum())


def test_word_count(every: Make) -> None:
    """`reduce` updates a dict of the caller's."""
    text = "the quick brown fox jumps over the lazy dog the end".split()
    words = ["the", "dog", "cat"]
    counts: dict[str, int] = {}

    def reduce(word: str, count: int) -> None:
        counts[word] = counts.get(word, 0) + count

    with every() as pool:
        pool.map(lambda word: (word, text.count(word)), words, reduce=reduce)
    assert counts == {"the": 3, "dog": 1, "cat": 0}


# ---- ordered and critical: mistakes and deaths ---------------------------------------------------


def test_ordered_skipped_by_one_is_an_error(every: Make) -> None:
    """By the first, one in between or the last; nobody waits for ever."""
    with every(3) as pool:
        for skipped in (0, 7, 19):

            def work(i: int, skipped: int = skipped) -> None:
                if i != skipped:
                    with pool.ordered:
                        pass

            with pytest.raises((WorkerException, RuntimeError), match="ordered section") as caught:
                pool.map(work, range(20))
            reason = getattr(caught.value, "reason", caught.value)
            assert type(reason) is RuntimeError


def test_ordered_entered_twice_is_an_error(every: Make) -> None:
    """Within itself, or again."""
    with every(3) as pool:

        def again(i: int) -> None:
            with pool.ordered:
                pass
            if i == 7:
                with pool.ordered:
                    pass

        def within(i: int) -> None:
            with pool.ordered:
                if i == 7:
                    with pool.ordered:
                        pass

        for work in (again, within):
            with pytest.raises((WorkerException, RuntimeError), match=r"item 7 enters .* twice"):
                pool.map(work, range(20))


def test_ordered_is_for_maps() -> None:
    """Outside of a work function it is an error."""
    with MapReduce(np=1) as pool, pytest.raises(RuntimeError, match="work functions"):
        with pool.ordered:
            pass


@pytest.mark.parametrize("section", ["before", "within", "after"])
def test_an_exception_around_ordered_is_the_one_that_is_raised(section: str, parallel: Make) -> None:
    """Not that of somebody who waited for the one which failed."""
    with parallel(4) as pool:

        def work(i: int) -> None:
            if i == 5 and section == "before":
                raise Own
            with pool.ordered:
                if i == 5 and section == "within":
                    raise Own
            if i == 5:
                raise Own

        for _ in range(3):
            assert type(failure(pool, work, range(50)).reason) is Own


def die_by_signal() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_by_exit() -> None:
    os._exit(3)


def die_silently() -> None:
    os._exit(0)


def die_by_sigtrap() -> None:
    signal.signal(signal.SIGTRAP, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTRAP)


DEATHS = {
    die_by_signal: "killed by signal 9 (SIGKILL)",
    die_by_exit: "exit code 3",
    die_silently: "exit code 0",
    die_by_sigtrap: "killed by signal 5 (SIGTRAP)",
}


@pytest.mark.parametrize("section", ["outside", "critical", "ordered"])
@pytest.mark.parametrize("die", DEATHS)
def test_a_death_anywhere_ends_the_map(die: Callable[[], None], section: str, processes: Make) -> None:
    """With its rank and how it was; the others, which wait for the dead one, are stopped."""
    with processes(3) as pool:

        def work(i: int) -> int:
            if section == "critical":
                with pool.critical:
                    if i == 7:
                        die()
            elif section == "ordered":
                with pool.ordered:
                    if i == 7:
                        die()
            elif i == 7:
                die()
            return i

        error = failure(pool, work, range(40))
        assert isinstance(error.reason, RuntimeError) and DEATHS[die] in str(error)
        assert str(error).split()[:2] in [["worker", str(rank)] for rank in range(3)]
        assert pool.map(lambda i: i, range(5)) == list(range(5))


def test_critical_is_free_after_a_death_in_it(processes: Make) -> None:
    """Also after many, and although nobody has put right what it guards."""
    with processes() as pool:

        def die_in_it(i: int) -> None:
            with pool.critical:
                die_by_signal()

        def enter(i: int) -> int:
            with pool.critical:
                return i

        for _ in range(3):
            failure(pool, die_in_it, range(4))
            assert pool.map(enter, range(4)) == [0, 1, 2, 3]


# ---- what workers return ---------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, LARGE])
@pytest.mark.parametrize("make", [np.full, sharedmem.full])
def test_a_worker_s_own_array_is_data_here(make: Any, n: int, parallel: Make) -> None:
    """Shared or not, large or small; it outlives the worker and can be written to."""
    with parallel() as pool:
        arrays = pool.map(lambda i: make(n, i), range(6))
    gc.collect()
    for i, array in enumerate(arrays):
        assert (array == i).all() and len(array) == n
        array[:] = 7


def test_a_view_of_a_shared_array_comes_back_as_it(processes: Make) -> None:
    """The same memory."""
    a = sharedmem.zeros((4, 100))
    with processes() as pool:
        rows = pool.map(lambda i: a[i], range(4))
    rows[2][:] = 5
    assert (a[2] == 5).all() and a.sum() == 500


@pytest.mark.parametrize("bad", [0, 3])
def test_a_result_that_cannot_be_pickled_is_named(bad: int, processes: Make) -> None:
    """Among others that can, and large arrays that are in flight already."""

    def work(i: int) -> Any:
        return threading.Lock() if i == bad else np.zeros(LARGE)

    with processes() as pool:
        error = failure(pool, work, range(8))
    assert type(error.reason) is pickle.PicklingError and f"item {bad} cannot be sent" in str(
        error.reason
    )


class LoadsBadly:
    def __reduce__(self) -> Any:
        return int, ("no number",)


def test_a_result_that_cannot_be_loaded_is_reported(processes: Make) -> None:
    """With what went wrong."""
    with processes() as pool:
        error = failure(pool, lambda _: LoadsBadly(), range(2))
    assert type(error.reason) is pickle.UnpicklingError and "no number" in str(error.reason)


def test_a_work_function_may_not_end_the_items_early(every: Make) -> None:
    """StopIteration is an error, not the end."""
    with every() as pool, pytest.raises((WorkerException, RuntimeError), match="StopIteration"):
        pool.map(lambda _: next(iter(())), range(10))


def test_large_results_of_a_map_that_fails_are_freed() -> None:
    """Those that were on the way, however far; the leak guard looks."""
    with MapReduce(np=2) as pool:
        for death in (die_by_signal, lambda: 1 / 0):

            def work(i: int, death: Any = death) -> Any:
                if i == 20:
                    death()
                return np.zeros(LARGE), sharedmem.zeros(LARGE)

            failure(pool, work, range(40))


class Tells:
    """Sets an event when it is pickled."""

    def __init__(self, event: sharedmem.Event) -> None:
        self.event = event

    def __reduce__(self) -> Any:
        self.event.set()
        return str, ()


def test_a_message_that_is_half_sent_is_taken_back() -> None:
    """A worker that is stopped while the pipe is full ends after it; the leak guard looks."""
    sending = sharedmem.Event()

    def work(i: int) -> Any:
        return i and (sharedmem.zeros(3), Tells(sending), "x" * 1_000_000)

    def reduce(_: Any) -> None:
        assert sending.wait(60)
        raise Own

    with MapReduce(np=2) as pool, pytest.raises(Own):
        pool.map(work, range(2), reduce=reduce)


def test_a_message_that_fills_the_pipe_arrives(processes: Make) -> None:
    """Results of megabytes that are no arrays, and many of them."""
    with processes() as pool:
        results = pool.map(lambda i: str(i) * 1_000_000, range(8))
    assert [each[0] for each in results] == list("01234567")


# ---- reduce, ^C, nesting ------------------------------------------------------------------------


def test_an_exception_of_reduce_comes_as_it_is(every: Make) -> None:
    """The workers are stopped; another map can follow, though the exception is kept."""

    def reduce(_: Any) -> None:
        raise Own

    with every() as pool:
        with pytest.raises(Own) as kept:
            pool.map(lambda i: i, range(1000), reduce=reduce)
        assert multiprocessing.active_children() == [] and kept.type is Own
        assert pool.map(lambda i: i, range(3)) == [0, 1, 2]


def test_interrupts_are_not_for_workers(processes: Make) -> None:
    """SIGINT that reaches one of them changes nothing; what it starts has the default again."""

    def work(i: int) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        code = "import signal; print(signal.getsignal(2) is signal.default_int_handler)"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout

    with processes() as pool:
        assert pool.map(work, range(2)) == ["True\n"] * 2


def test_maps_nest(parallel: Make) -> None:
    """In workers, of the same pool and of another."""
    with parallel() as pool:

        def inner(i: int) -> int:
            with MapReduce(np=2) as other:
                return sum(other.map(lambda j: i * j, range(10)))

        def same(i: int) -> list[int]:
            return pool.map(lambda j: i * j, range(3))

        assert pool.map(inner, range(4)) == [0, 45, 90, 135]
        if not pool._reuse:  # which a worker does not know: there it has workers of its own
            assert pool.map(same, range(3)) == [[0, 0, 0], [0, 1, 2], [0, 2, 4]]


def test_failures_nest() -> None:
    """The exception of an inner map is the reason of the outer one's."""

    def work(_: int) -> None:
        with MapReduce(np=2) as inner:
            inner.map(raise_own, range(5))

    with MapReduce(np=2) as pool:
        error = failure(pool, work, range(2))
    assert type(error.reason) is WorkerException and type(error.reason.reason) is Own


def test_serial_maps_nest_in_one_pool() -> None:
    """What is known of the outer item is known again after the inner map."""
    with MapReduce(np=0) as pool:

        def work(i: int) -> list[int]:
            with pool.ordered:
                return pool.map(lambda j: pool.local.rank + i * j, range(2))

        assert pool.map(work, range(3)) == [[0, 0], [0, 1], [0, 2]]
        assert pool.local is None


def test_the_with_statement_is_needed() -> None:
    """Before, after, and for imap as soon as it is called."""
    pool = MapReduce(np=1)
    for call in (pool.map, pool.imap):
        with pytest.raises(RuntimeError, match="with statement"):
            call(str, [1])
    with pool:
        pass
    with pytest.raises(RuntimeError, match="with statement"):
        pool.map(str, [1])


def test_arguments_are_checked() -> None:
    """An int in first place is np; what is out of range is refused."""
    assert MapReduce(3).np == 3 and MapReduce(sharedmem.ThreadBackend, 2).np == 2
    assert sharedmem.MapReduceByThread(2).backend is sharedmem.ThreadBackend
    assert MapReduce(workers="thread").backend is sharedmem.ThreadBackend
    assert MapReduce().np == sharedmem.cpu_count()
    for wrong, error in (
        ({"np": -1}, ValueError),
        ({"np": 1.5}, TypeError),
        ({"workers": "fibre"}, ValueError),
        ({"backend": "process"}, TypeError),
        ({"start_method": "none"}, ValueError),
    ):
        with pytest.raises(error):
            MapReduce(**wrong)  # type: ignore[arg-type]


# ---- programs of their own: ^C, SIGKILL, warnings ---------------------------------------------------


def alive(pid: int) -> bool:
    """Whether it lives, and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def await_end(pids: list[int]) -> None:
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([fd], [], [], 30)[0], f"{pid} lives on"
        finally:
            os.close(fd)


SLEEPERS = """
import os, sys, time, sharedmem
def work(i):
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(1000)
if __name__ == "__main__":
    with sharedmem.MapReduce(np=2, {how}) as pool:
        pool.map(work, range(4))
"""
HOWS = ["", "reuse=True", "start_method='spawn'", "start_method='forkserver'"]


@pytest.fixture
def sleepers(tmp_path: Any) -> Iterator[Callable[[str], tuple[subprocess.Popen[bytes], list[int]]]]:
    """Starts a program whose workers sleep; returns it and their pids."""
    started = []

    def start(how: str) -> tuple[subprocess.Popen[bytes], list[int]]:
        if how:
            pytest.importorskip("cloudpickle")
        script = tmp_path / "sleepers.py"
        script.write_text(SLEEPERS.format(how=how))
        program = subprocess.Popen(
            [sys.executable, script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(program)
        assert program.stdout is not None
        return program, [int(program.stdout.readline()) for _ in range(2)]

    yield start
    for program in started:
        program.kill()
        program.communicate()


@pytest.mark.parametrize("how", HOWS)
def test_interrupt_stops_all(how: str, sleepers: Any) -> None:
    """^C at the terminal reaches the whole group: one KeyboardInterrupt, that of the caller."""
    program, pids = sleepers(how)
    os.killpg(program.pid, signal.SIGINT)
    _, said = program.communicate(timeout=60)
    await_end(pids)
    assert program.returncode != 0
    assert said.count(b"KeyboardInterrupt") == 1 and said.count(b"Traceback") == 1, said.decode()


@pytest.mark.parametrize("how", HOWS)
def test_who_kills_the_caller_stops_the_workers(how: str, sleepers: Any) -> None:
    """SIGKILL of it alone."""
    program, pids = sleepers(how)
    program.kill()
    program.wait(60)
    await_end(pids)


def test_sigterm_of_the_caller_stops_the_workers(sleepers: Any) -> None:
    """Whose handlers do not run either."""
    program, pids = sleepers("")
    program.terminate()
    program.wait(60)
    await_end(pids)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90)


def test_a_program_that_ends_ends_what_it_left(tmp_path: Any) -> None:
    """A generator that was not closed, kept workers, a call in the background."""
    done = run(
        "import time, sharedmem\n"
        "pool = sharedmem.MapReduce(np=2).__enter__()\n"
        "results = pool.imap(lambda i: i and time.sleep(1000), range(4))\n"
        "next(results)\n"
        "call = sharedmem.background(time.sleep, 1000)\n"
        "thread = sharedmem.background(time.sleep, 1000, backend=sharedmem.ThreadBackend)\n"
        "print('end')\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_forking_with_threads_warns_once() -> None:
    """The warning names the way out, and the line that forks."""
    done = run(
        "import threading, sharedmem\n"
        "gate = threading.Event()\n"
        "threading.Thread(target=gate.wait).start()\n"
        "for _ in range(2):\n"
        "    with sharedmem.MapReduce(np=2) as pool:\n"
        "        pool.map(str, range(4))\n"
        "gate.set()\n"
    )
    assert done.returncode == 0
    assert done.stderr.count("Warning") == 1 and "start_method='forkserver' or 'spawn'" in done.stderr
    assert "<string>:6: RuntimeWarning" in done.stderr


def test_without_cloudpickle_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that a worker could not import is refused here; others need none."""
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    for how in ({"start_method": "spawn"}, {"start_method": "forkserver"}, {"reuse": True}):
        with MapReduce(np=1, **how) as pool:  # type: ignore[arg-type]
            with pytest.raises(pickle.PicklingError, match="install cloudpickle"):
                pool.map(lambda i: i, range(2))
            assert pool.map(abs, [-1, 2]) == [1, 2]


@pytest.mark.parametrize("kind", ["spawn", "forkserver"])
def test_workers_that_are_not_forked_do_the_same(kind: str) -> None:
    """Order, reduce, star, rank, sections, results, failures and deaths."""
    order = sharedmem.zeros(21, int)
    with made(kind) as pool:

        def work(i: int, offset: int) -> tuple[int, int, Any]:
            with pool.ordered, pool.critical:
                order[order[20]] = i
                order[20] += 1
            return i + offset, pool.local.rank, sharedmem.full(LARGE, i)

        reduced = pool.map(
            work, [(i, 100) for i in range(20)], star=True, reduce=lambda *each: (*each[:2], each[2][-1])
        )
        assert [(value, last) for value, _, last in reduced] == [(i + 100, i) for i in range(20)]
        assert {rank for _, rank, _ in reduced} == {0, 1}
        assert order.tolist() == [*range(20), 20]
        assert type(failure(pool, raise_own, range(20)).reason) is Own

        def die_in_both(i: int) -> None:
            with pool.ordered, pool.critical:
                if i == 3:
                    die_by_signal()

        assert "SIGKILL" in str(failure(pool, die_in_both, range(9)))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_closures_over_shared_arrays(method: str) -> None:
    """Arrays, views of them, and plain views of their memory are the same memory in the worker."""
    pytest.importorskip("cloudpickle")
    shared, other, lock = sharedmem.zeros((4, LARGE)), sharedmem.zeros(9), sharedmem.Lock()
    view, plain = shared[::2], np.asarray(other)[5:]

    def work(i: int) -> int:
        with lock:
            shared[i] += 1
            view[i // 2] += 10
            plain[i] = 7
            return os.getpid()

    with MapReduce(np=2, start_method=method) as pool:
        assert os.getpid() not in pool.map(work, range(4))
    assert shared[:, 5].tolist() == [21, 1, 21, 1] and other.tolist() == [0] * 5 + [7] * 4


@pytest.mark.parametrize("kind", BY_VALUE)
def test_what_a_worker_writes_into_an_item_is_its_own(kind: str) -> None:
    """Items are copies where they are sent, also those that go through shared memory."""
    items = [np.zeros(LARGE), np.zeros(3)]

    def work(item: np.ndarray) -> float:
        item += 1
        return float(item[0])

    with made(kind) as pool:
        assert pool.map(work, items) == [1, 1]
    assert not any(item.any() for item in items)


def test_many_threads_have_maps_at_once() -> None:
    """Each of which reaps the others' workers, since multiprocessing does."""

    def work(i: int) -> list[int]:
        with MapReduce(np=2) as inner:
            return inner.map(lambda j: i * j, range(3))

    with MapReduce(np=6, workers="thread") as pool:
        assert pool.map(work, range(24)) == [[0, i, 2 * i] for i in range(24)]


def test_exit_codes_that_nobody_gets() -> None:
    """SIGCHLD ignored: maps go on, deaths are told without their code."""
    done = run(
        "import os, signal, sharedmem\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "with sharedmem.MapReduce(np=2) as pool:\n"
        "    print(pool.map(abs, [-1, 2]))\n"
        "    try:\n"
        "        pool.map(lambda i: os._exit(1), [1, 2])\n"
        "    except sharedmem.WorkerException as error:\n"
        "        print('exit code was given to somebody else' in str(error))\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 2]\nTrue\n", "")


# ---- workers that are kept -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_kept_workers_do_several_maps(method: str) -> None:
    """The same processes, whatever the functions; the with statement ends them."""
    pytest.importorskip("cloudpickle")
    with MapReduce(np=2, reuse=True, start_method=method) as pool:
        seen = {pid for k in range(5) for pid in pool.map(lambda _, k=k: os.getpid(), range(10))}
        assert len(seen) == 2 and all(map(alive, seen))
        assert pool.map(lambda i: i + 1, [5]) == [6]
        assert pool.map(str, []) == []
    assert not any(map(alive, seen))


def test_kept_workers_get_the_function_of_now() -> None:
    """And what it has closed over; the sections begin anew."""
    pytest.importorskip("cloudpickle")
    with MapReduce(np=2, reuse=True) as pool:
        for k in range(3):
            order: list[int] = []

            def work(i: int, k: int = k) -> int:
                with pool.ordered, pool.critical:
                    return i * k

            assert pool.map(work, range(30), reduce=order.append) == [None] * 30
            assert sorted(order) == sorted(i * k for i in range(30))


def test_kept_workers_are_replaced_after_a_failure_or_a_death() -> None:
    """Between two maps as well: the next map finds all."""
    pytest.importorskip("cloudpickle")
    with MapReduce(np=2, reuse=True) as pool:
        failure(pool, raise_own, range(10))
        (first, *_) = pids = pool.map(lambda _: os.getpid(), range(10))
        os.kill(first, signal.SIGKILL)
        await_end([first])
        again = set(pool.map(lambda _: os.getpid(), range(10)))
        assert len(again) == 2 and first not in again
        assert not any(map(alive, pids))


def test_what_a_stopped_worker_was_told_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that it never reads holds a lock in flight; the leak guard looks."""
    pytest.importorskip("cloudpickle")
    tell = workers.Workers.tell

    def tell_and_kill(self: workers.Workers, rank: int, data: bytes) -> None:
        tell(self, rank, data)
        os.kill(pid, signal.SIGKILL)

    with MapReduce(np=1, reuse=True) as pool:
        (pid,) = pool.map(lambda _: os.getpid(), [0])
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(workers.Workers, "tell", tell_and_kill)
        assert "SIGKILL" in str(failure(pool, str, [sharedmem.Lock()]))


def test_a_pool_that_keeps_workers_has_one_map_at_a_time() -> None:
    """A second one is refused, and the first goes on."""
    pytest.importorskip("cloudpickle")
    with MapReduce(np=2, reuse=True) as pool:
        results = pool.imap(abs, range(10))
        next(results)
        with pytest.raises(RuntimeError, match="one at a time"):
            pool.map(abs, range(3))
        assert len(list(results)) == 9
        assert pool.map(abs, [-3]) == [3]


def test_one_map_at_a_time_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the first one is still pickled; the workers of both end with the pool."""
    pytest.importorskip("cloudpickle")
    begun, goes_on = threading.Event(), threading.Event()

    class Slow:
        def __reduce__(self) -> Any:
            begun.set()
            goes_on.wait()
            return int, ()

    with MapReduce(np=2, reuse=True) as pool:
        first: list[Any] = []
        thread = threading.Thread(target=lambda: first.append(pool.map(abs, [Slow(), Slow()])))
        thread.start()
        begun.wait()
        with pytest.raises(RuntimeError, match="one at a time"):
            pool.map(abs, range(3))
        goes_on.set()
        thread.join()
        assert first == [[0, 0]] and pool.map(abs, [-3]) == [3]
    assert not multiprocessing.active_children()


def test_a_fork_in_the_middle_of_a_map_has_none() -> None:
    """It may begin its own, with workers of its own."""
    pytest.importorskip("cloudpickle")
    with MapReduce(np=2, reuse=True) as pool:
        results = pool.imap(abs, range(1000))
        next(results)
        pid = os.fork()
        if pid == 0:
            code = 1
            with pool:
                code = 0 if pool.map(abs, [-1, -2]) == [1, 2] else 2
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert len(list(results)) == 999


# ---- signals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_postponed_whichever_thread_takes_it(number: int) -> None:
    """It has its effect afterwards, not within."""
    end, seen = threading.Event(), []
    thread = threading.Thread(target=end.wait)
    thread.start()
    before = signal.signal(number, lambda *_: seen.append(number))
    try:
        with workers._postponed(number):
            os.kill(os.getpid(), number)
            for _ in range(10_000):
                assert not seen
        assert seen == [number]
    finally:
        signal.signal(number, before)
        end.set()
        thread.join()


class EndsWhilePickled:
    """Its sender is told to end in the middle of the message."""

    def __reduce__(self) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(10_000):
            pass
        return int, ()


def test_sigterm_ends_a_worker_between_messages() -> None:
    """Though another thread of it takes the signal: half of one could not be taken back."""

    def work(i: int) -> Any:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return sharedmem.ones(100), EndsWhilePickled()

    with MapReduce(np=1) as pool:
        results = pool.imap(work, [0])
        array, zero = next(results)
        with pytest.raises(WorkerException, match="SIGTERM"):
            next(results)
    assert array.sum() == 100 and zero == 0


def test_a_lock_of_the_users_is_no_lock_of_the_map() -> None:
    """Who hears that its holder died has failed by itself: the others are stopped."""
    lock = sharedmem.Lock()
    pid = os.fork()
    if pid == 0:
        lock.acquire()
        os._exit(0)
    os.waitpid(pid, 0)

    def work(i: int) -> None:
        if i == 0:
            time.sleep(1000)
        with lock:
            pass

    with MapReduce(np=2) as pool:
        assert type(failure(pool, work, range(2)).reason) is sharedmem.OwnerDiedError


class Wordless(Exception):
    def __str__(self) -> str:
        raise ValueError


def test_an_exception_without_a_text(parallel: Make) -> None:
    """It is told all the same."""

    def work(i: int) -> None:
        raise Wordless

    with parallel() as pool:
        assert type(failure(pool, work, range(2)).reason).__name__ == "Wordless"


# ---- workers that do not end ------------------------------------------------------------------------


def test_a_report_that_is_an_error_leaves_no_worker() -> None:
    """With warnings as errors the workers are ended as well."""
    sharedmem.set_timeout(0.03)

    def work(i: int) -> int:
        threading.Thread(target=time.sleep, args=(1000,)).start()
        return os.getpid()

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with MapReduce(np=2) as pool, pytest.raises(RuntimeWarning, match="does not end"):
            pool.map(work, range(2))
    assert not multiprocessing.active_children()


def test_a_worker_that_does_not_end_is_reported_and_killed() -> None:
    """A thread of it goes on; the results are there."""
    sharedmem.set_timeout(0.03)

    def work(i: int) -> int:
        threading.Thread(target=time.sleep, args=(1000,)).start()
        return os.getpid()

    with MapReduce(np=1) as pool, pytest.warns(RuntimeWarning, match="does not end within 0.3 s"):
        (pid,) = pool.map(work, [0])
    assert not alive(pid)


def test_a_thread_that_does_not_end_is_reported_and_left() -> None:
    """After an exception in another one."""
    sharedmem.set_timeout(0.03)
    gate, begun = threading.Event(), threading.Event()

    def work(i: int) -> None:
        if i == 0:
            begun.set()
            gate.wait()
        begun.wait()
        raise Own

    with MapReduce(np=2, workers="thread") as pool, pytest.warns(RuntimeWarning, match="left to itself"):
        failure(pool, work, range(2))
    gate.set()


def test_a_worker_that_is_deaf_to_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bounded time."""
    monkeypatch.setattr(workers, "_PATIENCE", 0.2)
    meeting = Meeting(2)

    def work(i: int) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        meeting()
        if i:
            raise Own
        time.sleep(1000)

    with MapReduce(np=2) as pool:
        assert type(failure(pool, work, range(2)).reason) is Own


def test_set_timeout_returns_what_it_was_given() -> None:
    """In units of ten seconds."""
    assert sharedmem.set_timeout(3) == 3
    assert mapreduce.patience() == 30


# ---- background ---------------------------------------------------------------------------------


@pytest.fixture(params=["fork", "spawn", "forkserver", "thread"])
def call(request: pytest.FixtureRequest) -> Callable[..., sharedmem.background]:
    """Makes calls in the background, in each way."""
    if request.param == "thread":
        return lambda *args, **kwargs: sharedmem.background(
            *args, backend=sharedmem.ThreadBackend, **kwargs
        )
    if request.param != "fork":
        pytest.importorskip("cloudpickle")
    return lambda *args, **kwargs: sharedmem.background(*args, start_method=request.param, **kwargs)


def test_background_returns_the_result(call: Any) -> None:
    """With arguments of both kinds; again and again the same object."""
    made = call(lambda a, b: np.full(LARGE, a + b), 1, b=2)
    result = made.wait()
    assert (result == 3).all() and made.wait() is result


def test_background_keeps_its_arguments(call: Any) -> None:
    """A shared array that nobody else holds is there when the process takes it."""
    assert call(np.sum, sharedmem.ones(10)).wait() == 10


def test_background_returns_a_closure(call: Any) -> None:
    """Over a shared array that only its process had."""
    pytest.importorskip("cloudpickle")

    def work() -> Any:
        array = sharedmem.ones(10)
        return lambda: array.sum()

    assert call(work).wait()() == 10


class Fresh:
    """Pickled as a shared array that is made for the pickle alone."""

    def __reduce__(self) -> Any:
        return np.array, (sharedmem.ones(10),)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_background_keeps_what_pickling_made(method: str) -> None:
    """A shared array that `__reduce__` of an argument has made is there as well."""
    assert sharedmem.background(np.sum, Fresh(), start_method=method).wait() == 10


def test_background_goes_on_meanwhile(call: Any) -> None:
    """The caller does as well."""
    gate = sharedmem.Event()
    made = call(gate.wait, 60)
    gate.set()
    assert made.wait() is True


def test_background_raises_what_the_function_raised(call: Any) -> None:
    """As WorkerException, each time."""
    made = call(raise_own, 3)
    for _ in range(2):
        with pytest.raises(WorkerException) as caught:
            made.wait()
        assert type(caught.value.reason) is Own


def test_background_s_wait_has_an_end(call: Any) -> None:
    """TimeoutError; the call goes on."""
    gate = sharedmem.Event()
    made = call(lambda: gate.wait(60))
    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError):
            made.wait(timeout)
    gate.set()
    assert made.wait(60) is True


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_background_never_hangs(method: str) -> None:
    """Killed, left by os._exit, a result that cannot be sent: each is told."""
    pytest.importorskip("cloudpickle")
    for function, why in (
        (die_by_signal, "SIGKILL"),
        (die_by_exit, "exit code 3"),
        (threading.Lock, "pickle"),
        (LoadsBadly, "cannot be received"),
    ):
        with pytest.raises(WorkerException, match=why):
            sharedmem.background(function, start_method=method).wait(60)


def test_background_forgotten_is_done_all_the_same() -> None:
    """Its process goes on without a handle, and is cleared away by a later call."""
    gate, done = sharedmem.Event(), sharedmem.Event()

    def work() -> None:
        gate.wait(60)
        done.set()

    sharedmem.background(work)
    gc.collect()
    gate.set()
    assert done.wait(60)
    while calls._running or calls._leaving:
        assert sharedmem.background(int).wait(60) == 0


def leave_a_thread(gate: Any) -> int:
    """A function whose process stays until the gate opens."""
    threading.Thread(target=gate.wait).start()
    return 1


def test_background_waits_for_no_thread_of_the_process() -> None:
    """The result is there while the process stays; a later call clears it away once it has ended."""
    gate = sharedmem.Event()
    made = sharedmem.background(leave_a_thread, gate)
    assert made.wait(60) == 1
    assert sharedmem.background(int).wait(60) == 0
    assert made._process in calls._leaving
    gate.set()
    while made._process in calls._leaving:
        assert sharedmem.background(int).wait(60) == 0


def test_background_kills_who_does_not_end() -> None:
    """When its time is over, which a warning says."""
    sharedmem.set_timeout(0.01)
    made = sharedmem.background(leave_a_thread, sharedmem.Event())
    with pytest.warns(RuntimeWarning, match=r"does not end within 0\.1 s"):
        assert made.wait() == 1
    assert made._process not in calls._leaving


class InterruptsOnce:
    """Interrupts whoever unpickles it for the first time."""

    def __reduce__(self) -> Any:
        return interrupted_here, ()


_interrupts: list[str] = []


def interrupted_here() -> str:
    if not _interrupts:
        _interrupts.append("^C")
        raise KeyboardInterrupt
    return "the result"


def test_background_can_be_waited_for_after_an_interrupt() -> None:
    """^C while the result is received does not lose it."""
    _interrupts.clear()
    array = sharedmem.ones(3)
    made = sharedmem.background(lambda: (InterruptsOnce(), array))
    with pytest.raises(KeyboardInterrupt):
        made.wait(60)
    result, same = made.wait(60)
    assert result == "the result" and same.sum() == 3
    assert sharedmem.stat(array.name).tickets == 0


def test_background_is_its_maker_s() -> None:
    """A worker that has it cannot wait for it."""
    made = sharedmem.background(int)
    with MapReduce(np=1) as pool:
        assert type(failure(pool, lambda _: made.wait(), [0]).reason) is RuntimeError
    assert made.wait(60) == 0


def test_background_refuses_what_is_no_backend() -> None:
    """Before anything is started."""
    with pytest.raises(TypeError, match="backend"):
        sharedmem.background(int, backend="process")


# ---- libraries' threads ---------------------------------------------------------------------------


def test_workers_do_not_oversubscribe(processes: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """BLAS and OpenMP get each worker's part of the CPUs; the caller's environment is as it was."""
    for name in threads._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    part = str(max(1, len(os.sched_getaffinity(0)) // 2))
    with processes(2) as pool:
        assert pool.map(lambda _: os.environ["OPENBLAS_NUM_THREADS"], range(2)) == [part] * 2
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def names(internal: bool) -> list[str]:
    return [info.name for info in sharedmem.list_segments(internal)]


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_map_has_nothing_among_the_users_segments(start_method: str) -> None:
    """Its board, its locks and its list of tickets are the library's own."""
    before = names(False)
    with MapReduce(np=1, start_method=start_method) as pool:
        assert pool.map(names, [False]) == [before]
        assert len(pool.map(names, [True])[0]) > len(before)


# ---- a worker that is killed while it answers ------------------------------------------------------

ANSWERS = ("sharedmem.workers", "sharedmem.ledger", "sharedmem.failures", "sharedmem.jobs")


class Names(Exception):
    """One that names shared arrays."""


def answer(backend: str, fails: bool) -> Any:
    """What a worker says: named things, of which it keeps none, and what is copied."""
    first, last = sharedmem.ones(3, backend=backend), sharedmem.ones(4, backend=backend)
    if fails:
        raise Names(first, last)
    return [first, np.ones(50_000), sharedmem.Lock(backend=backend), last]


def then_killed(step: int, report: int, work: Callable[[], Any]) -> Any:
    """What it gives; the process is killed at that line of those that follow, and reports it."""
    killer = _Killer(step, ANSWERS, None)
    killer.report, killer.pid = report, os.getpid()
    try:
        return work()
    finally:
        frame: Any = sys._getframe()
        while frame is not None:  # what has begun already is traced, too
            frame.f_trace = killer(frame, "call", None)
            frame = frame.f_back
        sys.settrace(killer)


def in_map(work: Callable[[], Any]) -> Any:
    with MapReduce(np=1) as pool:
        return pool.map(lambda _: work(), [0])[0]


def in_background(work: Callable[[], Any]) -> Any:
    try:
        return sharedmem.background(work).wait()
    finally:
        for process in list(calls._leaving):
            process.look(60)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("call", [in_map, in_background])
def test_a_worker_that_is_killed_at_any_line_leaves_nothing_in_flight(
    call: Callable[[Callable[[], Any]], Any], fails: bool, backend: str, tmp_path: Path
) -> None:
    """Not before its answer is written, nor when that is written in part."""
    file = tmp_path / "report"
    for step in itertools.count(1):
        with file.open("wb") as report, contextlib.suppress(WorkerException):
            number = report.fileno()
            call(lambda step=step, to=number: then_killed(step, to, lambda: answer(backend, fails)))
        sharedmem.trim()
        killed = file.read_bytes()
        assert not any(info.tickets for info in sharedmem.list_segments(internal=True)), killed
        if not killed:
            break
    assert step > 60

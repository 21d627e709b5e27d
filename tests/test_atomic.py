"""Atomic operations on one element: every dtype, every mistake, and nothing lost between processes."""

from __future__ import annotations

import multiprocessing
from typing import Any

import numpy as np
import pytest

import sharedmem
from sharedmem import atomic

INTEGERS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
FETCHES: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "max": np.maximum,
    "min": np.minimum,
    "or": np.bitwise_or,
    "and": np.bitwise_and,
    "xor": np.bitwise_xor,
}


@pytest.mark.parametrize("operation", FETCHES)
@pytest.mark.parametrize("dtype", [*INTEGERS, "f4", "f8"])
def test_a_fetch_does_what_numpy_does(operation: str, dtype: str) -> None:
    """The element is what NumPy computes, the result what it was, the others untouched."""
    array = sharedmem.full((2, 3), 12, dtype)
    if operation in ("or", "and", "xor") and dtype.startswith("f"):
        with pytest.raises(TypeError, match="bitwise"):
            getattr(atomic, f"fetch_{operation}")(array, (1, 2), 10)
        return
    before = getattr(atomic, f"fetch_{operation}")(array, (1, -1), 10)
    assert before == 12 and before.dtype == dtype
    want = np.full((2, 3), 12, dtype)
    want[1, 2] = FETCHES[operation](np.array(12, dtype), np.array(10, dtype))
    assert (array == want).all()


@pytest.mark.parametrize("order", ["relaxed", "acquire", "release", "acq_rel", "seq_cst"])
@pytest.mark.parametrize("dtype", [*INTEGERS, "f4", "f8", "?"])
def test_load_store_exchange(dtype: str, order: Any) -> None:
    """What is stored is loaded; compare_exchange says whether it was, and what was there."""
    array = sharedmem.zeros(2, dtype)
    atomic.store(array, 1, True, order=order)
    assert atomic.load(array, 1, order=order) == 1
    assert atomic.exchange(array, 1, False, order=order) == 1
    assert atomic.compare_exchange(array, 1, True, True, order=order) == (False, 0)
    assert atomic.compare_exchange(array, 1, False, True, order=order) == (True, 0)
    assert array.tolist() == [0, 1]


def test_integers_wrap() -> None:
    """As NumPy's arrays do."""
    array = sharedmem.full(1, 127, "i1")
    assert atomic.fetch_add(array, 0, 1) == 127 and array[0] == -128


def test_views_and_arrays_without_dimensions() -> None:
    """The index is that of the array that is given, whatever its strides."""
    array = sharedmem.zeros((4, 4), int)
    atomic.fetch_add(array.T[::2, 1:], (1, 0), 5)
    assert array[1, 2] == 5
    atomic.fetch_add(array[3, 3, ...], (), 6)
    assert array[3, 3] == 6


def misaligned() -> Any:
    return sharedmem.zeros(17, "u1")[1:].view("u8")


def locked() -> Any:
    array = sharedmem.zeros(3)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("make", "index", "value", "error"),
    [
        (lambda: sharedmem.zeros(3, "c16"), 0, 1, TypeError),
        (lambda: sharedmem.zeros(3, "S4"), 0, b"x", TypeError),
        (lambda: sharedmem.zeros(3, "f2"), 0, 1, TypeError),
        (lambda: sharedmem.zeros(3, "m8[s]"), 0, 1, TypeError),
        (lambda: sharedmem.zeros(3, ">i4"), 0, 1, TypeError),
        (lambda: sharedmem.zeros(3, "?"), 0, True, TypeError),
        (lambda: [1, 2], 0, 1, TypeError),
        (misaligned, 0, 1, ValueError),
        (locked, 0, 1, ValueError),
        (lambda: sharedmem.zeros(3), 3, 1, IndexError),
        (lambda: sharedmem.zeros(3), (0, 0), 1, IndexError),
        (lambda: sharedmem.zeros((3, 3)), 0, 1, IndexError),
        (lambda: sharedmem.zeros(3), slice(1), 1, TypeError),
        (lambda: sharedmem.zeros(3), [0], 1, TypeError),
        (lambda: sharedmem.zeros(3, "u1"), 0, 300, OverflowError),
        (lambda: sharedmem.zeros(3, "u1"), 0, -1, OverflowError),
        (lambda: sharedmem.zeros(3, "i8"), 0, 2**63, OverflowError),
        (lambda: sharedmem.zeros(3, "u8"), 0, 2**64, OverflowError),
        (lambda: sharedmem.zeros(3), 0, 10**400, OverflowError),
        (lambda: sharedmem.zeros(3, int), 0, 1.5, TypeError),
        (lambda: sharedmem.zeros(3, int), 0, [1], ValueError),
    ],
)
def test_what_cannot_be_is_refused(make: Any, index: Any, value: Any, error: type[Exception]) -> None:
    """Each mistake has its own class, and nothing is changed."""
    with pytest.raises(error):
        atomic.fetch_add(make(), index, value)


def test_an_order_that_there_is_not() -> None:
    """The text says which there are."""
    with pytest.raises(ValueError, match="seq_cst"):
        atomic.load(sharedmem.zeros(1), 0, order="consume")  # type: ignore[arg-type]


def add(array: Any, times: int) -> None:
    for _ in range(times):
        atomic.fetch_add(array, 0, 1)


@pytest.mark.parametrize("dtype", ["u2", "i8", "f4", "f8"])
def test_nothing_is_lost_between_processes(dtype: str) -> None:
    """Two processes that add to one element lose no addition."""
    array = sharedmem.zeros(1, dtype)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=add, args=(array, 2000)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        worker.close()
    assert array[0] == 4000

"""The old module's arrays are shared arrays, and what was wrong with them is not."""

from __future__ import annotations

import mmap
import multiprocessing
import pickle
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pytest

import sharedmem
from sharedmem.compat import shmarray

VIEWS = {
    "whole": lambda array: array,
    "offset": lambda array: array[2:],
    "steps": lambda array: array[1::2, ::-1],
    "transposed": lambda array: array.T,
    "field of the last row": lambda array: array[-1, 1:],
}


@pytest.mark.parametrize("dumps", [pickle.dumps, ForkingPickler.dumps])
@pytest.mark.parametrize("view", VIEWS)
def test_views_pickle_by_name(view: str, dumps: Any) -> None:
    """A view keeps offset, strides and class, and is the same memory."""
    array = shmarray.create_copy(np.arange(20.0).reshape(5, 4))
    sent = VIEWS[view](array)
    loaded = pickle.loads(dumps(sent))
    assert type(loaded) is shmarray.shmarray
    assert np.array_equal(loaded, sent) and loaded.strides == sent.strides
    loaded[...] = -1
    assert (sent == -1).all() and array.base is not None


def add_one(array: Any) -> str:
    array += 1
    return type(array).__name__


def test_worker_that_was_not_forked_from_here(start_method: str) -> None:
    """A pool of any start method gets the array and writes to it."""
    array = shmarray.zeros((2, 3))
    with multiprocessing.get_context(start_method).Pool(1) as pool:
        assert pool.map(add_one, [array[0], array[1, 1:]]) == ["shmarray", "shmarray"]
        pool.close()
        pool.join()
    assert array.tolist() == [[1, 1, 1], [0, 1, 1]]


@pytest.mark.parametrize("alignment", [1, 2, 8, 32, 64, mmap.PAGESIZE])
def test_alignment_is_kept(alignment: int) -> None:
    """Every power of two up to a page is kept, here and where the array is received."""
    array = shmarray.create((3, 5), "i1", alignment)
    assert array.shape == (3, 5) and array.dtype == np.int8
    assert array.ctypes.data % alignment == 0
    assert pickle.loads(pickle.dumps(array)).ctypes.data % alignment == 0


@pytest.mark.parametrize("alignment", [0, -8, 3, 48, 2 * mmap.PAGESIZE])
def test_alignment_that_cannot_be_kept(alignment: int) -> None:
    """Anything else is refused with what would do."""
    with pytest.raises(ValueError, match=f"power of two up to .*{mmap.PAGESIZE}"):
        shmarray.create(3, alignment=alignment)


def test_alignment_is_a_number() -> None:
    """An alignment that is no integer is a TypeError."""
    with pytest.raises(TypeError):
        shmarray.create(3, alignment=32.0)  # type: ignore[arg-type]


def test_constructors_default_to_double() -> None:
    """create, zeros and ones make arrays of doubles of any shape NumPy takes."""
    for make in shmarray.create, shmarray.zeros, shmarray.ones:
        for shape in (), 0, 3, (2, 3), [2, 3]:
            array = make(shape)
            assert array.dtype == np.float64 and array.shape == np.empty(shape).shape
    assert shmarray.ones(2, "i4").tolist() == [1, 1]


def test_extents_of_more_than_32_bits() -> None:
    """A shape is not cast to C's int."""
    array = shmarray.zeros((2**33, 0), "u1")
    assert array.shape == (2**33, 0)
    assert pickle.loads(pickle.dumps(array)).shape == (2**33, 0)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(np.array(7.0), id="0-d"),
        pytest.param(np.arange(6).reshape(2, 3).T, id="transposed"),
        pytest.param(np.arange(6, dtype=">i2")[::-2], id="reversed, big-endian"),
        pytest.param(np.zeros(3, [("a", "f8"), ("b", "S3")]), id="records"),
        pytest.param([[1, 2], [3, 4]], id="list"),
    ],
)
def test_create_copy(source: Any) -> None:
    """A copy has shape, dtype and values, lies in C order, and is no view of its source."""
    copied = shmarray.create_copy(source)
    assert type(copied) is shmarray.shmarray and copied.flags.c_contiguous
    assert np.array_equal(copied, source) and copied.dtype == np.asarray(source).dtype
    assert not np.shares_memory(copied, np.asarray(source))


def test_constructor_makes_a_view_of_shared_memory() -> None:
    """shmarray(memory, ...) places an array by offset, strides and order in what is shared."""
    memory = shmarray.zeros(10, "i4")
    row = shmarray.shmarray(memory.ctypesArray, (2, 3), "i4", offset=4)
    assert row.strides == (12, 4)
    row[:] = 1
    assert memory.tolist() == [0] + [1] * 6 + [0] * 3
    assert shmarray.shmarray(memory, (2, 3), "i4", order="F").strides == (4, 8)
    assert shmarray.shmarray(memory, 3, "i4", strides=(8,)).tolist() == [0, 1, 1]
    received = pickle.loads(pickle.dumps(row))
    assert np.shares_memory(received, memory) and (received == 1).all()
    del memory, received
    assert (row == 1).all() and row.is_current()


def test_ctypes_array_is_the_whole_segment() -> None:
    """ctypesArray is the bytes of all that was made, of a view too; its memory is passed to C."""
    array = shmarray.zeros(4, "u2")
    view = array[2:]
    view.ctypesArray[0] = 7
    assert array.tolist() == [7, 0, 0, 0]
    assert view.ctypesArray.nbytes == 8 and view.ctypesArray.ctypes.data == array.ctypes.data


@pytest.mark.parametrize(
    "memory",
    [
        pytest.param(np.zeros(3), id="private"),
        pytest.param(bytearray(24), id="bytes"),
        pytest.param(multiprocessing.RawArray("d", 3), id="of multiprocessing's"),
    ],
)
def test_constructor_wants_memory_of_ours(memory: Any) -> None:
    """What no other process could find is refused, with what to do."""
    with pytest.raises(TypeError, match="create_copy"):
        shmarray.shmarray(memory, 3)


def test_constructor_wants_what_lies_inside() -> None:
    """An array that would reach outside of the memory, or into its gaps, is refused."""
    memory = shmarray.zeros(4)
    with pytest.raises(TypeError, match="too small"):
        shmarray.shmarray(memory, 5)
    with pytest.raises(TypeError, match="too small"):
        shmarray.shmarray(memory, 4, offset=8)
    with pytest.raises(ValueError, match="strides"):
        shmarray.shmarray(memory, 3, strides=(16,))
    with pytest.raises(TypeError, match="C-contiguous"):
        shmarray.shmarray(memory[::2], 2)


def test_results_are_plain_arrays() -> None:
    """Views are shmarrays, results of arithmetic and copies are not, and in place is in place."""
    array = shmarray.ones((2, 3))
    assert type(array[1:]) is type(array.T) is shmarray.shmarray
    assert type(array + 1) is type(np.sqrt(array)) is type(array[[0, 1]]) is np.ndarray
    assert isinstance(array.sum(), float)
    kept = array
    kept += 1
    assert kept is array and type(kept) is shmarray.shmarray
    assert np.add(array, 1, out=array) is array


def test_is_a_shared_array(name: str) -> None:
    """It has a name, can be attached by it, and is gone with its last user."""
    array = shmarray.zeros(3)
    assert isinstance(array, sharedmem.SharedArray)
    other = sharedmem.attach(array.name)
    array[0] = 7
    assert other[0] == 7
    name = array.name
    del array, other
    assert not sharedmem.exists(name)

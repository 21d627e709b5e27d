"""npshmex's interface: its README's program, its own tests' assertions, and its defects mended."""

from __future__ import annotations

import concurrent.futures
import gc
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import sharedmem
from sharedmem.compat import npshmex

README = """
import numpy as np
from sharedmem.compat.npshmex import ProcessPoolExecutor

def add_one(x):
    return x + 1

ex = ProcessPoolExecutor()
big_data = np.ones(int(2e6))

f = ex.submit(add_one, big_data)
print(f.result()[0])           # 2.0
"""


def test_the_readme(tmp_path: Any) -> None:
    """Its first program as written, but for the import and the size."""
    script = tmp_path / "readme.py"
    script.write_text(README)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("2.0\n", "")


def square(x: Any) -> Any:
    return x * x


def square_values(x: dict[str, Any]) -> dict[str, Any]:
    return {key: value * value if isinstance(value, np.ndarray) else value for key, value in x.items()}


def identity(x: Any) -> Any:
    return x


class Wrapper:
    """Has an array, and something else."""

    def __init__(self, bla: str, data: np.ndarray) -> None:
        self.bla, self.data = bla, data


def square_wrapped(x: Wrapper) -> Wrapper:
    return Wrapper(x.bla, x.data**2)


@pytest.fixture
def pool() -> Any:
    with npshmex.ProcessPoolExecutor(1) as made:
        yield made


def test_arrays_dicts_and_records(pool: Any) -> None:
    """What npshmex's test_shm shows."""
    assert pool.submit(square, np.arange(10)).result().sum() == 285
    result = pool.submit(square_values, {"a": np.arange(10), "b": "text"}).result()
    assert (result["a"].sum(), result["b"]) == (285, "text")
    record = np.zeros(3, dtype=[("x", ">i4"), (("title", "y"), "M8[ms]")])
    assert pool.submit(identity, record).result().dtype == record.dtype


def test_keys(pool: Any) -> None:
    """A key stands for what was put, and stays until it is popped for good."""
    key = npshmex.shm_put(np.arange(10))
    assert npshmex.is_shmkey(key) and key.startswith("shm://npshmex_data_")
    assert pool.submit(square, key).result().sum() == 285
    assert pool.submit(identity, x=key).result().sum() == 45
    assert npshmex.shm_pop(key).sum() == 45
    assert npshmex.unshm({"a": key, "b": 1})["a"].sum() == 45
    assert npshmex.shm_pop(key, keep=False).sum() == 45
    with pytest.raises(FileNotFoundError):
        npshmex.shm_pop(key)
    with pytest.raises(FileNotFoundError):
        npshmex.shm_del(key)
    temporary = npshmex.shm_put(np.arange(3), temp=True)
    assert npshmex.shm_pop(temporary).tolist() == [0, 1, 2]
    with pytest.raises(FileNotFoundError):
        npshmex.shm_pop(temporary)


def test_a_string_is_no_key(pool: Any) -> None:
    """However much it looks like one."""
    text = "shm://npshmex_data_0123456789ABCDEF_"
    assert pool.submit(identity, text).result() == text
    assert not npshmex.is_shmkey(text)
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        assert threads.submit(identity, text).result() == text
    assert npshmex.Future is concurrent.futures.Future


def test_wrappers(pool: Any) -> None:
    """Go through the executor without being registered or changed, and through the store when they are."""
    wrapped = Wrapper("hi", np.arange(100_000.0))
    assert pool.submit(square_wrapped, wrapped).result().data[3] == 9
    assert isinstance(wrapped.data, np.ndarray)
    assert not npshmex.is_shmable(wrapped)
    with pytest.raises(ValueError, match="registered"):
        npshmex.shm_put(wrapped)
    npshmex.register_array_wrapper(Wrapper, "data")
    try:
        key = npshmex.shm_put(wrapped)
        assert isinstance(wrapped.data, np.ndarray)
        again = npshmex.shm_pop(key, keep=False)
        assert (again.bla, again.data[3]) == ("hi", 3)
    finally:
        npshmex._wrappers.clear()


@pytest.mark.parametrize(
    "array",
    [
        np.array(3),
        np.arange(4, dtype=">i4"),
        np.arange(3).astype("M8[us]"),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.ma.array([1, 2], mask=[True, False]),
        np.array([1, "a", None], dtype=object),
        np.zeros((2, 3), dtype=[("a", "i4"), ("b", "f8")])[:, ::2],
    ],
    ids=["0-d", "big-endian", "datetime", "fortran", "masked", "object", "strided record"],
)
def test_arrays_are_put_as_they_are(array: np.ndarray) -> None:
    """Also those that npshmex refused, or changed."""
    got = npshmex.shm_pop(npshmex.shm_put(array), keep=False)
    assert (type(got), got.dtype, got.shape) == (type(array), array.dtype, array.shape)
    assert got.tolist() == array.tolist()
    npshmex.shm_clear()


def test_pickled_there_or_back(pool: Any) -> None:
    """shm_input and shm_output say where shared memory is used."""
    array = np.arange(100_000.0)
    for way in ({"shm_input": False}, {"shm_output": False}, {"shm_input": False, "shm_output": False}):
        before = pool.stats()["copied"]
        assert pool.submit(square, array, **way).result()[3] == 9
        copied = pool.stats()["copied"] - before
        assert copied == 800_000 * (2 - len(way))


def test_clear_is_for_ones_own() -> None:
    """What others have put, and arrays of other names, stay."""
    others = sharedmem.zeros(3, name="npshmex_data_of_others_")
    key = npshmex.shm_put(np.arange(3))
    npshmex.shm_clear()
    assert others.is_current()
    with pytest.raises(FileNotFoundError):
        npshmex.shm_pop(key)
    del others
    gc.collect()
    sharedmem.trim()
    assert sharedmem.list_segments(internal=True) == []


def test_helpers() -> None:
    """dtypes and pickles as arrays of bytes, and back."""
    dtype = np.dtype([(("title", "a"), ">i4"), ("b", "M8[ms]", (2,))], align=True)
    assert npshmex.unpack_dtype(npshmex.pack_dtype(dtype)) == dtype
    assert np.dtype(list(npshmex.dtype_to_tuple("i4,f8"))) == np.dtype("i4,f8")
    assert npshmex.unpickle_from_array(npshmex.pickle_as_array({"a": 1})) == {"a": 1}
    assert npshmex.shm_wrap_f(square, npshmex.shm_put(np.arange(3), temp=True)).tolist() == [0, 1, 4]
    assert npshmex.__version__

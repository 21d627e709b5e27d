"""Shared arrays are NumPy's arrays: made alike, found by name, exact on every way."""

import contextlib
import ctypes
import gc
import inspect
import json
import mmap
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest

import sharedmem
from sharedmem import SharedArray

USERS = 256  # the lowest number of a type that is not NumPy's own
NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"
DIRECTORY = "/dev/shm"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
OTHER_USER = 65534


# ---- what the kernel has ---------------------------------------------------


def path_of(name):
    """The file of a POSIX segment."""
    return f"{DIRECTORY}/smem.{os.geteuid()}.s.{name}"


def sysv_rows():
    """The user's rows of the kernel's table of SysV segments."""
    with open("/proc/sysvipc/shm") as table:
        columns = table.readline().split()
        rows = [dict(zip(columns, line.split())) for line in table]
    return [row for row in rows if int(row["uid"]) == os.geteuid()]


def segments():
    """All segments of the user in the kernel."""
    prefix = f"smem.{os.geteuid()}.s."
    files = {entry for entry in os.listdir(DIRECTORY) if entry.startswith(prefix)}
    return files | {row["shmid"] for row in sysv_rows()}


@contextlib.contextmanager
def one_new_segment():
    """The kernel's facts of the segment that the block makes."""
    before = segments()
    facts = {}
    yield facts
    (new,) = segments() - before
    if new.startswith("smem."):
        status = os.stat(f"{DIRECTORY}/{new}")
        facts.update(permissions=status.st_mode & 0o7777, resident=status.st_blocks * 512)
    else:
        (row,) = [row for row in sysv_rows() if row["shmid"] == new]
        facts.update(permissions=int(row["perms"], 8) & 0o777, resident=int(row["rss"]))


@contextlib.contextmanager
def nothing_made():
    """Fail unless the block leaves the kernel's segments as they are."""
    before = segments()
    yield
    assert segments() == before


# ---- what is compared ------------------------------------------------------


def layout(array):
    """Shape, and the strides of those axes along which one can step."""
    steps = [step for step, extent in zip(array.strides, array.shape) if extent > 1]
    return array.shape, steps if array.size else None


def assert_same_dtype(dtype, expected):
    """Equal, and alike in what == leaves out."""
    assert dtype == expected
    assert repr(dtype) == repr(expected)
    assert dtype.isalignedstruct == expected.isalignedstruct
    assert dtype.itemsize == expected.itemsize
    assert (dtype.type, dtype.char, dtype.str) == (expected.type, expected.char, expected.str)
    assert dict(dtype.metadata or {}) == dict(expected.metadata or {})
    assert dtype.fields == expected.fields
    for field in dtype.names or ():
        assert_same_dtype(dtype.fields[field][0], expected.fields[field][0])
    if expected.subdtype is not None:
        assert_same_dtype(dtype.base, expected.base)


def assert_same(array, expected):
    """A shared array with the layout, dtype and elements of the expected one."""
    assert type(array) is SharedArray
    assert layout(array) == layout(expected)
    assert_same_dtype(array.dtype, expected.dtype)
    np.testing.assert_array_equal(array, expected)


def fill(array, numbers):
    """Give every element and field a value of its own, where its type has as many."""
    if array.dtype.names:
        for field in array.dtype.names:
            part = array[field]
            fill(part, numbers.reshape(numbers.shape + (1,) * (part.ndim - numbers.ndim)))
    elif array.dtype.num >= USERS:
        array.view(f"V{array.dtype.itemsize}")[...] = numbers.astype("u1").astype("S1")
    elif array.dtype.kind == "V":
        array[...] = numbers.astype(f"S{array.dtype.itemsize}").astype(array.dtype)
    else:
        array[...] = numbers.astype(array.dtype)


def filled(shape, dtype, order="C"):
    """A private array."""
    array = np.zeros(shape, dtype, order)
    fill(array, np.arange(array.size).reshape(shape, order=order))
    return array


def created(model, backend):
    return sharedmem.copy(model, backend=backend)


def attached(model, backend):
    made = sharedmem.copy(model, backend=backend)
    return sharedmem.attach(made.name)


def pickled(model, backend):
    made = sharedmem.copy(model, backend=backend)
    return pickle.loads(pickle.dumps(made))


def sent(model, backend):
    return pickle.loads(ForkingPickler.dumps(sharedmem.copy(model, backend=backend)))


def queued(model, backend):
    queue = sharedmem.Queue()
    queue.put(sharedmem.copy(model, backend=backend))
    return queue.get()


WAYS = [created, attached, pickled, sent, queued]


class Pair(np.void):
    """A type of structures that is not NumPy's."""


class PairRecord(np.record):
    """As above."""


DTYPES = {
    "long long": "q",
    "unsigned long long": "Q",
    "long": "l",
    "intp": np.intp,
    "character": "c",
    "big-endian long long": ">q",
    "fields of types of one size": [("a", "q"), ("b", "l"), ("c", ">Q", 2), ("d", "c")],
    "metadata": np.dtype("i4", metadata={"unit": "m", 3: (1.5, None, b"x", [True, {2}, 1 + 2j])}),
    "metadata of a plain one": np.dtype("f8", metadata={"unit": "größe \\'\""}),
    "metadata of fields": np.dtype(
        [("a", np.dtype("q", metadata={"a": 1})), ("b", np.dtype("M8[s]", metadata={"b": ()}), 2)],
        metadata={"all": "of them"},
    ),
    "metadata of records": np.dtype(
        np.dtype((np.record, np.dtype([("a", "i1"), ("b", "f8")], align=True))), metadata={"a": 1}
    ),
    "names for parts": (np.int32, [("low", "i2"), ("high", "i2")]),
    "names for parts, big-endian": (
        ">i8",
        {"names": ["a"], "formats": ["i2"], "offsets": [2], "itemsize": 8},
    ),
    "names for parts of a long long": np.dtype(("q", [("a", "i4,i4")]), metadata={"parts": True}),
    "type of structures": np.dtype((Pair, [("a", "i4"), ("b", "f8")])),
    "type of records": np.dtype([("in", (PairRecord, [("a", "i4"), ("b", "f8")]), 2)]),
    "type of bytes": (Pair, "V5"),
    "bool": "?",
    "int8": "i1",
    "uint64": "u8",
    "float16": "f2",
    "float64": "f8",
    "longdouble": "g",
    "complex64": "c8",
    "clongdouble": "G",
    "big-endian int": ">i4",
    "big-endian float": ">f8",
    "big-endian longdouble": ">g",
    "big-endian str": ">U5",
    "str": "U3",
    "bytes": "S7",
    "void": "V5",
    "datetime64": "M8",
    "datetime64[D]": "M8[D]",
    "datetime64[25s]": "M8[25s]",
    "big-endian datetime64": ">M8[us]",
    "timedelta64": "m8",
    "timedelta64[ns]": "m8[ns]",
    "no fields": [],
    "packed": [("a", "i1"), ("b", "f8")],
    "aligned": np.dtype([("a", "i1"), ("b", "f8"), ("c", "i2")], align=True),
    "aligned within aligned": np.dtype(
        [("a", "i1"), ("b", np.dtype([("c", "i1"), ("d", "f8")], align=True))], align=True
    ),
    "padded": {"names": ["a", "b"], "formats": ["i1", "f8"], "offsets": [3, 16], "itemsize": 32},
    "fields in another order": {"names": ["b", "a"], "formats": ["i4", "i2"], "offsets": [4, 0]},
    "overlapping": {"names": ["all", "low"], "formats": ["<u4", "<u2"], "offsets": [0, 0]},
    "titled": [(("title of a", "a"), "i4"), (("it's", "b"), "S3"), ("c", "?")],
    "nested": [("point", [("x", "f4"), ("y", ">f8")]), ("tag", "U4"), ("when", "M8[ms]")],
    "subarray": [("matrix", "f4", (2, 3)), ("n", "i1"), ("pairs", [("u", "i2"), ("v", "i2")], 2)],
    "unusual names": [("größe", "f8"), ('"', "i4"), ("a b", "i4"), ("\\", "i4"), ("'", "i4")],
    "one field": [("only", "f8")],
    "records": np.dtype((np.record, [("a", "i4"), ("b", "f8")])),
}
DTYPES = {title: np.dtype(dtype) for title, dtype in DTYPES.items()}

MODELS = {
    "0-d": np.array(3.5),
    "one element": np.array([[[7]]]),
    "1-d": np.arange(5.0),
    "C": np.arange(24).reshape(2, 3, 4),
    "F": np.arange(24).reshape((2, 3, 4), order="F"),
    "permuted": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    "reversed": np.arange(24).reshape(4, 6)[::-1, ::-1],
    "reversed F": np.arange(24).reshape(4, 6).T[::-1],
    "stepped": np.arange(48).reshape(6, 8)[::2, 1::3],
    "broadcast": np.broadcast_to(np.arange(3), (4, 3)),
    "empty": np.empty(0),
    "empty 3-d": np.empty((3, 0, 2), "i2"),
    "empty F": np.empty((3, 0, 2), "i2", "F"),
    "many dimensions": np.arange(4).reshape((2,) + (1,) * 29 + (2, 1)),
    "odd sized": np.arange(4099 * 3, dtype="u1").reshape(4099, 3),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_dtype_is_kept(backend, way, dtype):
    """Created, attached or pickled: the dtype is the same in every detail, and so are the values."""
    model = filled((2, 3), dtype)
    assert_same(way(model, backend), model)


PLAIN = "?bhilqpBHILQPefdgFDGSUVmM"


@pytest.mark.parametrize("char", [*PLAIN, *(f">{char}" for char in PLAIN)])
def test_plain_type_is_numpys(backend, char):
    """Whatever way a dtype is named, all constructors make the array that NumPy makes."""
    dtype = np.dtype(char)
    model = np.zeros(3, dtype)
    for named in {char, dtype.str, dtype.name, dtype.type} - {"void", "str"}:
        expected = np.zeros(3, named)
        if expected.itemsize:
            assert_same(sharedmem.zeros(3, named), expected)
            assert_same(sharedmem.zeros(3, named, backend=backend), expected)
    for made in sharedmem.copy(model), sharedmem.zeros_like(model), sharedmem.asshared(model):
        assert_same(made, model)
    assert_same(sharedmem.zeros(3, model.dtype), model)


@pytest.mark.parametrize("kind", [int, float, bool, complex, None])
def test_type_of_pythons_numbers(kind):
    """Python's types and numbers become the dtypes that they become in NumPy."""
    assert_same(sharedmem.zeros(3, kind), np.zeros(3, kind))
    assert_same(sharedmem.array([1, 2]), np.array([1, 2]))
    assert_same(sharedmem.full(3, 7), np.full(3, 7))


def test_dtypes_through_an_executor():
    """There and back through a worker each dtype is the same in every detail."""
    with sharedmem.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as executor:
        for dtype in DTYPES.values():
            shared = sharedmem.copy(filled((2, 3), dtype))
            back, *there = executor.submit(details, shared).result()
            assert_same(back, shared)
            assert tuple(there) == details(shared)[1:]


def details(array):
    dtype = array.dtype
    return array, dtype.type, dtype.char, repr(dtype), dict(dtype.metadata or {})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_layout_is_kept(backend, way, model):
    """Created, attached or pickled: shape, strides and values are those of NumPy's copy."""
    expected = np.copy(model)
    array = way(model, backend)
    assert_same(array, expected)
    assert array.strides == created(model, backend).strides


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_0d_array_of_any_dtype(backend, dtype):
    """An array without axes holds one element of any dtype."""
    model = filled((), dtype)
    assert_same(attached(model, backend), model)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_empty_array_of_any_dtype(backend, dtype):
    """An array without elements keeps its dtype."""
    model = np.empty((2, 0), dtype)
    assert_same(attached(model, backend), model)
    assert_same(pickled(model, backend), model)


def tell(array):
    """All facts of a contiguous array, as JSON has them."""
    memory = ctypes.string_at(array.ctypes.data, array.nbytes)
    return [list(array.shape), list(array.strides), repr(array.dtype), memory.hex()]


ATTACH_AND_TELL = f"""
import ctypes, json, sys
import sharedmem
{inspect.getsource(tell)}
json.dump([tell(sharedmem.attach(name)) for name in json.load(sys.stdin)], sys.stdout)
"""


def test_unrelated_program_finds_the_same_arrays(backend):
    """A program that knows only the names finds shape, strides, dtype and bytes of every array."""
    dtypes = [
        dtype for title, dtype in DTYPES.items() if not title.startswith("type of")
    ]  # classes of this module
    models = [filled((2, 3), dtype, "F") for dtype in dtypes] + list(MODELS.values())
    arrays = [sharedmem.copy(model, backend=backend) for model in models]
    environ = {key: value for key, value in os.environ.items() if key != "SHAREDMEM_FAMILY"}
    done = subprocess.run(
        [sys.executable, "-c", ATTACH_AND_TELL],
        input=json.dumps([array.name for array in arrays]),
        env=environ | {"SHAREDMEM_FAMILY": "unrelated"},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout) == [tell(array) for array in arrays]


# ---- NumPy's constructors --------------------------------------------------


class Tagged(np.ndarray):
    """Somebody's subclass of ndarray."""


FORTRAN = np.arange(6.0).reshape((2, 3), order="F")
CALLS = [
    ("zeros", (3,), {}),
    ("zeros", ((2, 3),), {}),
    ("zeros", ([2, 3],), {}),
    ("zeros", (np.int64(3),), {}),
    ("zeros", (np.array([2, 3]),), {}),
    ("zeros", ((),), {}),
    ("zeros", ((2, 3), "i2", "F"), {}),
    ("zeros", (), {"shape": (2, 3), "dtype": np.float32, "order": "F"}),
    ("zeros", (2, "S"), {}),
    ("zeros", (2, ("i4", (2, 3))), {}),
    ("zeros", (2, None), {}),
    ("ones", ((2, 3),), {}),
    ("ones", ((2, 3), None, "F"), {}),
    ("ones", (3,), {"dtype": [("a", "i4"), ("b", "f8")]}),
    ("ones", (3,), {"dtype": "U2"}),
    ("full", (2, 3), {}),
    ("full", ((), 3.5), {}),
    ("full", ((2, 3), [1, 2, 3]), {}),
    ("full", (2, "abc"), {}),
    ("full", (2, np.datetime64("2001-02-03")), {}),
    ("full", ((2, 3), 1 + 2j, None, "F"), {}),
    ("full", (), {"shape": 2, "fill_value": 1.9, "dtype": "i4"}),
    ("full", (2, np.inf), {}),
    ("array", (5,), {}),
    ("array", ([1, 2],), {}),
    ("array", (["a", "bcd"],), {}),
    ("array", ([[1, 2], [3, 4]], float), {"order": "F"}),
    ("array", (FORTRAN,), {}),
    ("array", (FORTRAN,), {"order": "C"}),
    ("array", (FORTRAN.T,), {"order": "A"}),
    ("array", ([1, 2],), {"ndmin": 3}),
    ("array", ([1, 2], ">i2"), {"copy": True, "order": "K", "subok": False, "ndmin": 0}),
    ("array", (), {"object": range(4), "dtype": "f4"}),
    ("array", (np.array([[1, 2]]).view(Tagged),), {}),
    ("copy", ([1, 2],), {}),
    ("copy", (FORTRAN,), {}),
    ("copy", (FORTRAN, "C"), {}),
    ("copy", (), {"a": FORTRAN.T, "order": "A"}),
    ("copy", (7.5,), {}),
    ("fromiter", (range(5), int), {}),
    ("fromiter", (range(9), "i4", 4), {}),
    ("fromiter", (), {"iter": [1.5, 2.5], "dtype": "f4", "count": -1}),
    ("fromiter", ([(1, 2), (3, 4)], "i4,f8"), {}),
    ("fromiter", ([], float), {}),
    ("zeros_like", ([1, 2],), {}),
    ("zeros_like", (3.5,), {}),
    ("zeros_like", (), {"a": FORTRAN, "dtype": "i4", "order": "C", "subok": True, "shape": None}),
    ("zeros_like", (FORTRAN,), {"shape": (4, 5)}),
    ("zeros_like", (FORTRAN,), {"shape": 7}),
    ("ones_like", (FORTRAN, "u1", "A", False, (2, 2)), {}),
    ("full_like", (FORTRAN, 7), {}),
    ("full_like", (), {"a": [1, 2], "fill_value": 2.9, "dtype": None}),
    ("full_like", (FORTRAN, [1, 2, 3], "i2", "K", True, None), {}),
]


@pytest.mark.parametrize("function, args, keywords", CALLS)
def test_constructor_does_as_numpys(backend, function, args, keywords):
    """Called alike, a constructor makes what NumPy's makes."""
    expected = getattr(np, function)(*args, **keywords)
    array = getattr(sharedmem, function)(*args, **keywords, backend=backend)
    assert_same(array, np.asarray(expected))
    assert array.backend == backend


@pytest.mark.parametrize(
    "args, keywords",
    [((3,), {}), (((2, 3), "i2", "F"), {}), ((), {"shape": (), "dtype": "S3", "order": "C"})],
)
def test_empty_does_as_numpys(backend, args, keywords):
    """empty() has NumPy's layout and dtype, with any elements."""
    array, expected = sharedmem.empty(*args, **keywords, backend=backend), np.empty(*args, **keywords)
    assert type(array) is SharedArray
    assert (layout(array), array.dtype) == (layout(expected), expected.dtype)


PROTOTYPES = MODELS | {"list": [[1, 2], [3, 4]], "subclass": np.arange(6).view(Tagged)}


@pytest.mark.parametrize("order", "CFAK")
@pytest.mark.parametrize("prototype", PROTOTYPES.values(), ids=PROTOTYPES)
def test_order_of_likes(backend, prototype, order):
    """The *_like functions and copy() give each order the strides that NumPy gives."""
    for function in "empty_like", "zeros_like", "ones_like":
        expected = getattr(np, function)(prototype, order=order)
        for subok in True, False:
            array = getattr(sharedmem, function)(prototype, None, order, subok, backend=backend)
            assert type(array) is SharedArray
            assert (layout(array), array.dtype) == (layout(expected), expected.dtype)
    assert_same(sharedmem.copy(prototype, order, backend=backend), np.copy(prototype, order))


@pytest.mark.parametrize(
    "function",
    [
        "empty",
        "zeros",
        "ones",
        "full",
        "copy",
        "fromiter",
        "empty_like",
        "zeros_like",
        "ones_like",
        "full_like",
        "array",
    ],
)
def test_parameters_are_numpys(function):
    """Parameters have NumPy's names, places and defaults.

    Not so 'like' and 'device', which ask for memory of another kind, nor what
    newer versions of NumPy have added.
    """
    expected = {
        "empty": "(shape, dtype=float, order='C')",
        "zeros": "(shape, dtype=float, order='C')",
        "ones": "(shape, dtype=None, order='C')",
        "full": "(shape, fill_value, dtype=None, order='C')",
        "array": "(object, dtype=None, *, copy=True, order='K', subok=False, ndmin=0)",
        "copy": "(a, order='K', subok=False)",
        "fromiter": "(iter, dtype, count=-1)",
        "empty_like": "(prototype, dtype=None, order='K', subok=True, shape=None)",
        "zeros_like": "(a, dtype=None, order='K', subok=True, shape=None)",
        "ones_like": "(a, dtype=None, order='K', subok=True, shape=None)",
        "full_like": "(a, fill_value, dtype=None, order='K', subok=True, shape=None)",
    }[function]
    model = eval(f"lambda {expected[1:-1]}: None")
    parameters = inspect.signature(getattr(sharedmem, function)).parameters
    for position, parameter in enumerate(inspect.signature(model).parameters.values()):
        found = parameters[parameter.name]
        assert (found.default, found.kind) == (parameter.default, parameter.kind)
        assert list(parameters)[position] == parameter.name


def test_zeros_are_zero_in_used_memory(backend):
    """zeros() are zero, whatever was in the memory before."""
    for _ in range(3):
        sharedmem.full(100_000, 255, "u1", backend=backend)
        assert not sharedmem.zeros(100_000, "u1", backend=backend).any()


@pytest.mark.parametrize("size", [10, 2**16, 2**21])
@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.float32, np.uint8, np.complex128])
def test_zeros_and_ones_of_many_sizes(backend, dtype, size):
    """From a few bytes to mebibytes all elements are what was asked for."""
    assert (sharedmem.zeros((size,), dtype, backend=backend) == 0).all()
    assert (sharedmem.ones((size,), dtype, backend=backend) == 1).all()


@pytest.mark.parametrize("dtype", ["u1", "f8", "G", "V3"])
def test_data_is_aligned_to_a_page(backend, dtype):
    """The first element lies at the head of a page, also behind arrays of odd sizes."""
    arrays = [sharedmem.zeros(n, dtype, backend=backend) for n in (1, 3, 5)]
    assert [array.ctypes.data % mmap.PAGESIZE for array in arrays] == [0, 0, 0]
    assert all(array.flags.aligned for array in arrays)


def test_new_array_is_owned_by_nobody_else(backend):
    """A new array is writeable, contiguous, and does not own its data, which the segment does."""
    flags = sharedmem.zeros((2, 3), backend=backend).flags
    assert flags.writeable and flags.c_contiguous and not flags.owndata


# ---- array(), asshared() and fromiter() ------------------------------------


def test_array_copies_by_default(backend):
    """array() of a shared array is another segment."""
    a = sharedmem.ones(3, backend=backend)
    b = sharedmem.array(a, backend=backend)
    assert not np.shares_memory(a, b) and a.name != b.name
    assert_same(b, np.ones(3))


@pytest.mark.parametrize("copy", [None, False])
def test_array_without_copy(backend, copy):
    """array(copy=None) and array(copy=False) of shared memory are views of it."""
    a = sharedmem.ones((2, 3), backend=backend)
    for source in a, a[1:], a.T, np.asarray(a):
        b = sharedmem.array(source, copy=copy)
        assert type(b) is SharedArray and np.shares_memory(a, b)
        assert (b.shape, b.strides, b.name) == (source.shape, source.strides, a.name)


@pytest.mark.parametrize("source", [np.ones(3), [1, 2], 5])
def test_array_that_needs_a_copy(source):
    """array(copy=False) of what is not shared is refused, and nothing is made."""
    with nothing_made(), pytest.raises(ValueError):
        sharedmem.array(source, copy=False)


@pytest.mark.parametrize("keywords", [{"dtype": "f4"}, {"order": "F"}])
def test_array_that_needs_a_conversion(backend, keywords):
    """array(copy=False) of shared memory with another dtype or order is refused."""
    a = sharedmem.ones((2, 3), backend=backend)
    with nothing_made(), pytest.raises(ValueError):
        sharedmem.array(a, copy=False, **keywords)


def test_asshared_of_shared_memory_is_a_view(backend):
    """asshared() of anything that lies in our memory is a SharedArray over it."""
    a = sharedmem.zeros((4, 6), backend=backend)
    plain = np.asarray(a)
    for source in a, a[1:, ::2], plain, plain[::-1].T, plain.view("u1"), a[1:1]:
        with nothing_made():
            b = sharedmem.asshared(source)
        assert type(b) is SharedArray and b.name == a.name
        assert (b.shape, b.strides, b.dtype) == (source.shape, source.strides, source.dtype)
        assert b.ctypes.data == source.ctypes.data


def test_asshared_of_other_memory_is_a_copy(backend):
    """asshared() of private memory is a shared copy with its order."""
    for source in [1, 2], 5, FORTRAN, np.arange(6)[::-2]:
        b = sharedmem.asshared(source, backend=backend)
        assert_same(b, np.asarray(source).copy("K"))
        assert not np.shares_memory(b, source)


@pytest.mark.parametrize(
    "keywords, expected",
    [
        ({"dtype": "f4"}, np.zeros((2, 3), "f4")),
        ({"dtype": ">f8"}, np.zeros((2, 3), ">f8")),
        ({"order": "F"}, np.zeros((2, 3), order="F")),
    ],
)
def test_asshared_converts(backend, keywords, expected):
    """asshared() of shared memory of another dtype or order is a converted shared copy."""
    a = sharedmem.zeros((2, 3), backend=backend)
    b = sharedmem.asshared(a, **keywords, backend=backend)
    assert_same(b, expected)
    assert not np.shares_memory(a, b)


def test_asshared_keeps_what_fits(backend):
    """asshared() with the dtype and order that the array has makes no copy."""
    a = sharedmem.zeros((2, 3), "f4", backend=backend)
    assert np.shares_memory(sharedmem.asshared(a, "f4", "C"), a)


def test_asshared_has_the_name_that_it_was_asked_for(backend, name):
    """asshared() copies where the array has not the name or backend, or is not persistent."""
    a = sharedmem.full(3, 7.0, backend=backend)
    asked = [
        {"name": name},
        {"name": f"{backend}:{name}"},
        {"backend": "sysv" if backend == "posix" else "posix"},
        {"name": name, "persistent": True, "backend": backend},
        {"permissions": 0o640},
    ]
    for keywords in asked:
        with pytest.raises(ValueError, match="cannot be avoided"):
            sharedmem.array(a, copy=False, **keywords)
        for source in a, a[1:], np.asarray(a):
            b = sharedmem.asshared(source, **keywords)
            assert b.tolist() == source.tolist() and not np.shares_memory(a, b)
            info = sharedmem.stat(name if "name" in keywords else b.name)
            assert (info.name, info.persistent) == (b.name, keywords.get("persistent", False))
            assert info.permissions == keywords.get("permissions", 0o600)
            assert info.backend == b.backend == keywords.get("backend", b.backend)
            b.unlink()
            del b


def test_asshared_keeps_what_is_shared_as_asked_for(backend, name):
    """asshared() with the name, backend and permissions that the array has makes no copy."""
    a = sharedmem.zeros(3, name=name, backend=backend, persistent=True, permissions=0o640)
    for keywords in (
        {"name": name},
        {"name": f"{backend}:{name}", "backend": backend},
        {"persistent": True, "permissions": 0o640, "reserve": False},
        {"name": name, "replace": True},
    ):
        assert np.shares_memory(sharedmem.asshared(a, **keywords), a)
    with pytest.raises(ValueError):
        sharedmem.asshared(a, backend="other")
    a.unlink()
    with pytest.raises(ValueError, match="cannot be avoided"):
        sharedmem.array(a, copy=False, persistent=True)


def test_asshared_keeps_read_only(backend):
    """asshared() of a read-only view is read-only."""
    a = sharedmem.zeros(3, backend=backend)
    a.flags.writeable = False
    assert not sharedmem.asshared(np.asarray(a)).flags.writeable


def test_fromiter_takes_a_generator(backend):
    """fromiter() consumes an iterator of unknown length."""
    array = sharedmem.fromiter((n * n for n in range(1000)), "i8", backend=backend)
    assert_same(array, np.arange(1000) ** 2)


def test_fromiter_reads_no_more_than_count(backend):
    """fromiter() with a count leaves the rest to the iterator."""
    numbers = iter(range(10))
    assert sharedmem.fromiter(numbers, int, 4, backend=backend).tolist() == [0, 1, 2, 3]
    assert next(numbers) == 4


class Failing:
    """Can be iterated over again and again, and fails each time."""

    def __iter__(self):
        yield 1
        raise KeyError("the iterator's own")


@pytest.mark.parametrize(
    "items, dtype, count, error",
    [
        ([1, 2], int, 3, ValueError),
        ([1, "x"], int, -1, ValueError),
        (Failing(), int, -1, KeyError),
        ([1], object, -1, TypeError),
        (5, int, -1, TypeError),
    ],
    ids=["too short", "not a number", "failing", "object", "not iterable"],
)
def test_fromiter_that_fails_leaves_nothing(backend, name, items, dtype, count, error):
    """fromiter() that fails raises what NumPy's raises, and nothing is made."""
    with nothing_made(), pytest.raises(error):
        sharedmem.fromiter(items, dtype, count, name=name, backend=backend)


# ---- modes -----------------------------------------------------------------


def test_read_write_attach_is_the_same_memory(backend):
    """Changes through mode 'r+', the default, are seen by all."""
    a = sharedmem.zeros(4, backend=backend)
    b, c = sharedmem.attach(a.name), sharedmem.attach(a.name, "r+")
    b[1], c[2] = 1, 2
    assert a.tolist() == [0, 1, 2, 0]
    assert b.flags.writeable and c.flags.writeable


def test_attached_twice_is_one_mapping(backend):
    """In one process a segment is mapped once for each mode."""
    a = sharedmem.zeros(4, backend=backend)
    for mode in "r+", "r":
        first, second = sharedmem.attach(a.name, mode), sharedmem.attach(a.name, mode)
        assert first.ctypes.data == second.ctypes.data
    assert sharedmem.attach(a.name).ctypes.data == a.ctypes.data


def test_read_only_attach_sees_and_does_not_write(backend):
    """Mode 'r' sees the changes of others, refuses its own, and cannot be made writeable."""
    a = sharedmem.zeros(4, backend=backend)
    b = sharedmem.attach(a.name, "r")
    a[1] = 1
    assert b.tolist() == [0, 1, 0, 0]
    assert not b.flags.writeable and not b[1:].flags.writeable
    with pytest.raises(ValueError):
        b[0] = 1
    with pytest.raises(ValueError):
        b.flags.writeable = True
    assert a.flags.writeable


WRITE_ANYWAY = """
import ctypes, faulthandler, resource, sys
import sharedmem
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
a = sharedmem.attach(sys.argv[1], mode='r')
print(a.sum(), flush=True)
ctypes.memset(a.ctypes.data + int(sys.argv[2]), 1, 1)
"""


@pytest.mark.parametrize("offset", [0, 79999])
def test_read_only_is_enforced_by_the_kernel(backend, offset):
    """A write around NumPy through a read-only mapping is a SIGSEGV, and changes nothing."""
    a = sharedmem.ones(10_000, backend=backend)
    command = [sys.executable, "-c", WRITE_ANYWAY, a.name, str(offset)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGSEGV, "10000.0\n"), done.stderr
    assert (a == 1).all()


def test_copy_on_write_keeps_changes_to_itself(backend):
    """Mode 'c' begins with the values there are; its changes are its own."""
    a = sharedmem.full(4, 7.0, backend=backend)
    b, c = sharedmem.attach(a.name, "c"), sharedmem.attach(a.name, "c")
    assert b.tolist() == [7] * 4 and b.flags.writeable
    b[0] = 1
    c[1] = 2
    assert a.tolist() == [7] * 4
    a[:] = 5
    assert b[0] == 1 and c[1] == 2
    assert not np.shares_memory(a, b)


def test_modes_live_side_by_side(backend):
    """Each mode of one segment may be dropped while the others go on."""
    a = sharedmem.full(4, 7.0, backend=backend)
    arrays = {mode: sharedmem.attach(a.name, mode) for mode in ("r+", "r", "c")}
    del a
    del arrays["r+"]
    assert arrays["r"].tolist() == [7] * 4
    del arrays["r"]
    assert arrays["c"].tolist() == [7] * 4


def test_private_changes_are_pickled_by_content(backend):
    """A copy-on-write array is pickled with its own changes."""
    a = sharedmem.full(4, 7.0, backend=backend)
    b = sharedmem.attach(a.name, "c")
    b[0] = 1
    for dumps in pickle.dumps, ForkingPickler.dumps:
        assert pickle.loads(dumps(b)).tolist() == [1, 7, 7, 7]


@pytest.mark.parametrize("mode", ["w", "w+", "rw", "", None, 0])
def test_unknown_mode(backend, mode):
    """A mode other than 'r+', 'r' and 'c' is a ValueError."""
    a = sharedmem.zeros(3, backend=backend)
    with pytest.raises(ValueError):
        sharedmem.attach(a.name, mode)


# ---- names -----------------------------------------------------------------

NAMES = ["x", "with space", "größe", "日本", "a.b", "a'b\"c", "%s", "-", "new\nline", "n" * 200]
NAMES.append(os.fsdecode(b"caf\xe9"))  # of a file whose name is in another encoding


@pytest.mark.parametrize("suffix", NAMES)
def test_name_leads_to_the_array(backend, name, suffix):
    """A name of 1 to 200 bytes of UTF-8 is kept, and found with attach, stat, exists and list."""
    chosen = (name + suffix)[-200:]
    a = sharedmem.full(3, 7.0, name=chosen, backend=backend)
    assert a.name == chosen and a[1:].name == chosen
    assert sharedmem.attach(chosen).ctypes.data == a.ctypes.data
    assert sharedmem.exists(chosen) and sharedmem.stat(chosen).name == chosen
    assert chosen in [info.name for info in sharedmem.list_segments()]
    assert pickle.loads(pickle.dumps(a)).name == chosen


def test_undecodable_name_elsewhere(backend, name):
    """A name with bytes that are not UTF-8 leads to the array in other processes, too, and can be shown."""
    chosen = name + os.fsdecode(b"caf\xe9")
    a = sharedmem.full(2, 5, name=chosen, backend=backend)
    program = "import sys, sharedmem; a = sharedmem.attach(sys.argv[1]); a[1] = 6; print(repr(a))"
    done = subprocess.run([sys.executable, "-c", program, os.fsencode(chosen)], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"") and a.tolist() == [5, 6]
    assert rb"caf\udce9" in done.stdout
    for command in "list", "show":
        shown = subprocess.run(
            [sys.executable, "-m", "sharedmem", command, *[os.fsencode(chosen)][: command == "show"]],
            capture_output=True,
            check=True,
        )
        assert rb"caf\udce9" in shown.stdout


BAD_NAMES = ["", "/", "a/b", "/a", "a\0b", "\0", "n" * 201, "é" * 101, "\ud800", "posix:", "sysv:"]


@pytest.mark.parametrize("bad", BAD_NAMES, ids=ascii)
def test_bad_name(backend, bad):
    """A name that the kernel cannot have is a SegmentNameError for every function that takes one."""
    other_prefix = bad in ("posix:", "sysv:") and not bad.startswith(backend)
    refused = sharedmem.SegmentArgumentError if other_prefix else sharedmem.SegmentNameError
    with nothing_made():
        with pytest.raises(refused):
            sharedmem.zeros(3, name=bad, backend=backend)
        with pytest.raises(refused):
            sharedmem.attach_or_create(bad, 3, backend=backend)
        for kind in sharedmem.Queue, sharedmem.Lock:
            with pytest.raises(sharedmem.SegmentNameError):
                kind(name=bad)
    for function in sharedmem.attach, sharedmem.stat, sharedmem.unlink, sharedmem.exists:
        with pytest.raises(sharedmem.SegmentNameError):
            function(bad)


@pytest.mark.parametrize("bad", [5, b"bytes", 1.5, ("a",)], ids=ascii)
def test_name_that_is_no_text(backend, bad):
    """A name that is not a str is a TypeError for every function that takes one."""
    with nothing_made(), pytest.raises(TypeError):
        sharedmem.zeros(3, name=bad, backend=backend)
    for function in sharedmem.attach, sharedmem.stat, sharedmem.unlink, sharedmem.exists:
        with pytest.raises(TypeError):
            function(bad)


def test_dots_are_names_like_others(backend):
    """'.' and '..' lead out of no directory."""
    for dots in ".", "..":
        with sharedmem.zeros(3, name=dots, backend=backend) as a:
            assert sharedmem.attach(dots).ctypes.data == a.ctypes.data


def test_random_names(backend):
    """Unnamed arrays have names that differ, that are long, and that can be attached."""
    arrays = [sharedmem.zeros(1, backend=backend) for _ in range(50)]
    names = {array.name for array in arrays}
    assert len(names) == 50 and min(map(len, names)) >= 22  # 128 bits
    assert all(sharedmem.attach(a.name).ctypes.data == a.ctypes.data for a in arrays)


def test_backend_by_prefix(backend, name):
    """'posix:' and 'sysv:' before a name look on that backend only."""
    other = {"posix": "sysv", "sysv": "posix"}[backend]
    a = sharedmem.zeros(3, name=f"{backend}:{name}")
    assert (a.name, a.backend) == (name, backend)
    assert sharedmem.attach(f"{backend}:{name}").ctypes.data == a.ctypes.data
    assert sharedmem.exists(f"{backend}:{name}") and not sharedmem.exists(f"{other}:{name}")
    with pytest.raises(sharedmem.SegmentNotFoundError):
        sharedmem.attach(f"{other}:{name}")
    with pytest.raises(sharedmem.SegmentNotFoundError):
        sharedmem.unlink(f"{other}:{name}")
    sharedmem.unlink(f"{backend}:{name}")
    assert not sharedmem.exists(name)


@pytest.mark.parametrize("other", ["posix", "sysv"])
def test_name_is_unique_over_both_backends(backend, other, name):
    """A name in use is taken on either backend, and the array that has it stays as it is."""
    a = sharedmem.full(3, 7.0, name=name, backend=backend)
    with nothing_made(), pytest.raises(sharedmem.SegmentExistsError):
        sharedmem.zeros(3, name=name, backend=other)
    assert a.is_current() and sharedmem.attach(name).tolist() == [7] * 3


def test_name_is_free_when_the_last_view_is_gone(backend, name):
    """A named array that nobody has is gone, and its name can be used again."""
    a = sharedmem.ones(3, name=name, backend=backend)
    view = a[1:]
    del a
    assert sharedmem.exists(name)
    del view
    assert not sharedmem.exists(name)
    with pytest.raises(sharedmem.SegmentNotFoundError):
        sharedmem.attach(name)
    assert sharedmem.zeros(4, name=name, backend=backend).shape == (4,)


def test_unlink_takes_the_name_only(backend, name):
    """After unlink() the memory goes on, the name is free at once, and it leads to what is made next."""
    a = sharedmem.full(3, 7.0, name=name, backend=backend)
    b = sharedmem.attach(name)
    a.unlink()
    assert not sharedmem.exists(name) and not a.is_current() and not b.is_current()
    a[0] = 1
    assert b.tolist() == [1, 7, 7]
    c = sharedmem.zeros(5, name=name, backend=backend)
    assert sharedmem.attach(name).shape == (5,) and c.is_current() and not a.is_current()


def test_unlink_by_name(backend, name):
    """unlink(name) does what the method does."""
    a = sharedmem.full(3, 7.0, name=name, backend=backend)
    sharedmem.unlink(name)
    assert not sharedmem.exists(name) and not a.is_current() and a.tolist() == [7] * 3
    with pytest.raises(sharedmem.SegmentNotFoundError):
        sharedmem.unlink(name)


def test_unlink_of_a_view(backend):
    """Any view of an array takes the name of the whole."""
    a = sharedmem.zeros((4, 4), backend=backend)
    a[1:, ::2].T.unlink()
    assert not a.is_current()


def test_late_unlink_takes_no_newer_segment(backend, name):
    """An array whose name is gone says so, and leaves its successor alone."""
    old = sharedmem.zeros(3, name=name, backend=backend)
    old.unlink()
    new = sharedmem.zeros(3, name=name, backend=backend)
    with pytest.raises(sharedmem.SegmentNotFoundError):
        old.unlink()
    assert new.is_current()


@pytest.mark.parametrize("other", ["posix", "sysv"])
def test_replace_takes_the_name(backend, other, name):
    """replace=True takes the name, from either backend; who holds the old array keeps its memory."""
    old = sharedmem.full(3, 7.0, name=name, backend=backend)
    new = sharedmem.full(5, 8.0, name=name, backend=other, replace=True)
    assert (old.is_current(), new.is_current()) == (False, True)
    assert old.tolist() == [7] * 3 and sharedmem.attach(name).tolist() == [8] * 5
    assert sharedmem.stat(name).backend == other
    assert [info.name for info in sharedmem.list_segments()].count(name) == 1


def test_replace_of_a_free_name(backend, name):
    """replace=True does not ask for something to replace."""
    assert sharedmem.zeros(3, name=name, backend=backend, replace=True).is_current()


def test_replaced_by_an_array_like_it(backend, name):
    """An array can be replaced by a copy of itself."""
    old = sharedmem.full(3, 7.0, name=name, backend=backend)
    new = sharedmem.copy(old, name=name, backend=backend, replace=True)
    assert new.tolist() == [7] * 3 and new.is_current() and not old.is_current()


def test_create_race_has_one_winner(backend, name):
    """Of processes that create one name at once, one succeeds and the others hear that it exists."""
    codes = race(create_and_hold, 6, name, backend)
    assert sorted(codes) == [WON] + [LOST] * 5


WON, LOST = 10, 11


def create_and_hold(rank, barrier, name, backend):
    barrier.wait()
    try:
        array = sharedmem.full(100, rank, name=name, backend=backend)
    except sharedmem.SegmentExistsError:
        code = LOST
    else:
        assert (array == rank).all()
        code = WON
    barrier.wait()
    sys.exit(code)


def race(target, count, *args):
    """Run target(rank, barrier, *args) in as many forked processes; their exit codes."""
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(count, timeout=60)
    racers = [fork.Process(target=target, args=(rank, barrier, *args)) for rank in range(count)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    codes = [racer.exitcode for racer in racers]
    for racer in racers:
        racer.close()
    return codes


# ---- keywords --------------------------------------------------------------


def test_persistent_array_waits_for_its_users(backend, name):
    """persistent=True keeps name and data without users, until unlink()."""
    a = sharedmem.full(3, 7.0, name=name, backend=backend, persistent=True)
    assert sharedmem.stat(name).persistent
    del a
    sharedmem.reclaim()
    try:
        a = sharedmem.attach(name)
        assert a.tolist() == [7] * 3
        a[0] = 1
        del a
        assert sharedmem.attach(name).tolist() == [1, 7, 7]
        with pytest.raises(sharedmem.SegmentExistsError, match="persistent"):
            sharedmem.zeros(3, name=name, backend=backend)
    finally:
        sharedmem.unlink(name)
    assert not sharedmem.exists(name)


def test_persistent_array_can_be_replaced(backend, name):
    """replace=True takes a persistent array's name, too, and its memory goes with its last user."""
    sharedmem.full(3, 7.0, name=name, backend=backend, persistent=True)
    a = sharedmem.zeros(4, name=name, backend=backend, replace=True)
    assert sharedmem.attach(name).shape == (4,) and not sharedmem.stat(name).persistent
    del a
    assert not sharedmem.exists(name)


def test_array_is_private_to_its_user(backend):
    """Permissions are 0600 when not given, in the kernel and in stat()."""
    with one_new_segment() as facts:
        a = sharedmem.zeros(3, backend=backend)
    assert facts["permissions"] == 0o600
    assert sharedmem.stat(a.name).permissions == 0o600
    assert sharedmem.stat(a.name).owner == os.geteuid()


@pytest.mark.parametrize("umask", [0o000, 0o077])
@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o666, 0o755])
def test_permissions_are_as_given(backend, permissions, umask):
    """Permissions are exactly the given ones, whatever the umask."""
    previous = os.umask(umask)
    try:
        with one_new_segment() as facts:
            a = sharedmem.zeros(3, backend=backend, permissions=permissions)
    finally:
        os.umask(previous)
    assert facts["permissions"] == permissions
    assert sharedmem.stat(a.name).permissions == permissions


@pytest.mark.parametrize("permissions", [0, 0o200, 0o400, 0o466, 0o1600, 0o10600, -1, 2**40])
def test_bad_permissions(backend, permissions):
    """Permissions without the owner's to read and write, or with other bits, are a ValueError."""
    with nothing_made(), pytest.raises(ValueError):
        sharedmem.zeros(3, backend=backend, permissions=permissions)


# What the package imports is loaded before the uid is given up: Python may be another's.
VISIT = """
import contextlib, importlib, os, subprocess, sys
LIST = "import sys, sharedmem; print(*(m for m in sys.modules if not m.startswith('sharedmem')))"
for module in subprocess.check_output([sys.executable, '-c', LIST], text=True).split():
    with contextlib.suppress(ImportError):  # made by the package itself
        importlib.import_module(module)
name, uid, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
owner = os.geteuid()
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
try:
    import sharedmem
except ImportError as error:
    sys.exit(f'cannot import as another user: {error}')
try:
    sharedmem.attach(name)
except FileNotFoundError:
    print('not mine', end=' ')
try:
    a = sharedmem.attach(name, mode, owner=owner)
except PermissionError:
    print('refused')
else:
    print(a.tolist())
    if mode == 'r+':
        a[0] = 1
"""


@AS_ROOT
@pytest.mark.parametrize(
    "permissions, mode, answer",
    [
        (0o600, "r", "refused"),
        (0o600, "r+", "refused"),
        (0o644, "r", "[7.0, 7.0]"),
        (0o644, "r+", "refused"),
        (0o666, "r", "[7.0, 7.0]"),
        (0o666, "r+", "[7.0, 7.0]"),
    ],
)
def test_visitor_of_another_user(backend, name, permissions, mode, answer):
    """Another user attaches only by naming the owner and as the permissions say, and changes no lifetime."""
    a = sharedmem.full(2, 7.0, name=name, backend=backend, permissions=permissions)
    command = [sys.executable, "-c", VISIT, name, str(OTHER_USER), mode]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.stderr.startswith("cannot import"):
        pytest.skip(done.stderr)
    assert (done.stdout, done.stderr) == (f"not mine {answer}\n", "")
    assert a[0] == (1 if (mode, answer) == ("r+", "[7.0, 7.0]") else 7)
    assert a.is_current() and sharedmem.exists(name)


def test_owner_may_name_himself(backend):
    """attach(owner=...) with one's own uid is an ordinary attach."""
    a = sharedmem.full(2, 7.0, backend=backend)
    assert sharedmem.attach(a.name, owner=os.geteuid()).tolist() == [7, 7]


def test_memory_is_reserved():
    """A POSIX array has all its pages when it is made, unless reserve=False."""
    for reserve, resident in (True, 2**22), (False, 0):
        with one_new_segment() as facts:
            a = sharedmem.zeros(2**22, "u1", backend="posix", reserve=reserve)
        assert resident <= facts["resident"] <= resident + 2**18
        del a


def test_array_without_reservation(backend):
    """reserve=False changes nothing in what an array does."""
    assert_same(sharedmem.ones(5, backend=backend, reserve=False), np.ones(5))


def test_default_backend():
    """POSIX is taken where none is given."""
    assert sharedmem.zeros(3).backend == "posix"
    assert sharedmem.zeros(3, backend=None).backend == "posix"


# ---- attach_or_create ------------------------------------------------------


def test_attach_or_create_creates_zeros(backend, name):
    """Where there is no such name, attach_or_create() makes zeros."""
    a = sharedmem.attach_or_create(name, (2, 3), "i2", "F", backend=backend)
    assert_same(a, np.zeros((2, 3), "i2", "F"))
    assert (a.name, a.backend) == (name, backend)


def test_attach_or_create_attaches(backend, name):
    """Where the name exists, attach_or_create() is the same memory, whoever made it."""
    a = sharedmem.full((2, 3), 7.0, name=name, backend=backend)
    b = sharedmem.attach_or_create(name, (2, 3))
    c = sharedmem.attach_or_create(name, [2, 3], "f8")
    assert a.ctypes.data == b.ctypes.data == c.ctypes.data
    assert (a == 7).all()


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_attach_or_create_knows_every_dtype_again(backend, name, dtype):
    """attach_or_create() called twice with one dtype finds that it fits."""
    a = sharedmem.attach_or_create(name, (2, 3), dtype, backend=backend)
    assert sharedmem.attach_or_create(name, (2, 3), dtype).ctypes.data == a.ctypes.data


@pytest.mark.parametrize(
    "shape, dtype, shown",
    [
        ((3, 2), "f8", [r"\(2, 3\)", r"\(3, 2\)"]),
        ((6,), "f8", [r"\(2, 3\)", r"\(6,\)"]),
        ((2, 3), "i8", ["float64", "int64"]),
        ((2, 3), ">f8", ["float64", ">f8"]),
        ((2, 3, 0), "u1", [r"\(2, 3\)", r"\(2, 3, 0\)", "float64", "uint8"]),
    ],
)
def test_attach_or_create_of_another_layout(backend, name, shape, dtype, shown):
    """A shape or dtype that differs is a LayoutMismatchError, a ValueError that shows both."""
    a = sharedmem.full((2, 3), 7.0, name=name, backend=backend)
    with nothing_made(), pytest.raises(sharedmem.LayoutMismatchError) as caught:
        sharedmem.attach_or_create(name, shape, dtype)
    assert isinstance(caught.value, ValueError)
    for text in shown:
        caught.match(text)
    assert a.is_current() and (a == 7).all()


def agree(rank, barrier, name, backend, rounds):
    """Attach or create a name per round together with others, and find all their marks in it."""
    for number in range(rounds):
        barrier.wait()
        array = sharedmem.attach_or_create(f"{name}-{number}", barrier.parties, int, backend=backend)
        array[rank] = rank + 1
        barrier.wait()
        assert array.tolist() == list(range(1, barrier.parties + 1))
        del array


def test_attach_or_create_race_ends_in_one_array(backend, name):
    """Processes that race for a name all get the same array."""
    assert race(agree, 4, name, backend, 100) == [0] * 4


def come_and_go(rank, barrier, name, backend, rounds):
    """Attach or create one name again and again while others drop it."""
    barrier.wait()
    for _ in range(rounds):
        array = sharedmem.attach_or_create(name, 4, int, backend=backend)
        assert array.shape == (4,)
        array[rank] += 1
        assert array[rank] > 0
        del array


def test_attach_or_create_race_with_the_last_dropper(backend, name):
    """attach_or_create() succeeds at every try, whoever is just leaving."""
    assert race(come_and_go, 4, name, backend, 500) == [0] * 4


def test_arrays_of_forked_children_do_not_overlap(backend):
    """Small arrays that forked children make at once are different memory."""
    fork = multiprocessing.get_context("fork")
    kept = sharedmem.full(4, 9, "i4", backend=backend)
    pipes = [fork.Pipe() for _ in range(2)]
    children = [
        fork.Process(target=make_and_send, args=(there, value, backend))
        for value, (_, there) in enumerate(pipes)
    ]
    for child in children:
        child.start()
    arrays = [here.recv() for here, _ in pipes]
    assert [array.tolist() for array in arrays] == [[0] * 4, [1] * 4] and (kept == 9).all()
    for child, ends in zip(children, pipes):
        child.join()
        assert child.exitcode == 0
        child.close()
        for end in ends:
            end.close()


def make_and_send(pipe, value, backend):
    pipe.send(sharedmem.full(4, value, "i4", backend=backend))


# ---- refusals --------------------------------------------------------------

POINTERS = [
    object,
    "O",
    [("a", "i4"), ("b", "O")],
    [("a", [("b", object, (2,))])],
    *([np.dtypes.StringDType()] if NUMPY_2 else []),
]


@pytest.mark.parametrize("dtype", POINTERS, ids=str)
def test_dtype_with_pointers(backend, name, dtype):
    """A dtype whose elements are pointers is a TypeError, and nothing is made."""
    keywords = {"name": name, "backend": backend}
    private = np.zeros(2, dtype)
    calls = [
        lambda: sharedmem.empty(2, dtype, **keywords),
        lambda: sharedmem.zeros(2, dtype, **keywords),
        lambda: sharedmem.ones(2, dtype, **keywords),
        lambda: sharedmem.full(2, 1, dtype, **keywords),
        lambda: sharedmem.empty_like([1, 2], dtype, **keywords),
        lambda: sharedmem.zeros_like(private, **keywords),
        lambda: sharedmem.copy(private, **keywords),
        lambda: sharedmem.array(private, **keywords),
        lambda: sharedmem.asshared(private, **keywords),
        lambda: sharedmem.attach_or_create(name, 2, dtype, backend=backend),
    ]
    with nothing_made():
        for call in calls:
            with pytest.raises(TypeError):
                call()


@pytest.mark.parametrize("source", [[None], [1, None], [{}], object()], ids=repr)
def test_objects_are_refused(backend, source):
    """What NumPy could only hold as objects is a TypeError."""
    with nothing_made(), pytest.raises(TypeError):
        sharedmem.array(source, backend=backend)


BAD_SHAPES = {
    "negative": -1,
    "one negative": (2, -3),
    "negative and empty": (0, -1),
    "two negatives": (-2, -3),
    "beyond 63 bits": 2**63,
    "beyond 64 bits": 2**64 + 1,
    "overflowing product": (2**32, 2**32),
    "overflowing to nothing": (2**33, 2**31),
    "overflowing bytes": (2**61,),
    "overflowing but empty": (2**40, 2**40, 0),
    "too many dimensions": (1,) * 65,
}


@pytest.mark.parametrize(
    "shape", [True, False, (True,), (2, False), [True], np.True_, 1.0, np.float64(2), None, "3", ("3",)]
)
def test_shape_that_is_no_number(backend, shape):
    """A bool, a float or a text is no shape, as with NumPy."""
    with pytest.raises(TypeError):
        np.zeros(shape)
    for function in sharedmem.empty, sharedmem.zeros, sharedmem.ones:
        with nothing_made(), pytest.raises(TypeError):
            function(shape)
        with nothing_made(), pytest.raises(TypeError):
            function(shape, backend=backend)
    with nothing_made(), pytest.raises(TypeError):
        sharedmem.full(shape, 1)


@pytest.mark.parametrize("shape", BAD_SHAPES.values(), ids=BAD_SHAPES)
def test_impossible_shape(backend, name, shape):
    """A negative or overflowing size is a ValueError, as with NumPy, and nothing is made."""
    with pytest.raises(ValueError):
        np.zeros(shape)
    for function in sharedmem.empty, sharedmem.zeros, sharedmem.ones:
        for order in "CF":
            with nothing_made(), pytest.raises(ValueError):
                function(shape, order=order, name=name, backend=backend)
    with nothing_made(), pytest.raises(ValueError):
        sharedmem.full(shape, 0.0, name=name, backend=backend)
    with nothing_made(), pytest.raises(ValueError):
        sharedmem.zeros_like([1.0], shape=shape, name=name, backend=backend)
    with nothing_made(), pytest.raises(ValueError):
        sharedmem.attach_or_create(name, shape, backend=backend)


@pytest.mark.parametrize("function", [sharedmem.empty_like, sharedmem.zeros_like, sharedmem.ones_like])
def test_impossible_size_leaves_the_dtype_as_it_was(function):
    """The shared float64 of the process keeps its references, in NumPy 1.26 too."""
    before = sys.getrefcount(np.dtype(float))
    for shape, error in ((2**40, 2**40), ValueError), (2**58, MemoryError):
        for _ in range(10):
            with pytest.raises(error):
                function([1.0], shape=shape)
    assert sys.getrefcount(np.dtype(float)) >= before


@pytest.mark.parametrize(
    "shape", [2.5, "3", None, (2, 2.5), [None], {}.keys, ((2, 3),), {2, 3}], ids=repr
)
def test_shape_of_other_types(backend, shape):
    """A shape that is not of integers is a TypeError, as with NumPy."""
    with nothing_made(), pytest.raises(TypeError):
        sharedmem.zeros(shape, backend=backend)


@pytest.mark.parametrize("reserve", [True, False])
@pytest.mark.parametrize("exponent", [48, 56, 60, 62])
def test_array_larger_than_memory(backend, name, exponent, reserve):
    """What the address space or the room cannot hold is a MemoryError, and nothing is made."""
    with nothing_made(), pytest.raises(MemoryError):
        sharedmem.zeros(2**exponent, "u1", name=name, backend=backend, reserve=reserve)
    assert not sharedmem.exists(name)


def test_array_larger_than_the_kernel_can_count(backend):
    """Sizes that only the header makes overflow are refused, too."""
    for size in 2**63 - 1, 2**63 - 4096, 2**63 - 2**16:
        with nothing_made(), pytest.raises((MemoryError, ValueError)):
            sharedmem.zeros(size, "u1", backend=backend)


@pytest.mark.parametrize("backend", ["", "memfd", "POSIX", b"posix", 1, ["posix"]], ids=repr)
def test_unknown_backend(backend):
    """A backend other than 'posix' and 'sysv' is a ValueError."""
    with nothing_made(), pytest.raises(ValueError):
        sharedmem.zeros(3, backend=backend)


@pytest.mark.parametrize("order", ["Z", "", "CF", "c ", 0])
def test_unknown_order(backend, order):
    """An order that is none is refused as NumPy refuses it."""
    with pytest.raises((ValueError, TypeError)) as refusal:
        np.zeros((2, 3), order=order)
    for call in (
        lambda: sharedmem.empty((2, 3), order=order, backend=backend),
        lambda: sharedmem.full((2, 3), 1.0, order=order, backend=backend),
        lambda: sharedmem.zeros_like([1], order=order, backend=backend),
        lambda: sharedmem.copy([1], order, backend=backend),
        lambda: sharedmem.array([1], order=order, backend=backend),
        lambda: sharedmem.asshared(np.ones(3), order=order, backend=backend),
    ):
        with nothing_made(), pytest.raises((ValueError, refusal.type)):
            call()
    shared = sharedmem.ones(3)
    with nothing_made(), pytest.raises((ValueError, refusal.type)):
        sharedmem.asshared(shared, order=order)


def test_orders_in_other_words(backend):
    """Small letters, and None for what is there: as NumPy takes them."""
    source = np.arange(6.0).reshape(2, 3)
    for order in "fFcCaAkK":
        expected = np.array(source, order=order).flags
        for made in (
            sharedmem.copy(source, order, backend=backend),
            sharedmem.asshared(sharedmem.copy(source), order=order, backend=backend),
        ):
            assert made.flags.f_contiguous == expected.f_contiguous
    for order in "fFcC":
        made = sharedmem.zeros((2, 3), order=order, backend=backend)
        assert made.flags.f_contiguous == np.zeros((2, 3), order=order).flags.f_contiguous
    assert sharedmem.copy(source.T, None, backend=backend).flags.f_contiguous
    assert sharedmem.zeros((2, 3), order=None, backend=backend).flags.c_contiguous


@pytest.mark.parametrize("order", "AK")
def test_order_that_needs_a_model(backend, order):
    """Orders 'A' and 'K' without an array to follow are a ValueError, as with NumPy."""
    for function in "empty", "zeros", "ones":
        with pytest.raises(ValueError):
            getattr(np, function)((2, 3), order=order)
        with nothing_made(), pytest.raises(ValueError):
            getattr(sharedmem, function)((2, 3), order=order, backend=backend)


def test_unknown_keyword(backend):
    """A keyword that nobody knows is a TypeError."""
    shared = sharedmem.ones(3)
    for call in (
        lambda: sharedmem.zeros(3, nmae="x", backend=backend),
        lambda: sharedmem.copy([1], replaces=True, backend=backend),
        lambda: sharedmem.asshared(shared, nmae="x"),
        lambda: sharedmem.attach_or_create("x", 3, mode="r", backend=backend),
    ):
        with nothing_made(), pytest.raises(TypeError):
            call()


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="NumPy 1.26 wraps them around")
@pytest.mark.parametrize("shape", [(), 3, 0])
def test_fill_with_an_int_out_of_bounds(backend, shape):
    """An int that the dtype does not hold is an OverflowError, as with NumPy, and nothing is made."""
    for dtype, value in ("u1", 300), ("u1", -1), ("i1", 200), ("u8", 2**64), ("i8", 2**63):
        with pytest.raises(OverflowError):
            np.full(shape, value, dtype)
        with nothing_made(), pytest.raises(OverflowError):
            sharedmem.full(shape, value, dtype, backend=backend)
        with nothing_made(), pytest.raises(OverflowError):
            sharedmem.full_like(np.empty(shape, dtype), value, backend=backend)


def test_no_room_says_what_it_is_that_has_none():
    """Free bytes of /dev/shm are no news of SysV."""
    with pytest.raises(sharedmem.NoRoomError, match="/dev/shm has"):
        sharedmem.empty(10**13, backend="posix")
    with pytest.raises(sharedmem.NoRoomError) as error:
        sharedmem.empty(10**13, backend="sysv")
    assert "System V" in str(error.value) and "/dev/shm" not in str(error.value)


FAILING_FILLS = [
    ("full", (3, [1, 2]), {}),
    ("full", (3, "abc", float), {}),
    ("full_like", ([1.0, 2.0], "abc"), {}),
    ("full_like", ([1.0, 2.0], [1, 2, 3]), {}),
    ("array", ([[1, 2], [3]],), {}),
    ("array", (["abc"], float), {}),
    ("array", ([1, 2],), {"dtype": "no such type"}),
]


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("function, args, keywords", FAILING_FILLS)
def test_fill_that_fails_leaves_nothing(backend, name, function, args, keywords, persistent):
    """When the values do not fit NumPy's exception comes, and no segment stays behind."""
    with pytest.raises((ValueError, TypeError)) as expected:
        getattr(np, function)(*args, **keywords)
    with nothing_made():
        with pytest.raises(expected.type):
            getattr(sharedmem, function)(
                *args, **keywords, name=name, backend=backend, persistent=persistent
            )
        gc.collect()


def test_refused_create_leaves_the_name_alone(backend, name):
    """A create that is refused takes no name, not even with replace=True."""
    a = sharedmem.full(3, 7.0, name=name, backend=backend)
    for bad in {"shape": -1}, {"shape": 3, "dtype": object}, {"shape": 3, "permissions": 0}:
        with pytest.raises((ValueError, TypeError)):
            sharedmem.zeros(**bad, name=name, backend=backend, replace=True)
    with pytest.raises(MemoryError):
        sharedmem.zeros(2**60, "u1", name=name, backend=backend, replace=True)
    assert a.is_current() and sharedmem.attach(name).tolist() == [7] * 3


# ---- what stat() and list_segments() tell ----------------------------------


def test_stat_tells_what_there_is(backend, name):
    """stat() tells an array's layout, its backend and its owner."""
    a = sharedmem.zeros((2, 3), ">i4", "F", name=name, backend=backend)
    info = sharedmem.stat(name)
    assert (info.name, info.backend, info.persistent) == (name, backend, False)
    assert (info.shape, info.strides, info.dtype) == (a.shape, a.strides, a.dtype)
    assert info.nbytes == 24 and info.size >= 24 and info.size % mmap.PAGESIZE == 0
    assert (info.owner, info.permissions) == (os.geteuid(), 0o600)
    assert (info.tickets, info.oldest_ticket) == (0, None)
    assert info.nonce and info.nonce == sharedmem.stat(name).nonce


def test_nonce_tells_successors_apart(backend, name):
    """Two arrays that had one name after the other have different nonces."""
    nonces = []
    for _ in range(3):
        a = sharedmem.zeros(3, name=name, backend=backend)
        nonces.append(sharedmem.stat(name).nonce)
        del a
    assert len(set(nonces)) == 3


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_stat_tells_every_dtype(backend, dtype):
    """stat() tells the dtype in every detail."""
    a = sharedmem.zeros(2, dtype, backend=backend)
    assert_same_dtype(sharedmem.stat(a.name).dtype, dtype)


def test_stat_keeps_nothing_alive(backend, name):
    """What stat() returned is a record, not a user of the array."""
    a = sharedmem.zeros(3, name=name, backend=backend)
    info = sharedmem.stat(name)
    del a
    assert not sharedmem.exists(name) and info.shape == (3,)
    with pytest.raises(sharedmem.SegmentNotFoundError):
        sharedmem.stat(name)


def test_holders_are_those_who_have_it_attached(backend):
    """holders() lists pid and command of each process that has the array."""
    a = sharedmem.zeros(3, backend=backend)
    with open("/proc/self/comm") as comm:
        own = os.getpid(), comm.read().rstrip("\n")
    assert sharedmem.stat(a.name).holders() == [own]
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    child = fork.Process(target=there.recv)
    child.start()
    assert [pid for pid, _ in sharedmem.stat(a.name).holders()] == sorted([own[0], child.pid])
    here.send("go")
    child.join()
    assert sharedmem.stat(a.name).holders() == [own]
    child.close()
    here.close()
    there.close()


def test_list_has_every_segment(backend, name):
    """list_segments() has each segment once, named or not, until it is gone."""
    a = sharedmem.zeros(3, name=name, backend=backend)
    b = sharedmem.ones((2, 2), "i2", backend=backend)
    sharedmem.attach(name)
    found = [info for info in sharedmem.list_segments() if info.name in (a.name, b.name)]
    assert {info.name: (info.backend, info.shape) for info in found} == {
        name: (backend, (3,)),
        b.name: (backend, (2, 2)),
    }
    assert len(found) == 2
    del a, b
    assert name not in [info.name for info in sharedmem.list_segments(internal=True)]


# ---- repr, current, context manager ----------------------------------------


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 2)], ids=str)
def test_repr_says_where_it_lives(backend, name, shape):
    """repr() shows the elements as NumPy does, then backend and name; str() only the elements."""
    a = sharedmem.ones(shape, "i4", name=name, backend=backend)
    text = repr(a)
    assert text.startswith("SharedArray(") and text.endswith(")")
    assert name in text and backend in text
    assert text.count("1") - name.count("1") >= a.size
    assert str(a) == str(np.asarray(a))


def test_repr_of_what_is_no_longer_there(backend):
    """repr() works for unlinked arrays, views and private copies."""
    a = sharedmem.ones(3, backend=backend)
    a.unlink()
    assert "1." in repr(a) and "1." in repr(a[1:]) and "1." in repr(a.copy())


def test_repr_of_a_large_array_is_short(backend):
    """repr() of many elements is abridged as NumPy's is."""
    assert len(repr(sharedmem.zeros(100_000, backend=backend))) < 300


def test_is_current_is_about_the_name(backend, name):
    """is_current() is true for an array and its views while the name leads to their memory."""
    a = sharedmem.zeros((3, 3), name=name, backend=backend)
    views = [a, a[1:], a.T, a[:0], sharedmem.attach(name), sharedmem.attach(name, "r")]
    assert all(view.is_current() for view in views)
    new = sharedmem.zeros(3, name=name, backend=backend, replace=True)
    assert not any(view.is_current() for view in views) and new.is_current()


def test_copy_is_no_longer_shared(backend):
    """The private copy of an array does not say that a name leads to it."""
    a = sharedmem.zeros(3, backend=backend)
    b = a.copy()
    assert not np.shares_memory(a, b)
    assert not (isinstance(b, SharedArray) and b.is_current())


def test_context_manager_unlinks_at_the_end(backend, name):
    """After the block the name is gone; the memory goes with the last view."""
    with sharedmem.full(3, 7.0, name=name, backend=backend) as a:
        assert type(a) is SharedArray and sharedmem.exists(name)
    assert not sharedmem.exists(name) and not a.is_current()
    assert a.tolist() == [7] * 3


def test_context_manager_lets_exceptions_pass(backend, name):
    """An exception ends the block like any other end."""
    with pytest.raises(KeyError), sharedmem.zeros(3, name=name, backend=backend, persistent=True):
        raise KeyError
    assert not sharedmem.exists(name)


def test_context_manager_after_unlink(backend, name):
    """A block may unlink or replace its array: the end of the block takes nobody else's name."""
    with sharedmem.zeros(3, name=name, backend=backend) as a:
        a.unlink()
    with sharedmem.zeros(3, name=name, backend=backend):
        new = sharedmem.zeros(4, name=name, backend=backend, replace=True)
    assert new.is_current()


# ---- memory and its end ----------------------------------------------------


KEEPERS = {
    "slice": lambda a: a[2:],
    "plain array": lambda a: np.asarray(a)[2:],
    "memoryview": memoryview,
    "data attribute": lambda a: a.data,
    "frombuffer": np.frombuffer,
    "ctypes": lambda a: a.ctypes,
    "iterator": lambda a: a.flat,
    "dlpack": lambda a: np.from_dlpack(a),
}


@pytest.mark.parametrize("keep", KEEPERS.values(), ids=KEEPERS)
def test_any_view_keeps_the_memory(backend, keep):
    """Memory stays with the last view of any kind, and is gone right after it."""
    a = sharedmem.full(10, 7.0, backend=backend)
    name = a.name
    view = keep(a)
    address = a.ctypes.data
    del a
    gc.collect()
    assert sharedmem.exists(name)
    assert ctypes.c_double.from_address(address + 32).value == 7.0
    del view
    gc.collect()
    assert not sharedmem.exists(name)


def mappings():
    """Lines of this process's map that belong to shared memory."""
    with open("/proc/self/maps") as maps:
        return [line for line in maps if "/dev/shm/" in line or "/SYSV" in line]


def test_mapping_goes_with_the_last_view(backend):
    """Nothing but what is idle stays mapped when the last view is gone; no BufferError comes up."""
    sharedmem.trim()
    before = mappings()
    a = sharedmem.zeros(10, backend=backend)
    exported = memoryview(a)
    view = a[3:]
    assert len(mappings()) > len(before)
    del a
    assert len(mappings()) > len(before)
    del view, exported
    sharedmem.trim()
    assert mappings() == before


def test_arrays_keep_no_fd(backend):
    """Arrays cost no file descriptor."""
    before = len(os.listdir("/proc/self/fd"))
    arrays = [sharedmem.zeros(10, backend=backend) for _ in range(100)]
    others = [sharedmem.attach(array.name, "r") for array in arrays]
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(others) == 100


def test_more_arrays_than_fds(backend):
    """The limit on open files does not limit the number of arrays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        arrays = [sharedmem.full(10, number, backend=backend) for number in range(300)]
        assert [array[9] for array in arrays] == list(range(300))
        del arrays
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_array_in_a_cycle_is_freed(backend, name):
    """An array that only a reference cycle holds goes with the garbage collector's next round."""
    cycle = [sharedmem.zeros(3, name=name, backend=backend)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert not sharedmem.exists(name)


# ---- large -----------------------------------------------------------------

BEYOND = 2**32 + 12_345


@pytest.mark.large
def test_array_of_half_a_gigabyte(backend):
    """An array of 2**26 uint64, reserved, is made and can be used at both ends."""
    a = sharedmem.empty(2**26, np.uint64, backend=backend)
    a[0], a[-1] = 1, 2
    assert (a.nbytes, int(a[0]), int(a[-1])) == (2**29, 1, 2)


@pytest.mark.large
def test_array_of_five_gigabytes(backend):
    """Elements beyond 4 GB are as good as others, in the array and attached by name."""
    a = sharedmem.zeros(5 * 2**30 + 3, "u1", backend=backend, reserve=False)
    places = [0, 2**31, 2**32 - 1, 2**32, BEYOND, a.size - 1]
    for value, place in enumerate(places, 1):
        a[place] = value
    assert sharedmem.stat(a.name).nbytes == a.size == 5 * 2**30 + 3
    b = sharedmem.attach(a.name, "r")
    assert b.shape == a.shape and [int(b[place]) for place in places] == [1, 2, 3, 4, 5, 6]


@pytest.mark.large
@pytest.mark.parametrize("order", "CF")
def test_strides_beyond_four_gigabytes(backend, order):
    """Strides of more than 32 bits are kept."""
    a = sharedmem.zeros(
        (2, BEYOND) if order == "C" else (BEYOND, 2), "u1", order, backend=backend, reserve=False
    )
    a[-1, -1] = 7
    for b in sharedmem.attach(a.name), pickle.loads(pickle.dumps(a)), pickle.loads(pickle.dumps(a.T)).T:
        assert (b.shape, b.strides, int(b[-1, -1])) == (a.shape, a.strides, 7)
    assert BEYOND in a.strides


def read_and_write(view):
    """In another process: take what is there, leave something else."""
    value = int(view[0])
    view[0] = value + 1
    return value


@pytest.mark.large
@pytest.mark.parametrize("place", [2**32, BEYOND])
def test_view_beyond_four_gigabytes_is_sent(backend, place):
    """A view whose offset has more than 32 bits is the same memory in another process."""
    a = sharedmem.zeros(5 * 2**30, "u1", backend=backend, reserve=False)
    a[place] = 7
    loaded = pickle.loads(pickle.dumps(a[place : place + 5]))
    assert loaded.ctypes.data == a.ctypes.data + place
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(read_and_write, (a[place:],)) == 7
        pool.close()
        pool.join()
    assert a[place] == 8


FILLED = {
    "C": np.arange(60.0).reshape(3, 4, 5),
    "F": np.asfortranarray(np.arange(60, dtype="i2").reshape(3, 4, 5)),
    "strided": np.arange(60.0).reshape(3, 4, 5)[::2, ::-1, 1:],
    "transposed": np.arange(60.0).reshape(3, 4, 5).transpose(1, 2, 0),
    "swapped": np.arange(60, dtype=">i4"),
    "text": np.array(["a", "bcd"]),
    "record": np.ones(5, dtype=[("x", "i1"), ("y", "f8")]),
    "dates": np.arange("2020-01", "2021-01", dtype="M8[M]"),
    "empty": np.zeros((0, 3)),
    "scalar": np.array(3),
    "masked": np.ma.array([1, 2, 3], mask=[0, 1, 0]),
    "large": np.arange(5_000_000.0),
}


@pytest.mark.parametrize("order", ["C", "F", "A", "K"])
@pytest.mark.parametrize("kind", FILLED)
def test_copies_are_numpys(kind, order, backend):
    """A copy has NumPy's values, dtype and layout, in new memory and in what was used before."""
    source = FILLED[kind]
    expected = np.array(source, copy=True, order=order)
    for sharing in ({"backend": backend}, {}, {}):
        made = sharedmem.copy(source, order, **sharing)
        assert made.dtype == expected.dtype and made.strides == expected.strides
        np.testing.assert_array_equal(np.asarray(made), expected)
        made[...] = np.zeros((), made.dtype)  # what is made of it next must not show
        del made


@pytest.mark.parametrize("shape", [(), 1, (7, 11), (100, 1000), 700_001])
@pytest.mark.parametrize("dtype", ["?", "u1", ">u2", "f8", "c16", "S3", "U5", "M8[s]", "i2,f8"])
def test_filled_arrays_are_numpys(shape, dtype, backend):
    """One value is in every element, also of those that no block of them ends with."""
    value = np.zeros((), dtype) if dtype == "M8[s]" else 7
    for sharing in ({"backend": backend}, {}, {}):
        made = sharedmem.full(shape, value, dtype, **sharing)
        np.testing.assert_array_equal(np.asarray(made), np.full(shape, value, dtype))
        del made
    if dtype != "M8[s]":
        np.testing.assert_array_equal(
            np.asarray(sharedmem.ones(shape, dtype, backend=backend)), np.ones(shape, dtype)
        )

"""What NumPy promises of memmap, a SharedArray keeps: views are shared, results are not."""

import gc
import inspect
import io
import warnings

import numpy as np
import pytest

import sharedmem
from sharedmem import SharedArray

SHAPE = (3, 4)
DTYPE = np.dtype("float32")
DATA = np.arange(12, dtype=DTYPE).reshape(SHAPE)


@pytest.fixture
def shared(backend):
    """A shared copy of DATA."""
    return sharedmem.copy(DATA, backend=backend)


def test_roundtrip(backend, name):
    """What was written is found by who attaches later, read-only if asked for."""
    a = sharedmem.empty(SHAPE, DTYPE, name=name, backend=backend, persistent=True)
    a[:] = DATA
    del a
    b = sharedmem.attach(name, "r")
    sharedmem.unlink(name)
    assert np.array_equal(b, DATA) and not b.flags.writeable


def test_attributes_of_views(shared):
    """Views know the name and backend of the whole."""
    for view in shared[:1], shared.T, shared[0, :0], shared.view(), shared.reshape(2, 6):
        assert (view.name, view.backend) == (shared.name, shared.backend)


def test_attributes_are_read_only(shared):
    """Name and backend cannot be assigned."""
    with pytest.raises(AttributeError):
        shared.name = "other"
    with pytest.raises(AttributeError):
        shared.backend = "posix"


def test_dropping_a_view(shared):
    """Dropping a view leaves the array usable."""
    shared[0] = 5
    view = shared[0:1]
    assert (view[0] == 5).all()
    del view
    assert (shared[0] == 5).all()
    shared[0] = 6
    assert (shared[0] == 6).all()


def test_arithmetic_drops_the_reference(shared):
    """The result of arithmetic does not keep the segment."""
    name = shared.name
    result = shared + 10
    assert type(result) is np.ndarray and not np.shares_memory(result, shared)
    sharedmem.unlink(name)


@pytest.mark.parametrize(
    "index",
    [((1, 2), (2, 3)), [0, 1], np.array([True, False, True]), (slice(None), [0, 2]), ([[0]], [[1]])],
    ids=str,
)
def test_fancy_indexing_makes_plain_copies(shared, index):
    """Indexing by lists and masks gives a plain copy."""
    result = shared[index]
    assert type(result) is np.ndarray and not np.shares_memory(result, shared)
    assert np.array_equal(result, DATA[index])


@pytest.mark.parametrize(
    "index",
    [
        slice(2),
        (slice(2), slice(2)),
        (slice(1, None), slice(None, -1)),
        (slice(None, None, -1), slice(None, None, 2)),
        1,
        (..., 2),
        (None, 1),
        ...,
        (1, 2, ...),
        slice(5, 5),
        (),
    ],
    ids=str,
)
def test_slicing_keeps_class_and_memory(shared, index):
    """Indexing by slices, integers, None and ... gives views of the class."""
    view = shared[index]
    assert type(view) is SharedArray and view.name == shared.name
    assert np.array_equal(view, DATA[index])
    assert np.shares_memory(view, shared) or not view.size


def test_element_is_a_scalar(shared):
    """One element is a scalar of the dtype's type."""
    assert type(shared[1, 2]) is np.float32 and shared[1, 2] == 6


def test_iteration_gives_views(shared):
    """Iterating gives the rows as views."""
    for number, row in enumerate(shared):
        assert type(row) is SharedArray
        row[:] = number
    assert (shared == [[0], [1], [2]]).all()


OTHER_VIEWS = {
    "T": lambda a: a.T,
    "reshape": lambda a: a.reshape(4, 3),
    "ravel": lambda a: a.ravel(),
    "view": lambda a: a.view(),
    "view of another dtype": lambda a: a.view("i4"),
    "swapaxes": lambda a: a.swapaxes(0, 1),
    "squeeze": lambda a: a[None].squeeze(),
    "diagonal": lambda a: a.diagonal(),
    "rot90": np.rot90,
    "flip": np.flip,
    "expand_dims": lambda a: np.expand_dims(a, 1),
    "moveaxis": lambda a: np.moveaxis(a, 0, 1),
    "broadcast_to": lambda a: np.broadcast_to(a, (2, *SHAPE), subok=True),
    "asanyarray": np.asanyarray,
    "split": lambda a: np.split(a, 2, axis=1)[1],
    "astype of its own": lambda a: a.astype(DTYPE, copy=False),
}


@pytest.mark.parametrize("view", OTHER_VIEWS.values(), ids=OTHER_VIEWS)
def test_other_views_keep_class_and_memory(shared, view):
    """Whatever NumPy gives as a view is a view of the class."""
    result = view(shared)
    assert type(result) is SharedArray and np.shares_memory(result, shared)
    assert result.name == shared.name


def test_base_of_views(shared):
    """Views of views and plain views hang on the array itself, not on each other."""
    first = shared.view()
    second = first.view()
    plain = np.asarray(shared)
    assert first.base is shared and second.base is shared and plain.base is shared
    assert type(plain) is np.ndarray


@pytest.mark.parametrize("reduction", [np.sum, np.average, np.prod, np.mean, np.max, np.std, np.median])
def test_reductions_give_scalars_and_plain_arrays(shared, reduction):
    """A reduction of all elements is a scalar, one along an axis a plain array."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "np.average currently does not preserve", FutureWarning)
        assert np.isscalar(reduction(shared))
        assert type(reduction(shared)) is type(reduction(DATA))
        assert reduction(shared) == reduction(DATA)
        for axis in 0, 1:
            result = reduction(shared, axis=axis)
            assert type(result) is np.ndarray
            assert np.array_equal(result, reduction(DATA, axis=axis))


@pytest.mark.parametrize("method", ["sum", "prod", "mean", "std", "var", "min", "max", "any", "all"])
def test_methods_that_reduce(shared, method):
    """The methods that reduce give scalars and plain arrays, too."""
    result = getattr(shared, method)()
    assert np.isscalar(result) and result == getattr(DATA, method)()
    assert type(getattr(shared, method)(axis=0)) is np.ndarray
    assert type(getattr(shared, method)(keepdims=True)) is np.ndarray


@pytest.mark.parametrize("operation", [np.add, np.subtract, np.multiply, np.maximum, np.equal])
def test_ufuncs_give_plain_arrays(shared, operation):
    """The result of a ufunc is plain, whichever operand is shared."""
    for left, right in (shared, DATA), (DATA, shared), (shared, shared), (shared, 2), (2, shared):
        result = operation(left, right)
        assert type(result) is np.ndarray and not np.shares_memory(result, shared)
        assert np.array_equal(result, operation(np.array(left), np.array(right)))


def test_ufuncs_of_one_operand_and_several_results(shared):
    """Ufuncs with one operand, and every result of those with several, are plain."""
    assert type(np.sqrt(shared)) is np.ndarray
    assert [type(result) for result in np.modf(shared)] == [np.ndarray] * 2
    assert [type(result) for result in np.divmod(shared, 2)] == [np.ndarray] * 2


def test_ufunc_methods_give_plain_arrays(shared):
    """reduce, accumulate and outer give plain arrays."""
    assert type(np.add.reduce(shared)) is np.ndarray
    assert type(np.add.accumulate(shared)) is np.ndarray
    assert type(np.multiply.outer(shared, shared)) is np.ndarray


def test_matrix_product_is_plain(shared):
    """The result of @ is plain."""
    assert type(shared @ shared.T) is np.ndarray
    assert type(DATA @ shared.T) is np.ndarray


def test_comparison_is_plain(shared):
    """Comparisons give plain arrays of bool, which work as masks."""
    mask = shared > 5
    assert type(mask) is np.ndarray and mask.dtype == bool
    shared[mask] = 0
    assert shared.max() == 5


def test_arithmetic_in_place_keeps_class_and_memory(shared):
    """In-place arithmetic, and a ufunc with out=, write into the shared memory."""
    same = sharedmem.attach(shared.name)
    shared += 1
    assert type(shared) is SharedArray
    result = np.add(shared, 1, out=shared)
    assert result is shared
    assert np.array_equal(same, DATA + 2)


def test_out_of_a_reduction(shared):
    """A reduction with out= writes there and returns it."""
    out = sharedmem.zeros(4, DTYPE, backend=shared.backend)
    assert np.sum(shared, axis=0, out=out) is out
    assert np.array_equal(out, DATA.sum(axis=0))


def test_0d_arrays(backend):
    """A ufunc of a 0-d array is a scalar; in-place arithmetic keeps it an array."""
    a = sharedmem.full((), 3.0, backend=backend)
    assert type(a + 1) is np.float64 and type(np.sqrt(a)) is np.float64
    assert type(a.sum()) is np.float64 and type(a[()]) is np.float64
    a += 1
    assert type(a) is SharedArray and float(a) == 4 and a.item() == 4
    assert type(a[...]) is SharedArray


class Subclass(SharedArray):
    """A subclass, as users may make one."""


def test_subclass_keeps_its_class(shared):
    """For subclasses ufuncs and indexing keep the class, as NumPy's default is."""
    a = shared.view(Subclass)
    assert type(a) is Subclass and a.name == shared.name
    assert type(a[1:, :-1]) is Subclass and np.shares_memory(a[1:], shared)
    assert type(a[[0, 1]]) is Subclass
    assert type(np.sum(a, axis=0)) is Subclass
    assert type(np.sum(a)) is Subclass
    assert type(a + 1) is Subclass and not np.shares_memory(a + 1, shared)


def memmap(tmp_path):
    array = np.memmap(tmp_path / "data", DTYPE, "w+", shape=SHAPE)
    array[:] = DATA
    return array


class Other(np.ndarray):
    """A subclass of ndarray that knows nothing of shared memory."""


class Careful(np.ndarray):
    """One that looks into the attributes of what it is a view of, as astropy's do."""

    def __array_finalize__(self, source):
        if source is not None:
            self.seen = source.__dict__.get("unit", "none")


def test_other_subclasses_decide_what_results_are(shared, tmp_path):
    """Mixed with another subclass the result is that one's, on either side, as with a memmap."""
    assert shared.__array_priority__ == np.memmap.__array_priority__
    for ours in shared, memmap(tmp_path):
        for other in DATA.view(Other), np.ma.masked_array(DATA):
            assert type(ours + other) is type(other) is type(other + ours)
            assert type(np.add(ours, other)) is type(other)


def test_attributes_of_ones_own(shared, tmp_path):
    """Attributes can be set, and belong to the very object, as a memmap's."""
    for ours in shared, memmap(tmp_path):
        ours.unit = "m"
        assert ours.unit == ours.__dict__["unit"] == "m"
        assert ours.view(Careful).seen == "m"
        assert not hasattr(ours[1:], "unit")
    a = shared.view(Subclass)
    a.unit = "km"
    assert a.unit == "km" and shared.unit == "m"


def test_attributes_keep_no_memory(backend):
    """An array that its own attribute leads to goes with the next collection, and its memory then."""
    a = sharedmem.zeros(3, backend=backend)
    name, a.me = a.name, a
    del a
    gc.collect()
    assert not sharedmem.exists(name)


PRIVATE = {
    "copy": lambda a: a.copy(),
    "result of a subclass": lambda a: a.view(Subclass) + 1,
    "index of a subclass": lambda a: a.view(Subclass)[[0]],
}


@pytest.mark.parametrize("make", PRIVATE.values(), ids=PRIVATE)
def test_private_memory_has_no_name(shared, make):
    """What is not shared has no attributes of sharing: hasattr(), getattr() and getmembers() say so."""
    private = make(shared)
    for attribute in "name", "backend", "lock", "frame":
        assert hasattr(shared, attribute) and not hasattr(private, attribute)
        assert getattr(private, attribute, "none") == "none"
        with pytest.raises(AttributeError, match="not in shared memory"):
            getattr(private, attribute)
    assert "name" not in dict(inspect.getmembers(private))
    assert dict(inspect.getmembers(shared))["name"] == shared.name
    with pytest.raises(sharedmem.SegmentNotFoundError):
        private.unlink()


def test_astropy(shared):
    """Quantities, masked arrays and times of astropy lie over a shared array."""
    units = pytest.importorskip("astropy.units")
    masked = pytest.importorskip("astropy.utils.masked").Masked
    time = pytest.importorskip("astropy.time").Time
    length = units.Quantity(shared, units.m, copy=False)
    assert np.shares_memory(length.value, shared)
    length[0, 0] = 5 * units.km
    length *= 2
    assert shared[0, 0] == 10000 and shared[0, 1] == 2
    assert ((shared * units.m) == length).all() and ((units.m * shared) == length).all()
    assert type(shared + length.value) is np.ndarray
    back = sharedmem.loads(sharedmem.dumps(length))
    assert type(back) is units.Quantity and back.unit == units.m and (back == length).all()
    assert masked(shared, mask=shared > 5).sum().mask
    days = sharedmem.copy(np.array([2451545.0, 2451546.0]))
    assert time(days, format="jd")[1].jd == 2451546.0


def test_xarray(shared):
    """A DataArray over a shared array, and over a private copy of one, is as over NumPy's."""
    xarray = pytest.importorskip("xarray")
    for array in shared, shared.copy():
        data = xarray.DataArray(array, dims=("y", "x"))
        assert (data.sum("y").values == DATA.sum(axis=0)).all()
        assert data.name == getattr(array, "name", None)
    shown = xarray.DataArray(shared, dims=("y", "x"))
    shown[0, 0] = 9
    assert shared[0, 0] == 9


@pytest.mark.parametrize("shape", [3, SHAPE, list(SHAPE), np.asarray(SHAPE), np.int32(3)], ids=repr)
def test_types_of_shape(backend, shape):
    """A shape may be an integer, a tuple, a list or an array."""
    assert sharedmem.zeros(shape, backend=backend).shape == np.zeros(shape).shape


def test_empty_array(backend):
    """An array without elements can be made, attached, viewed and reduced."""
    a = sharedmem.zeros((0, 4), backend=backend)
    for each in a, sharedmem.attach(a.name), sharedmem.attach(a.name, "r"), a[:0, 1:]:
        assert type(each) is SharedArray and each.size == 0 and each.sum() == 0
    assert a.sum(axis=0).tolist() == [0] * 4


def test_conversion_of_dtype_is_a_copy(shared):
    """astype() copies into private memory."""
    result = shared.astype("f8")
    assert not np.shares_memory(result, shared)
    result[:] = 0
    assert np.array_equal(shared, DATA)


def test_functions_of_numpy_take_it(shared):
    """Functions that read arrays read a shared one as any other."""
    assert np.array_equal(np.concatenate([shared, DATA]), np.concatenate([DATA, DATA]))
    assert np.array_equal(np.where(shared > 5, shared, 0), np.where(DATA > 5, DATA, 0))
    assert np.array_equal(np.sort(shared[::-1], axis=0), DATA)
    assert np.array_equal(np.einsum("ij,kj", shared, shared), DATA @ DATA.T)
    assert (shared.tolist(), shared.tobytes()) == (DATA.tolist(), DATA.tobytes())


def test_sorting_in_place(shared):
    """sort() sorts the shared elements."""
    shared[:] = DATA[::-1]
    shared.sort(axis=0)
    assert np.array_equal(sharedmem.attach(shared.name), DATA)


def test_saved_array_is_its_content(shared):
    """np.save() writes elements, and np.load() reads a plain array without the segment."""
    file = io.BytesIO()
    np.save(file, shared.T)
    sharedmem.unlink(shared.name)
    file.seek(0)
    loaded = np.load(file, allow_pickle=False)
    assert type(loaded) is np.ndarray and np.array_equal(loaded, DATA.T)


def test_buffer_is_numpys(shared):
    """The buffer protocol shows format, shape and strides, and writes to the memory."""
    view = memoryview(shared[:, ::2])
    assert (view.format, view.shape, view.strides, view.readonly) == ("f", (3, 2), (16, 8), False)
    memoryview(shared)[1, 2] = 100
    assert shared[1, 2] == 100
    assert memoryview(sharedmem.attach(shared.name, "r")).readonly


def test_resizing_is_refused(shared):
    """A shared array cannot be resized in place: the memory is not its own."""
    with pytest.raises(ValueError):
        shared.resize((30, 40), refcheck=False)
    assert np.array_equal(shared, DATA)


def test_plain_view_of_shared_keeps_memory(shared):
    """np.asarray() is a plain array over the same memory, which it keeps."""
    name = shared.name
    plain = np.asarray(shared)
    plain[0, 0] = 100
    assert shared[0, 0] == 100
    assert sharedmem.exists(name)

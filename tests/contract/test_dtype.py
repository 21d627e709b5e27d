"""Types that are not NumPy's own: carried by name, found among what is loaded, or refused."""

import gc
import multiprocessing
import pickle
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler
from types import ModuleType

import numpy as np
import pytest

import sharedmem
from sharedmem import dtypes

try:
    from numpy._core._rational_tests import rational
except ImportError:  # NumPy 1
    from numpy.core._rational_tests import rational


def users():
    """The dtypes of ml_dtypes and NumPy's own example."""
    found = {"rational": np.dtype(rational)}
    try:
        import ml_dtypes
    except ImportError:
        return found
    for name, cls in vars(ml_dtypes).items():
        if isinstance(cls, type) and issubclass(cls, np.generic):
            found[name] = np.dtype(cls)
    return found


USERS = users()


def filled(dtype):
    """A private array with other bytes in each element."""
    array = np.zeros((2, 3), dtype)
    array.view(np.uint8)[...] = np.arange(array.nbytes, dtype="u1").reshape(2, -1) % 4 + 1
    return array


def created(array):
    return array


def attached(array):
    return sharedmem.attach(array.name)


def pickled(array):
    return pickle.loads(pickle.dumps(array))


def sent(array):
    return pickle.loads(ForkingPickler.dumps(array))


def queued(array):
    queue = sharedmem.Queue()
    queue.put(array)
    return queue.get()


def assert_same_dtype(found, expected):
    assert found == expected
    assert (found.type, found.char, found.str) == (expected.type, expected.char, expected.str)
    assert dict(found.metadata or {}) == dict(expected.metadata or {})


WAYS = [created, attached, pickled, sent, queued]
FORMS = {
    "other byte order": lambda dtype: dtype.newbyteorder("S"),
    "metadata": lambda dtype: np.dtype(dtype, metadata={"unit": "m"}),
    "field": lambda dtype: np.dtype([("a", dtype, 2), ("b", "i1")]),
}


DTYPES = {**USERS}
for _title, _form in FORMS.items():
    DTYPES |= {
        f"{each}, {_title}": _form(USERS[each]) for each in ("rational", "bfloat16") if each in USERS
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_dtype_is_kept(backend, way, dtype):
    """Created, attached, pickled, sent or queued it is the same dtype, with the same bytes."""
    model = filled(dtype)
    array = way(sharedmem.copy(model, backend=backend))
    assert type(array) is sharedmem.SharedArray
    assert_same_dtype(array.dtype, model.dtype)
    for field in model.dtype.names or ():
        assert_same_dtype(array.dtype[field].base, model.dtype[field].base)
    assert array.tobytes() == model.tobytes()


def test_dtypes_through_an_executor():
    """There and back through a worker each is the same dtype, of arrays that are shared or not."""
    shared = [sharedmem.copy(filled(dtype)) for dtype in DTYPES.values()]
    private = [np.resize(filled(dtype), 100_000) for dtype in USERS.values()]
    with sharedmem.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as executor:
        for array in shared + private:
            back, *there = executor.submit(details, array).result()
            assert_same_dtype(back.dtype, array.dtype)
            assert back.tobytes() == array.tobytes()
            assert tuple(there) == details(array)[1:]


def details(array):
    return array, array.dtype.type, array.dtype.char, repr(array.dtype)


@pytest.mark.parametrize("dtype", USERS.values(), ids=USERS)
def test_constructors(backend, dtype):
    """All constructors take it."""
    for made in (
        sharedmem.zeros(3, dtype, backend=backend),
        sharedmem.empty(3, dtype.type),
        sharedmem.zeros_like(np.zeros(3, dtype)),
        sharedmem.attach_or_create(f"made-{dtype.char}", 3, dtype, backend=backend),
    ):
        assert_same_dtype(made.dtype, dtype)


ATTACH = """
import sys, sharedmem
before = set(sys.modules)
for name in sys.argv[1:]:
    try:
        sharedmem.attach(name)
    except TypeError as error:
        print(error, repr(sharedmem.stat(name)))
print(*(set(sys.modules) - before))
"""
IMPORT_AND_ATTACH = """
import importlib, sys, sharedmem
for name, module in zip(sys.argv[1::2], sys.argv[2::2]):
    importlib.import_module(module)
    print(sharedmem.attach(name).dtype)
"""


def elsewhere(program, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_attaching_imports_nothing(backend):
    """Where the type's module is not loaded attaching is refused, with the module's name."""
    arrays = [sharedmem.zeros(3, dtype, backend=backend) for dtype in USERS.values()]
    modules = [array.dtype.type.__module__ for array in arrays]
    *errors, imported, _ = elsewhere(ATTACH, *(array.name for array in arrays)).split("\n")
    for array, module, error in zip(arrays, modules, errors, strict=True):
        assert f"import the module {module!r}" in error and array.name in error
        assert module not in imported.split()
    pairs = [word for array, module in zip(arrays, modules) for word in (array.name, module)]
    assert elsewhere(IMPORT_AND_ATTACH, *pairs).split() == [str(array.dtype) for array in arrays]


def test_command_line_shows_what_is_not_known_here(name):
    """`sharedmem list` has the header's text of a dtype that it does not know."""
    array = sharedmem.zeros(3, rational, name=name)
    program = "import sys; from sharedmem.cli import main; sys.exit(main(['list', '--json']))"
    assert f"{rational.__module__}.rational" in elsewhere(program) and array.size


class Trap(ModuleType):
    """A module that runs code when it is asked for anything, as lazy ones do."""

    def __getattribute__(self, attribute):
        raise SystemError(f"the header made {attribute!r} be looked up")


class Lazy:
    __getattribute__ = Trap.__getattribute__


def with_getattr():
    module = ModuleType("trap")
    module.__getattr__ = lambda attribute: Trap.__getattribute__(module, attribute)
    return module


@pytest.mark.parametrize(
    "make", [lambda: Trap("trap"), Lazy, with_getattr], ids=["lazy", "any", "getattr"]
)
def test_header_runs_nothing(monkeypatch, make):
    """Looking for a type runs nothing that a module defines."""
    module = make()
    monkeypatch.setitem(sys.modules, "trap", module)
    with pytest.raises(TypeError, match="'trap'"):
        dtypes.from_text("{'format': '<V2', 'type': 'trap.bfloat16'}")


def refused(name):
    return f"{{'format': '|V2', 'type': {name!r}}}"


@pytest.mark.parametrize(
    "text",
    [
        refused("os.system"),
        refused("builtins.int"),
        refused("numpy.ndarray"),
        refused("antigravity.x"),
        refused("x"),
        refused(""),
        refused(".."),
    ],
)
def test_header_with_what_is_no_type(text):
    """What is not a type of NumPy elements in a loaded module is unknown."""
    with pytest.raises(TypeError, match="not known in this process"):
        dtypes.from_text(text)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "text",
    [
        refused("numpy.float64"),
        refused("numpy.generic"),
        refused(["numpy", "void"]),
        refused(3),
        refused(dtypes._name_of(rational)),
        "{'format': 'i4', 'metadata': 3}",
        "{'format': 'i4', 'color': 3}",
        "{'format': 'i4', 'metadata': {'a': open}}",
        "{'names': ['a'], 'formats': ['i4'], 'base': 'i2'}",
        "{'names': ['a'], 'formats': ['i4'], 'base': 'O'}",
        "{'names': ['a'], 'formats': ['i4'], 'type': 'numpy.int32'}",
        "{'metadata': {'a': 1}}",
        "{}",
    ],
)
def test_damaged_text(text):
    """What describes no dtype is a ValueError, and a segment with it has the wrong format."""
    with pytest.raises(ValueError, match=r"dtype|type|size|malformed"):
        dtypes.from_text(text)


def local_type():
    class Local(np.void):
        pass

    return Local


def test_type_that_nobody_finds(backend, name):
    """A type that is not a global name is refused when the array is made, and nothing is made."""
    dtype = np.dtype((local_type(), [("a", "i4")]))
    for make in sharedmem.zeros, sharedmem.empty, sharedmem.ones:
        with pytest.raises(TypeError, match="register_dtype"):
            make(3, dtype, name=name, backend=backend)
    with pytest.raises(TypeError, match=__name__.rpartition(".")[2]):
        sharedmem.copy(np.zeros(3, dtype), name=name, backend=backend)
    assert not sharedmem.exists(name)


def test_registered_type(backend, monkeypatch):
    """One that is registered is carried, here and wherever it is registered."""
    monkeypatch.setattr(dtypes, "_registered", {})
    dtype = np.dtype((local_type(), [("a", "i4"), ("b", "f8")]))
    sharedmem.register_dtype(dtype)
    sharedmem.register_dtype(float)
    array = sharedmem.zeros(3, dtype, backend=backend)
    assert_same_dtype(sharedmem.attach(array.name).dtype, dtype)
    dtypes._registered.clear()
    with pytest.raises(TypeError, match=r"Local.*register_dtype"):
        sharedmem.attach(array.name)
    with pytest.raises(TypeError):
        sharedmem.register_dtype(object)


class Unit:
    def __str__(self):
        return "metres"


LOOP = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    "value",
    [Unit(), float("nan"), np.float64(1), frozenset(), LOOP, np.arange(3), [(Unit(),)]],
    ids=repr,
)
def test_metadata_that_cannot_stand_in_a_header(backend, name, value):
    """Metadata that are no literals are refused when the array is made, and nothing is made."""
    dtype = np.dtype("f8", metadata={"unit": value})
    for make in sharedmem.zeros, sharedmem.ones:
        with pytest.raises(TypeError, match="metadata"):
            make(3, dtype, name=name, backend=backend)
    with pytest.raises(TypeError, match="drop_metadata"):
        sharedmem.copy(np.zeros(3, dtype), name=name, backend=backend)
    assert not sharedmem.exists(name)
    assert sharedmem.zeros(3, np.lib.format.drop_metadata(dtype)).dtype.metadata is None


def test_view_with_metadata_of_any_kind(backend):
    """A view of another dtype is pickled as NumPy pickles that."""
    array = sharedmem.zeros(3, backend=backend).view(np.dtype("f8", metadata={"unit": {"a": range(3)}}))
    for way in pickled, sent, queued:
        assert dict(way(array).dtype.metadata) == {"unit": {"a": range(3)}}


def many_fields(count, text="a name as long as they are in tables of some instruments"):
    return np.dtype([(f"{text}, {number}", "f4", (2, 2)) for number in range(count)])


def test_thousands_of_fields(backend, name):
    """The dtype of a table of 2000 columns is carried like any other."""
    dtype = many_fields(2000)
    array = sharedmem.zeros(3, dtype, name=name, backend=backend)
    array[dtype.names[1999]][1, 1, 1] = 7
    for way in attached, pickled, sent:
        back = way(array)
        assert back.dtype == dtype and back[dtype.names[1999]].sum() == 7
    assert sharedmem.stat(name).dtype == dtype
    del array, back
    gc.collect()
    assert not sharedmem.exists(name)
    unnamed = [sharedmem.zeros(3, dtype, backend=backend) for _ in range(3)]
    assert len({each.ctypes.data for each in unnamed}) == 3


def test_text_that_is_too_long_or_too_deep(backend, name):
    """What nobody could read again is refused when the array is made."""
    with pytest.raises(ValueError, match="longer"):
        sharedmem.zeros(3, many_fields(5000), name=name, backend=backend)
    deep = np.dtype("i4")
    for _ in range(70):
        deep = np.dtype([("a", deep)])
    for dtype in deep, np.dtype([("(" * 65, "i4")]):
        with pytest.raises(ValueError, match="brackets"):
            sharedmem.zeros(3, dtype, name=name, backend=backend)
    assert not sharedmem.exists(name)

"""A shared array and every view of it is pickled as a name, and what is loaded is the same memory."""

import concurrent.futures
import contextlib
import copy
import copyreg
import io
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest

import sharedmem
from sharedmem import SharedArray
from sharedmem._core.segment import segment_of

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)
SMALL = 300  # bytes of a descriptor
WAIT = 60  # seconds; reached only when something is lost


def send(array):
    """What multiprocessing sends for an object: its shared arrays hold tickets."""
    return bytes(ForkingPickler.dumps(array))


PICKLERS = {f"protocol {n}": lambda array, n=n: pickle.dumps(array, n) for n in PROTOCOLS}
PICKLERS["multiprocessing"] = send


@pytest.fixture(params=PICKLERS.values(), ids=PICKLERS)
def dumps(request):
    """Each of pickle's protocols, and multiprocessing's own pickler."""
    return request.param


def facts(array):
    """What has to be the same after a journey, the address included."""
    return {
        "address": array.ctypes.data,
        "shape": array.shape,
        "strides": array.strides,
        "dtype": repr(array.dtype),
        "writeable": array.flags.writeable,
        "class": type(array),
    }


def locked(array):
    """A read-only view."""
    view = array.view()
    view.flags.writeable = False
    return view


def overlapping(array):
    """A view whose rows overlap."""
    item = array.itemsize
    return np.lib.stride_tricks.as_strided(array, (5, 4), (item, item), subok=True)


VIEWS = {
    "whole": lambda a: a,
    "row": lambda a: a[1],
    "offset": lambda a: a[1:, 2:, 3:],
    "steps": lambda a: a[::2, 1::2, ::3],
    "reversed": lambda a: a[::-1, :, ::-1],
    "reversed steps": lambda a: a[:, ::-3, ::-2],
    "transposed": lambda a: a.T,
    "permuted": lambda a: a.transpose(1, 0, 2),
    "swapped": lambda a: a.swapaxes(0, 2)[::-1],
    "reshaped": lambda a: a.reshape(12, 5),
    "flat": lambda a: a.reshape(-1)[7:50:3],
    "new axis": lambda a: a[:, None, ..., None],
    "broadcast": lambda a: np.broadcast_to(a[0], (7, 4, 5), subok=True),
    "broadcast writeable": lambda a: np.lib.stride_tricks.as_strided(a, (7, 5), (0, 8), subok=True),
    "diagonal": lambda a: a.diagonal(axis1=1, axis2=2),
    "windows": lambda a: np.lib.stride_tricks.sliding_window_view(a[0, 0], 3, subok=True),
    "overlapping": overlapping,
    "one element": lambda a: a[2:, 3:, 4:],
    "0-d": lambda a: a[1, 2, 3, ...],
    "empty": lambda a: a[1:1],
    "empty at the end": lambda a: a[3:, 4:],
    "bytes": lambda a: a.view("u1"),
    "last byte": lambda a: a.view("u1")[-1:, -1:, -1:],
    "other byte order": lambda a: a.view(">i8"),
    "other dtype": lambda a: a.view("c16") if a.shape[-1] % 2 == 0 else a[..., :4].view("c16"),
    "dates": lambda a: a.view("M8[s]")[::2],
    "read-only": locked,
    "read-only part": lambda a: locked(a)[::2].T,
    "real part": lambda a: a[..., :4].view("c16").real,
    "imaginary part": lambda a: a[..., :4].view("c16").imag,
    "many dimensions": lambda a: a.reshape((3, 4, 5) + (1,) * 5),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_view_arrives_as_it_is(backend, dumps, view):
    """What is loaded has the view's address, layout, dtype, class and read-only flag."""
    a = sharedmem.copy(np.arange(60).reshape(3, 4, 5), backend=backend)
    made = view(a)
    loaded = pickle.loads(dumps(made))
    assert type(made) is SharedArray and facts(loaded) == facts(made)
    assert np.array_equal(loaded, made)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_view_travels_as_a_name(backend, view):
    """Every pickle of any view of a plain dtype is under 300 bytes."""
    a = sharedmem.copy(np.arange(60).reshape(3, 4, 5), backend=backend)
    pickles = [dumps(view(a)) for dumps in PICKLERS.values()]
    assert max(map(len, pickles)) < SMALL
    a.unlink()


PLAIN = ["?", "i1", "f2", "f8", "g", "G", ">i4", "S7", "U3", ">U3", "V5", "M8[25s]", ">m8[ns]"]


@pytest.mark.parametrize("dtype", PLAIN)
def test_plain_dtype_travels_as_a_name(backend, dumps, dtype):
    """A pickle is under 300 bytes for every dtype without fields, and its size is not the array's."""
    lengths = set()
    for size in 0, 1, 1000, 1000:
        a = sharedmem.zeros(size, dtype, backend=backend)
        pickled = dumps(a)
        assert facts(pickle.loads(pickled)) == facts(a)
        lengths.add(len(pickled))
    assert max(lengths) < SMALL


RECORD = np.dtype(
    [("a", "i1"), ("p", [("x", "f4"), ("y", ">f8")]), ("m", "i2", (2, 3)), (("title", "t"), "U2")],
    align=True,
)
FIELDS = {
    "record": lambda a: a,
    "field": lambda a: a["a"],
    "nested": lambda a: a["p"],
    "field of nested": lambda a: a["p"]["y"],
    "matrix": lambda a: a["m"],
    "part of matrix": lambda a: a["m"][::-1, :, 1],
    "by title": lambda a: a["title"],
    "several": lambda a: a[["a", "t"]],
    "of a slice": lambda a: a[1::2]["t"],
    "of one record": lambda a: a[1:2]["p"]["x"],
}


@pytest.mark.parametrize("view", FIELDS.values(), ids=FIELDS)
def test_field_arrives_as_it_is(backend, dumps, view):
    """A field of records, or several, arrives with its offset and steps."""
    a = sharedmem.zeros(5, RECORD, backend=backend)
    a["a"], a["p"]["y"], a["m"], a["t"] = 1, 2.5, 3, "ab"
    made = view(a)
    loaded = pickle.loads(dumps(made))
    assert facts(loaded) == facts(made)
    assert np.array_equal(loaded, made)


def test_change_through_a_loaded_view(backend, dumps):
    """Writing to what was loaded writes to the array."""
    a = sharedmem.zeros((4, 6), backend=backend)
    pickle.loads(dumps(a[::2, ::-1]))[:, 0] = 7
    assert a.sum(axis=0).tolist() == [0, 0, 0, 0, 0, 14]


def test_loaded_twice_is_one_mapping(backend, dumps):
    """However often an array is loaded in a process, it is mapped once."""
    a = sharedmem.full(10, 7.0, backend=backend)
    pickled = dumps(a)
    first, second = pickle.loads(pickled), pickle.loads(pickled)
    assert first.ctypes.data == second.ctypes.data == a.ctypes.data
    del a, first
    assert second.tolist() == [7] * 10


def test_loaded_array_keeps_the_memory(backend, dumps):
    """What was loaded keeps array and name when the original is gone."""
    a = sharedmem.full(10, 7.0, backend=backend)
    loaded = pickle.loads(dumps(a[3:]))
    del a
    assert loaded.tolist() == [7] * 7 and loaded.is_current()


def test_named_array_arrives_with_its_name(backend, dumps, name):
    """The name that an array was given is that of what is loaded."""
    a = sharedmem.zeros(3, name=name, backend=backend)
    loaded = pickle.loads(dumps(a))
    assert (loaded.name, loaded.backend) == (name, backend)


def test_arrays_within_other_objects(backend, dumps):
    """Arrays in containers go by name, and still share memory with each other."""
    a = sharedmem.copy(np.arange(1000.0), backend=backend)
    pickled = dumps({"array": a, "parts": [a[:500], (a[500:], "text")], "again": a})
    assert len(pickled) < 1000
    loaded = pickle.loads(pickled)
    loaded["parts"][1][0][0] = -1
    assert a[500] == loaded["array"][500] == -1
    assert loaded["again"] is loaded["array"]


def test_no_buffer_goes_out_of_band(backend):
    """With protocol 5 and a buffer callback, too, an array is a name."""
    a = sharedmem.full(1000, 7.0, backend=backend)
    buffers = []
    pickled = pickle.dumps(a, 5, buffer_callback=buffers.append)
    assert buffers == [] and len(pickled) < SMALL
    assert pickle.loads(pickled, buffers=[]).ctypes.data == a.ctypes.data


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_mode_travels(backend, dumps, mode):
    """What was attached read-only is loaded read-only, and cannot be made writeable."""
    a = sharedmem.full(3, 7.0, backend=backend)
    loaded = pickle.loads(dumps(sharedmem.attach(a.name, mode)))
    assert loaded.flags.writeable == (mode == "r+")
    if mode == "r":
        with pytest.raises(ValueError):
            loaded.flags.writeable = True
    a[0] = 1
    assert loaded.tolist() == [1, 7, 7]


# ---- by content ------------------------------------------------------------


def assert_content(dumps, array):
    """The array's pickle is what NumPy makes of a private copy."""
    loaded, expected = pickle.loads(dumps(array)), pickle.loads(dumps(np.array(array)))
    assert type(loaded) is np.ndarray
    assert (loaded.dtype, loaded.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(loaded, array) and not np.may_share_memory(loaded, array)


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_by_content_pickles_data(backend, view):
    """Within by_content() a view is pickled as a plain array of its elements."""
    a = sharedmem.copy(np.arange(60).reshape(3, 4, 5), backend=backend)
    with sharedmem.by_content():
        for dumps in PICKLERS.values():
            assert_content(dumps, view(a))
    assert sharedmem.stat(a.name).tickets == 0


def test_by_content_outlives_the_memory(backend, dumps):
    """A pickle by content needs no segment."""
    a = sharedmem.full(1000, 7.0, backend=backend)
    with sharedmem.by_content():
        pickled = dumps([a, a[::2]])
    del a
    whole, part = pickle.loads(pickled)
    assert (whole == 7).all() and part.shape == (500,)


def test_by_content_ends_with_its_block(backend, dumps):
    """After by_content(), left in whatever way, arrays go by name again."""
    a = sharedmem.full(1000, 7.0, backend=backend)
    with contextlib.suppress(KeyError), sharedmem.by_content():
        with sharedmem.by_content():
            pass
        assert len(dumps(a)) > a.nbytes
        raise KeyError
    pickled = dumps(a)
    assert len(pickled) < SMALL
    sharedmem.forget(pickled)


def test_by_content_is_its_own_thread_s(backend, dumps):
    """by_content() of one thread leaves other threads' pickles alone."""
    a = sharedmem.full(1000, 7.0, backend=backend)
    found = []
    with sharedmem.by_content():
        other = threading.Thread(target=lambda: found.append(dumps(a)))
        other.start()
        other.join()
        assert len(dumps(a)) > a.nbytes
    assert len(found[0]) < SMALL
    sharedmem.forget(found[0])


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_unlinked_array_is_pickled_by_content(backend, view):
    """What has no name any more is pickled by content."""
    a = sharedmem.copy(np.arange(60).reshape(3, 4, 5), backend=backend)
    a.unlink()
    for dumps in PICKLERS.values():
        assert_content(dumps, view(a))


def test_replaced_array_is_pickled_by_content(backend, dumps, name):
    """An array whose name leads to another is not mistaken for that."""
    old = sharedmem.full(5, 7.0, name=name, backend=backend)
    new = sharedmem.zeros(5, name=name, backend=backend, replace=True)
    assert_content(dumps, old)
    loaded = pickle.loads(dumps(new))
    assert loaded.ctypes.data == new.ctypes.data


def test_deepcopy_is_private(backend):
    """copy.deepcopy() makes plain arrays, and one array of one array."""
    a = sharedmem.copy(np.arange(60).reshape(3, 4, 5), backend=backend)
    copied, again, part = copy.deepcopy([a, a, a[::2, ::-1]])
    assert type(copied) is np.ndarray and copied is again
    assert np.array_equal(copied, a) and np.array_equal(part, a[::2, ::-1])
    copied[:] = part[:] = 0
    assert a.sum() == sum(range(60))


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_deepcopy_of_any_shape(backend, shape):
    """A deep copy has the shape and dtype of its model, without or with elements."""
    a = sharedmem.ones(shape, ">i2", backend=backend)
    copied = copy.deepcopy(a)
    assert type(copied) is np.ndarray
    assert (copied.shape, copied.dtype) == (shape, np.dtype(">i2"))
    assert copied.flags.owndata


def test_copy_is_private(backend):
    """copy.copy() and the method copy() copy the elements, as NumPy's do."""
    a = sharedmem.ones(3, backend=backend)
    for copied in copy.copy(a), a.copy(), np.copy(a), np.array(a):
        assert not np.shares_memory(copied, a)
        copied[:] = 5
    assert a.tolist() == [1, 1, 1]


# ---- plain arrays over shared memory ---------------------------------------


@pytest.fixture
def installed():
    """np.asarray(shared) goes by name, too."""
    sharedmem.install()
    yield
    sharedmem.uninstall()


def test_plain_array_goes_by_content(backend, dumps):
    """Without install() a plain array over shared memory keeps its copy semantics."""
    a = np.asarray(sharedmem.full(1000, 7.0, backend=backend))
    assert_content(dumps, a)


PLAIN_VIEWS = {key: view for key, view in VIEWS.items() if "broadcast" not in key}


class Info(SharedArray):
    """A subclass with an attribute, which adds it to what it is pickled as."""

    def __array_finalize__(self, source):
        self.info = getattr(source, "info", None)

    def __reduce__(self):
        function, arguments, state = super().__reduce__()
        return function, arguments, (*state, self.info)

    def __setstate__(self, state):
        *rest, self.info = state
        super().__setstate__(tuple(rest))


class Extended(SharedArray):
    """One that adds to all that goes through ``__reduce_ex__``."""

    def __array_finalize__(self, source):
        self.info = getattr(source, "info", None)

    def __reduce_ex__(self, protocol):
        function, arguments, *_ = super().__reduce_ex__(protocol)
        return restore, (function, arguments, self.info)


def restore(function, arguments, info):
    array = function(*arguments).view(Extended)
    array.info = info
    return array


def through_transport(array):
    return sharedmem.dumps(array)


def through_parcels(array):
    return sharedmem.dumps(array, min_bytes=1)


ALL = {**PICKLERS, "transport": through_transport, "parcels": through_parcels}


@pytest.mark.parametrize("cls", [Info, Extended])
@pytest.mark.parametrize("dumps", ALL.values(), ids=ALL)
def test_subclass_adds_to_what_is_pickled(backend, dumps, cls):
    """A subclass's own __reduce__ is asked, as of ndarray's subclasses, and the memory goes by name."""
    array = sharedmem.copy([1.0, 2.0], backend=backend).view(cls)
    array.info = "metres"
    pickled = dumps(array)
    tickets = sharedmem.stat(array.name).tickets
    back = pickle.loads(pickled)
    assert (type(back), back.info, back.name) == (cls, "metres", array.name)
    array[0] = 7
    assert back[0] == 7
    assert tickets == (dumps not in list(PICKLERS.values())[:-1])
    assert sharedmem.stat(array.name).tickets == 0


@pytest.mark.parametrize("dumps", ALL.values(), ids=ALL)
def test_result_of_a_subclass_keeps_its_class(backend, dumps):
    """What of a subclass is in private memory is pickled whole: class, attributes, content."""
    array = sharedmem.copy([1.0, 2.0], backend=backend).view(Info)
    array.info = "metres"
    for private in array + 1, array.copy() + 1:
        back = pickle.loads(dumps(private))
        assert (type(back), back.info, back.tolist()) == (Info, "metres", [2, 3])
    back = pickle.loads(dumps(array.view(Plain) + 1))
    assert (type(back), back.tolist()) == (Plain, [2, 3])


class Plain(SharedArray):
    """A subclass that adds nothing."""


class Failing(SharedArray):
    """A subclass whose pickling fails when all of it is known."""

    def __reduce__(self):
        super().__reduce__()
        raise RuntimeError("not to be pickled")


@pytest.mark.parametrize("dumps", ALL.values(), ids=ALL)
def test_subclass_that_fails_leaves_no_ticket(backend, dumps):
    """A __reduce__ that fails leaves nothing in flight."""
    array = sharedmem.zeros(2, backend=backend).view(Failing)
    with pytest.raises(RuntimeError, match="not to be pickled"):
        dumps(array)
    assert sharedmem.stat(array.name).tickets == 0


def test_subclass_through_a_queue_and_an_executor(backend):
    """On all ways between processes a subclass's own state arrives."""
    array = sharedmem.copy([1.0, 2.0], backend=backend).view(Info)
    array.info = "metres"
    queue = sharedmem.Queue()
    queue.put(array)
    assert queue.get().info == "metres"
    with sharedmem.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as executor:
        same, more = executor.submit(same_and_more, array).result()
    assert (type(same), same.info, same.name) == (Info, "metres", array.name)
    assert (type(more), more.info, more.tolist()) == (Info, "metres", [2, 3])


def same_and_more(array):
    return array, array + 1


@pytest.mark.parametrize("view", PLAIN_VIEWS.values(), ids=PLAIN_VIEWS)
def test_installed_sends_plain_views_by_name(backend, installed, view):
    """With install() any plain view of shared memory is sent by name, and stays plain."""
    a = sharedmem.copy(np.arange(60).reshape(3, 4, 5), backend=backend)
    made = np.asarray(view(a))
    sent = send(made)
    assert len(sent) < SMALL
    assert facts(pickle.loads(sent)) == facts(made)
    assert type(made) is np.ndarray


def test_installed_sends_views_through_buffers_by_name(backend, installed):
    """With install() an array made of an array's memoryview is sent by name."""
    a = sharedmem.full(1000, 7.0, backend=backend)
    for made in np.frombuffer(a)[3:], np.asarray(memoryview(a)[::2]):
        sent = send(made)
        assert len(sent) < SMALL
        assert pickle.loads(sent).ctypes.data == made.ctypes.data


ORDINARY = {
    "C": np.arange(1000.0).reshape(20, 50),
    "F": np.asfortranarray(np.arange(1000.0).reshape(20, 50)),
    "steps": np.arange(1000.0)[::3],
    "0-d": np.array(5),
    "empty": np.empty((0, 3)),
    "objects": np.array([None, {"a": 1}], object),
    "records": np.zeros(3, RECORD),
    "masked": np.ma.masked_equal([1, 2, 3], 2),
}


@pytest.mark.parametrize("array", ORDINARY.values(), ids=ORDINARY)
def test_installed_leaves_ordinary_arrays_alone(array):
    """install() changes no byte of what is sent for an ordinary array."""
    before = send(array)
    sharedmem.install()
    try:
        during = send(array)
    finally:
        sharedmem.uninstall()
    assert during == before == send(array)


def test_installed_leaves_plain_pickles_alone(backend, installed):
    """install() is about multiprocessing: pickle.dumps() of a plain array stays by content."""
    a = np.asarray(sharedmem.full(1000, 7.0, backend=backend))
    assert_content(pickle.dumps, a)


def test_installed_respects_by_content(backend, installed):
    """by_content() holds for plain arrays, too."""
    a = np.asarray(sharedmem.full(1000, 7.0, backend=backend))
    with sharedmem.by_content():
        assert_content(send, a)


def test_uninstall_is_complete(backend):
    """After uninstall() plain arrays go by content, however often either was called."""
    a = np.asarray(sharedmem.full(1000, 7.0, backend=backend))
    sharedmem.install()
    sharedmem.install()
    sharedmem.uninstall()
    assert_content(send, a)
    sharedmem.uninstall()
    assert_content(send, a)


def test_uninstall_gives_back_another_reducer():
    """uninstall() leaves a reducer that somebody else had registered."""
    ForkingPickler.register(np.ndarray, lambda array: (str, ("somebody else's",)))
    try:
        sharedmem.install()
        sharedmem.uninstall()
        assert pickle.loads(send(np.zeros(3))) == "somebody else's"
    finally:
        ForkingPickler._extra_reducers.pop(np.ndarray, None)


# ---- tickets ---------------------------------------------------------------


def test_plain_dumps_pin_nothing(backend, name):
    """Ten thousand pickles that nobody loads hold no ticket and keep nothing alive."""
    a = sharedmem.zeros(10, name=name, backend=backend)
    for _ in range(10_000):
        pickled = pickle.dumps(a)
    assert sharedmem.stat(name).tickets == 0
    del a
    assert not sharedmem.exists(name)
    with pytest.raises(sharedmem.SegmentNotFoundError):
        pickle.loads(pickled)


def test_sent_arrays_are_counted(backend):
    """stat() counts what was sent and not received, and knows since when."""
    a = sharedmem.zeros(10, backend=backend)
    sent = [send(view) for view in (a, a[1:], a[::2])]
    assert sharedmem.stat(a.name).tickets == 3
    assert sharedmem.stat(a.name).oldest_ticket is not None
    for left, pickled in zip((2, 1, 0), sent):
        pickle.loads(pickled)
        assert sharedmem.stat(a.name).tickets == left
    assert sharedmem.stat(a.name).oldest_ticket is None


def test_each_array_of_a_message_is_counted(backend):
    """A message with several views holds a ticket for each, and loading it frees them all."""
    a, b = sharedmem.zeros(10, backend=backend), sharedmem.zeros(10, backend=backend)
    sent = send([a, a[1:], {"b": b}])
    assert [sharedmem.stat(each.name).tickets for each in (a, b)] == [2, 1]
    pickle.loads(sent)
    assert [sharedmem.stat(each.name).tickets for each in (a, b)] == [0, 0]


def test_loading_twice_frees_one_ticket(backend):
    """A message that is loaded twice gives its array twice and frees its own ticket once."""
    a = sharedmem.full(10, 7.0, backend=backend)
    name, first, second = a.name, send(a), send(a)
    del a
    loaded = pickle.loads(first), pickle.loads(first)
    assert loaded[0].ctypes.data == loaded[1].ctypes.data
    assert sharedmem.stat(name).tickets == 1
    del loaded
    assert pickle.loads(second).tolist() == [7] * 10
    assert not sharedmem.exists(name)


def test_forget_takes_back(backend, name):
    """forget() frees the tickets of a message, and the array if nobody else has it."""
    a = sharedmem.zeros(10, name=name, backend=backend)
    one, many = send(a), send({"views": [a, a[1:]], "text": "and others", "plain": np.zeros(3)})
    assert sharedmem.stat(name).tickets == 3
    sharedmem.forget(many)
    assert sharedmem.stat(name).tickets == 1
    del a
    assert sharedmem.exists(name)
    sharedmem.forget(one)
    assert not sharedmem.exists(name)


def test_forget_takes_nobody_else_s_ticket(backend):
    """Forgetting twice, or what was received or had no ticket, frees no other ticket."""
    a = sharedmem.zeros(10, backend=backend)
    received, forgotten, plain, kept = send(a), send(a), pickle.dumps(a), send(a)
    pickle.loads(received)
    for pickled in forgotten, forgotten, received, plain:
        sharedmem.forget(pickled)
        assert sharedmem.stat(a.name).tickets == 1
    pickle.loads(kept)
    assert sharedmem.stat(a.name).tickets == 0


@pytest.mark.parametrize("cast", [bytes, bytearray, memoryview])
def test_forget_takes_what_forkingpickler_gives(backend, cast):
    """forget() takes any bytes-like object."""
    a = sharedmem.zeros(10, backend=backend)
    sharedmem.forget(cast(ForkingPickler.dumps(a)))
    sharedmem.forget(ForkingPickler.dumps(a))
    assert sharedmem.stat(a.name).tickets == 0


RUN = []


class Bomb:
    """Something that acts when it is unpickled."""

    def __reduce__(self):
        return RUN.append, ("unpickled",)


def test_forget_runs_nothing(backend):
    """forget() looks through a message without loading anything of it."""
    a = sharedmem.zeros(10, backend=backend)
    sharedmem.forget(send([Bomb(), a, Bomb()]))
    assert sharedmem.stat(a.name).tickets == 0 and RUN == []


def new_class(*bases):
    return type("Made", bases, {})


class Meta(type):
    """Its classes are pickled by value, as cloudpickle does it."""

    def __reduce__(cls):
        return new_class, cls.__bases__


class Made(metaclass=Meta):
    """Its instances are made of what is not a class yet."""


class MadeWithKeywords(Made):
    def __getnewargs_ex__(self):
        return (), {"a": 1}


class MadeSet(set, metaclass=Meta):
    pass


class Filled(Made):
    """Pickled as something that is filled afterwards."""

    def __reduce__(self):
        return RUN.append, (1,), {"state": 1}, iter([1, 2]), iter([(1, 2)])


class Extension:
    """Has an extension code while a test runs."""


class TupleOfItsOwn(tuple):
    __slots__ = ()


class OddArguments:
    """Its arguments are no plain tuple in the pickle."""

    def __reduce__(self):
        return RUN.append, TupleOfItsOwn([1])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("cls", [Made, MadeWithKeywords, MadeSet, Filled, Extension, OddArguments])
def test_forget_looks_through_whatever_is_pickled(cls, protocol):
    """Classes by value, states, contents and extension codes: nothing is run, and all is taken back."""
    a, message = sharedmem.zeros(10), io.BytesIO()
    copyreg.add_extension(__name__, "Extension", 0xF0)
    try:
        ForkingPickler(message, protocol).dump([a, cls(), {"key": [a[1:], cls()]}, a[2:]])
        assert sharedmem.forget(message.getvalue()) == 3
        assert sharedmem.stat(a.name).tickets == 0 and RUN == []
        assert type(pickle.loads(pickle.dumps(Extension()))) is Extension
    finally:
        copyreg.remove_extension(__name__, "Extension", 0xF0)


def test_forget_takes_back_what_it_can():
    """What comes before the end of half a message, and what comes after a bad descriptor."""
    a = sharedmem.zeros(10)
    with pytest.raises(ValueError, match="whole"):
        sharedmem.forget(send([a, "the rest"])[:-5])
    assert sharedmem.stat(a.name).tickets == 0
    function, packed = facts_of(a)
    with pytest.raises(sharedmem.SegmentFormatError):
        sharedmem.forget(send([Call(function, packed[1:]), a]))
    assert sharedmem.stat(a.name).tickets == 0


def test_many_in_flight(backend):
    """More messages than a segment has room for tickets are all received."""
    a = sharedmem.full(10, 7.0, backend=backend)
    sent = [send(a) for _ in range(1000)]
    assert sharedmem.stat(a.name).tickets == 1000
    for pickled in sent:
        pickle.loads(pickled)
    assert sharedmem.stat(a.name).tickets == 0


# ---- through multiprocessing -----------------------------------------------


@pytest.fixture
def context(start_method):
    """multiprocessing with each start method."""
    return multiprocessing.get_context(start_method)


@contextlib.contextmanager
def running(context, target, *args):
    """A worker that has to end well by itself within the block."""
    worker = context.Process(target=target, args=args)
    worker.start()
    try:
        yield worker
        worker.join(WAIT)
        assert worker.exitcode == 0
    finally:
        worker.kill()
        worker.join()
        worker.close()


@contextlib.contextmanager
def queue_of(context, kind):
    """A queue that is closed at the end, its thread included."""
    queue = getattr(context, kind)()
    yield queue
    queue.close()
    if hasattr(queue, "join_thread"):
        queue.join_thread()


@contextlib.contextmanager
def pipe_of(context):
    """Both ends of a pipe, closed at the end."""
    here, there = context.Pipe()
    with here, there:
        yield here, there


def in_flight(array):
    return sharedmem.stat(array.name).tickets


def relay(inbox, outbox):
    """Take an array three times, change it, and send it back."""
    first, second = inbox.get(), inbox.get()
    assert type(first) is SharedArray and first.ctypes.data == second.ctypes.data
    assert not first.flags.c_contiguous
    first += 1
    outbox.put(second)
    del first, second
    last = inbox.get()
    last += 1
    outbox.put(last)


@pytest.mark.parametrize("kind", ["Queue", "SimpleQueue", "JoinableQueue"])
def test_queue(backend, context, kind):
    """Views through a queue and back are the same memory, received twice they are one mapping."""
    a = sharedmem.zeros((4, 6), backend=backend)
    view = a[::2, ::-1]
    with queue_of(context, kind) as there, queue_of(context, kind) as back:
        with running(context, relay, there, back):
            there.put(view)
            there.put(view)
            there.put(view)
            first, second = back.get(), back.get()
    assert facts(first) == facts(second) == facts(view)
    assert a.sum() == 24 and (first == 2).all()
    assert in_flight(a) == 0


def make_and_leave(queue, backend):
    """Create an array, put it on the queue, and end."""
    queue.put(sharedmem.full(1000, 7.0, backend=backend)[1:])


@pytest.mark.parametrize("kind", ["Queue", "SimpleQueue"])
def test_array_is_received_after_its_sender_has_ended(backend, context, kind):
    """What a worker made and sent is there when the worker is not."""
    with queue_of(context, kind) as queue:
        with running(context, make_and_leave, queue, backend):
            pass
        a = queue.get()
        assert a.shape == (999,) and (a == 7).all()
        assert (in_flight(a), a.backend) == (0, backend)


# The queue's thread pickles the array only when the exit functions are at work.
QUEUE_AND_END = """
import atexit, multiprocessing.util, sys, threading
exiting = threading.Event()
atexit.register(exiting.set)
import sharedmem

class Late:
    def __reduce__(self):
        exiting.wait()
        return str, ()

def receive(queue):
    queue.get()
    array = queue.get()
    print(type(array).__name__, array.sum())

fork = multiprocessing.get_context('fork')
queue = fork.Queue()
fork.Process(target=receive, args=(queue,)).start()
queue.put(Late())
queue.put(sharedmem.ones(1000, backend=sys.argv[1]))
"""


def test_array_queued_just_before_the_end(backend):
    """What a program queues as its last act goes by name, though the program is about to leave."""
    command = [sys.executable, "-c", QUEUE_AND_END, backend]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "SharedArray 1000.0\n"), done.stderr


def relay_through_pipe(pipe):
    view = pipe.recv()
    view += 1
    pipe.send([view, "and", view[0]])


def test_pipe(backend, context):
    """Views through a pipe and back are the same memory."""
    a = sharedmem.zeros((4, 6), backend=backend)
    with pipe_of(context) as (here, there), running(context, relay_through_pipe, there):
        here.send(a.T)
        whole, _, part = here.recv()
    assert facts(whole) == facts(a.T) and facts(part) == facts(a.T[0])
    assert (a == 1).all() and in_flight(a) == 0


def load_and_mark(pipe, rank):
    array = pipe.recv()
    again = pickle.loads(pipe.recv_bytes())
    array[rank] = rank + 1
    assert again[rank] == rank + 1 and again.ctypes.data == array.ctypes.data


def test_one_message_for_many(backend, context):
    """One message that is sent to several receivers gives the array to all and frees its own ticket only."""
    a = sharedmem.zeros(3, int, backend=backend)
    broadcast, other = send(a), send(a)
    with contextlib.ExitStack() as stack:
        for rank in range(3):
            here, there = stack.enter_context(pipe_of(context))
            stack.enter_context(running(context, load_and_mark, there, rank))
            here.send_bytes(broadcast)
            here.send_bytes(broadcast)
    assert a.tolist() == [1, 2, 3] and in_flight(a) == 1
    sharedmem.forget(other)


def count_up(lock, array, pickled):
    """Write into what came as an argument and into what came as a pickle."""
    if pickled is not None:
        array = pickle.loads(pickled)
    for number in range(3):
        with lock:
            array[number] += number + 1


@pytest.mark.parametrize("as_pickle", [False, True])
def test_process_arguments(backend, context, as_pickle):
    """Workers write under a lock into the array that they were given, as argument or as pickle."""
    a = sharedmem.zeros(4, int, backend=backend)
    lock = context.Lock()
    pickled = pickle.dumps(a) if as_pickle else None
    argument = None if as_pickle else a
    with running(context, count_up, lock, argument, pickled):
        with running(context, count_up, lock, argument, pickled):
            pass
    assert a.tolist() == [2, 4, 6, 0] and in_flight(a) == 0


def add_one(rows):
    rows += 1
    return rows


def make(value, backend):
    return sharedmem.full((2, 3), value, order="F", backend=backend)


def same_address(first, second):
    return first.ctypes.data == second.ctypes.data, os.getpid()


def test_pool(backend, context):
    """Arguments and results of a pool are the same memory, and results outlive the pool."""
    a = sharedmem.zeros((4, 6), backend=backend)
    with context.Pool(2) as pool:
        rows = pool.map(add_one, [a[:2], a[2:]])
        columns = list(pool.imap_unordered(add_one, [a[:, :3], a[:, 3:]]))
        assert pool.apply(same_address, (a, a))[0]
        made = pool.starmap_async(make, [(1, backend), (2, backend)]).get(WAIT)
        pool.close()
        pool.join()
    assert (a == 2).all() and len(columns) == 2
    assert [facts(view) for view in rows] == [facts(a[:2]), facts(a[2:])]
    assert [each.flags.f_contiguous for each in made] == [True, True]
    assert [each.sum() for each in made] == [6, 12]
    assert [in_flight(each) for each in (a, *made)] == [0, 0, 0]


def test_executor(backend, context):
    """Arguments and results of concurrent.futures are the same memory, and outlive the executor."""
    a = sharedmem.zeros((4, 6), backend=backend)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        rows = list(executor.map(add_one, [a[:2], a[2:]]))
        assert executor.submit(same_address, a, a).result()[0]
        made = executor.submit(make, 3, backend).result()
    assert (a == 1).all() and made.sum() == 18
    assert [facts(view) for view in rows] == [facts(a[:2]), facts(a[2:])]
    assert [in_flight(each) for each in (a, made)] == [0, 0]


def check_private(array):
    """What arrives by content is plain; writing to it reaches nobody."""
    assert type(array) is np.ndarray
    array[:] = 5
    return array.sum()


def test_content_through_a_pool(backend, context):
    """Unlinked arrays reach workers as private copies, and so do plain views without install()."""
    a = sharedmem.ones(4, backend=backend)
    plain = np.asarray(a)
    b = sharedmem.ones(4, backend=backend)
    b.unlink()
    with context.Pool(1) as pool:
        assert pool.map(check_private, [plain, b, b[::2]]) == [20, 20, 10]
        pool.close()
        pool.join()
    assert a.sum() == b.sum() == 4


def add_one_to_plain(array):
    assert type(array) is np.ndarray
    array += 1
    return array[:1]


def test_installed_through_a_pool(backend, context, installed):
    """With install() plain views reach workers as the same memory; ordinary arrays are copied as ever."""
    a = np.asarray(sharedmem.zeros((4, 6), backend=backend))
    ordinary = np.zeros((4, 6))
    with context.Pool(1) as pool:
        results = pool.map(add_one_to_plain, [a[::2], a[1::2], ordinary])
        pool.close()
        pool.join()
    assert (a == 1).all() and (ordinary == 0).all()
    assert [each.tolist() for each in results] == [[[1] * 6]] * 3


# ---- what is no descriptor -------------------------------------------------


def facts_of(array):
    """The one bytes object that a plain descriptor is."""
    function, (packed,) = array.__reduce_ex__(5)
    return function, packed


def is_refused(function, packed):
    """Loading it is refused, and so is forgetting it."""
    with pytest.raises(sharedmem.SegmentFormatError):
        function(packed)
    message = pickle.dumps(Call(function, packed))
    with pytest.raises(sharedmem.SegmentFormatError):
        sharedmem.forget(message)


class Call:
    """Pickled as the call of a function with one argument."""

    def __init__(self, function, argument):
        self.reduced = function, (argument,)

    def __reduce__(self):
        return self.reduced


def test_descriptor_of_another_length_is_refused(backend):
    """A descriptor that was cut off anywhere, or goes on, is an error and not an array."""
    a = sharedmem.zeros((4, 6), backend=backend)
    function, packed = facts_of(a[::2, ::-1])
    for length in range(len(packed)):
        is_refused(function, packed[:length])
    is_refused(function, packed + b"x")


# Byte of the head, and values that it never has.
IMPOSSIBLE = {
    "version": (0, (0, 2, 255)),
    "backend": (1, (0, 3, 255)),
    "mode": (2, (2, 3, 255)),
    "flags": (3, (4, 128, 255)),
    "dimensions": (4, (0, 1, 3, 65, 255)),
    "name": (5, (0, 1, 201, 255)),
    "dtype": (6, (0, 1, 255)),
    "padding": (7, (1, 255)),
}


@pytest.mark.parametrize("key", IMPOSSIBLE)
def test_descriptor_with_an_impossible_fact_is_refused(backend, key):
    """A descriptor of another version, backend, mode, or that does not add up is an error."""
    a = sharedmem.zeros((4, 6), backend=backend)
    function, packed = facts_of(a)
    at, values = IMPOSSIBLE[key]
    for value in values:
        is_refused(function, packed[:at] + bytes([value]) + packed[at + 1 :])


@pytest.mark.parametrize("other", [None, 7, "text", bytearray(100), (1, "name", 2)])
def test_descriptor_of_another_type_is_refused(other):
    """What is not even bytes is the same error."""
    function, _ = facts_of(sharedmem.zeros(3))
    is_refused(function, other)


@pytest.mark.parametrize("field", ["offset", "shape", "strides"])
def test_descriptor_beyond_the_segment_is_refused(backend, field):
    """Offsets, extents and strides that lead out of the segment are refused by NumPy's own check."""
    a = sharedmem.zeros((4, 6), backend=backend)
    function, packed = facts_of(a[::2, ::-1])
    at = {"offset": 24, "shape": 40, "strides": 56}[field]
    for value in (1 << 20, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 8):
        wrong = packed[:at] + value.to_bytes(8, sys.byteorder) + packed[at + 8 :]
        with pytest.raises((ValueError, TypeError, OverflowError)):
            function(wrong)


def test_descriptor_of_another_nonce_finds_nothing(backend, name):
    """A descriptor whose nonce is not the segment's leads nowhere."""
    function, packed = facts_of(sharedmem.zeros(3, name=name, backend=backend))
    kept = sharedmem.zeros(3, name=name, backend=backend, replace=True)
    with pytest.raises(sharedmem.SegmentNotFoundError):
        function(packed)
    assert kept.is_current()


# ---- into files ------------------------------------------------------------------


class _Labelled(sharedmem.SharedArray):
    """A subclass goes the same way."""


@pytest.mark.parametrize("compress", [0, 3])
def test_joblib_writes_the_content_into_files(backend: str, tmp_path: Path, compress: int) -> None:
    """What is loaded does not need the segment, however deep the array stands."""
    joblib = pytest.importorskip("joblib")
    array = sharedmem.full((3, 2), 7.0, backend=backend)
    thing = {"whole": array, "part": [array[1:]], "class": array.view(_Labelled)}
    joblib.dump(thing, tmp_path / "file", compress=compress)
    del array, thing
    loaded = joblib.load(tmp_path / "file")
    assert (loaded["whole"] == 7).all()
    assert loaded["part"][0].shape == (2, 2)
    assert loaded["class"].sum() == 42
    assert {segment_of(each) for each in (loaded["whole"], loaded["part"][0], loaded["class"])} == {None}


def test_joblib_memory_keeps_the_content(backend: str, tmp_path: Path) -> None:
    """A cache outlives the array that the function has returned; messages go by name as ever."""
    joblib = pytest.importorskip("joblib")
    calls = []

    def compute(value: float) -> sharedmem.SharedArray:
        calls.append(value)
        return sharedmem.full(3, value, backend=backend)

    cached = joblib.Memory(tmp_path, verbose=0).cache(compute)
    assert (cached(5.0) == 5).all()
    assert (cached(5.0) == 5).all()
    assert calls == [5.0]
    array = sharedmem.zeros(3, backend=backend)
    assert pickle.loads(pickle.dumps(array)).name == array.name

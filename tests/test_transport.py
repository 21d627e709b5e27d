"""Messages of `dumps`: what arrives, whose memory it is, and what is left when something goes wrong."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import multiprocessing
import os
import pickle
import signal
import sys
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pytest

import sharedmem
from sharedmem import pickling, transport
from sharedmem._core.segment import (
    BACKENDS,
    UNINITIALIZED,
    UNPUBLISHED,
    Parcel,
    segment_of,
    sole_parcels,
)
from sharedmem.errors import SegmentNotFoundError
from sharedmem.participant import context

N = 50_000  # of eight bytes each: large


def sent(thing: Any, **how: Any) -> Any:
    return sharedmem.loads(sharedmem.dumps(thing, **how))


def segments() -> list[sharedmem.SegmentInfo]:
    """What there is, but for idle memory."""
    sharedmem.trim()
    return sharedmem.list_segments(internal=True)


class Labelled(np.ndarray):
    """Pickled as ndarray does it."""

    def __array_finalize__(self, other: Any) -> None:
        self.label = getattr(other, "label", "from none")


class OwnWay(np.ndarray):
    """Pickled in a way of its own."""

    def __reduce__(self) -> Any:
        return rebuild_own_way, (np.asarray(self),)


def rebuild_own_way(data: np.ndarray) -> OwnWay:
    array = data.view(OwnWay)
    array.way = "its own"
    return array


@dataclasses.dataclass
class Record:
    rows: np.ndarray
    more: dict[str, Any]


RECORD = np.dtype([("a", ">i4"), ("b", "f8", (2,)), ("c", "S3")], align=True)
ARRAYS = {
    "c-order": np.random.default_rng(1).random((N // 10, 10)),
    "f-order": np.asfortranarray(np.random.default_rng(2).random((N // 10, 10))),
    "steps": np.arange(4.0 * N).reshape(-1, 4)[::2, ::-1],
    "big-endian": np.arange(N, dtype=">i8"),
    "datetime": np.arange(N).astype("M8[ms]"),
    "timedelta": np.arange(N).astype("m8[25us]"),
    "record": np.zeros(N, RECORD),
    "text": np.full(N, "käse", dtype="U4"),
    "void": np.zeros(N, "V9"),
    "bool": np.ones((8, N), bool),
    "complex": np.arange(N) * 1j,
    "matrix": np.arange(float(N)).reshape(2, -1).view(np.matrix),
    "recarray": np.zeros(N, RECORD).view(np.recarray),
    "subclass": np.arange(float(N)).view(Labelled),
    "small": np.arange(3.0),
    "scalar": np.array(1.5),
    "empty": np.zeros((0, N)),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_arrive_as_they_were(kind: str) -> None:
    """Class, dtype, shape, order and bytes are those of a pickled copy, and it can be written to."""
    array = ARRAYS[kind]
    before = array.tobytes()
    arrived, plain = sent(array), pickle.loads(pickle.dumps(array, 5))
    assert (type(arrived), arrived.dtype, arrived.shape) == (type(plain), plain.dtype, plain.shape)
    assert arrived.flags.c_contiguous == plain.flags.c_contiguous
    assert arrived.flags.f_contiguous == plain.flags.f_contiguous
    assert arrived.tobytes() == before
    assert arrived.flags.writeable
    arrived[...] = np.zeros((), arrived.dtype)
    assert array.tobytes() == before


@pytest.mark.parametrize("nbytes", [100, 8 * N])
@pytest.mark.parametrize("step", [1, 2])
def test_what_was_read_only_arrives_read_only(nbytes: int, step: int) -> None:
    """Contiguous or not, large or small."""
    array = np.zeros(nbytes, "u1")[::step]
    array.flags.writeable = False
    assert not sent(array).flags.writeable


def test_large_arrays_do_not_stand_in_the_message() -> None:
    """Nor does a nested one, nor one that is not contiguous."""
    thing = {
        "a": [ARRAYS["f-order"], (ARRAYS["steps"],)],
        "b": Record(ARRAYS["record"], {"x": ARRAYS["text"]}),
    }
    message = sharedmem.dumps(thing)
    assert len(message) < 2000
    arrived = sharedmem.loads(message)
    np.testing.assert_array_equal(arrived["a"][1][0], ARRAYS["steps"])
    assert (arrived["b"].rows == ARRAYS["record"]).all()
    assert (arrived["b"].more["x"] == ARRAYS["text"]).all()


def test_masked_arrays_keep_mask_and_fill_value() -> None:
    """Both in shared memory, and both independent of the original."""
    array = np.ma.array(np.arange(float(N)), mask=np.arange(N) % 3 == 0, fill_value=-1)
    message = sharedmem.dumps(array, min_bytes=N // 2)
    assert len(message) < 1000
    arrived = sharedmem.loads(message)
    assert type(arrived) is np.ma.MaskedArray
    assert arrived.fill_value == -1
    np.testing.assert_array_equal(arrived.mask, array.mask)
    np.testing.assert_array_equal(arrived.data, array.data)
    arrived[1] = np.ma.masked
    assert not array.mask[1]


def test_masked_array_without_a_mask() -> None:
    """Arrives with a mask of False, as unpickled ones do."""
    arrived = sent(np.ma.array(np.arange(float(N))))
    assert not arrived.mask.any()


def test_object_arrays_go_by_content_of_their_items() -> None:
    """Large arrays in them go through shared memory."""
    thing = np.array([ARRAYS["c-order"], "text", None], dtype=object)
    message = sharedmem.dumps(thing)
    assert len(message) < 1000
    arrived = sharedmem.loads(message)
    np.testing.assert_array_equal(arrived[0], thing[0])
    assert arrived[1:].tolist() == ["text", None]


def test_a_class_that_pickles_itself_does_so() -> None:
    """Its own way is used, and what that refers to goes through shared memory."""
    message = sharedmem.dumps(np.arange(float(N)).view(OwnWay))
    assert len(message) < 1000
    assert sharedmem.loads(message).way == "its own"


def test_subclass_is_finalized_as_in_unpickling() -> None:
    """`__array_finalize__` gets None, not an array without attributes."""
    assert sent(ARRAYS["subclass"]).label == "from none"


def test_buffers_that_are_not_arrays() -> None:
    """What pickles its buffers out of band goes through shared memory, read-only where it was."""
    thing = [pickle.PickleBuffer(bytearray(b"x" * 8 * N)), pickle.PickleBuffer(b"y" * 8 * N)]
    message = sharedmem.dumps(thing)
    assert len(message) < 1000
    first, second = sharedmem.loads(message)
    assert bytes(first) == b"x" * 8 * N and not memoryview(first).readonly
    assert bytes(second) == b"y" * 8 * N and memoryview(second).readonly


def test_bytes_stand_in_the_pickle() -> None:
    """bytes and bytearray go as the standard library sends them."""
    for thing in (b"x" * 8 * N, bytearray(8 * N)):
        assert sent(thing) == thing
        assert len(sharedmem.dumps(thing)) > 8 * N


def test_one_array_twice_is_one_array() -> None:
    """Identity within a message is kept, as pickle keeps it."""
    array = np.ones(N)
    first, second = sent([array, array])
    assert first is second


def test_two_arrays_are_independent() -> None:
    """Neither of each other, nor of the original, does one keep memory."""
    array = np.ones(N)
    first, second = sent([array, array.copy()])
    first[0] = 5
    assert (second[0], array[0]) == (1, 1)
    count = len(segments())
    del first
    gc.collect()
    assert len(segments()) == count - 1


def test_shared_arrays_go_by_name() -> None:
    """The array, a view of it, and a plain view of it are the same memory on arrival."""
    array = sharedmem.zeros(N)
    whole, part, plain = sent((array, array[5:], np.asarray(array)))
    array[5] = 7
    assert (whole[5], part[0], plain[5]) == (7, 7, 7)
    assert type(plain) is np.ndarray
    assert type(part) is sharedmem.SharedArray


def test_shared_arrays_by_content() -> None:
    """Within by_content() they are copied like any other."""
    array = sharedmem.zeros(N)
    with sharedmem.by_content():
        message = sharedmem.dumps(array)
    arrived = sharedmem.loads(message)
    arrived[0] = 1
    assert array[0] == 0
    assert type(arrived) is np.ndarray
    assert len(message) < 1000


def test_what_was_received_is_not_shared() -> None:
    """It is copied when it is sent again, and pickles by content."""
    arrived = sent(np.zeros(N))
    assert segment_of(arrived) is None
    again = sent(arrived)
    again[0] = 1
    assert arrived[0] == 0
    assert len(pickle.dumps(arrived)) > arrived.nbytes


def test_min_bytes_decides() -> None:
    """From that size on an array is no part of the message."""
    array = np.ones(1000, "u1")
    assert len(sharedmem.dumps(array, min_bytes=1001)) > 1000
    message = sharedmem.dumps(array, min_bytes=1000)
    assert len(message) < 300
    assert (sharedmem.loads(message) == 1).all()
    with pytest.raises(ValueError, match="min_bytes"):
        sharedmem.dumps(array, min_bytes=-1)


def test_a_message_is_loaded_once() -> None:
    """The second time is an error, whether or not the first receiver still has it."""
    message = sharedmem.dumps(np.ones(N))
    array = sharedmem.loads(message)
    with pytest.raises(SegmentNotFoundError, match="only once"):
        sharedmem.loads(message)
    assert array.sum() == N
    del array
    with pytest.raises(SegmentNotFoundError, match="only once"):
        sharedmem.loads(message)


def test_a_message_without_parcels_is_loaded_as_often_as_one_likes() -> None:
    """Nothing in it has one owner."""
    array = sharedmem.zeros(N)
    message = sharedmem.dumps({"small": np.ones(3), "shared": array})
    for _ in range(2):
        assert sharedmem.loads(message)["small"].sum() == 3


def test_forget_frees_what_will_not_be_loaded() -> None:
    """Also the buffers outside of the pickle; what was received is not touched."""
    message = sharedmem.dumps([np.ones(N), pickle.PickleBuffer(bytearray(8 * N))])
    assert sum(info.tickets for info in segments()) == 2
    assert sharedmem.forget(message) == 2
    assert segments() == []
    message = sharedmem.dumps(np.ones(N))
    array = sharedmem.loads(message)
    sharedmem.forget(message)
    assert array.sum() == N


def test_a_message_that_fails_leaves_nothing() -> None:
    """No parcel, and no ticket of a shared array."""
    shared = sharedmem.zeros(3)
    with pytest.raises((TypeError, pickle.PicklingError)):
        sharedmem.dumps([np.ones(N), shared, sys._getframe()])
    assert [(info.name, info.tickets) for info in segments()] == [(shared.name, 0)]


def closed_over(array: np.ndarray) -> Any:
    return lambda: array


@pytest.mark.parametrize("view", [False, True])
def test_a_closure_keeps_its_shared_array_in_flight(view: bool) -> None:
    """The sender may drop it: loading takes the ticket, forgetting does, and so does failing."""
    pytest.importorskip("cloudpickle")
    array = sharedmem.ones(3)
    function = closed_over(np.asarray(array) if view else array)
    messages = [sharedmem.dumps(function) for _ in range(2)]
    with pytest.raises((TypeError, pickle.PicklingError)):
        sharedmem.dumps([function, sys._getframe()])
    assert sharedmem.stat(array.name).tickets == 2
    del array, function
    assert sharedmem.forget(messages.pop()) == 1
    assert sharedmem.loads(messages.pop())().sum() == 3
    assert segments() == []


class Fresh:
    """Pickled as a shared array that is made for the pickle alone."""

    def __reduce__(self) -> Any:
        return np.sum, (sharedmem.ones(10),)


def test_what_is_lent_is_kept_by_the_packer() -> None:
    """A shared array that `__reduce__` has made lives as long as who lends keeps what is kept."""
    packer = transport.Packer(0, lend=True)
    message = packer.dump(Fresh())
    assert pickle.loads(message) == 10
    assert sum(info.tickets for info in segments()) == 0
    packer.kept.clear()
    assert segments() == []


def test_a_sealed_pickle_is_opened_or_taken_back() -> None:
    """Its tickets go when it is opened, dropped unopened, forgotten with its message, or breaks."""
    array = sharedmem.ones(3)

    def message(thing: Any) -> bytes:
        return pickle.dumps([transport.Sealed(pickling.dumps(thing))])

    def tickets() -> int:
        return sharedmem.stat(array.name).tickets

    [received] = pickle.loads(message([array]))
    assert tickets() == 1
    assert received.open() is received.open()
    assert tickets() == 0
    [received] = pickle.loads(message([array]))
    del received
    assert tickets() == 0
    assert sharedmem.forget(message([array])) == 1
    [received] = pickle.loads(message([Breaks(), array]))
    assert tickets() == 1
    with pytest.raises(ValueError, match="no number"):
        received.open()
    assert tickets() == 0


class Breaks:
    """Can be pickled, and not unpickled."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


def test_no_room_means_by_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no segment can be made the message carries the bytes."""
    monkeypatch.setattr(transport, "new_parcel", lambda nbytes, mark: None)
    for array in (ARRAYS["steps"], np.ma.array(ARRAYS["c-order"])):
        message = sharedmem.dumps(array)
        assert len(message) > array.nbytes
        np.testing.assert_array_equal(sharedmem.loads(message), array)


def test_the_tally_says_how_bytes_went() -> None:
    """By name, copied and pickled."""
    packer = transport.Packer(1000)
    shared = sharedmem.zeros(500)
    message = packer.dump([shared, np.ones(N), pickle.PickleBuffer(bytearray(2000))])
    assert packer.tally.numbers() == (4000, 0, 8 * N + 2000, len(message))
    sharedmem.forget(message)


def receive_and_answer(inbox: Any, outbox: Any) -> None:
    array = sharedmem.loads(inbox.recv_bytes())
    array += 1
    outbox.send_bytes(sharedmem.dumps(array))


def test_to_a_process_and_back(start_method: str) -> None:
    """The sender may let go before it is received, and the receiver before the answer is."""
    context = multiprocessing.get_context(start_method)
    inbox, outbox = context.Pipe(duplex=False), context.Pipe(duplex=False)
    process = context.Process(target=receive_and_answer, args=(inbox[0], outbox[1]))
    process.start()
    inbox[1].send_bytes(sharedmem.dumps(np.zeros(N)))
    answer = outbox[0].recv_bytes()
    process.join()
    assert sharedmem.loads(answer).sum() == N
    for end in (*inbox, *outbox):
        end.close()


def test_killed_receiver_leaves_nothing() -> None:
    """What it had received goes with it."""
    message = sharedmem.dumps(np.zeros(N))
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        array = sharedmem.loads(message)
        os.write(told, b"%d" % len(array))
        signal.pause()
    assert os.read(ready, 10) == b"%d" % N
    os.close(ready)
    os.close(told)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    sharedmem.reclaim()
    assert segments() == []


# ---- whose memory it is alone --------------------------------------------------


def own() -> np.ndarray:
    array: np.ndarray = sent(np.zeros(N))
    return array


def test_sole_parcels_of_what_nobody_else_holds() -> None:
    """An array, a view whose array is gone, and the items of a plain container."""
    for cell in ([own()], [own()[3:]], [(own(),)], [[own()]], [{"a": own()}]):
        assert [type(each) for each in sole_parcels(cell).values()] == [Parcel]


def test_no_sole_parcel_where_anybody_else_could_look() -> None:
    """Another name, a view, a buffer, an item twice, a container that is held, a subclass."""
    array = own()
    assert sole_parcels([array]) == {}
    view, cell = array[1:], [array]
    del array
    assert sole_parcels(cell) == {}
    del view
    buffer = memoryview(cell[0])
    assert sole_parcels(cell) == {}
    del buffer
    assert len(sole_parcels(cell)) == 1
    cell = [[cell[0], cell[0]]]
    assert sole_parcels(cell) == {}
    held = (own(),)
    assert sole_parcels([held]) == {}
    assert sole_parcels([own().view(Labelled)]) == {}
    assert sole_parcels([np.zeros(3)]) == sole_parcels([None]) == {}


def test_a_sole_parcel_goes_without_a_copy() -> None:
    """The memory that arrives is the memory that was sent."""
    cell = [own()[10:]]
    cell[0][0] = 5
    packer = transport.Packer(1000, sole=sole_parcels(cell))
    message = packer.dump(cell.pop())
    assert packer.tally.copied == 0
    assert packer.tally.handed_over == 8 * (N - 10)
    del packer
    arrived = sharedmem.loads(message)
    assert arrived[0] == 5
    assert arrived.shape == (N - 10,)


# ---- what a forked child has of it ------------------------------------------------


@pytest.fixture
def parcels_on(backend: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each backend in turn makes the parcels."""

    def made(nbytes: int, mark: bytes = b"|u1") -> Parcel:
        flags = UNINITIALIZED | UNPUBLISHED
        return Parcel(context.create(None, BACKENDS[backend], flags, 0o600, mark, 1, (nbytes,), None))

    monkeypatch.setattr(transport, "new_parcel", made)
    return backend


def in_child(body: Any, *args: Any) -> None:
    """Call it in a forked child, to the end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            body(*args)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def write_and_fork(array: np.ndarray, depth: int) -> None:
    assert (array == 0).all()
    array[::100] = depth
    if depth:
        array[:] = 0
        in_child(write_and_fork, array, depth - 1)
        assert (array == 0).all()
        array[0] = depth
    assert array[0] == depth


SIZES = [500, N, 1 << 20]  # mapped in one piece, apart from its lock, of huge pages


@pytest.mark.parametrize("length", SIZES)
def test_what_a_forked_child_writes_its_parent_does_not_see(parcels_on: str, length: int) -> None:
    """Nor do a second child, and a child of the child what that one writes."""
    array = sent(np.zeros(length), min_bytes=1000)
    assert [info.backend for info in segments()] == [parcels_on]
    for depth in (1, 2):
        in_child(write_and_fork, array, depth)
    assert (array == 0).all()


@pytest.mark.parametrize("length", SIZES)
def test_dropping_in_a_forked_child_leaves_the_parents(parcels_on: str, length: int) -> None:
    """What it drops, and other memory that it makes then, is not the parent's."""
    cell = [sent(np.ones(length), min_bytes=1000)]

    def drop() -> None:
        cell.clear()
        sharedmem.trim()
        assert len(sharedmem.list_segments(internal=True)) == 1
        other = sent(np.zeros(length), min_bytes=1000)
        other[:] = 7

    in_child(drop)
    assert (cell[0] == 1).all()
    cell.clear()
    sharedmem.reclaim()  # what was idle in the child
    assert segments() == []


@pytest.mark.parametrize("length", SIZES)
def test_a_forked_child_keeps_what_its_parent_drops(parcels_on: str, length: int) -> None:
    """Other memory that the parent makes then does not show through; the child's end leaves nothing."""
    cell = [sent(np.arange(float(length)), min_bytes=1000)]
    go, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(go, 1)
        os._exit(not (cell[0] == np.arange(length)).all())
    cell.clear()
    others = [sent(np.full(length, 7.0), min_bytes=1000) for _ in range(3)]
    os.write(told, b"g")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(go)
    os.close(told)
    others.clear()
    sharedmem.reclaim()
    assert segments() == []


def test_a_forked_child_sends_a_copy() -> None:
    """Memory that was the parent's alone does not go from hand to hand."""
    cell = [own()]
    assert len(sole_parcels(cell)) == 1

    def send() -> None:
        assert sole_parcels(cell) == {}
        cell[0][0] = 5
        assert sent(cell[0])[0] == 5

    in_child(send)
    assert cell[0][0] == 0


# ---- other packages --------------------------------------------------------------


def test_pandas_frames() -> None:
    """Columns travel through shared memory, and what arrives can be changed."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"a": np.arange(float(N)), "b": np.arange(N), "c": np.arange(N).astype("M8[ns]")}
    )
    message = sharedmem.dumps(frame)
    assert len(message) < 5000
    arrived = sharedmem.loads(message)
    pandas.testing.assert_frame_equal(arrived, frame)
    arrived.loc[0, "a"] = 9.0
    assert frame.loc[0, "a"] == 0


def test_arrow_tables() -> None:
    """Buffers of arrow travel outside of the pickle."""
    pyarrow = pytest.importorskip("pyarrow", exc_type=ImportError)
    table = pyarrow.table({"a": np.arange(N), "b": np.arange(float(N))})
    message = sharedmem.dumps(table)
    assert len(message) < 5000
    assert sharedmem.loads(message).equals(table)


def test_sparse_matrices() -> None:
    """Their three arrays travel as arrays do."""
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.random(2000, 2000, density=0.05, format="csr", random_state=1)
    message = sharedmem.dumps(matrix)
    assert len(message) < 10_000
    assert (sharedmem.loads(message) != matrix).nnz == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "bool"])
def test_tensors(dtype: str) -> None:
    """Tensors of the CPU are copied, once."""
    torch = pytest.importorskip("torch")
    tensor = torch.arange(4 * N).reshape(4, -1).to(getattr(torch, dtype))
    message = sharedmem.dumps(tensor, min_bytes=1000)
    assert len(message) < 2000
    arrived = sharedmem.loads(message)
    assert arrived.dtype == tensor.dtype and torch.equal(arrived, tensor)
    arrived.zero_()
    assert tensor.any()


def test_a_tensor_that_has_no_way_to_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a torch that was built without NumPy: it goes torch's way."""
    torch = pytest.importorskip("torch")

    def refuse(tensor: Any) -> None:
        raise RuntimeError("Numpy is not available")

    tensor = torch.arange(N)
    monkeypatch.setattr(torch.Tensor, "numpy", refuse)
    assert torch.equal(sent(tensor), tensor)


# ---- freeing what is marked -----------------------------------------------------------------


class Meanwhile:
    """The context; between a look at what there is and the next step somebody else acts."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def list(self) -> Any:
        found = context.list()
        self.act()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(context, name)


MARK = b"[('x', '|u1')]"


def marked(backend: str) -> tuple[tuple[int, str, int], int]:
    """Key and ticket of a parcel that nobody maps."""
    flags = UNINITIALIZED | UNPUBLISHED
    parcel = Parcel(context.create(None, BACKENDS[backend], flags, 0o600, MARK, 1, (1000,), None))
    ticket = parcel.segment.ticket()
    assert ticket
    return parcel.segment.key, ticket


def test_what_is_marked_is_freed(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, though somebody else frees a part between the look and the deed."""
    others, ours = marked(backend), marked(backend)
    monkeypatch.setattr(transport, "context", Meanwhile(lambda: context.forget(*others[0], others[1])))
    transport.reclaim_marked(MARK)
    assert segments() == [] and ours


def test_what_cannot_be_looked_at_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is called where another error is on its way."""

    def fail() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(transport, "context", Meanwhile(fail))
    transport.reclaim_marked(MARK)


# ---- addresses -------------------------------------------------------------------------------


class Handle:
    """As what wraps a C library has it."""

    def __init__(self, pointer: Any) -> None:
        self.pointer = pointer


class Interface:
    def __init__(self, array: np.ndarray) -> None:
        self.__array_interface__ = array.__array_interface__


class Pair(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t))


_SOMETHING = np.zeros(1 << 20)  # mapped by itself, and not where a small number may be the address


def address() -> int:
    """Of something that is there for good."""
    return _SOMETHING.ctypes.data


@pytest.mark.parametrize(
    "make",
    [
        lambda: ctypes.c_size_t(address()),
        lambda: ctypes.c_int64(address()),
        lambda: ctypes.c_void_p(address()),
        lambda: ctypes.pointer(ctypes.c_int()),
        lambda: Pair(address(), 3),
        lambda: Interface(np.zeros(3)),
        lambda: np.zeros(3).ctypes,
        lambda: memoryview(bytearray(3)),
    ],
)
def test_addresses_are_refused(make: Any) -> None:
    """What would be another thing's address in the receiver; nothing is left in flight."""
    with pytest.raises((pickle.PicklingError, TypeError, ValueError)):
        sharedmem.dumps([np.zeros(N), Handle(make())])
    with (
        sharedmem.MapReduce(np=1) as pool,
        pytest.raises(sharedmem.WorkerException, match="the result of item 0 cannot be sent"),
    ):
        pool.map(lambda _: Handle(make()), [0])
    assert not any(info.tickets for info in sharedmem.list_segments(internal=True))


@pytest.fixture
def plain_ctypes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As before `multiprocessing.sharedctypes` has made a value of any of the types: it forbids them then."""
    reducers = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
    for of in [of for of in reducers if issubclass(of, ctypes._SimpleCData)]:
        monkeypatch.delitem(reducers, of)


@pytest.mark.usefixtures("plain_ctypes")
def test_numbers_of_ctypes_are_numbers() -> None:
    """Small ones, those of less than a word, and those that are nobody's address."""
    for number in (ctypes.c_size_t(3), ctypes.c_int(7), ctypes.c_double(0.5), ctypes.c_int64(-1)):
        assert sent(number).value == number.value
    assert sent(ctypes.c_uint64(2**64 - 4096)).value == 2**64 - 4096


@pytest.mark.usefixtures("plain_ctypes")
def test_numbers_where_python_itself_is_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is at 4194304, where it was not built position-independent."""
    monkeypatch.setattr("sharedmem.pointers._is_mapped", lambda address: True)
    assert sent(ctypes.c_size_t(5_000_000)).value == 5_000_000


class Bytes:
    def __init__(self, data: Any) -> None:
        self.__array_interface__ = {"shape": (3,), "typestr": "|u1", "data": data, "version": 3}


class Answering:
    """Has no attributes, and an answer to each that is asked for."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name == "__dict__":
            return 1 / 0
        raise AttributeError(name)


def test_no_address_no_refusal() -> None:
    """An array interface may have the bytes themselves; and nobody's __getattr__ is asked."""
    assert np.array_equal(np.asarray(sent(Bytes(b"abc"))), [97, 98, 99])
    assert sent(Bytes(None)).__array_interface__["data"] is None
    assert type(sent([Answering()])[0]) is Answering

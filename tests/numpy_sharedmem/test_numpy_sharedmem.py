"""What numpy-sharedmem checked of its package ``sharedmem``, in nose's manner."""

import multiprocessing
import pickle

import numpy as np
from nose.plugins.attrib import attr
from nose.tools import assert_equal, assert_true

import sharedmem

TYPES = [np.float64, np.int32, np.float32, np.uint8, np.complex128]
fork = multiprocessing.get_context("fork")  # the children run local functions


def check_as_numpy(name, shape, dtype):
    shared = getattr(sharedmem, name)(shape, dtype)
    expected = getattr(np, name)(shape, dtype)
    assert_true(isinstance(shared, sharedmem.SharedArray))
    assert_equal(shared.dtype, expected.dtype)
    np.testing.assert_array_equal(shared, expected)


def run_in_a_child(function, *args):
    child = fork.Process(target=function, args=args)
    child.start()
    child.join()
    assert_equal(child.exitcode, 0)
    child.close()


@attr("large")
def test_sharedmem_bigarray_2_26_uint64():
    array = sharedmem.empty(2**26, np.uint64)
    assert_equal(array.nbytes, 2**29)
    array[-1] = 7
    assert_equal(array[-1], 7)


def test_shared_ones():
    for dtype in TYPES:
        yield check_as_numpy, "ones", (10,), dtype


def test_shared_zeros():
    for dtype in TYPES:
        yield check_as_numpy, "zeros", (10,), dtype


def test_KiB_shared_zeros():
    for dtype in TYPES:
        yield check_as_numpy, "zeros", (2**16,), dtype


def test_MiB_shared_zeros():
    check_as_numpy("zeros", (2**21,), "uint8")


def test_two_subprocesses_no_pickle():
    shared, lock = sharedmem.zeros((4,)), fork.Lock()

    def write(array):
        for i in range(3):
            with lock:
                array[i] = i + 1

    run_in_a_child(write, shared)
    with lock:
        assert_equal(shared.tolist(), [1, 2, 3, 0])


def test_two_subprocesses_with_pickle():
    shared, lock = sharedmem.zeros((4,)), fork.Lock()

    def write(pickled):
        array = pickle.loads(pickled)
        for i in range(3):
            with lock:
                array[i] = i + 1

    run_in_a_child(write, pickle.dumps(shared))
    with lock:
        assert_equal(shared.tolist(), [1, 2, 3, 0])

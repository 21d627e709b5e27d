"""Frames of an array are read whole or not at all."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest

import sharedmem


def test_a_frame_is_copied(backend: str) -> None:
    """read() gives the frame and its number; into `out` where that is given."""
    array = sharedmem.zeros((3, 4), backend=backend)
    with array.writing() as same:
        same[:] = 5
    out = np.empty((3, 4), "f4")
    copy, number = array.read(out)
    assert copy is out and number == array.frame == 1 and (out == 5).all()
    copy, number = sharedmem.attach(array.name, "r")[1:].read()
    assert type(copy) is np.ndarray and copy.shape == (2, 4) and number == 1
    assert array.wait(0) and array.wait(-1) and not array.wait(1, timeout=0.01)
    with pytest.raises(ValueError, match="shape"):
        array.read(np.empty(3))
    with pytest.raises(TypeError, match="list"):
        array.read([[0.0] * 4] * 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        array.wait(0.5)  # type: ignore[arg-type]


def test_an_exception_leaves_no_frame() -> None:
    """What was half-written is never read; the next frame is."""
    array = sharedmem.zeros(3)
    with pytest.raises(ZeroDivisionError), array.writing():
        array[0] = 1 / 0
    with pytest.raises(sharedmem.TornFrameError):
        array.read()
    with array.writing():
        array[:] = 1
    assert array.read()[0].tolist() == [1, 1, 1]


def test_one_writes_at_a_time() -> None:
    """A second writer waits; a reader does so too, until its time is over."""
    array = sharedmem.zeros(3)
    with array.writing():
        with pytest.raises(TimeoutError), array.writing(timeout=0.01):
            pass
        with pytest.raises(TimeoutError):
            array.read(timeout=0.01)


@pytest.mark.parametrize("mode", ["r", "c"])
def test_who_may_not_write_writes_no_frame(mode: Any) -> None:
    """Read-only arrays and private copies are refused."""
    array = sharedmem.zeros(3)
    other = sharedmem.attach(array.name, mode)
    with pytest.raises(PermissionError), other.writing():
        pass


def test_frames_of_another_process_are_whole_and_end_with_it() -> None:
    """Every frame that is read is of one number; after a SIGKILL in mid-frame there is none."""
    array = sharedmem.zeros(5000, int)
    pid = os.fork()
    if pid == 0:
        for number in range(1, 300):
            with array.writing():
                array[:] = number
        with array.writing():
            array[:2000] = -1
            os.kill(os.getpid(), signal.SIGKILL)
    out = np.empty(5000, int)

    def read_all() -> None:
        while True:
            _, number = array.read(out, timeout=30)
            assert (out == number).all()

    with pytest.raises(sharedmem.TornFrameError):
        read_all()
    os.waitpid(pid, 0)
    assert array.frame == 299

"""The system calls by themselves: what a library cannot be faster than without re-use."""

import mmap
import os

import numpy as np

PATH = f"/dev/shm/bench-bare-{os.getpid()}"


class About:
    version = "open, ftruncate, mmap"


def create(nbytes):
    fd = os.open(PATH, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    os.ftruncate(fd, nbytes)
    mapped = mmap.mmap(fd, nbytes)
    os.close(fd)
    return np.frombuffer(mapped)


class Create:
    def setup(self, nbytes):
        pass

    def time_drop(self, nbytes):
        create(nbytes)[0] = 1
        os.unlink(PATH)


class Fill:
    def setup(self, nbytes):
        self.source = np.ones(nbytes // 8)

    def time_copy(self, nbytes):
        create(nbytes)[:] = self.source
        os.unlink(PATH)


class Attach:
    def setup(self, nbytes):
        create(nbytes)[:] = 1

    def time_read(self, nbytes):
        fd = os.open(PATH, os.O_RDWR)
        mapped = mmap.mmap(fd, os.fstat(fd).st_size)
        os.close(fd)
        assert np.frombuffer(mapped)[0] == 1

    def teardown(self, nbytes):
        os.unlink(PATH)

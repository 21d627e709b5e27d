"""multiprocessing.sharedctypes: blocks of few large segments, handed out by an allocator."""

import platform
from multiprocessing.sharedctypes import RawArray

import numpy as np


class About:
    version = "Python " + platform.python_version()


def empty(nbytes):
    return np.frombuffer(RawArray("d", nbytes // 8))


class Create:
    def setup(self, nbytes):
        pass

    def time_drop(self, nbytes):
        empty(nbytes)[0] = 1


class Fill:
    def setup(self, nbytes):
        self.source = np.ones(nbytes // 8)

    def time_copy(self, nbytes):
        empty(nbytes)[:] = self.source


class Many:
    def setup(self, live):
        self.live = [empty(64) for _ in range(live)]

    def time_one_more(self, live):
        empty(64)

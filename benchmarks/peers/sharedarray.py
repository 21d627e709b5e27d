"""SharedArray from PyPI."""

import os
from importlib.metadata import version

import numpy as np
import SharedArray

NAME = f"shm://bench-sa-{os.getpid()}"


class About:
    version = "SharedArray " + version("SharedArray")


class Create:
    def setup(self, nbytes):
        pass

    def time_drop(self, nbytes):
        SharedArray.create(NAME, nbytes // 8)[0] = 1
        SharedArray.delete(NAME)


class Fill:
    def setup(self, nbytes):
        self.source = np.ones(nbytes // 8)

    def time_copy(self, nbytes):
        SharedArray.create(NAME, nbytes // 8)[:] = self.source
        SharedArray.delete(NAME)


class Attach:
    def setup(self, nbytes):
        SharedArray.create(NAME, nbytes // 8)[:] = 1

    def time_read(self, nbytes):
        assert SharedArray.attach(NAME)[0] == 1

    def teardown(self, nbytes):
        SharedArray.delete(NAME)

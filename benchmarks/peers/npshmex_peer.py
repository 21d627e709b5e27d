"""npshmex from PyPI."""

from importlib.metadata import version

import npshmex
import numpy as np


class About:
    version = "npshmex " + version("npshmex")


class Fill:
    def setup(self, nbytes):
        self.source = np.ones(nbytes // 8)

    def time_copy(self, nbytes):
        npshmex.shm_pop(npshmex.shm_put(self.source), keep=False)


class Attach:
    def setup(self, nbytes):
        self.key = npshmex.shm_put(np.ones(nbytes // 8))

    def time_read(self, nbytes):
        assert npshmex.shm_pop(self.key, keep=True)[0] == 1

    def teardown(self, nbytes):
        npshmex.shm_pop(self.key, keep=False)

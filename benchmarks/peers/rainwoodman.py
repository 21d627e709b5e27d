"""rainwoodman's sharedmem from PyPI: anonymous memory, shared by fork only."""

from importlib.metadata import version

import numpy as np
import sharedmem


class About:
    version = "sharedmem " + version("sharedmem")


class Create:
    def setup(self, nbytes):
        pass

    def time_drop(self, nbytes):
        sharedmem.empty(nbytes // 8)[0] = 1


class Fill:
    def setup(self, nbytes):
        self.source = np.ones(nbytes // 8)

    def time_copy(self, nbytes):
        sharedmem.copy(self.source)

"""joblib: an array as a file in /dev/shm that is mapped."""

import os
from importlib.metadata import version

import joblib
import numpy as np

PATH = f"/dev/shm/bench-joblib-{os.getpid()}"


class About:
    version = "joblib " + version("joblib")


class Fill:
    def setup(self, nbytes):
        self.source = np.ones(nbytes // 8)

    def time_copy(self, nbytes):
        joblib.dump(self.source, PATH)
        joblib.load(PATH, mmap_mode="r+")
        os.unlink(PATH)


class Attach:
    def setup(self, nbytes):
        joblib.dump(np.ones(nbytes // 8), PATH)

    def time_read(self, nbytes):
        assert joblib.load(PATH, mmap_mode="r+")[0] == 1

    def teardown(self, nbytes):
        os.unlink(PATH)

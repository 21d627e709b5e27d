"""Private arrays: NumPy's copy, and content through queues."""

import pickle

import numpy as np
from trip import Trip


class About:
    version = "numpy " + np.__version__


class Fill:
    def setup(self, nbytes):
        self.source = np.ones(nbytes // 8)

    def time_copy(self, nbytes):
        self.source.copy()


class RoundTrip(Trip):
    def item(self, nbytes):
        return np.zeros(nbytes // 8)


class RoundTripBytes(Trip):
    def item(self, nbytes):
        return b"x" * 100


class Dumps:
    def setup(self):
        self.array = np.ones(1000)
        self.pickled = pickle.dumps(self.array)

    def time_dumps(self):
        pickle.dumps(self.array)

    def time_loads(self):
        pickle.loads(self.pickled)

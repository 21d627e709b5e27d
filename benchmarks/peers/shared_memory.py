"""multiprocessing.shared_memory."""

import pickle
import platform
from multiprocessing.shared_memory import SharedMemory

import numpy as np
from trip import Trip


class About:
    version = "Python " + platform.python_version()


def drop(memory):
    memory.close()
    memory.unlink()


class Create:
    def setup(self, nbytes):
        pass

    def time_drop(self, nbytes):
        memory = SharedMemory(create=True, size=nbytes)
        np.ndarray(nbytes // 8, float, memory.buf)[0] = 1
        drop(memory)


class Fill:
    def setup(self, nbytes):
        self.source = np.ones(nbytes // 8)

    def time_copy(self, nbytes):
        memory = SharedMemory(create=True, size=nbytes)
        np.ndarray(nbytes // 8, float, memory.buf)[:] = self.source
        drop(memory)


class Attach:
    def setup(self, nbytes):
        self.memory = SharedMemory(create=True, size=nbytes)
        np.ndarray(nbytes // 8, float, self.memory.buf)[:] = 1

    def time_read(self, nbytes):
        memory = SharedMemory(self.memory.name)
        assert np.ndarray(nbytes // 8, float, memory.buf)[0] == 1
        memory.close()

    def teardown(self, nbytes):
        drop(self.memory)


class Dumps:
    def setup(self):
        self.memory = SharedMemory(create=True, size=8000)
        self.pickled = pickle.dumps(self.memory)

    def time_dumps(self):
        pickle.dumps(self.memory)

    def time_loads(self):
        pickle.loads(self.pickled).close()

    def teardown(self):
        drop(self.memory)


def attach(name):
    SharedMemory(name).close()


class RoundTrip(Trip):
    receive = staticmethod(attach)

    def item(self, nbytes):
        self.memory = SharedMemory(create=True, size=nbytes)
        return self.memory.name

    def teardown(self, way, nbytes):
        super().teardown(way, nbytes)
        drop(self.memory)

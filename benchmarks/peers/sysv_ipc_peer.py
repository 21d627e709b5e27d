"""numpy-sharedmem's way, SysV segments by key, over sysv_ipc from PyPI (itself it needs Python 2)."""

from importlib.metadata import version

import numpy as np
import sysv_ipc


class About:
    version = "sysv_ipc " + version("sysv_ipc")


def create(nbytes):
    return sysv_ipc.SharedMemory(None, sysv_ipc.IPC_CREX, size=nbytes)


def drop(memory):
    memory.detach()
    memory.remove()


class Create:
    def setup(self, nbytes):
        pass

    def time_drop(self, nbytes):
        memory = create(nbytes)
        np.frombuffer(memory)[0] = 1
        drop(memory)


class Fill:
    def setup(self, nbytes):
        self.source = np.ones(nbytes // 8)

    def time_copy(self, nbytes):
        memory = create(nbytes)
        np.frombuffer(memory)[:] = self.source
        drop(memory)


class Attach:
    def setup(self, nbytes):
        self.memory = create(nbytes)
        np.frombuffer(self.memory)[:] = 1

    def time_read(self, nbytes):
        memory = sysv_ipc.SharedMemory(self.memory.key)
        assert np.frombuffer(memory)[0] == 1
        memory.detach()

    def teardown(self, nbytes):
        drop(self.memory)

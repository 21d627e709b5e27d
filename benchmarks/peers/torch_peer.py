"""torch on the CPU. PyPI's wheel brings CUDA along: gigabytes."""

import torch
import torch.multiprocessing  # its reducers send the fd of the memory
from trip import Trip


class About:
    version = "torch " + torch.__version__


def shared(nbytes):
    return torch.empty(nbytes // 8, dtype=torch.float64).share_memory_()


class Create:
    def setup(self, nbytes):
        pass

    def time_drop(self, nbytes):
        shared(nbytes)[0] = 1


class Fill:
    def setup(self, nbytes):
        self.source = torch.ones(nbytes // 8, dtype=torch.float64)

    def time_copy(self, nbytes):
        torch.empty_like(self.source).share_memory_().copy_(self.source)


class RoundTrip(Trip):
    def item(self, nbytes):
        return shared(nbytes)

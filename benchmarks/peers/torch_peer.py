"""torch on the CPU; large, so only TORCH=1 installs it."""

import torch


class About:
    version = "torch " + torch.__version__


class Create:
    def setup(self, nbytes):
        pass

    def time_drop(self, nbytes):
        torch.empty(nbytes // 8, dtype=torch.float64).share_memory_()[0] = 1


class Fill:
    def setup(self, nbytes):
        self.source = torch.ones(nbytes // 8, dtype=torch.float64)

    def time_copy(self, nbytes):
        torch.empty_like(self.source).share_memory_().copy_(self.source)

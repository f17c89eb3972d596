"""Streams, events and memory of a GPU that works when it is told to, so that a wrong order is seen.

Kernels wait in their streams. DALI's memory is in a pool: to a block whose last owner is gone DALI's threads write at
once, whatever torch's streams still have to read.
"""

from collections import defaultdict, deque
from contextlib import contextmanager

import numpy as np
import torch

SHAPE = (2, 3, 4, 3)  # of a batch
OVERWRITTEN = 255


class FakeStream:
    def __init__(self, gpu, name):
        self.gpu, self.name = gpu, name

    def launch(self, kernel):
        self.gpu.waiting[self.name].append(kernel)

    def work(self, count=None):
        queue = self.gpu.waiting[self.name]
        for _ in range(len(queue) if count is None else min(count, len(queue))):
            queue.popleft()()


class FakeEvent:
    def __init__(self):
        self.stream, self.passed = None, True  # one that wasn't recorded has passed, as in CUDA

    def record(self, stream):
        self.stream, self.passed = stream, False
        stream.launch(self._pass)

    def _pass(self):
        self.passed = True

    def query(self):
        return self.passed

    def synchronize(self):
        while not self.passed:
            self.stream.work(1)


class Block:
    """An output of DALI's as it owns memory of the pool, until Python drops it."""

    def __init__(self, gpu, array):
        self.gpu, self.array = gpu, array

    @property
    def __cuda_array_interface__(self):
        return self.array.__array_interface__

    def as_tensor(self):
        return self

    def __del__(self):
        self.array[:] = OVERWRITTEN
        self.gpu.free.append(self.array)


class View:
    def __init__(self, owner):
        self.owner, self.__array_interface__ = owner, owner.__cuda_array_interface__


class FakeGpu:
    def __init__(self, monkeypatch):
        self.waiting = defaultdict(deque)
        self.free, self.blocks = [], 0
        self.stream = FakeStream(self, "default")  # torch's current one
        self.device = None  # the current one
        monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: self.stream)
        monkeypatch.setattr(torch.cuda, "device", self._make_current)
        monkeypatch.setattr(torch, "as_tensor", self._as_tensor)

    def store(self, values):
        """A block of the pool with these values, uint8."""
        fitting = [i for i, array in enumerate(self.free) if array.shape == values.shape]
        array = self.free.pop(fitting[-1]) if fitting else np.empty_like(values)
        self.blocks += not fitting
        array[:] = values
        return Block(self, array)

    @contextmanager
    def _make_current(self, device):
        before, self.device = self.device, device
        yield
        self.device = before

    def _as_tensor(self, owner, device):
        assert device.type == "cuda"
        return torch.from_numpy(np.asarray(View(owner)))


class CountingGraph:
    """Gives batches of zeros, ones, twos, ..."""

    def __init__(self, gpu):
        self.gpu, self.count, self.ran_on = gpu, 0, []

    def run(self, stream):
        self.ran_on.append((stream, self.gpu.device))
        self.count += 1
        return (self.gpu.store(np.full(SHAPE, self.count - 1, np.uint8)),)

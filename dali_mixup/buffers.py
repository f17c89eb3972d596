"""Output memory that is used again as soon as nobody holds it.

Fresh pages cost more than the arithmetic that fills them.
"""

import weakref
from collections import deque

import numpy as np
import torch

ALIGNMENT = 64  # bytes: a cache line, and what vector instructions like


class BufferPool:
    """Tensors of one size whose memory comes back when they, their views and their numpy arrays are all gone.

    torch holds on to the array behind `torch.from_numpy` for as long as any tensor uses its memory; the end of that
    array is the sign that the memory is free. A batch that someone keeps is therefore never written again.

    Args:
        keep: how many free blocks to keep; the others go back to the system.
    """

    def __init__(self, keep: int):
        self._free: deque[np.ndarray] = deque(maxlen=keep)

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A tensor of any content in memory that nobody else holds."""
        size = int(np.prod(shape)) * dtype.itemsize
        block = self._block(size)
        view = block[:size]
        weakref.finalize(view, self._free.append, block).atexit = False
        return torch.from_numpy(view).view(dtype).view(shape)

    def _block(self, size: int) -> np.ndarray:
        while self._free:
            try:
                block = self._free.pop()
            except IndexError:  # another thread was faster
                break
            if len(block) >= size:
                return block
        memory = np.empty(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        return memory[start : start + size]

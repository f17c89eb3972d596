"""What DALI made on a GPU, as a tensor on torch's current stream: without a copy, and without the host waiting.

DALI uses the memory of an output again in the order of its own streams, which know nothing of the kernels that torch
has read it with. The deleter that DALI gives to DLPack therefore waits for the whole device, in a thread of its own; no
wait like that may happen while a CUDA graph is captured. Here an event behind the last reader says when memory is free.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from nvidia.dali.pipeline import Pipeline

MOST_UNREAD = 4  # batches; a host that is further ahead of the GPU waits, or DALI would fill the memory
Unread = deque[tuple[Any, torch.cuda.Event]]


class GpuOutput:
    """Runs graphs for torch's current stream, and keeps each output until the GPU has read it.

    Args:
        device: of the graphs.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._taken: Any = None  # by torch; kernels that read it may still be launched
        self._unread: Unread = deque()  # what launched kernels read, and the event after them
        weakref.finalize(self, _drop_all, self._unread).atexit = False

    def drop_read(self) -> None:
        """Give memory back to DALI that the GPU has read."""
        while self._unread and (len(self._unread) >= MOST_UNREAD or self._unread[0][1].query()):
            _drop_first(self._unread)

    def run(self, graph: Pipeline) -> tuple[torch.Tensor, ...]:
        """The next batch of a graph, (B, H, W, 3) uint8 of each view, for kernels on the stream that is current now.

        The stream waits for DALI, the host only until DALI has launched its work. After `release` no kernel may be
        launched on the tensors.
        """
        with torch.cuda.device(self.device):  # DALI takes the default stream for that of the current device
            outputs = graph.run(torch.cuda.current_stream())
        self._taken = [images.as_tensor() for images in outputs]
        return tuple(torch.as_tensor(images, device=self.device) for images in self._taken)

    def release(self) -> None:
        """Every kernel that reads the last batch is launched, on the stream that is current now."""
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self.device))
        self._unread.append((self._taken, event))
        self._taken = None


def _drop_first(unread: Unread) -> None:
    unread[0][1].synchronize()
    unread.popleft()


def _drop_all(unread: Unread) -> None:
    """Whoever drops the Loader may still wait for its last batches; another graph is not to write over them."""
    while unread:
        _drop_first(unread)

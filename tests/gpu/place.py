"""Where the tests of this folder run: on a GPU; on the CPU only to show that they are not broken themselves."""

import os
import warnings
from contextlib import contextmanager

import pytest
import torch

DEVICE = torch.device(os.environ.get("DALI_MIXUP_GPU_TESTS_ON", "cuda"))
ON_GPU = DEVICE.type == "cuda"
DEVICE_ID = 0 if ON_GPU else None  # DALI's name of it
needs_cuda = pytest.mark.skipif(not ON_GPU, reason="a CPU has nothing like it")


@contextmanager
def nothing_waits():
    """Whatever in torch makes the host wait for the GPU is an error inside."""
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")

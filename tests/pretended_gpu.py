"""Code for a GPU, computed on the CPU."""

import torch
from torch.overrides import TorchFunctionMode


class PretendedGpu(TorchFunctionMode):
    """Tensors of the CPU say that they are on a GPU, so that code for one computes, here.

    What would wait for a GPU is an error.
    """

    waits = (torch.bincount, torch.Tensor.bincount, torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.nonzero)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function == torch.Tensor.device.__get__:  # each access makes a new one
            return torch.device("cuda", 0)
        if function in self.waits:
            raise AssertionError(f"{function.__name__} waits for the GPU")
        if "device" in kwargs:
            kwargs["device"] = "cpu"
        return function(*args, **kwargs)

"""A GPU that computes on the CPU, refuses what a GPU would wait for, and counts what it is given to do."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map_only

GPU, CPU = torch.device("cuda", 99), torch.device("cpu")  # a number that no real one has
READS = ("item", "tolist", "numpy", "cpu", "__array__", "__bool__", "__int__", "__float__", "__index__")
READS += ("__contains__", "__format__", "__repr__")
FROM_LISTS = (torch.tensor, torch.as_tensor, torch.asarray)
# Their results' sizes depend on values, or are values.
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique", "unique_", "bincount", "equal", "histogram")


class OnGpu(torch.Tensor):
    """A tensor of the pretended GPU, and so are results that are computed from it."""


class PretendedGpu(TorchFunctionMode):
    """While it is entered, `GPU` is a device: `send` fills it, and torch computes there.

    An AssertionError where the host would wait for it (a number is read, values are copied without pinned memory, a
    size depends on values), and where tensors of both devices meet.

    Attributes:
        kernels: how many operations were issued to it, views and copies apart.
        copies: from the host to it.

    >>> with PretendedGpu() as gpu:
    ...     levels = torch.ones(2, 3).pin_memory().to(GPU, non_blocking=True)
    ...     levels = levels[:, 1:].mul(2).add(1)
    >>> levels.sum().item(), gpu.kernels, gpu.copies
    (12.0, 2, 1)
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels = self.copies = 0
        self._pinned: list[torch.Tensor] = []  # kept, so that no other tensor takes an identity

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(function, "__name__", "")
        if name == "__get__":
            return GPU if function == torch.Tensor.device.__get__ and _on_gpu(args) else function(*args, **kwargs)
        if function in (torch.Tensor.to, torch.Tensor.copy_):
            return self._copy(function, args, kwargs)
        if function == torch.Tensor.pin_memory:
            self._pinned.append(args[0].clone())
            return self._pinned[-1]
        made_there = kwargs.get("device") is not None and torch.device(kwargs["device"]) == GPU
        if not made_there and not _on_gpu((args, kwargs)):
            return function(*args, **kwargs)
        _refuse(name in READS, f"{name} waits for the GPU")
        _refuse(made_there and function in FROM_LISTS, f"{name} copies to the GPU and waits")
        _refuse(_mixes(args, kwargs), f"{name} mixes devices")
        if "getitem" in name or "setitem" in name:
            _refuse(_counts_values(args[1]), f"{name} by a mask or a list waits for the GPU")
        return self._compute(function, args, kwargs | ({"device": CPU} if made_there else {}))

    def _copy(self, function: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
        """`to` or `copy_`."""
        into = function == torch.Tensor.copy_
        source = args[1] if into else args[0]
        target = next((each for each in (*args[1:], *kwargs.values()) if isinstance(each, str | torch.device)), None)
        goes_there = _on_gpu(args[:1] if into else args) if target is None else torch.device(target) == GPU
        args, kwargs = tree_map_only(torch.device, lambda _: CPU, (args, kwargs))
        if goes_there == _on_gpu(source):
            return self._compute(function, args, kwargs) if goes_there else function(*args, **kwargs)
        _refuse(not goes_there, f"{function.__name__} reads from the GPU and waits")
        pinned = any(source is known for known in self._pinned)
        _refuse(not pinned or not kwargs.get("non_blocking"), "a copy to the GPU without pinned memory waits")
        self.copies += 1
        return function(*args, **kwargs).clone().as_subclass(OnGpu)

    def _compute(self, function: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
        with _Issued() as issued:
            found = function(*args, **kwargs)
        self.kernels += issued.count
        return tree_map_only(torch.Tensor, lambda values: values.as_subclass(OnGpu), found)


class _Issued(TorchDispatchMode):
    """Counts operations, and refuses those that wait."""

    count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = function.name().removeprefix("aten::")
        _refuse(name.startswith(WAITS), f"{name} waits for the GPU")
        _refuse(name.startswith("index") and _counts_values(args[1]), f"{name} by a mask waits for the GPU")
        counts = name == "repeat_interleave.Tensor" and (kwargs or {}).get("output_size") is None
        _refuse(counts, "repeat_interleave without output_size waits for the GPU")
        self.count += not function.is_view
        return function(*args, **(kwargs or {}))


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_iter(values) if isinstance(value, torch.Tensor)]


def _on_gpu(values: Any) -> bool:
    return any(isinstance(value, OnGpu) for value in _tensors(values))


def _mixes(*values: Any) -> bool:
    """Whether a tensor of the CPU is among them that isn't a number."""
    return _on_gpu(values) and any(value.ndim and not isinstance(value, OnGpu) for value in _tensors(values))


def _counts_values(index: Any) -> bool:
    """Whether indexing has to count True values, or to copy from the host."""
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, np.ndarray) or (isinstance(part, list) and _tensors(part) == []) for part in parts):
        return True
    return any(part.dtype in (torch.bool, torch.uint8) for part in _tensors(index))


def _refuse(refused: bool, message: str) -> None:
    if refused:
        raise AssertionError(message)

"""Where this process stands: its device, and its shard of the data."""

import os

import torch
import torch.distributed

from dali_mixup.errors import check_int, must_be


def pick_shard(shard: tuple[int, int] | None) -> tuple[int, int]:
    """Rank and world size: as given, else of torch.distributed, else of the variables RANK and WORLD_SIZE, else (0, 1)."""
    if shard is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if not isinstance(shard, tuple | list) or len(shard) != 2:
        raise TypeError(must_be("shard", "a pair (rank, world size)", shard))
    rank, world = shard
    check_int("shard[0]", rank, at_least=0)
    check_int("shard[1]", world, at_least=1)
    if rank >= world:
        raise ValueError(must_be("shard", "a pair (rank, world size) with rank below world size", shard))
    return int(rank), int(world)


def pick_device(device: torch.device | str | None) -> torch.device:
    """The device with its number: torchrun's LOCAL_RANK where it is set, else torch's current one."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device)
    if device.type not in ("cpu", "cuda"):
        raise ValueError(must_be("device", "a CPU or a CUDA device", str(device)))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(must_be("device", '"cpu", since torch finds no GPU', str(device)))
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", torch.cuda.current_device())))
    return device

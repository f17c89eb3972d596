"""Where this process stands: its device and what it sends there, and its shard of the data."""

import os

import torch
import torch.distributed

from dali_mixup.errors import check_int, must_be


def pick_shard(shard: tuple[int, int] | None) -> tuple[int, int]:
    """Rank and world size: as given, else of torch.distributed, else of RANK and WORLD_SIZE, else (0, 1)."""
    if shard is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return _shard_of_variables()
    if not isinstance(shard, tuple | list) or len(shard) != 2:
        raise TypeError(must_be("shard", "a pair (rank, world size)", shard))
    rank, world = shard
    check_int("shard[0]", rank, at_least=0)
    check_int("shard[1]", world, at_least=1)
    if rank >= world:
        raise ValueError(must_be("shard", "a pair (rank, world size) with rank below world size", shard))
    return int(rank), int(world)


def _shard_of_variables() -> tuple[int, int]:
    """RANK and WORLD_SIZE, which launchers set together; (0, 1) without them."""
    found = {name: os.environ[name] for name in ("RANK", "WORLD_SIZE") if name in os.environ}
    if not found:
        return 0, 1
    try:
        rank, world = int(found["RANK"]), int(found["WORLD_SIZE"])
    except (KeyError, ValueError):
        rank, world = 0, 0
    if not 0 <= rank < world:
        rule = "two integers with RANK below WORLD_SIZE"
        raise ValueError(
            must_be("the variables RANK and WORLD_SIZE", rule, found, "set both, or pass shard=(rank, world size)")
        )
    return rank, world


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
        return torch.device("cuda", _pick_gpu())
    return device


def _pick_gpu() -> int:
    """LOCAL_RANK's GPU, or the only one that this process sees; without the variable torch's current one."""
    local_rank, count = os.environ.get("LOCAL_RANK"), torch.cuda.device_count()
    if local_rank is None:
        return torch.cuda.current_device()
    if count == 1:  # the launcher hides the GPUs of the other processes
        return 0
    if not local_rank.isdecimal() or int(local_rank) >= count:
        rule = f"a number below that of the GPUs ({count})"
        raise ValueError(
            must_be("the variable LOCAL_RANK", rule, local_rank, "start one process per GPU, or pass device=")
        )
    return int(local_rank)


def send(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Values on a device; on their way to a GPU they pass through pinned memory, so that the host doesn't wait."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)

"""Where this process stands: its device and what it sends there, and its shard of the data."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed

from dali_mixup.errors import check_int, must_be

Shard = tuple[int, int]

# Of each launcher the variables of rank and world size, innermost launchers first: one may run within another.
LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What `from_dataloader` decides of the ranks before they are known.

    Attributes:
        shard: rank and world size; None for those that `find_shard` finds.
        seed: of ranks that share samples out, where each may have drawn another one; None if they haven't.
        choice: what becomes of the samples on each rank, and what to do to have it otherwise.
    """

    shard: Shard | None
    seed: int | None
    choice: str

    def warn_of_choice(self) -> None:
        """Say once, on rank 0, what was chosen for several ranks."""
        try:
            rank, world = find_shard()
        except ValueError:  # nobody needs to know which one this is
            return
        if world > 1 and rank == 0:
            # behind `_start`, `_begin` and `_deliver` of the Loader is the `for`
            warnings.warn(f"from_dataloader: there are {world} ranks. {self.choice}", stacklevel=5)


def pick_shard(shard: Shard | Sharing | None) -> Shard:
    """Rank and world size as they were given, else those that `find_shard` finds."""
    given = shard.shard if isinstance(shard, Sharing) else shard
    return find_shard() if given is None else (int(given[0]), int(given[1]))


def check_shard(shard: object) -> None:
    """Raise a TypeError unless it is a pair of ints, a ValueError unless these are a rank and a world size."""
    if not isinstance(shard, tuple | list) or len(shard) != 2:
        raise TypeError(must_be("shard", "a pair (rank, world size)", shard))
    rank, world = shard
    check_int("shard[0]", rank, at_least=0)
    check_int("shard[1]", world, at_least=1)
    if rank >= world:
        raise ValueError(must_be("shard", "a pair (rank, world size) with rank below world size", shard))


def find_shard() -> Shard:
    """Rank and world size: of torch.distributed if it is initialized by now, else of a launcher, else (0, 1).

    Raises:
        ValueError: a launcher's variables are half set, or no integers.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    variables = _variables_of_launchers()
    for pair in LAUNCHERS:
        if all(name in variables for name in pair):
            return _as_shard({name: variables[name] for name in pair})
    for pair in LAUNCHERS:
        if any(name in variables for name in pair):
            return _as_shard({name: variables[name] for name in pair if name in variables})
    return 0, 1


def _variables_of_launchers() -> dict[str, str]:
    """Those in `LAUNCHERS` that are set, with what Lightning and Slurm say in other words."""
    variables = {name: os.environ[name] for pair in LAUNCHERS for name in pair if name in os.environ}
    if "WORLD_SIZE" in variables and "RANK" not in variables and "NODE_RANK" in os.environ:
        # Lightning's launcher sets NODE_RANK, LOCAL_RANK and WORLD_SIZE, and nothing tells how many ranks a node has
        local_rank, of_node = os.environ.get("LOCAL_RANK"), os.environ.get("LOCAL_WORLD_SIZE")
        node = os.environ["NODE_RANK"]
        if local_rank is not None and node == "0":
            variables["RANK"] = local_rank
        elif local_rank and of_node and node.isdecimal() and local_rank.isdecimal() and of_node.isdecimal():
            variables["RANK"] = str(int(node) * int(of_node) + int(local_rank))
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        variables["SLURM_NTASKS"] = os.environ["SLURM_STEP_NUM_TASKS"]
    elif "SLURM_JOB_ID" in os.environ:  # a batch script without srun is task 0 of as many as the job may start
        variables = {name: value for name, value in variables.items() if not name.startswith("SLURM_")}
    return variables


def _as_shard(found: Mapping[str, str]) -> Shard:
    """Rank and world size from the values of their variables, in this order."""
    try:
        rank, world = (int(value) for value in found.values())
    except ValueError:
        rank, world = 0, 0
    if not 0 <= rank < world:
        names = next(pair for pair in LAUNCHERS if not found.keys().isdisjoint(pair))
        rule = f"two integers with {names[0]} below {names[1]}"
        remedy = (
            "set both, call torch.distributed.init_process_group before the first batch, or pass "
            "shard=(rank, world size)"
        )
        raise ValueError(must_be(f"the variables {names[0]} and {names[1]}", rule, dict(found), remedy))
    return rank, world


def check_device(device: torch.device | str | None) -> torch.device:
    """The device as it was given, None for a GPU if there is one; a ValueError for one that isn't there."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device)
    if device.type not in ("cpu", "cuda"):
        raise ValueError(must_be("device", "a CPU or a CUDA device", str(device)))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(must_be("device", '"cpu", since torch finds no GPU', str(device)))
    return device


def pick_device(device: torch.device | str | None) -> torch.device:
    """The device with its number: torchrun's LOCAL_RANK where it is set, else torch's current one."""
    device = check_device(device)
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

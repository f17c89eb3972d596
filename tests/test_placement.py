import os
from unittest.mock import Mock

import pytest
import torch

from dali_mixup.placement import check_shard, pick_device, pick_shard, send


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    """As if no launcher had started the tests."""
    for name in list(os.environ):
        if name.endswith(("RANK", "WORLD_SIZE")) or name.startswith(("SLURM_", "OMPI_")):
            monkeypatch.delenv(name)


RUN = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "2", "SLURM_NTASKS": "3", "SLURM_STEP_NUM_TASKS": "3"}
SHARDS = {
    "none": ({}, (0, 1)),
    "torchrun": ({"RANK": "2", "WORLD_SIZE": "3", "LOCAL_RANK": "0", "NODE_RANK": "1"}, (2, 3)),
    "Open MPI": ({"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "3"}, (2, 3)),
    "Slurm": ({"SLURM_PROCID": "2", "SLURM_NTASKS": "3"}, (2, 3)),
    "srun": (RUN, (2, 3)),
    "srun of fewer tasks than the job has": (RUN | {"SLURM_NTASKS": "8"}, (2, 3)),
    "a batch script without srun": ({"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "3"}, (0, 1)),
    "the shell of salloc": ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "3"}, (0, 1)),
    "srun, and a world size for init_process_group": (RUN | {"WORLD_SIZE": "3"}, (2, 3)),
    "torchrun in srun": (RUN | {"RANK": "5", "WORLD_SIZE": "9"}, (5, 9)),
    "mpirun in a batch job": (RUN | {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "9"}, (5, 9)),
    "Lightning": ({"NODE_RANK": "0", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}, (1, 2)),
    "Lightning in one task": (RUN | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, (0, 1)),
    "Lightning after a fit": ({"NODE_RANK": "0", "LOCAL_RANK": "0"}, (0, 1)),
    "Lightning on the second node": (
        {"NODE_RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"},
        (5, 8),
    ),
}


@pytest.mark.parametrize("launcher", SHARDS)
def test_a_shard_comes_from_the_launchers_variables(monkeypatch, launcher):
    variables, expected = SHARDS[launcher]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert pick_shard(None) == expected
    assert pick_shard((1, 4)) == (1, 4)


@pytest.mark.parametrize(
    ("variables", "pair"),
    [
        ({"RANK": "2"}, "RANK and WORLD_SIZE"),
        ({"WORLD_SIZE": "4"}, "RANK and WORLD_SIZE"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "RANK and WORLD_SIZE"),
        ({"RANK": "-1", "WORLD_SIZE": "4"}, "RANK and WORLD_SIZE"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "RANK and WORLD_SIZE"),
        ({"RANK": "first", "WORLD_SIZE": "4"}, "RANK and WORLD_SIZE"),
        ({"NODE_RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}, "RANK and WORLD_SIZE"),
        ({"OMPI_COMM_WORLD_RANK": "1"}, "OMPI_COMM_WORLD_RANK and OMPI_COMM_WORLD_SIZE"),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "3"}, "SLURM_PROCID and SLURM_NTASKS"),
    ],
)
def test_variables_that_make_no_shard_are_named_with_the_way_out(monkeypatch, variables, pair):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"the variables {pair} must be .*init_process_group .* or pass shard="):
        pick_shard(None)


def test_a_shard_comes_from_torch_distributed(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "7")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        assert pick_shard(None) == (0, 1)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("shard", [(-1, 2), (0, 0), (2, 2), (0,), 1, (0.0, 1)])
def test_what_is_no_shard_is_named(shard):
    with pytest.raises((ValueError, TypeError), match="shard"):
        check_shard(shard)


def test_without_a_gpu_the_device_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device(None) == torch.device("cpu")
    with pytest.raises(ValueError, match="since torch finds no GPU"):
        pick_device("cuda:0")


def test_with_gpus_the_device_is_that_of_the_local_rank(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert pick_device(None) == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert pick_device(None) == torch.device("cuda", 3)
    assert pick_device("cuda:2") == torch.device("cuda", 2)
    assert pick_device("cpu") == torch.device("cpu")


def test_what_goes_to_a_gpu_is_pinned_so_that_nobody_waits():
    values = Mock(spec=torch.Tensor, device=torch.device("cpu"))
    found = send(values, torch.device("cuda", 1))
    values.pin_memory().to.assert_called_once_with(torch.device("cuda", 1), non_blocking=True)
    assert found is values.pin_memory().to()


def test_what_stays_on_its_device_or_leaves_a_gpu_is_not_pinned():
    values = torch.arange(3)
    assert send(values, torch.device("cpu")) is values
    assert send(values, torch.device("meta")).device.type == "meta"
    on_gpu = Mock(spec=torch.Tensor, device=torch.device("cuda", 0))
    send(on_gpu, torch.device("cuda", 1))
    on_gpu.pin_memory.assert_not_called()

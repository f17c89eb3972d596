from unittest.mock import Mock

import pytest
import torch

from dali_mixup.placement import pick_device, pick_shard, send


def test_a_shard_comes_from_the_argument_then_the_environment(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert pick_shard(None) == (0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert pick_shard(None) == (2, 3)
    assert pick_shard((1, 4)) == (1, 4)


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
        pick_shard(shard)


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

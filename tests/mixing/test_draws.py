"""A draw is fixed, and moves to a GPU whole."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from dali_mixup import CutMix, CutMixDraw, MixUp


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("mixer", [MixUp(), CutMix()], ids=["mixup", "cutmix"])
def test_a_draw_can_be_moved_to_another_device(mixer):
    draw = mixer.draw(4, rng(), (9, 9))
    moved = draw.to("meta")
    assert type(moved) is type(draw)
    assert {moved.lam.device.type, moved.partner.device.type} == {"meta"}
    if isinstance(draw, CutMixDraw):
        assert moved.boxes.device.type == "meta"
        assert moved.size == (9, 9)
    assert draw.lam.device.type == "cpu"
    assert draw.to("cpu") is draw


def test_mixup_and_draw_are_frozen():
    with pytest.raises(FrozenInstanceError):
        MixUp().alpha = 1.0
    with pytest.raises(FrozenInstanceError):
        MixUp().draw(2, rng()).lam = torch.ones(2)


class CountedTransfers(TorchFunctionMode):
    """The CPU stands for a GPU: transfers to one copy, are counted, and must be such that nobody waits for them."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.Tensor.to and torch.device(args[1]).type == "cuda":
            assert kwargs == {"non_blocking": True}
            self.count += 1
            return args[0].clone()
        kwargs.pop("pin_memory", None)
        return args[0] if function is torch.Tensor.pin_memory else function(*args, **kwargs)


@pytest.mark.parametrize("batch_size", [0, 1, 2, 5, 8])
@pytest.mark.parametrize("mixer", [MixUp(fold=False), CutMix()], ids=["mixup", "cutmix"])
def test_a_draw_reaches_a_gpu_whole_in_copies_that_nobody_waits_for(mixer, batch_size):
    draw = mixer.draw(batch_size, rng(batch_size), (9, 9))
    with CountedTransfers() as transfers:
        moved = draw.to("cuda")
    assert transfers.count == (3 if isinstance(draw, CutMixDraw) else 2)
    assert type(moved) is type(draw)
    for name in ("lam", "partner", "boxes")[: 3 if isinstance(draw, CutMixDraw) else 2]:
        ours, expected = getattr(moved, name), getattr(draw, name)
        assert ours.dtype == expected.dtype
        assert torch.equal(ours, expected)

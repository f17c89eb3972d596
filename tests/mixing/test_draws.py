"""A draw is fixed, and moves to a GPU whole."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from dali_mixup import MixUp


def rng(seed=0):
    return np.random.default_rng(seed)


def test_a_draw_can_be_moved_to_another_device():
    draw = MixUp().draw(4, rng())
    moved = draw.to("meta")
    assert (moved.lam.device.type, moved.partner.device.type) == ("meta", "meta")
    assert draw.lam.device.type == "cpu"


def test_mixup_and_draw_are_frozen():
    with pytest.raises(FrozenInstanceError):
        MixUp().alpha = 1.0
    with pytest.raises(FrozenInstanceError):
        MixUp().draw(2, rng()).lam = torch.ones(2)

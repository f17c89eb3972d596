"""Functions and objects that only pass images on are read through; others are refused by name."""

import functools

import pytest
import torch
from torchvision import transforms as v1
from torchvision.transforms import v2

import dali_mixup as dm

CHAIN = v1.Compose([v1.RandomResizedCrop(32), v1.RandomHorizontalFlip(), v1.ColorJitter(0.2), v1.ToTensor()])


class Preset:
    """As in torchvision's reference scripts."""

    def __init__(self, after=lambda image: image):
        self.transforms, self.after = CHAIN, after

    def __call__(self, image):
        return self.after(self.transforms(image))


class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.chain = torch.nn.Sequential(*CHAIN.transforms[:3], v2.ToImage(), v2.ToDtype(torch.float32, scale=True))

    def forward(self, image):
        return self.chain(image)


def now_and_then(image):
    return image.flip(2) if torch.rand(()) < 0.5 else image


@pytest.mark.parametrize(
    "build", [Preset, lambda: lambda image: CHAIN(image), lambda: functools.partial(Preset.__call__, Preset())]
)
def test_what_only_passes_images_on_is_read_through(build):
    state = torch.get_rng_state()
    made = dm.from_torchvision(build())
    assert made == dm.from_torchvision(CHAIN)
    assert str(made) == str(dm.from_torchvision(CHAIN))
    assert dm.from_torchvision(v2.Compose([build(), v2.Normalize((0.5,) * 3, (0.5,) * 3)])).mean == (0.5,) * 3
    assert torch.equal(torch.get_rng_state(), state)


def test_a_module_that_only_passes_images_on_is_read_through():
    assert dm.from_torchvision(Module()) == dm.from_torchvision(Module().chain)


@pytest.mark.parametrize("after", [torch.neg, now_and_then, lambda image: image.numpy(), lambda _: {}["x"]])
def test_what_does_more_than_passing_on_is_refused_by_name(after):
    with pytest.raises(TypeError, match=r"from_torchvision knows, got <.*Preset object"):
        dm.from_torchvision(Preset(after))

"""Contrastive recipes: what makes one view is translated, and the Loader makes as many as it is told."""

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import v2

import dali_mixup as dm

SIMCLR = v2.Compose(
    [
        v2.RandomResizedCrop(32),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8),
        v2.RandomGrayscale(0.2),
        v2.GaussianBlur(5),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
    ]
)


class TwoCrops:
    """As in the scripts of MoCo and SimSiam."""

    def __init__(self, transform):
        self.transform = transform

    def __call__(self, image):
        return [self.transform(image), self.transform(image)]


def test_a_dataloader_of_one_view_becomes_a_loader_of_two(folder):
    theirs = DataLoader(datasets.ImageFolder(folder, SIMCLR), batch_size=5, shuffle=True)
    ours = dm.from_dataloader(theirs, views=2, indices=True, seed=3, device="cpu")
    plain = dm.from_dataloader(theirs, indices=True, seed=3, device="cpu")
    for ((first, second), targets, numbers), (images, labels, same) in zip(ours, plain, strict=True):
        assert torch.equal(first, images)
        assert not torch.equal(first, second)
        assert torch.equal(targets, labels)
        assert torch.equal(numbers, same)


def test_a_transform_that_makes_two_views_is_refused_with_the_way_out_which_works(folder):
    theirs = DataLoader(datasets.ImageFolder(folder, TwoCrops(SIMCLR)), batch_size=5, shuffle=True)
    with pytest.raises(TypeError, match=r"makes the views of an image itself.* with transform=, views=2"):
        dm.from_dataloader(theirs, device="cpu")
    ours = dm.from_dataloader(theirs, transform=SIMCLR, views=2, device="cpu")
    images, _ = next(iter(ours))
    assert [view.shape for view in images] == [view.shape for view in next(iter(theirs))[0]]


def test_translated_recipes_are_views_of_one_loader(folder):
    local = v2.Compose([v2.RandomResizedCrop(12, (0.05, 0.4)), *SIMCLR.transforms[1:]])
    pipelines = [dm.from_torchvision(each) for each in (SIMCLR, SIMCLR, local, local)]
    images, _ = next(iter(dm.Loader(dm.ImageFolder(folder), pipelines, batch_size=4, device="cpu")))
    assert [tuple(view.shape) for view in images] == [(4, 3, 32, 32)] * 2 + [(4, 3, 12, 12)] * 2

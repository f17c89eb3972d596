"""FiveCrop and TenCrop become views, which show what torchvision's crops show."""

import pytest
import torch
from torch.utils.data import DataLoader

import dali_mixup as dm
from tests.recipes.comparing import differences
from tests.translation.peers import MEAN, STD, image_folder, swap, v1, v2

NORMALIZE = v1.Normalize(MEAN, STD)
FLOATS = v1.Compose([v1.ToTensor(), NORMALIZE])
SCALED = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
EXACT = v1.InterpolationMode.BICUBIC


def stacked(crops):
    return torch.stack([FLOATS(crop) for crop in crops])


CASES = {
    "five": v2.Compose([v2.Resize(70, EXACT), v2.FiveCrop(64), *SCALED]),
    "bilinear": v2.Compose([v2.Resize(71), v2.FiveCrop((64, 50)), *SCALED]),
    "ten": v2.Compose([v2.Resize(71, EXACT), v2.TenCrop((64, 50)), *SCALED]),
    "whole": v2.Compose([v2.TenCrop(101, vertical_flip=True), *SCALED]),
    "gray": v2.Compose([v2.TenCrop(100), v2.Grayscale(3), *SCALED]),
    "lambda": v1.Compose(
        [
            v1.Resize(70, EXACT),
            v1.TenCrop(64),
            v1.Lambda(lambda crops: torch.stack([v1.ToTensor()(crop) for crop in crops])),
            v1.Lambda(lambda crops: torch.stack([NORMALIZE(crop) for crop in crops])),
        ]
    ),
    "a function": v1.Compose([v1.FiveCrop(90), v1.Lambda(stacked)]),
    "levels": v1.Compose(
        [
            v1.FiveCrop(90),
            v1.Lambda(lambda crops: torch.stack([v1.PILToTensor()(crop) for crop in crops])),
            v1.ConvertImageDtype(torch.float32),
            NORMALIZE,
        ]
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_views_are_torchvisions_crops(photos, name):
    theirs = DataLoader(image_folder(photos, CASES[name]), batch_size=8)
    ours = swap(theirs)
    limit = 1.01 if name == "bilinear" else 0.01
    for (views, targets), (expected, labels) in zip(ours, theirs, strict=True):
        expected = expected.unbind(1) if isinstance(expected, torch.Tensor) else expected
        assert torch.equal(targets, labels)
        for view, crop in zip(views, expected, strict=True):
            assert differences(view, crop, STD).max() < limit


def test_a_list_of_pipelines_is_given_where_it_is_asked_for(photos):
    made = dm.from_torchvision(CASES["ten"], views=True, strict=True)
    assert [pipeline.geometry.corner for pipeline in made[:5]] == [pipeline.geometry.corner for pipeline in made[5:]]
    assert [pipeline.flip for pipeline in made] == [0.0] * 5 + [1.0] * 5
    assert "TenCrop" in str(made[7])
    assert "mirrored='horizontal'), flipped" in str(made[7])
    views, _ = next(iter(dm.Loader(dm.ImageFolder(photos), made, batch_size=4, device="cpu")))
    assert torch.stack(views, 1).shape == (4, 10, 3, 64, 50)
    centre = v1.CenterCrop(8)
    assert dm.from_torchvision(centre, views=True) == [dm.from_torchvision(centre)]


def test_without_asking_it_is_an_error_with_the_way_out():
    message = (
        r"one that makes one image of each, got 'FiveCrop.*; from_torchvision\(transform, views=True\) gives a list"
    )
    with pytest.raises(TypeError, match=message):
        dm.from_torchvision(CASES["five"])
    with pytest.raises(TypeError, match="views must be True or False, got 5"):
        dm.from_torchvision(CASES["five"], views=5)


def different(crops):
    return torch.stack([FLOATS(crop) * number for number, crop in enumerate(crops)])


@pytest.mark.parametrize(
    ("steps", "error", "message"),
    [
        (
            [v1.FiveCrop(32), v1.Lambda(different)],
            TypeError,
            r"def different.*may only stack what one transform makes of",
        ),
        ([v1.FiveCrop(32), v1.Lambda(lambda crops: crops[9])], TypeError, "it fails with IndexError: tuple index out"),
        (
            [v1.RandomHorizontalFlip(), v1.FiveCrop(32)],
            ValueError,
            "would draw random numbers of its own; leave it out",
        ),
        ([v1.FiveCrop(32), v1.FiveCrop(16)], ValueError, "the images are cropped already"),
        ([v1.RandomCrop(64), v1.TenCrop(32)], ValueError, "the images are cropped already"),
    ],
)
def test_what_no_list_of_views_can_do_is_refused(steps, error, message):
    with pytest.raises(error, match=message):
        dm.from_torchvision(v1.Compose(steps), views=True)

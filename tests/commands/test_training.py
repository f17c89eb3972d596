"""One training of the demo: the same start each time, and figures that are true."""

import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm
from dali_mixup.commands.training import Recipe, train_and_validate
from tests.commands.files import save

CROP = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16))


def recipe_of(train, val, **options):
    defaults = {"train_pipeline": CROP, "val_pipeline": CROP, "epochs": 4, "batch_size": 8, "seed": 3}
    return Recipe(train=train, val=val, **{**defaults, **options})


@pytest.fixture
def colours(tmp_path):
    """40 images of two classes, red and blue with noise."""
    rng = np.random.default_rng(0)
    for i in range(40):
        pixels = rng.integers(0, 60, (20, 20, 3), np.uint8)
        pixels[..., 2 * (i % 2)] += 180
        save(tmp_path / "colours" / ("red", "blue")[i % 2] / f"{i}.png", Image.fromarray(pixels))
    return dm.ImageFolder(tmp_path / "colours")


def test_both_trainings_start_from_the_same_network(colours):
    recipe = recipe_of(colours, colours)
    first, second, other = (
        made.build_network().state_dict() for made in (recipe, recipe, recipe_of(colours, colours, seed=4))
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("mixup", [None, dm.MixUp(0.2)])
def test_what_can_be_told_by_its_colour_is_learned(colours, mixup):
    outcome = train_and_validate(recipe_of(colours, colours), mixup, "training")
    assert outcome.val_accuracy == 1.0
    assert outcome.val_loss < 0.3 < np.log(2)
    assert 0.5 < outcome.train_accuracy <= 1.0
    assert outcome.images_per_second > 0
    assert 0 <= outcome.waiting <= 1


def test_the_validation_images_alone_decide_the_validation_accuracy(colours):
    """Of images with the other class's label each is told wrongly."""
    swapped = dm.FileList(colours.paths, 1 - colours.targets, colours.classes)
    outcome = train_and_validate(recipe_of(colours, swapped), None, "training")
    assert outcome.val_accuracy == 0.0
    assert outcome.train_accuracy > 0.5

import dataclasses

import pytest

import dali_mixup as dm
from dali_mixup.pipelines import cifar10, finetune, imagenet

CROP = dm.RandomResizedCrop(8)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"geometry": 224}, TypeError, "geometry must be a RandomResizedCrop, ResizeCenterCrop or CropPad, got 224"),
        ({"flip": 1.5}, ValueError, "flip must be a probability from 0 to 1, got 1.5"),
        ({"flip": -0.1}, ValueError, "flip must be a probability from 0 to 1, got -0.1"),
        ({"flip": True}, TypeError, "flip must be a probability from 0 to 1, got True"),
        ({"augment": "blur"}, TypeError, "augment must be a function on DALI nodes, or None, got 'blur'"),
        ({"mean": 0.5}, TypeError, "mean must be three numbers, for R, G and B, got 0.5"),
        ({"std": (1, 1)}, TypeError, r"std must be three numbers, for R, G and B, got \(1, 1\)"),
        ({"std": (1, 0, 1)}, ValueError, r"std must be three numbers above 0, got \(1, 0, 1\)"),
    ],
)
def test_options_out_of_range_are_named(options, error, message):
    with pytest.raises(error, match=message):
        dm.ImagePipeline(**({"geometry": CROP} | options))


def test_a_pipeline_can_not_be_changed_but_copied():
    pipeline = dm.ImagePipeline(geometry=CROP)
    with pytest.raises(dataclasses.FrozenInstanceError):
        pipeline.flip = 1.0
    assert dataclasses.replace(pipeline, flip=1.0).flip == 1.0


@pytest.mark.parametrize("module", [imagenet, cifar10, finetune])
@pytest.mark.parametrize("size", [32, 160])
def test_ready_pipelines_have_the_size_that_was_asked_for(module, size):
    assert module.train(size).size == module.val(size).size == (size, size)


def test_sizes_may_be_oblong():
    assert dm.ImagePipeline(geometry=dm.RandomResizedCrop((20, 30))).size == (20, 30)

"""Pipelines of one channel: levels are Pillow's, and the rest is as for RGB."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

import dali_mixup as dm
from dali_mixup.stage.whole_batch import TorchStage
from tests import reference

VALUES = {"mean": (0.0,), "std": (1.0,), "channels": 1}
MEAN, STD = 0.1307, 0.3081


def build(dataset, pipeline, **options):
    return dm.Loader(dataset, pipeline, **{"batch_size": 5, "device": "cpu", "num_threads": 2, **options})


def levels_of(loader):
    return torch.cat([(255 * images).round().to(torch.uint8) for images, *_ in loader])


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return {side: dm.ArrayDataset(rng.integers(0, 256, (13, side, side, 3), np.uint8), rng.integers(0, 3, 13))
            for side in (28, 180)}  # fmt: skip


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side", [28, 180])
def test_levels_are_those_of_torchvisions_grayscale(arrays, side, memory_format):
    """Small images are finished in groups, others one by one."""
    pipeline = dm.ImagePipeline(geometry=dm.KeepSize(), **VALUES)
    images = levels_of(build(arrays[side], pipeline, memory_format=memory_format))
    expected = [v2.Grayscale(1)(Image.fromarray(arrays[side].pixels(number))) for number in range(13)]
    assert torch.equal(images, torch.stack([v2.functional.pil_to_tensor(image) for image in expected]))


def test_gray_comes_behind_crop_flip_and_transforms(dataset):
    options = {"geometry": dm.RandomResizedCrop(32), "flip": 0.5, "transforms": (dm.ColorJitter(0.4, 0.4, 0.4, 0.1),)}
    for chosen in (options, {**options, "transforms": ()}):
        gray = levels_of(build(dataset, dm.ImagePipeline(**chosen, **VALUES), seed=3, shuffle=True))
        colors = levels_of(
            build(dataset, dm.ImagePipeline(mean=(0,) * 3, std=(1,) * 3, **chosen), seed=3, shuffle=True)
        )
        for found, image in zip(gray, colors, strict=True):
            expected = Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")
            assert np.array_equal(found[0].numpy(), np.asarray(expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side", [28, 180])
@pytest.mark.parametrize("mixer", [None, dm.MixUp(0.8), dm.CutMix()])
def test_batches_are_mixed_and_normalized_as_by_slow_loops(arrays, side, mixer, memory_format, dtype):
    pipeline = dm.ImagePipeline(geometry=dm.RandomCrop(side, 3), flip=0.5, mean=(MEAN,), std=(STD,), channels=1)
    plain = dm.ImagePipeline(geometry=pipeline.geometry, flip=0.5, **VALUES)
    loader = build(arrays[side], pipeline, mixup=mixer, dtype=dtype, memory_format=memory_format, shuffle=True)
    plan = loader.plan
    order = plan.order(0)
    levels = levels_of(build(arrays[side], plain, shuffle=True)).split(5)
    for (images, _), own, step in zip(loader, levels, plan.steps(), strict=True):
        draw = plan.batch(0, order, step).draw
        expected = reference.normalized_batch(own.permute(0, 2, 3, 1).numpy(), MEAN, STD, draw)
        assert images.shape == (len(own), 1, side, side)
        assert images.is_contiguous(memory_format=memory_format)
        within = max(torch.finfo(dtype).eps, 1e-6)
        torch.testing.assert_close(images.double(), torch.from_numpy(expected), rtol=within, atol=2 * within)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_stage_of_a_gpu_gives_the_same(arrays, memory_format):
    pipeline = dm.ImagePipeline(geometry=dm.KeepSize(), mean=(MEAN,), std=(STD,), channels=1)
    loader = build(arrays[28], pipeline, mixup=dm.MixUp(0.8), batch_size=13, memory_format=memory_format)
    stage = TorchStage(loader.pipeline, dtype=torch.float32, memory_format=memory_format, device=torch.device("cpu"))
    batch = loader.plan.batch(0, None, next(loader.plan.steps()))
    found = stage(torch.from_numpy(arrays[28].whole(batch.indices)), batch)
    torch.testing.assert_close(found, next(iter(loader))[0], rtol=1e-6, atol=1e-6)


def test_functions_of_the_finished_batch_get_one_channel(arrays):
    pipeline = dm.ImagePipeline(geometry=dm.KeepSize(), after=(torch.neg,), **VALUES)
    plain = dm.ImagePipeline(geometry=dm.KeepSize(), **VALUES)
    (images, _), (expected, _) = (next(iter(build(arrays[28], each))) for each in (pipeline, plain))
    assert torch.equal(images, -expected)


def test_views_may_be_gray_and_colored(arrays):
    colored = dm.ImagePipeline(geometry=dm.RandomCrop(20))
    gray = dm.ImagePipeline(geometry=dm.RandomCrop(20), **VALUES)
    (first, second), _ = next(iter(build(arrays[28], [colored, gray])))
    assert first.shape == (5, 3, 20, 20)
    assert second.shape == (5, 1, 20, 20)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"channels": 1}, TypeError, r"mean must be one number, such as \(0.5,\), with channels=1, got \(0.485"),
        ({"channels": 1, "mean": (0.5,)}, TypeError, "std must be one number"),
        ({"mean": (0.5,)}, TypeError, "mean must be three numbers, for R, G and B"),
        ({"channels": 2}, ValueError, "channels must be 1 or 3, got 2"),
        ({"channels": 1, "mean": (0.5,), "std": (0.0,)}, ValueError, "std must be one number above 0"),
    ],
)
def test_mean_and_std_have_a_number_per_channel(options, error, message):
    with pytest.raises(error, match=message):
        dm.ImagePipeline(geometry=dm.KeepSize(), **options)

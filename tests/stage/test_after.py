"""Functions on finished batches: before mixup, with planned numbers, on every stage."""

import dataclasses

import numpy as np
import pytest
import torch

import dali_mixup as dm
from bench.pretended_gpu import GPU, PretendedGpu
from bench.stage import draw_images, plan_finished
from dali_mixup.placement import send
from dali_mixup.stage.after import AfterStage
from dali_mixup.stage.whole_batch import TorchStage
from tests.conftest import picture

SIDE = 16


@pytest.fixture(scope="module")
def images():
    return dm.ArrayDataset(np.stack([np.array(picture(20, 20, seed)) for seed in range(23)]), np.arange(23) % 5)


def darken(batch):
    """In place, as a careless function does it."""
    return batch.mul_(0.5).sub_(1)


def cutout(batch, uniform):
    """A square of 5 x 5 pixels set to 0 in each image."""
    rows, columns = (uniform * (SIDE - 5)).long()[..., None].unbind(1)
    places = torch.arange(SIDE, device=batch.device)
    inside = [(places >= start) & (places < start + 5) for start in (rows, columns)]
    return batch.masked_fill((inside[0][:, :, None] & inside[1][:, None])[:, None], 0.0)


def pipeline(*after):
    return dm.ImagePipeline(geometry=dm.RandomCrop(SIDE), flip=0.5, transforms=(dm.ColorJitter(0.4),), after=after)


def batches(images, made, **options):
    options = {"batch_size": 6, "shuffle": True, "device": "cpu", "num_threads": 2, "seed": 3, **options}
    return list(dm.Loader(images, made, **options))


MIXERS = {"none": None, "mixup": dm.MixUp(0.4), "cutmix": dm.CutMix(), "batch": dm.MixUp(0.4, per_sample=False)}


@pytest.mark.parametrize("mixer", MIXERS)
def test_functions_get_the_batch_that_is_not_mixed_and_what_they_give_is(images, mixer):
    seen = []

    def watch(batch):
        seen.append(batch.clone())
        return darken(batch)

    plain = batches(images, pipeline())
    found = batches(images, pipeline(watch), mixup=MIXERS[mixer])
    assert all(torch.equal(one, other) for one, (other, _) in zip(seen, plain, strict=True))
    loader = dm.Loader(
        images, pipeline(), batch_size=6, shuffle=True, device="cpu", seed=3, mixup=MIXERS[mixer], num_threads=2
    )
    order = loader.plan.order(0)
    for (ours, _), (other, _), step in zip(found, plain, loader.plan.steps(), strict=True):
        draw, expected = loader.plan.batch(0, order, step).draw, other * 0.5 - 1
        if draw is not None:
            expected = dm.paste(expected, draw) if mixer == "cutmix" else dm.mix(expected, draw)
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)


@pytest.mark.parametrize("mixer", MIXERS)
def test_without_an_effect_batches_are_those_of_the_stage(images, mixer):
    plain = batches(images, pipeline(), mixup=MIXERS[mixer])
    for (ours, targets), (other, expected) in zip(
        batches(images, pipeline(torch.nn.Identity()), mixup=MIXERS[mixer]), plain, strict=True
    ):
        torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-5)
        assert torch.equal(targets, expected)


def test_planned_numbers_belong_to_positions(images):
    made = pipeline(
        dm.Planned(cutout, uniforms=2), darken, dm.Planned(lambda batch, u: batch + u[:, :1, None, None], 1)
    )
    whole = torch.cat([batch for batch, _ in batches(images, made)])
    other = torch.cat([batch for batch, _ in batches(images, made, batch_size=7)])
    assert torch.equal(whole, other)
    parts = [batches(images, made, batch_size=3, shard=(rank, 2)) for rank in (0, 1)]
    dealt = torch.cat([batch for step in zip(*parts, strict=True) for batch, _ in step])
    assert torch.equal(dealt, whole)
    later = dm.Loader(images, made, batch_size=6, shuffle=True, device="cpu", seed=3)
    for _ in later:
        state = later.state_dict()
        break
    again = dm.Loader(images, made, batch_size=6, shuffle=True, device="cpu", seed=3)
    again.load_state_dict(state)
    assert torch.equal(torch.cat([batch for batch, _ in again]), whole[6:])
    epochs = [torch.cat([batch for batch, _ in again]) for _ in range(1)]
    assert not torch.equal(epochs[0], whole)


def test_numbers_are_uniform_and_apart_from_all_others(images):
    seen = []
    batches(images, pipeline(dm.Planned(lambda batch, u: seen.append(u) or batch, 40)), batch_size=1)
    numbers = torch.cat(seen)
    assert numbers.shape == (23, 40)
    assert numbers.dtype == torch.float32
    assert (numbers.min() >= 0) & (numbers.max() < 1) & (abs(numbers.mean() - 0.5) < 0.05)
    plain, changed = (batches(images, made) for made in (pipeline(), pipeline(dm.Planned(lambda b, _: b, 3))))
    assert all(torch.equal(one, other) for (one, _), (other, _) in zip(plain, changed, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_functions_get_float32_and_contiguous_rows_and_batches_what_was_asked_for(images, dtype, layout):
    def check(batch):
        assert (batch.dtype, batch.is_contiguous(), batch.requires_grad) == (torch.float32, True, False)
        return batch

    expected = batches(images, pipeline(), mixup=dm.MixUp())
    for (ours, _), (other, _) in zip(
        batches(images, pipeline(check), mixup=dm.MixUp(), dtype=dtype, memory_format=layout), expected, strict=True
    ):
        assert (ours.dtype, ours.is_contiguous(memory_format=layout)) == (dtype, True)
        torch.testing.assert_close(ours.float(), other, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("mixer", MIXERS)
def test_nothing_waits_for_a_gpu(mixer):
    made = pipeline(dm.Planned(cutout, uniforms=2))
    draw = None if MIXERS[mixer] is None else MIXERS[mixer].draw(24, np.random.default_rng(1), (SIDE, SIDE))
    uniform = np.random.default_rng(0).random((24, 2), np.float32)
    batch = dataclasses.replace(plan_finished(24, draw, None), after=uniform)
    levels = draw_images(24, SIDE)

    def finish(device):
        options = {"dtype": torch.float32, "memory_format": torch.contiguous_format}
        stage = AfterStage(TorchStage(made, **options, device=device), made, **options, keep=1)
        return stage(send(levels, device), batch)

    with PretendedGpu():
        found = finish(GPU)
        assert found.device == GPU
    assert torch.equal(found, finish(torch.device("cpu")))


def test_a_pipeline_with_functions_can_be_compared_and_changed():
    made = dm.ImagePipeline(geometry=dm.KeepSize(), after=[darken])
    assert made == dm.ImagePipeline(geometry=dm.KeepSize(), after=(darken,))
    assert hash(made) == hash(dataclasses.replace(made))
    assert made != dm.ImagePipeline(geometry=dm.KeepSize())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda batch: batch[..., :-1], r"after\[1\]'s result must be float images of the shape \(6, 3, 16, 16\)"),
        (lambda batch: batch.long(), r"after\[1\]'s result must be float images"),
        (
            lambda _: None,
            r"after\[1\]'s result must be .*, got None; for a function of one image: lambda images: torch",
        ),
    ],
)
def test_a_result_that_is_no_batch_is_named(images, function, message):
    with pytest.raises(TypeError, match=message):
        batches(images, pipeline(darken, function))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: dm.ImagePipeline(geometry=dm.KeepSize(), after=darken),
            TypeError,
            "after must be functions of finished",
        ),
        (lambda: dm.ImagePipeline(geometry=dm.KeepSize(), after=[3]), TypeError, "after must be functions .*, got 3"),
        (lambda: dm.ImagePipeline(geometry=dm.KeepSize(), after=[torch.nn.Identity]), TypeError, "not its class"),
        (lambda: dm.Planned(3, 1), TypeError, "function must be a function of images and uniform numbers, got 3"),
        (lambda: dm.Planned(cutout, 0), ValueError, "uniforms must be an int of at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()

"""timm's auto-augmentations are read from its objects, and what it can't say in them is an error."""

import math

import pytest

import dali_mixup as dm
from bench.timm_fix import import_timm
from dali_mixup.transforms.timm_augment import INCREASING, OF_AUGMIX
from dali_mixup.translation.timm_augment import read_augment

create_transform = import_timm().create_transform
auto_augment = import_timm("timm.data.auto_augment")


def read(config, interpolation="bicubic", **options):
    options |= {"auto_augment": config, "interpolation": interpolation}
    (found,) = dm.from_torchvision(create_transform(224, is_training=True, **options)).transforms
    return found


def test_rand_augment_of_deit_is_the_default_with_timms_fill_and_shifts():
    fill = (124, 116, 104)  # ImageNet's mean
    assert read("rand-m9-mstd0.5-inc1") == dm.TimmRandAugment(fill=fill, translate_pixels=100, interpolation="bicubic")
    assert read("rand-m9-mstd0.5-inc1", interpolation="random").interpolation == "random"


@pytest.mark.parametrize(
    ("config", "num_ops", "step"),
    [
        ("rand", 2, dm.TimmStep("AutoContrast", 0.5, 10, 0)),
        ("rand-m7-n3-p0.8", 3, dm.TimmStep("AutoContrast", 0.8, 7, 0)),
        ("rand-n1-mmax30-m20-mstd1.5", 1, dm.TimmStep("AutoContrast", 0.5, 20, 1.5, 30)),
        ("rand-mstd101-inc1-t3a", 2, dm.TimmStep("SolarizeIncreasing", 0.5, 10, math.inf)),
    ],
)
def test_the_grammar_of_rand_augment_is_read(config, num_ops, step):
    found = read(config, color_jitter=None)
    assert (found.num_ops, found.steps[0], found.weights) == (num_ops, step, None)
    if "inc1-t" not in config:
        assert len(found.steps) == len(INCREASING)


def test_weights_are_read():
    found = read("rand-tweights")
    assert len(found.weights) == len(found.steps) == 15
    assert sum(found.weights) == pytest.approx(1)
    assert found.steps[0].name == "Rotate"
    assert found.weights[0] == pytest.approx(3 * found.weights[3])


def test_augmix_is_read():
    fill = (124, 116, 104)
    assert read("augmix") == dm.TimmAugMix(fill=fill, translate_pixels=100, interpolation="bicubic")
    found = read("augmix-m5-w4-d2-a0.5-b1-mstd0.5")
    assert (found.width, found.depth, found.alpha, found.blended) == (4, 2, 0.5, True)
    assert found.steps == tuple(dm.TimmStep(name, 1.0, 5, 0.5) for name in OF_AUGMIX)


def test_lists_of_operations_are_read():
    original = read("original-mstd0.5")
    assert len(original.policies) == 25
    assert original.policies[0] == (dm.TimmStep("PosterizeOriginal", 0.4, 8), dm.TimmStep("Rotate", 0.6, 9))
    three, jitter = dm.from_torchvision(create_transform(224, is_training=True, auto_augment="3a")).transforms
    assert [policy[0].name for policy in three.policies] == ["Solarize", "Desaturate", "GaussianBlurRand"]
    assert jitter == dm.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.6, 1.4))


def test_it_is_exact_and_printed_in_one_line():
    pipeline = dm.from_torchvision(create_transform(224, is_training=True, auto_augment="rand-m9-mstd0.5-inc1"))
    line = pipeline.translation.lines[2]
    assert str(line.parity) == "exact"
    assert len(str(line)) < 700
    assert "TimmRandAugment(2 of 15 such as TimmStep(name='AutoContrast'" in str(line)


def test_what_a_transform_of_ours_cannot_say_is_named():
    op = auto_augment.AugmentOp
    mixed = auto_augment.RandAugment([op("Rotate", hparams={"img_mean": 1}), op("Rotate", hparams={"img_mean": 2})])
    with pytest.raises(ValueError, match="ops must be alike in their hparams, got"):
        read_augment(mixed)
    with pytest.raises(ValueError, match=r"interpolation must be nearest, bilinear or bicubic, .*, got 1"):
        read_augment(auto_augment.rand_augment_transform("rand-m9", {"interpolation": 1}))
    with pytest.raises(ValueError, match="ops must be timm's AugmentOp, with one of its names, got"):
        read_augment(auto_augment.RandAugment([abs]))

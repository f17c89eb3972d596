"""What moves pixels has its counterpart, by v1 and v2 alike, also within containers."""

import pytest
import torch
from torchvision import transforms as v1
from torchvision.transforms import v2

import dali_mixup as dm
from dali_mixup.parity import Parity

Mode = v1.InterpolationMode
NOTHING = dm.RandomApply((), 1.0)


def translated(module, *steps):
    return dm.from_torchvision(module.Compose([module.RandomResizedCrop(8), *steps, module.PILToTensor()]))


@pytest.mark.parametrize("module", [v1, v2])
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda m: m.RandomRotation(30), dm.RandomRotation((-30.0, 30.0))),
        (
            lambda m: m.RandomRotation([0, 90], Mode.BICUBIC, center=[3, 4], fill=(1, 2, 3)),
            dm.RandomRotation((0.0, 90.0), "bicubic", (3.0, 4.0), (1, 2, 3)),
        ),
        (lambda m: m.RandomAffine(0), dm.RandomAffine((0.0, 0.0))),
        (
            lambda m: m.RandomAffine(5, [0.1, 0.2], (0.5, 2), 7, Mode.BILINEAR, 9, [1, 2]),
            dm.RandomAffine((-5.0, 5.0), (0.1, 0.2), (0.5, 2.0), (-7.0, 7.0), "bilinear", 9, (1.0, 2.0)),
        ),
        (lambda m: m.RandomAffine(5, shear=(1, 2, 3, 4)), dm.RandomAffine((-5.0, 5.0), shear=(1.0, 2.0, 3.0, 4.0))),
        (lambda m: m.RandomPerspective(), dm.RandomPerspective()),
        (lambda m: m.RandomPerspective(0.3, 0.9, Mode.NEAREST, 7), dm.RandomPerspective(0.3, 0.9, "nearest", 7)),
        (lambda m: m.ElasticTransform(), dm.ElasticTransform()),
        (
            lambda m: m.ElasticTransform([30.0, 20.0], [0.5, 1.0], Mode.NEAREST, 7),
            dm.ElasticTransform((30.0, 20.0), (0.5, 1.0), "nearest", 7),
        ),
        (
            lambda m: m.RandomChoice([m.RandomRotation(9), torch.nn.Identity()]),
            dm.OneOf((dm.RandomRotation((-9.0, 9.0)), NOTHING)),
        ),
        (
            lambda m: m.RandomChoice([m.RandomInvert(), m.Compose([m.RandomRotation(9), m.RandomInvert()])], p=[1, 3]),
            dm.OneOf(
                (
                    dm.RandomOperation("Invert"),
                    dm.RandomApply((dm.RandomRotation((-9.0, 9.0)), dm.RandomOperation("Invert")), 1.0),
                ),
                (1.0, 3.0),
            ),
        ),
        (
            lambda m: m.RandomOrder([m.RandomGrayscale(), m.RandomApply([m.RandomInvert()])]),
            dm.RandomOrder((dm.RandomGrayscale(), dm.RandomApply((dm.RandomOperation("Invert"),)))),
        ),
    ],
)
def test_moves_and_choices_are_found(module, make, expected):
    (found,) = translated(module, make(module)).transforms
    if isinstance(found, dm.OneOf) and found.p:  # v2 divides by their sum
        assert found.shares == expected.shares
        found = dm.OneOf(found.transforms, expected.p)
    assert found == expected


@pytest.mark.parametrize("module", [v1, v2])
def test_a_rotation_that_expands_is_refused(module):
    with pytest.raises(ValueError, match=r"(?s)expand must be False, got 'RandomRotation\(.*a size of its own"):
        translated(module, module.RandomRotation(30, expand=True))


@pytest.mark.parametrize(
    "step", [v2.RandomRotation(9), v2.RandomAffine(9), v2.RandomPerspective(), v2.RandomChoice([v2.RandomRotation(9)])]
)
def test_moves_of_tensors_are_approximate(step):
    line = dm.from_torchvision(v2.Compose([v2.ToImage(), v2.CenterCrop(8), step])).translation.lines[2]
    assert line.parity == Parity.APPROXIMATE
    assert "before ToTensor" in line.note


def test_a_fill_that_is_no_level_is_within_one():
    (*_, line, _) = translated(v1, v1.RandomRotation(9, fill=9.5)).translation.lines
    assert line.parity == Parity.ONE_LEVEL

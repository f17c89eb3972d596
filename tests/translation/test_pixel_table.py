"""Each transform of pixels has its counterpart, and says how close that comes."""

import pytest
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

import dali_mixup as dm
from dali_mixup.parity import Parity

MEAN, STD = dm.IMAGENET_MEAN, dm.IMAGENET_STD
AFTER = [v1.ToTensor(), v1.Normalize(MEAN, STD)]


Mode = v1.InterpolationMode


@pytest.mark.parametrize("module", [v1, v2])
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda m: m.ColorJitter(0.4, 0.3, 0.2, 0.1), dm.ColorJitter((0.6, 1.4), (0.7, 1.3), (0.8, 1.2), (-0.1, 0.1))),
        (lambda m: m.ColorJitter(saturation=(0.5, 1.0)), dm.ColorJitter(saturation=(0.5, 1.0))),
        (lambda m: m.Grayscale(3), dm.RandomGrayscale(1.0)),
        (lambda m: m.RandomGrayscale(0.3), dm.RandomGrayscale(0.3)),
        (lambda m: m.GaussianBlur(5), dm.GaussianBlur(5, (0.1, 2.0))),
        (lambda m: m.GaussianBlur((5, 7), 1.5), dm.GaussianBlur((5, 7), 1.5)),
        (lambda m: m.RandomVerticalFlip(0.2), dm.RandomVerticalFlip(0.2)),
        (lambda m: m.RandAugment(), dm.RandAugment()),
        (lambda m: m.RandAugment(3, 5, 11, Mode.BILINEAR, 128), dm.RandAugment(3, 5, 11, "bilinear", 128)),
        (
            lambda m: m.TrivialAugmentWide(21, Mode.BILINEAR, (1, 2, 3)),
            dm.TrivialAugmentWide(21, "bilinear", (1, 2, 3)),
        ),
        (lambda m: m.AutoAugment(), dm.AutoAugment()),
        (lambda m: m.RandomAdjustSharpness(3, 0.1), dm.RandomOperation("Sharpness", 2.0, 0.1)),
        (lambda m: m.RandomSolarize(100.5), dm.RandomOperation("Solarize", 100.5)),
        (lambda m: m.RandomPosterize(3), dm.RandomOperation("Posterize", 3)),
        (lambda m: m.RandomInvert(0.2), dm.RandomOperation("Invert", p=0.2)),
        (lambda m: m.RandomAutocontrast(), dm.RandomOperation("AutoContrast")),
        (lambda m: m.RandomEqualize(1.0), dm.RandomOperation("Equalize", p=1.0)),
        (lambda m: m.AutoAugment(m.AutoAugmentPolicy.CIFAR10, fill=[5, 5, 5]), dm.AutoAugment("cifar10", fill=5)),
        (
            lambda m: m.RandomApply([m.GaussianBlur(3), m.RandomHorizontalFlip(0.1)], 0.3),
            dm.RandomApply((dm.GaussianBlur(3), dm.RandomHorizontalFlip(0.1)), 0.3),
        ),
    ],
)
def test_transforms_of_pixels_are_found(module, make, expected):
    pipeline = dm.from_torchvision(
        module.Compose([module.RandomResizedCrop(8), make(module), module.PILToTensor()]), strict=True
    )
    (found,) = pipeline.transforms
    assert repr(found) == repr(expected) or found.ranges == pytest.approx(expected.ranges)
    # values are not converted: floats from 0 to 255
    assert (pipeline.mean, pipeline.std) == ((0, 0, 0), (1 / 255, 1 / 255, 1 / 255))


@pytest.mark.parametrize("module", [v1, v2])
def test_aug_mix_is_found_and_approximate(module):
    plain, other = module.AugMix(), module.AugMix(5, 2, 3, 0.5, False, Mode.NEAREST, [9, 9, 9])
    pipeline = dm.from_torchvision(module.Compose([module.CenterCrop(8), plain, other]))
    assert pipeline.transforms == (dm.AugMix(), dm.AugMix(5, 2, 3, 0.5, False, "nearest", 9))
    assert {line.parity for line in pipeline.translation.lines[1:]} == {Parity.APPROXIMATE}


def test_erasing_takes_the_value_of_its_place():
    def erasing(*steps):
        return dm.from_torchvision(v1.Compose([v1.CenterCrop(8), *steps])).transforms[0]

    assert erasing(v1.ToTensor(), v1.RandomErasing(0.1, (0.1, 0.2), (0.5, 2), 0.2)) == dm.RandomErasing(
        0.1, (0.1, 0.2), (0.5, 2), (51,) * 3
    )
    assert erasing(v1.PILToTensor(), v1.RandomErasing(value=(1, 2, 3))).fill == (1, 2, 3)
    assert erasing(*AFTER, v1.RandomErasing()).fill == pytest.approx([255 * mean for mean in MEAN])
    assert erasing(*AFTER, v2.RandomErasing(value=(1, 0, -1))).fill == pytest.approx(
        [255 * 0.714, 255 * 0.456, 255 * 0.181]
    )
    noisy = erasing(*AFTER, v2.RandomErasing(value="random"))
    assert noisy.noise == "pixel"
    assert noisy.std == pytest.approx([255 * std for std in STD])
    with pytest.raises(
        ValueError, match=r"value must be within the range of images, got .*; erased pixels would be clipped"
    ):
        erasing(*AFTER, v1.RandomErasing(value=5.5))


def on_tensors(step, *, floating):
    return [v2.ToImage(), *([v2.ToDtype(torch.float32, scale=True)] if floating else []), v2.CenterCrop(200), step]


TENSOR_STEPS = [
    v2.Grayscale(3),
    v2.ColorJitter((1.5, 1.5)),
    v2.ColorJitter(0, (1.8, 1.8)),
    v2.ColorJitter(0, 0, (1.7, 1.7)),
    v2.ColorJitter(0, 0, 0, (0.2, 0.2)),
    v2.RandomInvert(1),
    v2.RandomPosterize(3, 1),
    v2.RandomEqualize(1),
    v2.RandomAutocontrast(1),
    v2.RandomAdjustSharpness(2, 1),
    v2.GaussianBlur(5, (1.0, 1.0)),
    v2.RandomApply([v2.RandomInvert(1), v2.Grayscale(3)], 1),
    v2.RandomApply([v2.ColorJitter(0, 0, 0, (0.2, 0.2))], 1),
]

TENSOR_CHAINS = [
    *[on_tensors(step, floating=floating) for step in TENSOR_STEPS for floating in (False, True)],
    on_tensors(v2.RandomSolarize(128, 1), floating=False),
    on_tensors(v2.RandomSolarize(0.5, 1), floating=True),
    on_tensors(v2.RandomApply([v2.RandomSolarize(0.3, 1)], 1), floating=True),
    *[
        [v2.ToImage(), v2.Resize((100, 100), mode)]
        for mode in (Mode.NEAREST, Mode.NEAREST_EXACT, Mode.BILINEAR, Mode.BICUBIC)
    ],
    *[
        [v1.ToTensor(), v1.Resize((100, 100), mode)]
        for mode in (Mode.NEAREST, Mode.NEAREST_EXACT, Mode.BILINEAR, Mode.BICUBIC)
    ],
]


@pytest.mark.parametrize("chain", TENSOR_CHAINS, ids=str)
def test_what_torchvision_does_with_tensors_has_its_own_class(photos, chain):
    transform = v2.Compose([*chain, v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()])
    dataset = dm.ImageFolder(photos)
    files = dm.FileList(list(dataset.paths)[::4], dataset.targets[::4])
    theirs = []
    for path in files.paths:
        with Image.open(path) as image:
            theirs.append(transform(image.convert("RGB")))
    made = dm.from_torchvision(transform)
    ours = [images[0] for images, _ in dm.Loader(files, made, batch_size=1, device="cpu", num_threads=1)]
    largest = max((255 * (one - other)).abs().max().item() for one, other in zip(ours, theirs, strict=True))
    parities = {line.parity for line in made.translation.lines}
    if Parity.APPROXIMATE in parities:
        assert 0.9 < largest < (30 if "NEAREST" not in str(chain) and "nearest" not in str(chain) else 256)
    else:
        assert largest <= (1.001 if Parity.ONE_LEVEL in parities else 0.001)


def test_warps_of_tensors_are_approximate():
    for step in (v2.RandAugment(), v2.TrivialAugmentWide(), v2.AutoAugment()):
        assert (
            dm.from_torchvision(v2.Compose([v2.CenterCrop(32), step, v2.ToImage()])).translation.lines[1].parity
            != Parity.APPROXIMATE
        )
        line = dm.from_torchvision(v2.Compose([v2.ToImage(), v2.CenterCrop(32), step])).translation.lines[2]
        assert line.parity == Parity.APPROXIMATE
        assert "before ToTensor" in line.note

"""What a transform may do depends on what was read before it."""

import pytest
import torch
import torchvision
from torchvision import transforms as v1
from torchvision.transforms import v2

import dali_mixup as dm

MEAN, STD = dm.IMAGENET_MEAN, dm.IMAGENET_STD
AFTER = [v1.ToTensor(), v1.Normalize(MEAN, STD)]


Mode = v1.InterpolationMode


def test_a_flip_before_a_random_crop_is_the_same_as_one_after_it():
    for crop in (v1.RandomCrop(32, 4), v1.RandomResizedCrop(32)):
        before, after = (
            dm.from_torchvision(v1.Compose(steps))
            for steps in ([v1.RandomHorizontalFlip(), crop], [crop, v1.RandomHorizontalFlip()])
        )
        assert before == after


def test_flips_add_up_and_keep_their_place():
    flips = [v1.RandomHorizontalFlip(0.5), v1.RandomResizedCrop(8), v1.RandomHorizontalFlip(0.2)]
    assert dm.from_torchvision(v1.Compose(flips)).flip == pytest.approx(0.5)
    assert dm.from_torchvision(
        v1.Compose([v1.RandomHorizontalFlip(0.1), v1.RandomHorizontalFlip(0.2)])
    ).flip == pytest.approx(0.26)
    later = dm.from_torchvision(v1.Compose([v1.RandomResizedCrop(8), v1.RandAugment(), v1.RandomHorizontalFlip(0.3)]))
    assert later.flip == 0
    assert later.transforms == (dm.RandAugment(), dm.RandomHorizontalFlip(0.3))


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            [v1.ColorJitter(0.1, 0.1), v1.RandomResizedCrop(8)],
            r"got 'RandomResizedCrop.*ColorJitter.* would work on the whole image; put it behind",
        ),
        ([v1.GaussianBlur(3), v1.CenterCrop(8)], "got 'CenterCrop.*GaussianBlur.* would work on the whole image"),
        ([v1.ColorJitter(contrast=0.1), v1.CenterCrop(8)], "would work on the whole image"),
        ([v1.RandomGrayscale(), v1.Resize(8), v1.CenterCrop(8)], "got 'Resize.*RandomGrayscale"),
        ([v1.RandomGrayscale(), v1.RandomCrop(8, 2, fill=9)], "got 'RandomCrop.*RandomGrayscale"),
        ([v1.RandomCrop(8), v1.Resize(16)], "got 'Resize.*resize once, and before the crop"),
        ([v1.Resize(16), v1.Resize(8)], "got 'Resize.*resize once"),
        ([v1.Resize(16), v1.RandomResizedCrop(8)], "it resizes once more; leave out the Resize before it"),
        ([v1.RandomCrop(16), v1.CenterCrop(8)], r"the images are cropped already, by RandomCrop\(size=16.*crop once"),
        (
            [v1.RandomHorizontalFlip(), v1.RandomCrop(8, (1, 2, 3, 4))],
            r"its padding differs .* put RandomHorizontalFlip\(p=0.5\) behind it",
        ),
        ([v1.CenterCrop(8), v1.Normalize((0,), (1,))], "got 'Normalize.*it needs floats; put ToTensor"),
        (
            [v1.CenterCrop(8), *AFTER, v1.ColorJitter(0.1)],
            "got 'ColorJitter.*it works on levels; put it before Normalize",
        ),
        (
            [v1.RandomApply([v1.Grayscale(1)])],
            r"num_output_channels must be 3 inside of other transforms, since all images of a batch have as many "
            r"channels, got 'Grayscale\(num_output_channels=1\)'",
        ),
        (
            [v1.Grayscale(1), v1.CenterCrop(8), v1.ToTensor(), v1.Normalize((0.1, 0.2, 0.3), (1, 1, 1))],
            "mean must be one number, and std, for images of one channel, got 'Normalize",
        ),
        (
            [v1.CenterCrop(8), v1.Grayscale(1), v1.ToTensor(), v1.RandomErasing(value="random")],
            "got 'RandomErasing.*its noise would be mixed out of three channels; put it before Grayscale",
        ),
        ([v1.Resize(8, Mode.BOX)], 'interpolation must be "nearest", "bilinear", "bicubic" or "lanczos", got'),
        ([v2.ToImage(), v2.Resize(8, antialias=False)], "antialias must be True, as it always is for PIL images"),
        (
            [v2.ToImage(), v2.ToDtype(torch.float16, scale=True)],
            "dtype must be torch.float32, got .*; the Loader's dtype= delivers float16",
        ),
        ([v1.RandAugment(interpolation=Mode.BICUBIC)], 'interpolation must be "nearest" or "bilinear"'),
    ],
)
def test_what_can_not_be_done_at_its_place_is_refused(steps, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        dm.from_torchvision(v1.Compose(steps))


def test_pointwise_transforms_may_stand_before_a_crop_that_does_not_resize():
    steps = [
        v1.Resize(40),
        v1.ColorJitter(0.1, 0, 0.1, 0.1),
        v1.RandomApply([v1.RandomGrayscale()]),
        v1.RandomCrop(32, 4),
    ]
    pipeline = dm.from_torchvision(v1.Compose(steps), strict=True)
    assert pipeline.geometry == dm.RandomCrop(32, 4, resize=dm.Resize(40))
    assert len(pipeline.transforms) == 2


def parities(*steps):
    return [str(line.parity) for line in dm.from_torchvision(v1.Compose(steps)).translation.lines]


def test_parity_depends_on_the_options_and_on_what_comes_before():
    flip = v1.RandomHorizontalFlip()
    assert parities(v1.Resize((8, 8), Mode.BICUBIC)) == ["exact"]
    assert parities(flip, v1.Resize((8, 8), Mode.BICUBIC)) == ["exact", "within one level"]
    assert parities(flip, v1.Resize((8, 8), Mode.NEAREST)) == ["exact", "approximate"]
    assert parities(flip, torchvision.models.ResNet18_Weights.DEFAULT.transforms()) == ["exact", "approximate"]
    for level in range(256):
        assert parities(v1.RandomCrop(8, 1, fill=level)) == ["exact"]
        assert parities(v1.PILToTensor(), v1.RandomErasing(value=level)) == ["exact", "exact"]
    assert parities(*AFTER, v1.RandomCrop(8, 1)) == ["exact", "exact", "within one level"]
    assert parities(*AFTER, v1.RandomCrop(8, 1, padding_mode="edge")) == ["exact", "exact", "exact"]
    assert parities(v1.RandomApply([v1.GaussianBlur(3), v1.RandomInvert()])) == ["within one level"]

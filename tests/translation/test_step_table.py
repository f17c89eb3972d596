"""Each transform of geometry and values has its counterpart."""

import dataclasses

import numpy as np
import pytest
import timm.data.transforms as timm_transforms
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

import dali_mixup as dm
from tests.conftest import picture

MEAN, STD = dm.IMAGENET_MEAN, dm.IMAGENET_STD
Mode = v1.InterpolationMode


def geometry(transform):
    return dm.from_torchvision(transform).geometry


@pytest.mark.filterwarnings("ignore:The transform `ToTensor:UserWarning")
@pytest.mark.parametrize("module", [v1, v2])
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda m: m.RandomResizedCrop((20, 30), (0.2, 0.9), (0.5, 2.0)),
            dm.RandomResizedCrop((20, 30), (0.2, 0.9), (0.5, 2.0)),
        ),
        (
            lambda m: m.RandomResizedCrop(20, interpolation=Mode.BICUBIC),
            dm.RandomResizedCrop(20, interpolation="bicubic"),
        ),
        (
            lambda m: m.RandomResizedCrop(20, interpolation=Mode.NEAREST_EXACT),
            dm.RandomResizedCrop(20, interpolation="nearest"),
        ),
        (lambda m: m.Resize((20, 30)), dm.Resize((20, 30))),
        (lambda m: m.Resize((20, 20), Mode.LANCZOS), dm.Resize((20, 20), interpolation="lanczos")),
        (lambda m: m.Resize(20, max_size=30), dm.Resize(20, 30)),
        (lambda m: m.CenterCrop(20), dm.CenterCrop(20)),
        (lambda m: m.CenterCrop((20, 30)), dm.CenterCrop((20, 30))),
        (
            lambda m: m.Compose([m.Resize(30, Mode.BICUBIC), m.CenterCrop((20, 25))]),
            dm.ResizeCenterCrop(30, (20, 25), "bicubic"),
        ),
        (lambda m: m.Compose([m.Resize(20), m.CenterCrop(30)]), dm.CenterCrop(30, dm.Resize(20))),
        (lambda m: m.Compose([m.Resize((40, 50)), m.CenterCrop(30)]), dm.CenterCrop(30, dm.Resize((40, 50)))),
        (
            lambda m: m.Compose([m.Resize(40, max_size=50), m.RandomCrop(30)]),
            dm.RandomCrop(30, resize=dm.Resize(40, 50)),
        ),
        (lambda m: m.Pad(2), dm.Pad(2)),
        (lambda m: m.Pad((1, 2, 3, 4), 9, "edge"), dm.Pad((1, 2, 3, 4), 9, "edge")),
        (lambda m: m.Compose([m.Resize((8, 9)), m.Pad([1, 2])]), dm.Pad((1, 2), resize=dm.Resize((8, 9)))),
        (
            lambda m: m.Compose([m.RandomResizedCrop(8), m.RandomHorizontalFlip(), m.Pad(3)]),
            dm.Pad(3, resize=dm.RandomResizedCrop(8)),
        ),
        (lambda m: m.Compose([m.Pad((1, 2, 3, 4), 7), m.RandomCrop(30)]), dm.RandomCrop(30, (1, 2, 3, 4), fill=7)),
        (
            lambda m: m.Compose([m.Resize(40), m.Pad(4, 0, "reflect"), m.RandomHorizontalFlip(), m.RandomCrop(30)]),
            dm.RandomCrop(30, 4, padding_mode="reflect", resize=dm.Resize(40)),
        ),
        (
            lambda m: m.Compose([m.Pad(4), m.RandomCrop(30, pad_if_needed=True)]),
            dm.RandomCrop(30, 4, pad_if_needed=True),
        ),
        (lambda m: m.RandomCrop(30, 4), dm.RandomCrop(30, 4)),
        (lambda m: m.RandomCrop(30, (3, 5), fill=7), dm.RandomCrop(30, (3, 5), fill=7)),
        (
            lambda m: m.RandomCrop((30, 20), [1, 2, 3, 4], padding_mode="reflect"),
            dm.RandomCrop((30, 20), (1, 2, 3, 4), padding_mode="reflect"),
        ),
        (lambda m: m.RandomCrop(30, pad_if_needed=True, fill=(1, 2, 3)), dm.RandomCrop(30, 0, True, (1, 2, 3))),
    ],
)
def test_geometries_are_found(module, make, expected):
    found = geometry(module.Compose([make(module), module.ToTensor()]))
    if isinstance(found, dm.RandomCrop):  # v2 keeps four paddings
        assert found.margins == expected.margins
        found, expected = (dataclasses.replace(crop, padding=0) for crop in (found, expected))
    assert found == expected


@pytest.mark.parametrize(
    ("steps", "mean", "std"),
    [
        ([], (0,) * 3, (1,) * 3),
        ([v1.ToTensor()], (0,) * 3, (1,) * 3),
        ([v2.ToImage()], (0,) * 3, (1 / 255,) * 3),
        ([v2.ToImage(), v2.ToDtype(torch.float32)], (0,) * 3, (1 / 255,) * 3),
        ([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()], (0,) * 3, (1,) * 3),
        ([v2.ToImage(), v2.ToDtype({torch.Tensor: None, "others": torch.float32}, scale=True)], (0,) * 3, (1,) * 3),
        ([v1.PILToTensor(), v1.ConvertImageDtype(torch.float32)], (0,) * 3, (1,) * 3),
        ([timm_transforms.ToTensor()], (0,) * 3, (1 / 255,) * 3),
        ([timm_transforms.ToNumpy()], (0,) * 3, (1 / 255,) * 3),
        ([v1.ToTensor(), v1.Normalize((0.5,), (0.25,))], (0.5,) * 3, (0.25,) * 3),
        ([timm_transforms.ToTensor(), v1.Normalize((51.0,), (102.0,))], (0.2,) * 3, (0.4,) * 3),
        ([v1.ToTensor(), v1.Normalize((0.5,), (0.5,)), v1.Normalize((1,), (2,))], (1,) * 3, (1,) * 3),
        ([v1.ToTensor(), v1.Normalize(torch.tensor(MEAN), np.array(STD))], MEAN, STD),
    ],
)
def test_values_are_those_that_torchvision_delivers(tmp_path, steps, mean, std):
    transform = v1.Compose([v1.CenterCrop(8), *steps])
    pipeline = dm.from_torchvision(transform, strict=True)
    assert pipeline.mean == pytest.approx(mean)
    assert pipeline.std == pytest.approx(std)
    picture(8, 8, 0).save(tmp_path / "0.png")
    ((images, _),) = dm.Loader(dm.FileList([tmp_path / "0.png"], [0]), pipeline, batch_size=1, device="cpu")
    expected = transform(Image.open(tmp_path / "0.png"))
    expected = torch.as_tensor(expected) if steps else v1.ToTensor()(expected)
    torch.testing.assert_close(images[0], expected.float(), rtol=1e-5, atol=1e-4 if std[0] < 0.1 else 1e-5)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([v2.Resize((8, 9))], dm.Resize((8, 9))),
        ([v2.RandomResizedCrop(8)], dm.RandomResizedCrop(8)),
        ([v2.Resize(12), v2.CenterCrop(8), v2.RandomHorizontalFlip()], dm.ResizeCenterCrop(12, 8)),
    ],
)
def test_a_canvas_goes_around_what_follows(steps, expected):
    zoom_out = v2.RandomZoomOut({"others": (1, 2, 3)}, (1.5, 2.0), 0.3)
    pipeline = dm.from_torchvision(v2.Compose([zoom_out, *steps]), strict=True)
    assert pipeline.geometry == dm.RandomZoomOut(expected, (1, 2, 3), (1.5, 2.0), 0.3)
    assert "-> RandomZoomOut around what follows (exact)" in str(pipeline)


def test_the_colour_of_a_canvas_may_be_normalized():
    steps = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    pipeline = dm.from_torchvision(v2.Compose([*steps, v2.RandomZoomOut(0.0), v2.Resize((8, 8))]))
    assert pipeline.geometry == dm.RandomZoomOut(dm.Resize((8, 8)), (124, 116, 104))
    assert "within one level" in str(pipeline).splitlines()[-2]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([v2.Resize((8, 8)), v2.RandomZoomOut()], "resized or cropped already; put it before that"),
        ([v2.RandomZoomOut(), v2.RandomZoomOut(), v2.Resize((8, 8))], "a canvas already; zoom out once"),
        ([v2.RandomHorizontalFlip(), v2.RandomZoomOut(), v2.Resize((8, 8))], "put that behind it"),
        ([v2.ColorJitter(0.4), v2.RandomZoomOut(), v2.Resize((8, 8))], "put it behind the crop"),
        ([v2.RandomZoomOut()], "geometry must be one that resizes to a fixed size"),
        ([v2.RandomZoomOut(5), v2.Resize(20), v2.RandomCrop(20, 2)], r"geometry must be one that pads with fill \(5\)"),
    ],
)
def test_a_canvas_at_another_place_is_refused_with_a_remedy(steps, message):
    with pytest.raises(ValueError, match=message):
        dm.from_torchvision(v2.Compose(steps))


def test_crops_of_one_image_have_no_canvases_of_their_own():
    steps = [v2.RandomZoomOut(), v2.FiveCrop(8), v2.ToImage()]
    with pytest.raises(ValueError, match="each view would draw a canvas of its own"):
        dm.from_torchvision(v2.Compose(steps), views=True)


@pytest.mark.parametrize("module", [v1, v2])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: [m.CenterCrop(8), m.Pad(4)], "has cut off what is around"),
        (lambda m: [m.Pad(4), m.RandomCrop(30, 4)], "pads already; pad once, here or there"),
        (lambda m: [m.Pad(4, 9), m.RandomCrop(30, pad_if_needed=True)], "pads already"),
        (lambda m: [m.Pad(4), m.Resize((8, 8))], "resize once, and before the crop"),
        (lambda m: [m.RandomHorizontalFlip(), m.Pad((1, 2, 3, 4))], "its padding differs from side to side"),
        (lambda m: [m.Pad((1, 2, 3, 4)), m.RandomHorizontalFlip(), m.RandomCrop(8)], "its padding differs"),
        (lambda m: [m.ColorJitter(0.4), m.Pad(4, 9)], "would work on the whole image"),
        (lambda m: [m.RandomRotation(4), m.Pad(4)], "would work on the whole image"),
    ],
)
def test_margins_that_cant_be_at_their_place_are_refused(module, make, message):
    with pytest.raises(ValueError, match=message):
        geometry(module.Compose(make(module)))

"""DALI's `mixed` decoder against its CPU decoder and against Pillow, which agree to the bit."""

import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm
from dali_mixup.dataset.paths import PathList
from dali_mixup.decode.graph import build_graph
from dali_mixup.pipelines import imagenet
from tests.gpu.place import DEVICE, DEVICE_ID

pytestmark = pytest.mark.gpu
ANY = dm.ImagePipeline(geometry=dm.RandomResizedCrop(8))
SETTINGS = [
    pytest.param(dm.GpuDecode(hw_decoder_load=load, fancy_upsampling=fancy), id=f"load_{load:g}_fancy_{fancy}")
    for load in (0.0, 1.0)
    for fancy in (True, False)
]
A_LEVEL_OR_TWO = 2.0  # on average; a wrong picture is off by tens


def decode(paths, anchors, shapes, device_id, gpu_decode=None):
    """Windows (h, w, 3) uint8."""
    file, length = PathList(paths).padded(np.arange(len(paths)))
    inputs = {
        "file": file,
        "length": length,
        "is_decoded": np.zeros(len(paths), np.bool_),
        "pixels": [np.empty((0, 0, 3), np.uint8)] * len(paths),
        "anchor": np.array(anchors, np.int32),
        "shape": np.array(shapes, np.int32),
    }
    graph = build_graph(
        (ANY,),
        lambda _: inputs,
        windows_only=True,
        batch_size=len(paths),
        device_id=device_id,
        num_threads=4,
        prefetch=1,
        seed=0,
        gpu_options=(gpu_decode or dm.GpuDecode()).options((600, 600)),
    )
    (images,) = graph.run()
    return [np.array(image) for image in (images if device_id is None else images.as_cpu())]


def sizes_of(paths):
    sizes = []
    for path in paths:
        with Image.open(path) as image:
            sizes.append((image.height, image.width))
    return sizes


def differences(ours, expected):
    each = [np.abs(one.astype(int) - other.astype(int)) for one, other in zip(ours, expected, strict=True)]
    return {
        "mean": float(np.mean([levels.mean() for levels in each])),
        "max": int(max(levels.max() for levels in each)),
    }


@pytest.mark.parametrize("gpu_decode", SETTINGS)
def test_photos_decode_as_on_the_cpu(real, gpu_decode, record):
    whole = list(zip(real.heights.tolist(), real.widths.tolist(), strict=True))
    nothing = [(0, 0)] * len(whole)
    found = differences(
        decode(real.paths, nothing, whole, DEVICE_ID, gpu_decode=gpu_decode),
        decode(real.paths, nothing, whole, device_id=None),
    )
    record("photos", load=gpu_decode.hw_decoder_load, fancy=gpu_decode.fancy_upsampling, **found)
    assert found["mean"] < A_LEVEL_OR_TWO


@pytest.mark.parametrize("gpu_decode", SETTINGS)
@pytest.mark.parametrize(
    "kind",
    [
        "baseline",
        "no_subsampling",
        "half_subsampling",
        "grayscale",
        "cmyk",
        "progressive",
        "exif",
        "restart",
        "noise",
        "one_pixel",
    ],
)
def test_every_kind_of_jpeg_decodes_as_on_the_cpu(kinds, kind, gpu_decode, record):
    (size,) = sizes_of([kinds[kind]])
    (ours,) = decode([kinds[kind]], [(0, 0)], [size], DEVICE_ID, gpu_decode=gpu_decode)
    (expected,) = decode([kinds[kind]], [(0, 0)], [size], device_id=None)
    assert ours.shape == expected.shape == (*size, 3)
    found = differences([ours], [expected])
    record(kind, load=gpu_decode.hw_decoder_load, fancy=gpu_decode.fancy_upsampling, **found)
    assert found["mean"] < A_LEVEL_OR_TWO


@pytest.mark.parametrize("gpu_decode", SETTINGS)
def test_windows_are_parts_of_the_whole_image(real, gpu_decode, record):
    """Odd places and sizes, so that windows begin and end inside of a JPEG's blocks."""
    rng = np.random.default_rng(0)
    whole = np.stack([real.heights, real.widths], 1)
    shapes = np.maximum(1, (whole * rng.uniform(0.1, 0.9, whole.shape)).astype(int))
    anchors = (rng.uniform(0, 1, whole.shape) * (whole - shapes)).astype(int)
    full = decode(real.paths, np.zeros_like(whole), whole, DEVICE_ID, gpu_decode=gpu_decode)
    expected = [
        image[top : top + height, left : left + width]
        for image, (top, left), (height, width) in zip(full, anchors.tolist(), shapes.tolist(), strict=True)
    ]
    found = differences(decode(real.paths, anchors, shapes, DEVICE_ID, gpu_decode=gpu_decode), expected)
    record("windows", load=gpu_decode.hw_decoder_load, fancy=gpu_decode.fancy_upsampling, **found)
    assert found["mean"] < A_LEVEL_OR_TWO


def test_imagenet_val_gives_pillows_pixels(real, record):
    pipeline = imagenet.val(224)
    loader = dm.Loader(real, pipeline, batch_size=16, device=DEVICE)
    mean, std = (torch.tensor(values, device=DEVICE).view(3, 1, 1) for values in (pipeline.mean, pipeline.std))
    ours = torch.cat([((images * std + mean) * 255).round() for images, _ in loader]).permute(0, 2, 3, 1).cpu().numpy()
    expected = []
    for path in real.paths:
        with Image.open(path) as image:
            scale = 256 / min(image.size)
            short_first = [256 if side == min(image.size) else int(256 * side / min(image.size)) for side in image.size]
            resized = (
                image.convert("RGB").resize(short_first, Image.Resampling.BILINEAR)
                if scale != 1
                else image.convert("RGB")
            )
            left, top = round((resized.width - 224) / 2), round((resized.height - 224) / 2)
            expected.append(np.asarray(resized.crop((left, top, left + 224, top + 224))))
    found = differences(ours, expected)
    record("imagenet.val against Pillow", **found)
    assert found["mean"] < A_LEVEL_OR_TWO

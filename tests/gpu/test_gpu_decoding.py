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
SETTINGS = {
    f"load_{load:g}_fancy_{fancy}": dm.GpuDecode(hw_decoder_load=load, fancy_upsampling=fancy)
    for load in (0.0, 1.0)
    for fancy in (True, False)
}
KINDS = [
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
]
A_LEVEL_OR_TWO = 2.0  # on average; a wrong picture is off by tens


def decode(paths, anchors, shapes, device_id, gpu_decode=None):
    """Windows (h, w, 3) uint8."""
    file, length = PathList(paths).padded(np.arange(len(paths)))
    inputs = {
        "file": file,
        "length": length,
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
        takes_pixels=False,
        gpu_options=(gpu_decode or dm.GpuDecode()).options((600, 600)),
    )
    (images,) = graph.run()
    return [np.array(image) for image in (images if device_id is None else images.as_cpu())]


def sizes_of(paths):
    sizes = []
    for path in paths:
        with Image.open(path) as image:
            sizes.append((image.height, image.width))
    return np.array(sizes)


def differences(ours, expected):
    each = [np.abs(one.astype(int) - other.astype(int)) for one, other in zip(ours, expected, strict=True)]
    return {
        "mean": float(np.mean([levels.mean() for levels in each])),
        "max": int(max(levels.max() for levels in each)),
    }


@pytest.fixture(scope="module")
def decoded(real, kinds):
    """By setting, and "cpu": photos, their windows at odd places, and each kind, from one batch of one graph."""
    whole = sizes_of(real.paths)
    rng = np.random.default_rng(0)
    shapes = np.maximum(1, (whole * rng.uniform(0.1, 0.9, whole.shape)).astype(int))
    anchors = (rng.uniform(0, 1, whole.shape) * (whole - shapes)).astype(int)
    others = [kinds[kind] for kind in KINDS]
    sizes = sizes_of(others)
    paths = [*real.paths, *real.paths, *others]
    places = np.concatenate([0 * whole, anchors, 0 * sizes]), np.concatenate([whole, shapes, sizes])
    found = {}
    for name, gpu_decode in {"cpu": None, **SETTINGS}.items():
        images = decode(paths, *places, None if name == "cpu" else DEVICE_ID, gpu_decode)
        assert [image.shape for image in images] == [(*shape, 3) for shape in places[1].tolist()]
        count = len(whole)
        named = dict(zip(KINDS, images[2 * count :], strict=True))
        found[name] = {"photos": images[:count], "windows": images[count : 2 * count], **named}
    corners = [(*anchor, *(anchor + shape)) for anchor, shape in zip(anchors, shapes, strict=True)]
    return found, corners


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("what", ["photos", *KINDS])
def test_images_decode_as_on_the_cpu(decoded, what, setting, record):
    ours, expected = decoded[0][setting][what], decoded[0]["cpu"][what]
    found = differences(*([ours, expected] if what == "photos" else [[ours], [expected]]))
    record(what, load=SETTINGS[setting].hw_decoder_load, fancy=SETTINGS[setting].fancy_upsampling, **found)
    assert found["mean"] < A_LEVEL_OR_TWO


@pytest.mark.parametrize("setting", SETTINGS)
def test_windows_are_parts_of_the_whole_image(decoded, setting, record):
    """At odd places and of odd sizes, so that they begin and end inside of a JPEG's blocks."""
    images, corners = decoded
    places = zip(images[setting]["photos"], corners, strict=True)
    expected = [image[top:bottom, left:right] for image, (top, left, bottom, right) in places]
    found = differences(images[setting]["windows"], expected)
    record("windows", load=SETTINGS[setting].hw_decoder_load, fancy=SETTINGS[setting].fancy_upsampling, **found)
    assert found["mean"] < A_LEVEL_OR_TWO


@pytest.mark.parametrize("setting", SETTINGS)
def test_nothing_is_printed_about_good_files(kinds, setting, capfd):
    """nvImageCodec prints a line for each window that it leaves to the CPU."""
    path = kinds["baseline"]
    decode([path], [(3, 5)], [(50, 70)], DEVICE_ID, SETTINGS[setting])
    assert capfd.readouterr().err == ""


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

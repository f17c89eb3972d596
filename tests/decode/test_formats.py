"""Files of every kind beside each other in one batch: whole and in windows, each is what torchvision reads or bad."""

import functools
import io
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm
from tests.decode.made_files import SIZE, files
from tests.decode.own_process import run
from tests.drawn_photos import ENCODINGS, draw_photo
from tests.made_pngs import made_png
from tests.oracles import by_loader, by_torchvision

GEOMETRIES = {"whole": dm.KeepSize(), "windows": dm.RandomResizedCrop(24), "crops": dm.CropPad(32, padding=4)}
EPOCHS = 3


def dataset(paths):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dm.FileList(paths, np.arange(len(paths)), cache=False, progress=False)


def epochs(paths, geometry, **options):
    """Images (E, N, 3, H, W), the numbers of the files that came (E, N), and of those that are bad."""
    pipeline = dm.ImagePipeline(geometry=geometry, mean=(0, 0, 0), std=(1, 1, 1))
    options = {"shuffle": False, "device": "cpu", "num_threads": 2, "max_bad_fraction": 1.0, **options}
    made = dm.Loader(dataset(paths), pipeline, batch_size=len(paths), **options)
    images, numbers = zip(*(batch for _ in range(EPOCHS) for batch in made), strict=True)
    return torch.stack(images), torch.stack(numbers), [number for number, *_ in made.bad_samples]


def deliver():
    """For each geometry and policy: which files are bad, and which of the others aren't what torchvision reads."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder, contents = Path(name), files()
        (folder / "lossless").mkdir()
        paths = [folder / f"{i:02}.jpg" for i in range(len(contents))]
        read = {}
        for path, kind, content in zip(paths, contents, contents.values(), strict=True):
            path.write_bytes(content)
            read[kind] = by_torchvision(path)
        good = [i for i, kind in enumerate(contents) if read[kind] is not None and read[kind].shape[:2] == SIZE]
        lossless = [folder / "lossless" / f"{i:02}.png" for i in range(len(contents))]
        for i, kind in enumerate(contents):
            pixels = read[kind] if i in good else np.zeros((*SIZE, 3), np.uint8)
            Image.fromarray(pixels).save(lossless[i])
        for what, geometry in GEOMETRIES.items():
            expected, *_ = epochs(lossless, geometry)
            images, numbers, bad = epochs(paths, geometry, on_bad_sample="replace")
            found[what, "replace"] = _judge(list(contents), good, images, expected, numbers, bad)
            strict, expected = (epochs([which[i] for i in good], geometry) for which in (paths, lossless))
            names = [list(contents)[i] for i in good]
            found[what, "raise"] = _judge(names, range(len(good)), strict[0], expected[0], *strict[1:])
    return found


def _judge(names, good, images, expected, numbers, bad):
    """By name: "good", "bad", or what is wrong."""
    verdicts = {}
    for i, name in enumerate(names):
        came = [images[epoch, i] for epoch in range(EPOCHS)]
        if i in good and i not in bad:
            same = all(torch.equal(image, right) for image, right in zip(came, expected[:, i], strict=True))
            verdicts[name] = "good" if same else "differs from what torchvision reads"
        elif i in good:
            verdicts[name] = "replaced, and torchvision reads it"
        elif i in bad and (numbers[:, i] != i).all():
            verdicts[name] = "bad"
        else:
            verdicts[name] = "delivered, and torchvision refuses it"
    return verdicts


@pytest.fixture(scope="module")
def delivered():
    return run(deliver)


@pytest.mark.parametrize("policy", ["replace", "raise"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_each_kind_is_what_torchvision_reads_or_bad(delivered, geometry, policy):
    verdicts = delivered[geometry, policy]
    assert {name: said for name, said in verdicts.items() if said not in ("good", "bad")} == {}
    counts = [list(verdicts.values()).count(said) for said in ("good", "bad")]
    assert counts[0] > 40
    assert counts[1] > 5 or policy == "raise"


@functools.cache
def noisy_photos(seed=0, count=120):
    """Photos with 512 random bytes in the middle of the scan."""
    rng, photos = np.random.default_rng(seed), []
    for options in ENCODINGS[:4]:
        buffer = io.BytesIO()
        draw_photo(240, 320, rng).save(buffer, "JPEG", **options)
        photos.append(buffer.getvalue())
    noisy = []
    for i in range(count):
        content = bytearray(photos[i % 4])
        start = int(rng.integers(len(content) // 4, len(content) - 600))
        content[start : start + 512] = rng.bytes(512)
        noisy.append(bytes(content))
    return noisy


def deliver_noisy():
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / f"{i:03}.jpg" for i in range(len(noisy_photos()))]
        for path, content in zip(paths, noisy_photos(), strict=True):
            path.write_bytes(content)
        read = [by_torchvision(path) for path in paths]
        lossless = [path.with_suffix(".png") for path in paths]
        good = [i for i, pixels in enumerate(read) if pixels is not None]
        for i in good:
            Image.fromarray(read[i]).save(lossless[i])
        refused = [i for i in range(len(paths)) if i not in good]
        geometry = dm.RandomResizedCrop(32)
        *_, bad = epochs(paths, geometry, on_bad_sample="replace")
        images, expected = (epochs([which[i] for i in good], geometry)[0] for which in (paths, lossless))
        return refused, bad, [good[i] for i in range(len(good)) if not torch.equal(images[:, i], expected[:, i])]


def test_noise_inside_of_a_photo_is_refused_where_pillow_refuses_it():
    refused, bad, differing = run(deliver_noisy)
    assert bad == refused
    assert len(noisy_photos()) - 5 > len(refused) > 60
    assert differing == []


def test_gray_of_16_bits_is_clipped_as_torchvision_clips_it_and_rgb_keeps_its_upper_bits(tmp_path):
    """What the docstring of `FileList` says, and the way out that it names."""
    levels = np.linspace(0, 65535, 1024).astype(np.uint16).reshape(32, 32)
    Image.fromarray(levels).save(tmp_path / "0.png")
    samples = np.random.default_rng(0).integers(0, 1 << 16, (32, 32, 3))  # as `made_png` draws them
    (tmp_path / "1.png").write_bytes(made_png(2, 16, size=(32, 32)))
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    ours = by_loader(paths)
    for image, path in zip(ours, paths, strict=True):
        np.testing.assert_array_equal(image, by_torchvision(path))
    np.testing.assert_array_equal(ours[0], np.minimum(levels, 255)[..., None].repeat(3, 2))
    np.testing.assert_array_equal(ours[1], samples >> 8)
    scaled = dm.ArrayDataset((levels // 257).astype("uint8")[None], [0])
    assert len(np.unique(scaled.pixels(0))) == 256

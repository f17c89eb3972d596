"""DALI decodes as Pillow does, and its random operators are the user's alone."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm
from tests.conftest import noise, picture

TRAIN = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5)


def loader(dataset, pipeline=TRAIN, **options):
    return dm.Loader(dataset, pipeline, **{"batch_size": 4, "shuffle": True, "device": "cpu", **options})


def pixels(images, pipeline):
    """Undo the normalization: levels from 0 to 255, (B, H, W, 3)."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (pipeline.mean, pipeline.std))
    return ((images.float() * std + mean) * 255).permute(0, 2, 3, 1).numpy()


def whole(loader):
    """The images of an epoch."""
    return torch.cat([images for images, _ in loader])


def test_grayscale_cmyk_and_other_formats_decode_as_pillow_decodes_them(tmp_path):
    paths = []
    for i, (mode, suffix) in enumerate(
        [("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "PNG"), ("L", "PNG"), ("RGB", "WEBP"), ("RGB", "BMP")]
    ):
        paths.append(tmp_path / f"{i}.jpg")
        picture(20, 20, seed=i).convert(mode).save(paths[-1], suffix)
    pipeline = dm.ImagePipeline(geometry=dm.CropPad(20, padding=0))
    images = whole(loader(dm.FileList(paths, [0] * len(paths)), pipeline, shuffle=False))
    for path, ours in zip(paths, pixels(images, pipeline), strict=True):
        with Image.open(path) as image:
            assert np.abs(ours - np.asarray(image.convert("RGB"))).max() <= 1.01, path


def test_an_error_in_the_users_operators_is_shown_as_it_is(dataset):
    def broken(images):
        from nvidia.dali import fn

        return fn.crop(images, crop=(17, 17))

    with pytest.raises(RuntimeError, match="crop"):
        next(iter(loader(dataset, dm.ImagePipeline(geometry=TRAIN.geometry, augment=broken))))


def test_importing_the_package_does_not_import_dali():
    code = "import sys, dali_mixup; sys.exit(any(name.startswith('nvidia') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_padded_crops_equal_numpys(tmp_path, mode):
    paths = []
    for i, (height, width) in enumerate([(32, 32), (28, 40), (50, 33), (32, 32)]):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (height, width, 3), np.uint8)).save(
            tmp_path / f"{i}.png"
        )
        paths.append(tmp_path / f"{i}.png")
    pipeline = dm.ImagePipeline(geometry=dm.RandomCrop(32, padding=4, padding_mode=mode), flip=0.5)
    made = loader(dm.FileList(paths * 10, [0] * 40), pipeline, shuffle=False)
    for (images, _), step in zip(made, made.plan.steps(), strict=True):
        batch = made.plan.batch(0, None, step)
        for row, ours in enumerate(pixels(images, pipeline)):
            with Image.open(made.dataset.paths[int(batch.indices[row])]) as image:
                padded = np.pad(np.asarray(image), ((4, 4), (4, 4), (0, 0)), mode=mode)
            top, left = (int(start) + 4 for start in batch.windows.offset[row])
            expected = padded[top : top + 32, left : left + 32]
            assert np.abs(ours - (expected[:, ::-1] if batch.flips[row] else expected)).max() < 0.01


@pytest.mark.parametrize("orientation", [2, 3, 4, 6])  # mirrored, upside down, both, turned by a quarter
def test_orientation_in_a_files_exif_is_passed_over_as_pillow_passes_over_it(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(20, 30, seed=1).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    pipeline = dm.ImagePipeline(geometry=dm.Resize((20, 30)))
    (ours,) = pixels(whole(loader(dm.FileList([tmp_path / "turned.jpg"], [0]), pipeline)), pipeline)
    with Image.open(tmp_path / "turned.jpg") as image:
        assert image.size == (30, 20)
        assert np.abs(ours - np.asarray(image)).max() <= 1.01


def unchanged(images):
    """An `augment`, which has DALI resize and flip."""
    return images


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_dali_resizes_within_a_level_of_pillow_in_the_mean(folder, interpolation):
    pipeline = dm.ImagePipeline(geometry=dm.Resize((24, 31), interpolation=interpolation), augment=unchanged)
    dataset = dm.ImageFolder(folder)
    ours = pixels(whole(loader(dataset, pipeline, shuffle=False)), pipeline)
    for path, found in zip(dataset.paths, ours, strict=True):
        with Image.open(path) as image:
            expected = np.asarray(image.resize((31, 24), Image.Resampling[interpolation.upper()])).astype(float)
        assert np.abs(found - expected).mean() < 1, path


def test_flips_of_dali_are_those_of_the_stage(dataset):
    nearest = dm.RandomResizedCrop(16, interpolation="nearest")  # DALI and torch resize that to the same pixels
    by_stage, by_dali = (
        whole(loader(dataset, dm.ImagePipeline(geometry=nearest, flip=0.5, augment=augment)))
        for augment in (None, unchanged)
    )
    assert (by_stage != by_dali).float().mean() < 0.02
    assert (by_stage != whole(loader(dataset, dm.ImagePipeline(geometry=nearest)))).float().mean() > 0.2


def test_random_operators_of_the_user_depend_on_the_seed_and_the_epoch_alone(dataset):
    pipeline = dm.ImagePipeline(geometry=dm.Resize((16, 16)), augment=noise)
    first = loader(dataset, pipeline, shuffle=False)
    epochs = [whole(first) for _ in range(2)]
    assert not torch.equal(*epochs)
    for options in ({"num_threads": 1}, {"num_threads": 3, "prefetch": 4}):
        again = loader(dataset, pipeline, shuffle=False, **options)
        assert all(torch.equal(whole(again), expected) for expected in epochs)
    assert not torch.equal(whole(loader(dataset, pipeline, shuffle=False, seed=1)), epochs[0])

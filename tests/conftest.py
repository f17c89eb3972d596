"""Fixtures: small JPEGs made here, and real photos where they lie beside the project, otherwise drawn ones."""

import gc
import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.torchvision_fix import import_torchvision
from tests.drawn_photos import write_photos

import_torchvision()

PHOTOS = Path(os.environ.get("DALI_MIXUP_PHOTOS") or Path(__file__).parents[2] / "shared" / "data" / "photos")
MADE_FOR_GPUS = Path(__file__).parent / "gpu"
collect_ignore = ["scripts"]  # they hold no tests, and one imports a tool that nobody else needs


def pytest_collection_modifyitems(items):
    pretend = os.environ.get("DALI_MIXUP_GPU_TESTS_ON") == "cpu"  # see tests/gpu/place.py
    for item in items:
        if (
            item.get_closest_marker("gpu")
            and not torch.cuda.is_available()
            and not (pretend and MADE_FOR_GPUS in item.path.parents)
        ):
            item.add_marker(pytest.mark.skip(reason="no GPU"))
    items.sort(key=lambda item: "inductor" in item.keywords)


def pytest_collection_finish():
    """A Loader with `augment` collects garbage after each epoch, which took 0.2 s among all that tests import."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    gc.unfreeze()


def pytest_ignore_collect(collection_path, config):
    """With `-m gpu` only modules with such tests are imported.

    A GPU machine without a network has torch and little else.
    """
    if (
        config.option.markexpr == "gpu"
        and collection_path.suffix == ".py"
        and "pytest.mark.gpu" not in collection_path.read_text()
    ):
        return True
    return None


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Of torch, beside DALI's, the stage's and those of other processes: they would wait for each other's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # in the processes that tests start
        yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DALI_MIXUP_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """An ImageFolder of 32 photos, real ones where they are there: DALI_MIXUP_PHOTOS may name their folder."""
    if PHOTOS.is_dir():
        return PHOTOS
    drawn = tmp_path_factory.mktemp("photos")
    write_photos(drawn)
    return drawn


def picture(height: int, width: int, seed: int) -> Image.Image:
    """Smooth random colours with one sharp corner, so that flips and crops show."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).copy()
    pixels[: height // 4, : width // 4] = rng.integers(0, 256, 3)
    return Image.fromarray(pixels)


def jpeg_bytes(height: int, width: int, seed: int = 0, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture(height, width, seed).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def noise(images):
    """An `augment` with two of DALI's random operators."""
    from nvidia.dali import fn, types

    return fn.cast_like(
        fn.noise.gaussian(fn.cast(images, dtype=types.FLOAT), stddev=fn.random.uniform(range=(5, 50))), images
    )


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """An ImageFolder of 3 classes with 23 JPEGs of 23 sizes."""
    root = tmp_path_factory.mktemp("images")
    for i in range(23):
        path = root / "abc"[i % 3] / f"{i:02}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(jpeg_bytes(40 + 3 * i, 90 - 2 * i, seed=i))
    return root


@pytest.fixture
def dataset(folder):
    import dali_mixup as dm

    return dm.ImageFolder(folder)

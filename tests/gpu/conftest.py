"""Files of every kind, and a list of what was measured. Imports only what a GPU machine without a network has."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dali_mixup as dm
from bench.feed import find_files
from tests.conftest import picture

EXIF_ORIENTATION, ROTATED = 0x0112, 6


@pytest.fixture
def record(request):
    """`record(name, **figures)` leaves figures for the report of `bench.gpu_check`, line by line: none is lost."""

    def write(name, **figures):
        path = os.environ.get("DALI_MIXUP_GPU_RECORDS")
        if path:
            with Path(path).open("a") as file:
                file.write(json.dumps({"test": request.node.name, "what": name, **figures}) + "\n")

    return write


@pytest.fixture(scope="session")
def kinds(tmp_path_factory):
    """A file of each kind that decodes differently, by name."""
    root = tmp_path_factory.mktemp("kinds")
    image = picture(211, 317, seed=1)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = ROTATED
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8))
    made = {
        "baseline": (image, {"subsampling": 2}),
        "no_subsampling": (image, {"subsampling": 0}),
        "half_subsampling": (image, {"subsampling": 1}),
        "grayscale": (image.convert("L"), {}),
        "cmyk": (image.convert("CMYK"), {}),
        "progressive": (image, {"progressive": True}),
        "exif": (image, {"exif": exif}),
        "restart": (image, {"restart_marker_rows": 1}),
        "noise": (noise, {"subsampling": 0}),
        "one_pixel": (picture(40, 40, seed=2).resize((1, 1)), {}),
    }
    paths = {name: root / f"{name}.jpg" for name in made}
    for name, (content, options) in made.items():
        content.save(paths[name], "JPEG", quality=90, **options)
    return paths


@pytest.fixture(scope="session")
def real(photos):
    """Real photos as a dataset; their labels are their numbers."""
    paths, _ = find_files(photos, 64)
    return dm.FileList(paths, list(range(len(paths))))

"""Claims and lengths in files allocate nothing, and rescued files hold no descriptors."""

import resource
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest

import dali_mixup as dm
from tests.conftest import jpeg_bytes, picture
from tests.decode.own_process import peak_memory, reset_peak, run
from tests.made_pngs import SIGNATURE, chunk
from tests.mutants import claim

MEGABYTE = 1 << 20
MOST = 150 * MEGABYTE  # DALI's own, while a batch of small images is decoded
POLICIES = ("replace", "raise")
LIMIT = {"max_pixels": 100_000_000}


def claiming_png(path):
    """Two rows, and image data whose length says 2 GB."""
    header = struct.pack(">IIBBBBB", 50, 40, 8, 2, 0, 0, 0)
    content = SIGNATURE + chunk("IHDR", header) + struct.pack(">I", 2**31 - 1) + b"IDAT" + bytes(206)
    path.write_bytes(content)


def sparse(path):
    """3 GB, of which only the first bytes are a file."""
    with open(path, "r+b") as file:
        file.truncate(3 << 30)


def long_and_thin(path):
    path.write_bytes(jpeg_bytes(65_500, 1))


def claiming_jpeg(path):
    path.write_bytes(claim(path.read_bytes(), 60_000, 60_000))


CASES = {  # how a file is made, the geometry, the reason (None if it is delivered)
    "a PNG whose image data claim 2 GB": (claiming_png, dm.KeepSize(), "claims|damaged|truncated"),
    "a JPEG that claims 60000 x 60000 pixels": (claiming_jpeg, dm.KeepSize(), "claims 60000 x 60000 pixels"),
    "1 x 65500 pixels, which become 14 million rows": (
        long_and_thin,
        dm.ResizeCenterCrop(224, 224),
        "too many pixels: resized to",
    ),
    "a sparse file of 3 GB": (sparse, dm.KeepSize(), None),
}


def deliver(case, policy, count):
    make, geometry, _ = CASES[case]
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / f"{i}.jpg" for i in range(count)]
        for i, path in enumerate(paths):
            path.write_bytes(jpeg_bytes(40, 50, seed=i))
        made = _loader(paths[:1], geometry)
        list(made)  # what DALI and torch need themselves
        made._engine._decoder.close()  # it reads ahead, and had seen another file than the one that now comes
        make(paths[0])
        reset_peak()
        before = peak_memory()
        try:
            made = _loader(paths, geometry, on_bad_sample=policy, max_bad_fraction=0.5)
            delivered = sum(len(targets) for _, targets in made)
            samples = made.bad_samples
        except dm.BadSampleError as error:
            delivered, samples = 0, error.samples
        return delivered, [(number, reason) for number, _, reason in samples], peak_memory() - before


def _loader(paths, geometry, **options):
    dataset = dm.FileList(paths, [0] * len(paths), cache=False, progress=False)
    options = {"batch_size": len(paths), "device": "cpu", "num_threads": 2, **LIMIT, **options}
    return dm.Loader(dataset, dm.ImagePipeline(geometry=geometry), **options)


def deliver_all():
    return {(case, policy): deliver(case, policy, 8) for case in CASES for policy in POLICIES}


@pytest.fixture(scope="module")
def met():
    return run(deliver_all)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("case", CASES)
def test_what_a_file_claims_takes_no_memory(met, case, policy):
    delivered, named, grown = met[case, policy]
    reason = CASES[case][2]
    if reason is None:
        assert (delivered, named) == (8, [])
    else:
        assert delivered == (8 if policy == "replace" else 0)
        assert [number for number, _ in named] == [0]
        assert any(part in named[0][1] for part in reason.split("|"))
    assert grown < MOST


def deliver_gifs(count):
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / f"{i}.jpg" for i in range(count)]
        for i, path in enumerate(paths):
            picture(40, 50, seed=i).save(path, "GIF" if i % 2 else "JPEG")
        dataset = dm.FileList(paths, np.arange(count), cache=False, progress=False)
        pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16))
        options = {"on_bad_sample": "replace", "max_bad_fraction": 1.0, "device": "cpu", "num_threads": 2}
        made = dm.Loader(dataset, pipeline, batch_size=256, shuffle=True, prefetch=3, **options)
        delivered = [sorted(number for _, numbers in made for number in numbers.tolist()) for _ in range(2)]
        return delivered, made.bad_samples


def test_few_descriptors_are_enough_for_many_files_that_pillow_decodes():
    delivered, bad = run(deliver_gifs, 1024)
    assert bad == []
    assert delivered == [list(range(1024))] * 2

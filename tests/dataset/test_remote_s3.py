"""Packs and tars in S3, as moto's server speaks its API."""

import fsspec
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

import dali_mixup as dm
from tests.dataset.remote_loaders import loader, same
from tests.made_tars import folder_as_files, write_tar

COUNT = 12


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a pack and a tar of the same JPEGs."""
    root = tmp_path_factory.mktemp("place")
    generator = np.random.default_rng(0)
    for i in range(COUNT):
        path = root / "photos" / "ab"[i % 2] / f"{i:02}.jpg"
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(generator.integers(256, size=(100 + i, 120, 3)).astype(np.uint8)).save(path)
    folder = dm.ImageFolder(root / "photos", cache=False)
    dm.pack(folder, root / "pack", progress=False)
    write_tar(root / "train.tar", folder_as_files(folder))
    return root


@pytest.fixture(scope="module")
def s3(place):
    """fsspec's options for a bucket with these, and its file system."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"key": "k", "secret": "s", "endpoint_url": f"http://{host}:{port}"}
    system = fsspec.filesystem("s3", **options)
    system.mkdir("bucket")
    system.put(str(place / "pack"), "bucket/pack", recursive=True)
    system.put_file(str(place / "train.tar"), "bucket/train.tar")
    yield dm.Remote(storage_options=options, timeout=10, retries=1), system
    server.stop()


def test_a_pack_gives_the_batches_of_the_pack_here_cold_and_warm(place, s3, tmp_path):
    remote, _ = s3
    made = loader(dm.PackedDataset("s3://bucket/pack", cache_dir=tmp_path, remote=remote))
    here = loader(dm.PackedDataset(place / "pack"))
    assert same(here, made)
    kept = [*tmp_path.glob("samples/*/*")]
    assert len(kept) == COUNT
    assert same(here, made)


def test_tars_give_the_batches_of_the_tars_here(place, s3):
    remote, _ = s3
    there = dm.TarDataset("s3://bucket/trai*.tar", cache=False, remote=remote)
    assert same(loader(dm.TarDataset(place / "train.tar", cache=False)), loader(there))


def test_an_object_that_changed_is_an_error_with_the_samples_name(place, s3):
    remote, system = s3
    data = (place / "train.tar").read_bytes()
    system.pipe_file("bucket/changing.tar", data)
    made = loader(dm.TarDataset("s3://bucket/changing.tar", cache=False, remote=remote))
    system.pipe_file("bucket/changing.tar", data[:-1] + b"\1")
    with pytest.raises(dm.ReadError, match=r"changing\.tar: [ab]/\d\d\.jpg: s3://.* it changed since it was looked at"):
        list(made)


def test_a_bucket_that_is_missing_is_named(s3):
    remote, _ = s3
    with pytest.raises(dm.DatasetError, match=r"folder must be the URL of a pack, got 's3://nobody/pack'; .*tried 2"):
        dm.PackedDataset("s3://nobody/pack", remote=remote)

import pickle

import pytest
import torch
from PIL import Image

import dali_mixup as dm
from dali_mixup.decode.faults import Faults
from tests.conftest import jpeg_bytes

CPU = torch.device("cpu")


def look(paths, damage, **options):
    """Index good files, damage some, and look at them as one batch."""
    for i, path in enumerate(paths):
        path.write_bytes(jpeg_bytes(40, 50, seed=i))
    loader = dm.Loader(
        dm.FileList(paths, [0] * len(paths)),
        dm.ImagePipeline(geometry=dm.ResizeCenterCrop(32, 32)),
        batch_size=len(paths),
        device="cpu",
    )
    damage()
    faults = Faults(loader.plan, device=CPU, max_bad_fraction=None, **{"max_pixels": 10_000, **options})
    return faults.examine(faults.open(0, None, next(loader.plan.steps())))


@pytest.fixture
def paths(tmp_path):
    return [tmp_path / f"{i}.jpg" for i in range(4)]


def cut(path, at):
    path.write_bytes(path.read_bytes()[:at])


def save_gif(path):
    Image.new("RGB", (50, 40)).save(path, "GIF")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(b""), "empty file"),
        (lambda path: path.write_bytes(b"hello"), "not an image"),
        (lambda path: cut(path, 100), "truncated at byte 100: no frame header"),
        (lambda path: cut(path, 700), "truncated at byte 700: its end marker is missing"),
        (
            lambda path: path.write_bytes(jpeg_bytes(41, 50)),
            "changed since it was indexed: 41 x 50 pixels, was 40 x 50",
        ),
        (save_gif, "not an image that DALI decodes"),
        (lambda path: (path.unlink(), path.symlink_to(path.name)), "unreadable: Too many levels of symbolic links"),
        (lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
    ],
)
def test_each_damage_gets_its_reason_and_the_good_files_none(paths, damage, reason):
    assert look(paths, lambda: damage(paths[2])) == [(2, str(paths[2]), reason)]


def test_all_bad_files_of_a_batch_are_named(paths):
    found = look(paths, lambda: (paths[0].unlink(), cut(paths[3], 300)))
    assert [sample.number for sample in found] == [0, 3]
    assert "2 files of this batch" in str(dm.BadSampleError(found))


def test_good_files_give_no_error(paths):
    assert look(paths, lambda: None) == []


def test_too_many_pixels_are_a_reason(paths):
    assert len(look(paths, lambda: None, max_pixels=1999)) == 4
    assert look(paths, lambda: None, max_pixels=2000) == []


def test_the_error_travels_between_processes(paths):
    error = dm.BadSampleError(look(paths, lambda: paths[0].unlink()))
    assert pickle.loads(pickle.dumps(error)).samples == error.samples

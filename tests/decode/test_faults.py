"""What is said of the files of a batch, and what comes in their place."""

import pickle
import warnings

import pytest
from PIL import Image

import dali_mixup as dm
from dali_mixup.decode.faults import Faults
from dali_mixup.decode.inspector import Inspector
from tests.conftest import jpeg_bytes

HEIGHT, WIDTH, COUNT = 40, 50, 4


def faults(paths, *, max_pixels=10_000, max_bad_fraction=None, geometry=None):
    """Those of a Loader with one batch, in the order of the files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dm.BadFileWarning)
        dataset = dm.FileList(paths, [0] * len(paths), cache=False)
    pipeline = dm.ImagePipeline(geometry=geometry or dm.ResizeCenterCrop(32, 32))
    plan = dm.Loader(dataset, pipeline, batch_size=len(paths), device="cpu").plan
    inspector = Inspector(dataset, max_pixels=max_pixels, num_threads=2)
    return Faults(plan, inspector, device_id=None, max_bad_fraction=max_bad_fraction)


def check(made):
    step = next(made.plan.steps())
    return made.check(made.plan.batch(0, None, step), None)


def look(paths, damage, **options):
    """Index good files, damage some, and look at them as one batch."""
    made = faults(paths, **options)
    damage()
    return list(check(made).bad.values())


@pytest.fixture
def paths(tmp_path):
    made = [tmp_path / f"{i}.jpg" for i in range(COUNT)]
    for i, path in enumerate(made):
        path.write_bytes(jpeg_bytes(HEIGHT, WIDTH, seed=i))
    return made


def cut(path, at):
    path.write_bytes(path.read_bytes()[:at])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(b""), "empty file"),
        (lambda path: path.write_bytes(b"hello"), "not an image of a supported format"),
        (lambda path: cut(path, 100), "truncated at byte 100: no frame header"),
        (lambda path: cut(path, 700), "truncated at byte 700: no end marker"),
        (
            lambda path: path.write_bytes(jpeg_bytes(41, 50)),
            "changed since it was indexed: 41 x 50 pixels, was 40 x 50",
        ),
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
    assert len(look(paths, lambda: None, max_pixels=1999)) == COUNT
    assert look(paths, lambda: None, max_pixels=2000) == []


def test_the_pixels_of_a_resized_image_count_too(paths):
    """Its short side becomes 320, its long one 400; of the rest the stage takes a window."""
    geometry = dm.ResizeCenterCrop(320, 320)
    assert look(paths, lambda: None, max_pixels=128_000, geometry=geometry) == []
    found = look(paths, lambda: None, max_pixels=127_999, geometry=geometry)
    assert {sample.reason for sample in found} == {
        "too many pixels: resized to 320 x 400 is more than max_pixels=127999"
    }


def test_the_error_travels_between_processes(paths):
    error = dm.BadSampleError(look(paths, lambda: paths[0].unlink()))
    assert pickle.loads(pickle.dumps(error)).samples == error.samples


def test_a_file_that_pillow_decodes_is_no_bad_one(paths):
    Image.new("RGB", (WIDTH, HEIGHT)).save(paths[2], "GIF")
    for fraction in (None, 0.0):
        made = faults(paths, max_bad_fraction=fraction)
        checked = check(made)
        assert (list(checked.pixels), checked.bad, made.replaced) == ([2], {}, {})


def test_bad_files_give_way_and_are_listed(paths):
    made = faults(paths, max_bad_fraction=0.5)
    cut(paths[2], 300)
    ahead = check(
        made
    )  # in a thread: it must not warn, since the user's filters may hold for the consumer's calls alone
    checked = check(made)
    with pytest.warns(dm.BadFileWarning, match=r"sample 2: .*2.jpg: truncated at byte 300.*; replaced") as said:
        made.warn_of([*ahead.news, *checked.news])
    assert len(said) == 1
    assert check(made).news == []
    assert (checked.bad, list(made.replaced)) == ({}, [2])
    following = made.plan.replacements(0, 2, 2)
    expected = [0, 1, next(i for i in following if i != 2), 3]
    assert checked.plan.indices.tolist() == expected


def test_a_file_that_the_index_knows_to_be_bad_is_listed_at_once(paths):
    paths[1].write_bytes(b"")
    made = faults(paths, max_bad_fraction=0.5)
    assert made.replaced == {1: dm.BadSample(1, str(paths[1]), "empty file; replaced")}
    with pytest.raises(dm.BadSampleError, match=r"1 of 4 files can't be decoded, more than max_bad_fraction=0.2"):
        faults(paths, max_bad_fraction=0.2)


def test_only_what_dali_refuses_by_itself_is_refused(paths, monkeypatch):
    """The scan passed a file, and DALI failed with its batch."""
    made = faults(paths)
    checked = check(made)
    assert made.find_refused(checked) == []
    from dali_mixup.decode import graph

    monkeypatch.setattr(graph, "decode_errors", lambda files, **_: ["", "no", "", ""][: len(files["file"])])
    assert made.find_refused(checked) == [1]
    cut(paths[3], 100)
    assert made.find_refused(checked) == [3, 1]


def test_a_suspect_is_tried_by_itself_and_pillow_decodes_what_dali_refuses(paths, monkeypatch):
    tried = []

    def refuse(files, **_):
        tried.append([bytes(path) for path in files["file"]])
        return ["refused"] * len(files["file"])

    from dali_mixup.decode import graph

    monkeypatch.setattr(graph, "decode_errors", refuse)
    made = faults(paths)
    assert list(check(made).pixels) == []
    assert (made.suspect([1]), made.suspect([1])) == (True, False)
    assert list(check(made).pixels) == [1]
    assert tried == [[bytes(paths[1])]]

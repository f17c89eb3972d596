import pytest
from PIL import Image

from dali_mixup.commands import shape_files
from dali_mixup.commands.shape_files import write_shapes
from dali_mixup.commands.shapes import KINDS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("work"), train=60, val=20, seed=3)


def test_each_class_has_its_share_of_both_splits(folder):
    for split, count in (("train", 6), ("val", 2)):
        assert {path.name: len(list(path.iterdir())) for path in (folder / split).iterdir()} == dict.fromkeys(
            KINDS, count
        )
    assert len(KINDS) == 10


def test_files_are_jpegs_of_many_sizes(folder):
    sizes = set()
    for path in folder.rglob("*.jpg"):
        with Image.open(path) as image:
            image.load()
            assert (image.format, image.mode) == ("JPEG", "RGB")
            sizes.add(image.size)
    assert len(sizes) > 60


def test_the_seed_alone_decides_the_files(folder, tmp_path):
    def contents(root):
        return {path.relative_to(root): path.read_bytes() for path in root.rglob("*.jpg")}

    again = write_shapes(tmp_path / "again", train=60, val=20, seed=3)
    other = write_shapes(tmp_path / "other", train=60, val=20, seed=4)
    assert contents(folder) == contents(again)
    assert contents(folder).keys() == contents(other).keys()
    assert not set(contents(folder).values()) & set(contents(other).values())


def test_training_and_validation_images_differ(folder):
    train, val = ({path.read_bytes() for path in (folder / split).rglob("*.jpg")} for split in ("train", "val"))
    assert len(train) == 60
    assert not train & val


def test_a_drawing_that_was_stopped_leaves_nothing_behind(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(shape_files, "draw_image", stop)
    with pytest.raises(KeyboardInterrupt):
        write_shapes(tmp_path / "work", train=60, val=20, seed=3)
    assert not list((tmp_path / "work").iterdir())

from dali_mixup.commands.folders import find_splits, open_good_images
from tests.commands.files import noise, save


def test_a_class_called_train_is_no_split(tmp_path):
    save(tmp_path / "train" / "locomotive.jpg", noise(8, 8))
    save(tmp_path / "bus" / "red.jpg", noise(8, 8))
    assert find_splits(tmp_path) == {"": tmp_path}


def test_good_images_keep_their_labels_and_classes(animals, capsys):
    (animals / "cat" / "3.jpg").write_bytes(b"")
    files = open_good_images(animals)
    assert len(files) == 11
    assert files.classes == ["cat", "dog"]
    assert [files.targets[i] for i in range(11)] == [0 if "/cat/" in path else 1 for path in files.paths]

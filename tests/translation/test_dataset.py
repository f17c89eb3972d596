"""Files, labels and transform of a torch dataset are what its items show, or it is refused."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

import dali_mixup as dm
from tests.translation.peers import VAL, Plain, datasets, image_folder, labels, open_rgb, swap


def test_subsets_of_subsets_keep_their_files_and_labels(folder):
    inner = Subset(image_folder(folder), [20, 3, 8, 1, 9])
    theirs = DataLoader(Subset(inner, [4, 0, 2]), batch_size=2)
    ours = swap(theirs)
    assert labels(ours) == labels(theirs)
    assert ours.dataset.classes == inner.dataset.classes
    (images, _), (expected, _) = next(iter(ours)), next(iter(theirs))
    assert (images - expected).abs().max() < 0.1


def test_the_dataset_has_what_scripts_read_of_torchvisions(folder):
    theirs = image_folder(folder)
    ours = swap(DataLoader(theirs, batch_size=4)).dataset
    assert list(ours.samples) == list(ours.imgs) == theirs.samples
    assert (ours.root, ours.transform, ours.classes) == (theirs.root, theirs.transform, theirs.classes)
    for (image, target), (expected, expected_target) in zip(
        DataLoader(Subset(ours, range(20, 23))), DataLoader(Subset(theirs, range(20, 23))), strict=True
    ):
        assert torch.equal(image, expected)
        assert torch.equal(target, expected_target)


def test_a_dataloader_over_our_own_dataset_is_read(folder):
    ours = dm.ImageFolder(folder)
    ours.transform = VAL
    theirs = DataLoader(Subset(ours, range(4, 20)), batch_size=5)
    for (images, targets), (expected, expected_targets) in zip(swap(theirs), theirs, strict=True):
        assert torch.equal(targets, expected_targets)
        assert (images - expected).abs().max() < 0.1


def test_target_transforms_are_applied(folder):
    theirs = DataLoader(image_folder(folder, target_transform=lambda label: 2 - label), batch_size=23)
    assert labels(swap(theirs)) == labels(theirs)


class OneHot(datasets.ImageFolder):
    def __init__(self, folder):
        super().__init__(folder, VAL, target_transform=lambda label: np.eye(3, dtype=np.float32)[label])


def test_soft_labels_stay_soft(folder):
    theirs = DataLoader(OneHot(folder), batch_size=23)
    (_, targets), (_, expected) = next(iter(swap(theirs))), next(iter(theirs))
    assert torch.equal(targets, expected)


def open_bgr(path):
    return np.asarray(open_rgb(path))[:, :, ::-1]


def test_a_reader_of_the_users_own_must_read_as_pillow_does(folder):
    made = datasets.DatasetFolder(folder, open_rgb, (".jpg",), VAL)
    assert labels(swap(DataLoader(made, batch_size=23))) == [made.targets]
    with pytest.raises(
        ValueError, match=r"loader.dataset.loader must be a reader that gives RGB as Pillow does.*files=paths"
    ):
        swap(DataLoader(datasets.DatasetFolder(folder, open_bgr, (".jpg",), VAL)))


class WithPath(datasets.ImageFolder):
    def __getitem__(self, number):
        return *super().__getitem__(number), self.samples[number][0]


class Shifted(datasets.ImageFolder):
    def __getitem__(self, number):
        image, label = super().__getitem__(number)
        return image, label + 1


class OneShifted(datasets.ImageFolder):
    def __getitem__(self, number):
        image, label = super().__getitem__(number)
        return image, label + (number == len(self) // 2)


class Grey(datasets.ImageFolder):
    def __getitem__(self, number):
        path, label = self.samples[number]
        return self.transform(self.loader(path).convert("L").convert("RGB")), label


class Doubled(datasets.ImageFolder):
    def __getitem__(self, number):
        image, label = super().__getitem__(number)
        return image * 2, label


class Cached(datasets.ImageFolder):
    def __getitem__(self, number):
        return torch.zeros(3, 16, 16), self.samples[number][1]


class Half(datasets.ImageFolder):
    def __len__(self):
        return len(self.samples) // 2


class OwnSubset(Subset):
    """The inner dataset's images with something done to them."""

    def __getitem__(self, number):
        image, label = super().__getitem__(number)
        return -image, label

    def __getitems__(self, numbers):
        return [self[number] for number in numbers]


class OwnBatches(Subset):
    def __getitems__(self, numbers):
        return [(-image, label) for image, label in super().__getitems__(numbers)]


class FetchesShifted(datasets.ImageFolder):
    """A DataLoader fetches by `__getitems__` where there is one."""

    def __getitems__(self, numbers):
        return [(image, label + 1) for image, label in map(self.__getitem__, numbers)]


class Failing(datasets.ImageFolder):
    def __getitem__(self, number):
        return super().__getitem__(number)[0], {}["boxes"]


class Standard(datasets.VisionDataset):
    """torchvision's base class, with its `transforms` for image and target."""

    def __init__(self, folder, transform):
        super().__init__(folder, transform=transform, target_transform=lambda label: 2 - label)
        self.samples = datasets.ImageFolder(folder).samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, number):
        path, label = self.samples[number]
        return self.transforms(open_rgb(path), label)


@pytest.mark.parametrize("kind", [Plain, Standard])
def test_any_dataset_with_samples_and_transform_is_read(folder, kind):
    theirs = DataLoader(kind(folder, VAL), batch_size=23)
    (images, targets), (expected, expected_targets) = next(iter(swap(theirs))), next(iter(theirs))
    assert torch.equal(targets, expected_targets)
    assert (images - expected).abs().max() < 0.1


def in_memory():
    return torch.utils.data.TensorDataset(torch.rand(4, 3, 8, 8), torch.arange(4))


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda _: in_memory(),
            TypeError,
            "hold its image files, or uint8 images, .*got 'TensorDataset'; say .*files=paths, targets=labels.*MixUp",
        ),
        (lambda _: Subset(in_memory(), [1]), TypeError, "got 'TensorDataset'; say what it holds"),
        (
            lambda folder: OwnBatches(image_folder(folder), [1, 2]),
            ValueError,
            "a OwnBatches, must be .* the image as Pillow reads it",
        ),
        (
            lambda folder: Failing(folder, VAL),
            ValueError,
            r"a Failing, must be \(transform.*item 0 fails, got KeyError\('boxes'\); say what it holds",
        ),
        (
            lambda folder: FetchesShifted(folder, VAL),
            ValueError,
            "a FetchesShifted, must be .* the target of `samples`, 0, got 1; say",
        ),
        (
            lambda folder: image_folder(folder, target_transform=lambda label: random.randrange(100) + label),
            ValueError,
            "target_transform must be a function of the target alone, since it is called once",
        ),
        (
            lambda folder: image_folder(folder, target_transform={0: 1}.__getitem__),
            ValueError,
            r"target_transform must be a function of the target, got KeyError\(1\); say what it holds",
        ),
        (
            lambda folder: datasets.DatasetFolder(folder, {}.__getitem__, (".jpg",), VAL),
            ValueError,
            r"loader.dataset.loader must be a reader that .*jpg fails\), got KeyError\(.*; say what it holds",
        ),
        (lambda _: datasets.FakeData(4), TypeError, "got 'FakeData'"),
        (lambda _: Endless(), TypeError, "got 'Endless'"),
        (
            lambda folder: WithPath(folder, VAL),
            TypeError,
            r"a WithPath, must be \(transform\(image\), target\), got a tuple of a float32 tensor of shape "
            r"\(3, 8, 8\), 0, '",
        ),
        (
            lambda folder: Shifted(folder, VAL),
            ValueError,
            "a Shifted, must be .* the target of `samples`, 0, got 1; say",
        ),
        (
            lambda folder: OneShifted(folder, VAL),
            ValueError,
            "a OneShifted, must be .* the target of `samples`, 1, got 2; say",
        ),
        (lambda folder: Grey(folder, VAL), ValueError, "a Grey, must be .* the image as Pillow reads it, in RGB"),
        (
            lambda folder: Doubled(folder, VAL),
            ValueError,
            "a Doubled, must be .* nothing done before or after the transform",
        ),
        (
            lambda folder: Cached(folder, VAL),
            ValueError,
            "a Cached, must be .* nothing done before or after the transform",
        ),
        (
            lambda folder: Half(folder, VAL),
            ValueError,
            r"len\(loader.dataset\) of a Half must be that of its `samples` \(23\), got 11; take a",
        ),
        (
            lambda folder: OwnSubset(image_folder(folder), [1, 2]),
            ValueError,
            "a OwnSubset, must be .* the image as Pillow reads it",
        ),
        (
            lambda folder: datasets.ImageFolder(folder, VAL, is_valid_file=lambda _: False, allow_empty=True),
            dm.DatasetError,
            "at least one",
        ),
        (
            lambda folder: datasets.ImageFolder(folder),
            TypeError,
            "loader.dataset.transform of ImageFolder must be a transform",
        ),
        (lambda folder: Subset(image_folder(folder), []), dm.DatasetError, "at least one file"),
    ],
)
def test_datasets_that_cant_be_read_are_refused_by_name_with_the_way_out(folder, build, error, message):
    with pytest.raises(error, match=message):
        swap(DataLoader(build(folder)))

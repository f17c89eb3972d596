"""Far samples are asked for before they are needed, once each, and those that nobody needs any more are given up."""

import numpy as np
import pytest
from PIL import Image

import dali_mixup as dm
from dali_mixup.dataset.dataset import Encoded, ReadableDataset
from tests.dataset.remote_loaders import loader, same

COUNT, AHEAD = 20, 6


class Far(ReadableDataset):
    """Files that say what was asked of them, in which order."""

    ahead = AHEAD

    def __init__(self, files):
        self._files, self.log, self.dropped = files, [], 0
        self._describe(files.targets, files.classes, files.sizes)

    def name(self, number):
        return self._files.name(number)

    def fingerprint(self):
        return self._files.fingerprint()

    def read(self, numbers, windows=None):
        return self.start(numbers, windows).result()

    def start(self, numbers, windows=None):
        self.log += [("start", number) for number in numbers]
        return FarReading(self, numbers)


class FarReading:
    def __init__(self, dataset, numbers):
        self.dataset, self.numbers = dataset, numbers

    def result(self):
        self.dataset.log += [("result", number) for number in self.numbers]
        found = []
        for number in self.numbers:
            with open(self.dataset.name(number), "rb") as file:
                found.append(Encoded(file.read()))
        return found

    def drop(self):
        self.dataset.dropped += len(self.numbers)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for i in range(COUNT):
        path = root / "ab"[i % 2] / f"{i:02}.jpg"
        path.parent.mkdir(exist_ok=True)
        image = Image.fromarray(generator.integers(256, size=(60 + i, 80, 3)).astype(np.uint8))
        exif = Image.Exif()
        exif[0x0112] = 1 + i % 8
        image.save(path, exif=exif)
    return dm.ImageFolder(root, cache=False)


def test_batches_are_those_of_the_files_and_nothing_is_asked_for_twice(folder):
    dataset = Far(folder)
    assert same(loader(folder), loader(dataset))
    first_epoch = [number for what, number in dataset.log if what == "start"][:COUNT]
    assert sorted(first_epoch) == [*range(COUNT)]


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_so_many_samples_are_begun_before_a_batch_is_looked_at(folder, batch_size):
    dataset = Far(folder)
    iterator = iter(loader(dataset, shuffle=False, batch_size=batch_size, num_threads=1))
    next(iterator)
    first_result = [what for what, _ in dataset.log].index("result")
    assert AHEAD + batch_size <= first_result < AHEAD + 2 * batch_size


def test_a_seek_drops_what_was_begun(folder):
    dataset = Far(folder)
    made = loader(dataset)
    next(iter(made))
    made.set_epoch(7)
    next(iter(made))
    assert dataset.dropped >= AHEAD


def test_images_that_are_turned_come_whole_and_in_their_places(folder):
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(32), orient=True)
    options = {"batch_size": 6, "shuffle": True, "device": "cpu"}
    assert same(dm.Loader(folder, pipeline, **options), dm.Loader(Far(folder), pipeline, **options))

"""The order that a Loader shows as its sampler is the one that it delivers."""

from itertools import chain

import pytest

import dali_mixup as dm

TRAIN = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5)


@pytest.fixture
def numbered(dataset):
    """Each file's label is its number."""
    return dm.FileList(dataset.paths, list(range(len(dataset))))


def loader(dataset, pipeline=TRAIN, **options):
    options = {"device": "cpu", "num_threads": 1, **options}
    return dm.Loader(dataset, pipeline, **({} if "batch_sampler" in options else {"batch_size": 4}) | options)


def labels(batches):
    return [targets.tolist() for _, targets in batches]


def flat(batches):
    return list(chain.from_iterable(labels(batches)))


def test_without_a_sampler_the_loader_shows_its_own_order(numbered):
    for options in ({"shuffle": True}, {}, {"shuffle": True, "drop_last": True}, {"shuffle": True, "shard": (1, 2)}):
        made = loader(numbered, **options)
        for _ in range(2):
            expected = list(made.sampler)
            assert len(made.sampler) == len(expected)
            assert flat(made) == expected
    made.sampler.set_epoch(7)
    assert made.next_epoch == 7

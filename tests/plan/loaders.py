"""Loaders whose labels show the order."""

from itertools import chain

import dali_mixup as dm

TRAIN = dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5)


def loader(dataset, pipeline=TRAIN, **options):
    options = {"device": "cpu", "num_threads": 1, **options}
    return dm.Loader(dataset, pipeline, **({} if "batch_sampler" in options else {"batch_size": 4}) | options)


def labels(batches):
    return [targets.tolist() for _, targets in batches]


def flat(batches):
    return list(chain.from_iterable(labels(batches)))

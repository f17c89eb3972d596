"""Loaders to compare, and options that don't wait long."""

import torch

import dali_mixup as dm

QUICK = dm.Remote(timeout=1, retries=2)


def loader(dataset, **options):
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(64), flip=0.5)
    options = {"batch_size": 4, "shuffle": True, "mixup": dm.MixUp(0.4), "device": "cpu", **options}
    return dm.Loader(dataset, pipeline, **options)


def same(first, second):
    """Whether an epoch of each is equal, bit for bit."""
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True))

"""Loaders to compare, and options that don't wait long."""

import contextlib
import fcntl

import torch

import dali_mixup as dm
from dali_mixup.dataset import range_cache

QUICK = dm.Remote(timeout=1, retries=2)


def loader(dataset, **options):
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(64), flip=0.5)
    options = {"batch_size": 4, "shuffle": True, "mixup": dm.MixUp(0.4), "device": "cpu", **options}
    return dm.Loader(dataset, pipeline, **options)


def same(first, second):
    """Whether an epoch of each is equal, bit for bit."""
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True))


def shard_requests(server):
    """Path and range of all that was read of shards."""
    return [(path, bounds) for method, path, bounds in server.requests if method == "GET" and path.endswith(".tar")]


def kept_bytes(folder):
    """The bytes of all whole pieces in a cache with a limit, while nobody drops one or is given room."""
    with open(folder / range_cache.COUNTER, "a") as counter:
        fcntl.flock(counter, fcntl.LOCK_EX)
        sizes = []
        for path in folder.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                sizes += [] if path.name.endswith(range_cache.PART) else [path.stat().st_size]
        return sum(sizes)

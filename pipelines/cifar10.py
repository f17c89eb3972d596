"""The same as `dali_mixup.pipelines.cifar10`."""

from dali_mixup.pipelines.cifar10 import MEAN, STD, train, val

__all__ = ["MEAN", "STD", "train", "val"]

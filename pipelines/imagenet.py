"""The same as `dali_mixup.pipelines.imagenet`."""

from dali_mixup.pipelines.imagenet import train, val

__all__ = ["train", "val"]

"""The same as `dali_mixup.pipelines.finetune`."""

from dali_mixup.pipelines.finetune import train, trivial_augment, val

__all__ = ["train", "trivial_augment", "val"]

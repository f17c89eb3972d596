"""Ready pipelines to read, copy and change: each module has `train(size)` and `val(size)`."""

from dali_mixup.pipelines import cifar10, finetune, imagenet

__all__ = ["cifar10", "finetune", "imagenet"]

"""`dali_mixup.pipelines` under a shorter name, for projects that have no package called `pipelines` of their own."""

from pipelines import cifar10, finetune, imagenet

__all__ = ["cifar10", "finetune", "imagenet"]

"""Fine-tuning on any folder of images: gentler crops, and TrivialAugment as an example of `augment`.

Source: Müller and Hutter, TrivialAugment, 2021, arXiv:2103.10158; fill and interpolation as in torchvision's
TrivialAugmentWide.
"""

from typing import Any

from dali_mixup import ImagePipeline, RandomResizedCrop, ResizeCenterCrop


def train(size: int = 224) -> ImagePipeline:
    """A random window of at least 35% of the area, a flip half of the time, one random operation of random strength."""
    return ImagePipeline(geometry=RandomResizedCrop(size, scale=(0.35, 1.0)), flip=0.5, augment=trivial_augment)


def val(size: int = 224) -> ImagePipeline:
    """The short side resized to 256 / 224 of `size`, then the central `size` pixels."""
    return ImagePipeline(geometry=ResizeCenterCrop(size * 256 // 224, size))


def trivial_augment(images: Any) -> Any:
    """`augment`: DALI nodes in and out, uint8 HWC. Any DALI operator can stand here."""
    from nvidia.dali import types
    from nvidia.dali.auto_aug.trivial_augment import trivial_augment_wide

    return trivial_augment_wide(images, fill_value=0, interp_type=types.INTERP_NN)  # pyright: ignore[reportAttributeAccessIssue]

"""ImageNet as torchvision's reference recipes feed it."""

from dali_mixup import ImagePipeline, RandomResizedCrop, ResizeCenterCrop


def train(size: int = 224) -> ImagePipeline:
    """A random window of 8 to 100% of the area, resized to `size` pixels, flipped half of the time."""
    return ImagePipeline(geometry=RandomResizedCrop(size), flip=0.5)


def val(size: int = 224) -> ImagePipeline:
    """The short side resized to 256 / 224 of `size`, then the central `size` pixels."""
    return ImagePipeline(geometry=ResizeCenterCrop(size * 256 // 224, size))

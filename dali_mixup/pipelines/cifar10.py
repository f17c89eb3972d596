"""CIFAR-10: pad by reflection, crop, flip, as in the recipes that reach 94% in minutes."""

from dali_mixup import CropPad, ImagePipeline, ResizeCenterCrop

MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)


def train(size: int = 32) -> ImagePipeline:
    """4 pixels of reflection around the image, a random window of `size` pixels, flipped half of the time."""
    return ImagePipeline(geometry=CropPad(size, padding=4), flip=0.5, mean=MEAN, std=STD)


def val(size: int = 32) -> ImagePipeline:
    """The short side resized to `size` (CIFAR images have it already), then the central `size` pixels."""
    return ImagePipeline(geometry=ResizeCenterCrop(size, size), mean=MEAN, std=STD)

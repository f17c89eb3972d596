"""timm's posterizing to no bits at all, which makes an image black, and which Pillow refuses from version 13 on.

timm 1.0.31's `rand-m9-mstd0.5-inc1` asks for it once in 700 images, and its loader ends there with a ValueError.
"""

from importlib import import_module
from types import ModuleType

from PIL import Image, ImageOps

from bench.torchvision_fix import import_torchvision


def import_timm(name: str = "timm.data") -> ModuleType:
    """A module of timm, with black images where Pillow raises, in the transforms that are made from now on."""
    import_torchvision()
    operations = import_module("timm.data.auto_augment").NAME_TO_OP
    operations.update({name: posterize for name in operations if name.startswith("Posterize")})
    return import_module(name)


def posterize(image: Image.Image, bits_to_keep: int, **_: object) -> Image.Image:
    """timm's, for any number of bits."""
    if bits_to_keep >= 8:
        return image
    return ImageOps.posterize(image, bits_to_keep) if bits_to_keep > 0 else Image.new(image.mode, image.size)

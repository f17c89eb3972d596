"""The usual recipe with libjpeg-turbo in the place of Pillow.

PyTurboJPEG decodes, torchvision's transforms work on tensors.
"""

from functools import cache
from pathlib import Path

import torch

from bench.feed import Batches, Feed
from bench.peers.torchvision_pillow import Images, mixed_batches
from bench.torchvision_fix import import_torchvision
from dali_mixup import IMAGENET_MEAN, IMAGENET_STD


def batches(feed: Feed) -> Batches:
    """Decode in libjpeg-turbo, crop, resize and flip uint8 tensors and mix, all in worker processes."""
    import turbojpeg  # noqa: F401 -- fail here, not in a worker

    v2 = import_torchvision("torchvision.transforms.v2")
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(feed.size, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    return mixed_batches(feed, Images(feed, read_jpeg, transform))


def read_jpeg(path: str) -> torch.Tensor:
    """(3, H, W) uint8 in RGB, a channels-last view; Pillow reads what libjpeg-turbo does not (PNG, CMYK)."""
    import numpy as np
    from PIL import Image
    from turbojpeg import TJPF_RGB

    try:
        pixels = _decoder().decode(Path(path).read_bytes(), pixel_format=TJPF_RGB)
    except OSError:
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


@cache
def _decoder():  # noqa: ANN202 -- the type is known to the optional package only
    from turbojpeg import TurboJPEG

    return TurboJPEG()

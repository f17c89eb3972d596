"""torchvision's own decoder on a GPU.

`decode_jpeg` of a whole batch, then its random resized crop image by image, on the GPU.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.feed import Batches, Feed
from bench.machine import cores
from bench.torchvision_fix import import_torchvision
from dali_mixup import IMAGENET_MEAN, IMAGENET_STD


def batches(feed: Feed) -> Batches:
    """Files are read in threads, one batch ahead; no mixup."""
    io = import_torchvision("torchvision.io")
    device = torch.empty(0, device=feed.device).device  # with its number
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) * 255 for values in (IMAGENET_MEAN, IMAGENET_STD))
    rng = np.random.default_rng(feed.seed)
    with ThreadPoolExecutor(feed.threads or cores()) as pool:

        def read_ahead() -> tuple[list[Any], torch.Tensor]:
            chosen = rng.integers(len(feed.paths), size=feed.batch_size).tolist()
            return [pool.submit(_read, feed.paths[i]) for i in chosen], torch.tensor([feed.labels[i] for i in chosen])

        following = read_ahead()
        while True:
            (files, labels), following = following, read_ahead()
            images = io.decode_jpeg([file.result() for file in files], mode=io.ImageReadMode.RGB, device=device)
            levels = torch.stack([_crop(image, feed.size) for image in images]).float()
            yield (levels - mean) / std, labels.to(device)


def _read(path: str) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(Path(path).read_bytes(), np.uint8).copy())


def _crop(image: torch.Tensor, size: int) -> torch.Tensor:
    """A random window of (3, H, W), resized and flipped half of the time."""
    transforms = import_torchvision("torchvision.transforms")
    functional = import_torchvision("torchvision.transforms.v2.functional")
    top, left, height, width = transforms.RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])
    resized = functional.resized_crop(image, top, left, height, width, [size, size], antialias=True)
    return resized.flip(-1) if np.random.random() < 0.5 else resized

"""What a file's pixels are: by torchvision's loader, and by ours."""

import numpy as np
import torch
from torchvision.datasets.folder import pil_loader

import dali_mixup as dm


def by_torchvision(path):
    """(H, W, 3) uint8, or None if it refuses the file."""
    try:
        return np.asarray(pil_loader(path))
    except Exception:  # noqa: BLE001  Pillow raises anything
        return None


def by_loader(paths, geometry=None):
    """(N, H, W, 3) uint8 from files of one size, in one batch of a Loader."""
    dataset = dm.FileList(paths, [0] * len(paths), cache=False, progress=False)
    pipeline = dm.ImagePipeline(geometry=geometry or dm.KeepSize(), mean=(0, 0, 0), std=(1, 1, 1))
    made = dm.Loader(dataset, pipeline, batch_size=len(paths), shuffle=False, device="cpu", num_threads=2)
    images, _ = next(iter(made))
    return torch.round(images * 255).byte().permute(0, 2, 3, 1).numpy()

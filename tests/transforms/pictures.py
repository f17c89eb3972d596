"""Images that bring out how an operation rounds, and how far ours are from Pillow's."""

import numpy as np
import torch
from PIL import Image

from tests.conftest import picture

SIZE = (37, 52)


def pictures():
    """Drawn, random, flat, black and two-level images."""
    rng = np.random.default_rng(0)
    arrays = [np.array(picture(*SIZE, seed)) for seed in range(3)]
    arrays += [
        rng.integers(0, 256, (*SIZE, 3), np.uint8),
        np.full((*SIZE, 3), 77, np.uint8),
        np.zeros((*SIZE, 3), np.uint8),
    ]
    arrays += [rng.integers(0, 2, (*SIZE, 3), np.uint8) * 3 + 100, np.full((*SIZE, 3), 255, np.uint8)]
    arrays += [rng.integers(0, 2, (*SIZE, 3), np.uint8) + 100]
    return [Image.fromarray(array) for array in arrays]


def stacked(images):
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous() for image in images])


def numbers(rows):
    return torch.tensor(rows, dtype=torch.float64).view(len(rows), -1)


def differences(ours, theirs):
    return (ours.int() - stacked(theirs).int()).abs()

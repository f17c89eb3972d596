"""Images that are pixels already: in memory, in a mapped file, or on a GPU."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from dali_mixup.dataset.dataset import PixelDataset, fingerprint_of
from dali_mixup.dataset.paths import PathList
from dali_mixup.dataset.targets import check_targets
from dali_mixup.errors import DatasetError, must_be
from dali_mixup.geometry.geometry import Windows

Pixels = np.ndarray | torch.Tensor

SHAPES = "(N, H, W, 3) or (N, 3, H, W), or gray with one channel or none"
SAMPLED = 1000  # images whose pixels make a fingerprint, and of each a grid of so many rows and columns, or some more
GRID = 16


class ArrayDataset(PixelDataset):
    """Images as arrays of uint8: CIFAR's, MNIST's, a memory-mapped file, tensors, on the CPU or a GPU.

    Nothing is decoded, and nothing is copied but the windows that a batch needs: a `np.memmap` (or
    `np.load(file, mmap_mode="r")`) may be larger than the memory, and a tensor on a GPU stays there. A pickle of the
    data set holds the pixels.

    Args:
        images: uint8 levels from 0 to 255, as a numpy array or a torch tensor of shape (N, H, W, 3), (N, 3, H, W), or
            gray as (N, H, W) or with one channel, which becomes RGB as Pillow makes it; or a sequence of N such images
            without the N, of any sizes. Where two axes could be the channels, a tensor's are the first and an array's
            the last one, as is usual for each.
        targets: N int class indices, or floats (N, ...) for multi-label, regression or soft labels.
        classes: class names; the class of target i is `classes[i]`. None if there are none.
        names: what messages call the images; None for "image 12". A state that was saved with one data set fits all
            others with the same names and targets. Without names images are told apart by sizes, targets and a sample
            of the pixels: some of each of 1000 images.

    Raises:
        DatasetError: no images, another number of targets or names, or a class index outside `classes`.
        TypeError: images aren't uint8, targets neither integers nor floats.
        ValueError: images of another shape.

    >>> import numpy as np, dali_mixup as dm
    >>> dataset = dm.ArrayDataset(np.zeros((50, 32, 32, 3), np.uint8), np.arange(50) % 2, ["cat", "dog"])
    >>> pipeline = dm.ImagePipeline(geometry=dm.RandomCrop(32, padding=4), flip=0.5)
    >>> loader = dm.Loader(dataset, pipeline, batch_size=10, shuffle=True, mixup=dm.MixUp(), device="cpu")
    >>> images, targets = next(iter(loader))
    >>> images.shape, targets.shape
    (torch.Size([10, 3, 32, 32]), torch.Size([10, 3]))
    """

    heights: np.ndarray
    widths: np.ndarray

    def __init__(
        self,
        images: Pixels | Sequence[Pixels],
        targets: Sequence[Any] | np.ndarray | torch.Tensor,
        classes: Sequence[str] | None = None,
        *,
        names: Sequence[str] | None = None,
    ):
        apart = isinstance(images, Sequence) or (isinstance(images, np.ndarray) and images.dtype == object)
        if not apart and not isinstance(images, np.ndarray | torch.Tensor):
            raise TypeError(must_be("images", "a uint8 array or tensor, or a sequence of them", images))
        count = len(images) if isinstance(images, Sequence) or images.ndim else 0
        if not count:
            raise DatasetError(must_be("images", "at least one image", images))
        if names is not None and len(names) != count:
            raise DatasetError(must_be("names", f"one per image ({count} images)", names))
        self.targets: np.ndarray = check_targets(targets, count, classes)
        self.classes: list[str] | None = None if classes is None else list(classes)
        self.names: PathList | None = None if names is None else PathList(names)
        self.bad_files: dict[int, str] = {}
        self._stack = None if apart else _as_rgb("images", images)
        self._apart = [_as_rgb(f"images[{i}]", image, one=True) for i, image in enumerate(images)] if apart else []
        if self._stack is None:
            sizes = np.array([image.shape[:2] for image in self._apart], np.int32)
        else:
            sizes = np.full((count, 2), self._stack.shape[1:3], np.int32)
        self.heights, self.widths = np.ascontiguousarray(sizes.T)
        if not sizes.all():
            raise ValueError(must_be("images", "of at least one pixel", images))

    @property
    def stack(self) -> Pixels | None:
        """See `PixelDataset`."""
        return self._stack

    def name(self, number: int) -> str:
        """See `ImageDataset`."""
        return f"image {number}" if self.names is None else self.names[number]

    def fingerprint(self) -> str:
        """See `ImageDataset`."""
        if self.names is not None:
            return fingerprint_of(self.names, self.targets)
        digest = hashlib.blake2b(digest_size=16)
        for array in (self.heights, self.widths, self.targets):
            digest.update(array.tobytes())
        for number in np.unique(np.linspace(0, len(self) - 1, SAMPLED).astype(np.int64)).tolist():
            every = [max(1, side // GRID) for side in (self.heights[number], self.widths[number])]
            digest.update(_on_host(self._image(number)[:: every[0], :: every[1]]).tobytes())
        return digest.hexdigest()

    def cut(self, numbers: np.ndarray, windows: Windows) -> list[np.ndarray]:
        """See `PixelDataset`."""
        if isinstance(self._stack, torch.Tensor):
            images: Iterable[np.ndarray] = self.whole(numbers)
        else:
            images = (_on_host(self._image(number)) for number in numbers.tolist())
        return [
            image[top : top + height, left : left + width]
            for image, (top, left), (height, width) in zip(
                images, windows.anchor.tolist(), windows.shape.tolist(), strict=True
            )
        ]

    def _image(self, number: int) -> Pixels:
        return self._apart[number] if self._stack is None else self._stack[number]

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f", {len(self.classes)} classes"
        return f"{type(self).__name__}({len(self)} image{'s' * (len(self) > 1)}{classes})"


def _as_rgb(name: str, images: object, *, one: bool = False) -> Pixels:
    """A view (N, H, W, 3) of images, on the CPU as an array; of one image (H, W, 3)."""
    if not isinstance(images, np.ndarray | torch.Tensor):
        raise TypeError(must_be(name, "a uint8 array or tensor", images))
    if images.dtype not in (np.uint8, torch.uint8):
        cast = "to(torch.uint8)" if isinstance(images, torch.Tensor) else 'astype("uint8")'
        remedy = f"levels from 0 to 255 become them by .{cast}, values from 0 to 1 by (255 * images).round().{cast}"
        raise TypeError(must_be(name, "uint8 levels from 0 to 255", images, remedy))
    several = images[None] if one else images
    several = several[..., None] if several.ndim == 3 else several
    axes = (1, 3) if isinstance(several, torch.Tensor) else (3, 1)
    channels = next((axis for axis in axes if several.ndim == 4 and several.shape[axis] in (1, 3)), None)
    if channels is None:
        rule = f"of shape {SHAPES.replace('N, ', '') if one else SHAPES}"
        remedy = "images[..., :3] leaves an alpha channel out" if images.shape[-1:] == (4,) else ""
        raise ValueError(must_be(name, rule, images, remedy))
    if not isinstance(several, torch.Tensor):
        last = np.moveaxis(several, channels, 3)
        rgb = np.broadcast_to(last, (*last.shape[:3], 3))
    else:
        rgb = several.movedim(channels, 3).expand(-1, -1, -1, 3)
        rgb = rgb.numpy() if rgb.device.type == "cpu" else rgb
    return rgb[0] if one else rgb


def _on_host(pixels: Pixels) -> np.ndarray:
    return pixels.cpu().numpy() if isinstance(pixels, torch.Tensor) else pixels

"""A pack of pixels, whose shards are mapped to memory: nothing is decoded, and only a window's rows are touched."""

import copy
from typing import Any

import numpy as np

from dali_mixup.dataset.dataset import PixelDataset
from dali_mixup.dataset.orientation import UPRIGHT, turn
from dali_mixup.dataset.packed import PackedDataset, check_size
from dali_mixup.dataset.remote_files import RemoteError
from dali_mixup.dataset.remote_pixels import cut_pieces
from dali_mixup.dataset.remote_samples import Place, RemoteSamples
from dali_mixup.errors import DatasetError
from dali_mixup.geometry.geometry import Windows


class PixelPack(PixelDataset, PackedDataset):
    """Images as uint8 levels, one `.npy` of (H, W, 3) in the tar for each. See `PackedDataset`.

    A copy, also by pickle, maps the shards itself. As with any mapped file, a shard that is cut short while a program
    uses it ends that program. Of a URL pieces are mapped from the cache, or held in memory.
    """

    heights: np.ndarray
    widths: np.ndarray
    bad_files: dict[int, str]

    def _take(self, arrays: dict[str, np.ndarray]) -> None:
        self.heights, self.widths, self.bad_files = arrays["height"], arrays["width"], {}
        size = 3 * self.heights.astype(np.int64) * self.widths
        self._start = self._offset + arrays["size"] - size
        self._part = self._shard  # of what is mapped
        self._same = bool((self.heights == self.heights[0]).all() and (self.widths == self.widths[0]).all())
        self._turned = False
        self._maps: dict[int, np.ndarray] = {}
        if self._remote is not None:
            self._part, self._places = cut_pieces(self._shard, self._start, size)
            self._start = self._start - np.array([place.start for place in self._places], np.int64)[self._part]
            self._maps = dict(enumerate(self._fetch(self._remote, self._places)))

    @property
    def stack(self) -> None:
        """See `PixelDataset`; the shards lie apart."""
        return None

    @property
    def one_size(self) -> bool:
        """See `PixelDataset`."""
        return self._same and not self._turned

    def upright(self) -> "PixelPack":
        """See `PixelDataset`."""
        turned = copy.copy(self)
        turned._turned = bool((self._orientations != UPRIGHT).any())
        return turned

    def whole(self, numbers: np.ndarray) -> np.ndarray:
        """See `PixelDataset`."""
        parts, starts = self._part[numbers], self._start[numbers]
        first = int(parts[0])
        if (parts == first).all():
            return self._anywhere(first)[starts]
        images = np.empty((len(numbers), int(self.heights[0]), int(self.widths[0]), 3), np.uint8)
        for part in np.unique(parts).tolist():
            rows = parts == part
            images[rows] = self._anywhere(part)[starts[rows]]
        return images

    def cut(self, numbers: np.ndarray, windows: Windows) -> list[np.ndarray]:
        """See `PixelDataset`."""
        return [
            self._image(number)[top : top + height, left : left + width]
            for number, (top, left), (height, width) in zip(
                numbers.tolist(), windows.anchor.tolist(), windows.shape.tolist(), strict=True
            )
        ]

    def _image(self, number: int) -> np.ndarray:
        shape = int(self.heights[number]), int(self.widths[number]), 3
        image = np.ndarray(shape, np.uint8, self._map(int(self._part[number])), int(self._start[number]))
        return turn(image, int(self._orientations[number])) if self._turned else image

    def _anywhere(self, part: int) -> np.ndarray:
        """The image that would begin at each byte of a part, (bytes, H, W, 3), all of one memory."""
        levels, height, width = self._map(part), int(self.heights[0]), int(self.widths[0])
        count = len(levels) - 3 * height * width + 1
        return np.ndarray((count, height, width, 3), np.uint8, levels, strides=(1, 3 * width, 3, 1))

    def _map(self, part: int) -> np.ndarray:
        """The bytes of a shard, or of a piece of one at a URL."""
        levels = self._maps.get(part)
        if levels is None:
            if self._remote is None:
                levels = self._map_shard(part)
            else:
                (levels,) = self._fetch(self._remote, [self._places[part]])
            self._maps[part] = levels
        return levels

    def _map_shard(self, shard: int) -> np.ndarray:
        path = self.folder / self._shards[shard]
        try:
            levels = np.asarray(np.memmap(path, np.uint8, "r"))
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path} can't be read ({error}); pack it again") from error
        check_size(path, len(levels), self._shard_bytes[shard])
        return levels

    def _fetch(self, remote: RemoteSamples, places: list[Place]) -> list[np.ndarray]:
        try:
            return remote.map(places)
        except RemoteError as error:
            raise DatasetError(str(error)) from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}
